"""What it is for: vectors, photographs and sound, denoised with a learned prior.

`vectors` has MAP and posterior mean, ``argmin_x ||x - y||^2 / (2 sigma^2) + R(x)`` and ``E[x | y]``. `patch_sketch` sketches the
patches of photographs, `patch_model` learns from that sketch, and `restoration` denoises whole images by half-quadratic
splitting. `audio` does the same for three bands of a sound.
"""
