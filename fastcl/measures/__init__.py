"""Where points are drawn: probability measures that can be sampled, with a density and a sketch in closed form.

`box` is the uniform measure on a box, the domain of arXiv 2310.03085; `mixtures` and `scale_mixtures` are reference measures q
that a prior multiplies: ``mu = q exp(a - R)``. `counter_rng` draws the points of a box so that they depend on seed, step and
index alone.
"""
