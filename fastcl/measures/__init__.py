"""Where points are drawn: measures that can be sampled, with a density and a sketch in closed form.

`base` defines a reference measure q, the factor in ``mu = q exp(a - R)`` that is known before
anything is learned. `mixtures` and `scale_mixtures` are such measures; `radial_map` makes the
latter standard normal. `box` is the uniform measure on a box, the domain of arXiv 2310.03085, and
`counter_rng` draws its points, each of which depends on the seed, the step and its index alone.
"""
