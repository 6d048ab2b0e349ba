"""From a sketch to parameters: minimise ``G(theta) = ||S mu_theta - z||^2``.

`objective` estimates G and its gradient from random points, and `gradients` is its public face.
`energy_matching` learns the energies of the density of maximum entropy along its chains. `loop` has
`learn`, and `optimizers` the first-order methods. `run` is the state of a run and its checkpoint;
`cuda_graph` takes whole steps on a device. `adaptive` chooses frequencies at which data differ from
a reference measure. `decoders` find clusters and mixtures in a sketch, from the moments in `atoms`.
"""
