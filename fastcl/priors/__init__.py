"""Densities ``mu(x) = q(x) exp(a - R(x))`` that are learned from a sketch and used for denoising.

`base` says what a prior is. `mlp` is a network, ``R = ||f_theta(x)||^2``; `max_entropy` the
maximum-entropy density with the moments of a sketch, ``R = -Re sum_l c_l exp(i <omega_l, x>)``;
`gaussianised` a prior in coordinates in which a Gaussian scale mixture is standard normal. `chains`
are Markov chains that follow a density, and `metric` weights the residuals of a sketch.
"""
