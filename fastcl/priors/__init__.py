"""Densities ``mu(x) = q(x) exp(a - R(x))`` that are learned from a sketch and used for denoising.

`mlp` is a network, ``R = ||f_theta(x)||^2``; `max_entropy` the density of maximum entropy with the moments of a sketch, ``R = -Re
sum_l c_l exp(i <omega_l, x>)``; `gaussianised` a prior in coordinates in which a Gaussian scale mixture is standard normal.
`chains` are Markov chains that follow a density, and `metric` weights residuals of a sketch.
"""
