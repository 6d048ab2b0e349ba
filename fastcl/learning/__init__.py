"""From a sketch to parameters: minimise ``G(theta) = ||S mu_theta - z||^2``.

`objective` has G and its stochastic gradients, `optimizers` the first-order methods, `loop` the function `learn`; `cuda_graph`
replays whole steps on a device. `adaptive` chooses frequencies at which data differ from a reference measure, `decoders` find
clusters and mixtures in a sketch.
"""
