"""Which kernels work on which arrays: the one place where CPU and GPU part."""

import numpy as np

from .kernels import features, hadamard, harmonics, mixtures, mlp, optimizers, random, tile

_NUMBA = {
    "feature_sum": features.feature_sum,
    "feature_adjoint": features.feature_adjoint,
    "hadamard_sum": hadamard.hadamard_sum,
    "hadamard_adjoint": hadamard.hadamard_adjoint,
    "harmonic_sum": harmonics.harmonic_sum,
    "harmonic_adjoint": harmonics.harmonic_adjoint,
    "pack_lanes": features.pack_lanes,
    "wave_gradient": features.wave_gradient,
    "column_magnitudes": features.column_magnitudes,
    "transpose_weights": mlp.transpose_weights,
    "energy_forward": mlp.energy_forward,
    "energy_backward": mlp.energy_backward,
    "energy_grad": mlp.energy_grad,
    "add_parts": mlp.add_parts,
    "product": tile.product,
    "uniform_points": random.uniform_points,
    "adam_step": optimizers.adam_step,
    "mixture_shares": mixtures.mixture_shares,
    "mixture_means": mixtures.mixture_means,
    "mixture_moments": mixtures.mixture_moments,
}


def kernel(name, like):
    """The kernel called `name` for arrays of the kind of `like`."""
    if not isinstance(like, np.ndarray):
        raise TypeError(f"no kernels for arrays of type {type(like).__name__}")
    return _NUMBA[name]


def empty_aligned(shape, dtype):
    """An uninitialised array that starts on a cache line: vectors that straddle two lines cost double."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


def product(a, b):
    """The matrix product of a (n, s), n large, and b (s, c), in the type of a.

    Not NumPy's: its bits may follow the number of threads, and BLAS threads that wait for the next product take the
    cores from the kernels' own.
    """
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b, a.dtype)
    out = np.empty((len(a), b.shape[1]), a.dtype)
    kernel("product", like=a)(a, b, out)
    return out
