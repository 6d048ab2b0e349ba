"""What it is for: vectors, photographs and sound, denoised with a learned prior.

`vectors` has the MAP estimate ``argmin_x ||x - y||^2 / (2 sigma^2) + R(x)`` and the posterior mean
``E[x | y]``. `patch_sketch` sketches the patches of signals of any shape, `patch_model` learns a
prior from that sketch, and `restoration` denoises whole signals: `splitting` is its first stage, at
the level of `noise_level`, `scales` and `similar` are its second. `photographs` is its face for
images, with the ready models in models/. `inverse` uses a denoiser as the prior for missing pixels,
blur and other linear operators, whose steps towards the data are in `data_terms`. `anscombe` maps
counts to noise of variance one, and back without bias. `audio` models the patches of lapped
transforms of sound (`lapped`), which are arrays of frames x bins, and `spectral` denoises with
them. `noisy_signals` has the noise of the signals that a prior is learned from. `batches` takes
batches apart, and `colour` channels, for a model of one.
"""
