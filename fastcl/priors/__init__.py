"""Densities ``mu(x) = q(x) exp(a - R(x))`` that are learned from a sketch and used for denoising.

`base` defines what a prior is. `mlp` has the neural prior, ``R = ||f_theta(x)||^2``; `max_entropy`
has the maximum-entropy density with the moments of a sketch,
``R = -Re sum_l c_l exp(i <omega_l, x>)``; `gaussianised` wraps a prior that was learned in
coordinates in which a Gaussian scale mixture is standard normal. `chains` has Markov chains that
follow a density, and `metric` weights the residuals of a sketch.
"""
