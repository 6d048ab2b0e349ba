"""Where points are drawn: measures that can be sampled, with a density and a sketch in closed form.

`base` defines a reference measure q, the factor in ``mu = q exp(a - R)`` that is known before
anything is learned. `mixtures` and `scale_mixtures` are such measures; `scale_mixture_starts` is
where the fit of the latter begins. `gaussian_scale_mixtures` have a single shape, and `radial_map`
makes them standard normal. `box` is the uniform measure on a box, the domain of arXiv 2310.03085,
and `counter_rng` draws its points, each of which depends on the seed, the step and its index alone.
"""
