"""Where points are drawn: measures that can be sampled, with a density and a sketch in closed form.

`base` says what a reference measure q is, which a prior multiplies: ``mu = q exp(a - R)``.
`mixtures` and `scale_mixtures` are such measures; `radial_map` makes the latter standard normal.
`box` is the uniform measure on a box, the domain of arXiv 2310.03085, and `counter_rng` draws its
points so that they depend on seed, step and index alone.
"""
