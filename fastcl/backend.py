"""Which kernels work on which arrays: the one place where CPU and GPU part.

Code above calls NumPy's functions, which CuPy's arrays dispatch to their own, and this module where they cannot.
"""

import numpy as np

from .kernels import (
    cuda,
    features,
    hadamard,
    harmonics,
    launchers,
    mixtures,
    mlp,
    optimizers,
    patches,
    quantised,
    random,
    tile,
)

_NUMBA = {
    "feature_sum": features.feature_sum,
    "feature_adjoint": features.feature_adjoint,
    "hadamard_sum": hadamard.hadamard_sum,
    "hadamard_adjoint": hadamard.hadamard_adjoint,
    "harmonic_sum": harmonics.harmonic_sum,
    "harmonic_adjoint": harmonics.harmonic_adjoint,
    "quantised_sum": quantised.quantised_sum,
    "frequency_blocks": features.frequency_blocks,
    "rows_per_part": features.rows_per_part,
    "point_lanes": features.point_lanes,
    "sum_gradient": features.sum_gradient,
    "column_magnitudes": features.column_magnitudes,
    "transpose_weights": mlp.transpose_weights,
    "rows_of_part": mlp.rows_of_part,
    "activation_size": mlp.activation_size,
    "energy_forward": mlp.energy_forward,
    "energy_backward": mlp.energy_backward,
    "energy_grad": mlp.energy_grad,
    "add_parts": mlp.add_parts,
    "product": tile.product,
    "uniform_points": random.uniform_points,
    "adam_step": optimizers.adam_step,
    "mixture_responsibilities": mixtures.mixture_responsibilities,
    "mixture_means": mixtures.mixture_means,
    "mixture_moments": mixtures.mixture_moments,
    "add_patches": patches.add_patches,
}


def cupy():
    """The module CuPy; ImportError in one line where it is missing."""
    return cuda.cupy()


def is_device(array):
    """Whether `array` is one of CuPy's."""
    return type(array).__module__.partition(".")[0] == "cupy"


def kernel(name, like):
    """The kernel called `name` for arrays of the kind of `like`."""
    if isinstance(like, np.ndarray):
        return _NUMBA[name]
    if not is_device(like):
        raise TypeError(f"no kernels for arrays of type {type(like).__name__}")
    if name not in launchers.LAUNCHERS:
        raise TypeError(f"no CUDA kernel for {name}: pass NumPy arrays")
    return launchers.LAUNCHERS[name]


def phase_unit(like, dtype):
    """A whole turn in the unit that kernels for arrays like `like` take phases in."""
    return cuda.TURN[np.dtype(dtype)] if is_device(like) else 1.0


def to_host(array):
    """`array` as a NumPy array."""
    return array.get() if is_device(array) else np.asarray(array)


def to_device_of(array, like, dtype=None):
    """`array` where `like` is, on the host or on the device."""
    if is_device(array) != is_device(like) and is_device(array):
        array = array.get()
    return np.asarray(array, dtype, like=like)


def contiguous(array, dtype):
    """`array` as the kernels take it: of `dtype`, contiguous, aligned, writable; copied only where it is none of these."""
    with np.errstate(
        over="ignore"
    ):  # what the type cannot hold becomes infinite, for the caller to refuse
        return (
            np.ascontiguousarray(array, dtype, like=array)
            if is_device(array)
            else np.require(array, dtype, ["C", "W", "A"])
        )


def empty_aligned(shape, dtype):
    """An uninitialised array that starts on a cache line: vectors that straddle two lines cost double."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


def empty(shape, dtype, like):
    """An uninitialised array where `like` is, that starts on a cache line."""
    return np.empty(shape, dtype, like=like) if is_device(like) else empty_aligned(shape, dtype)


class DeviceCache:
    """Arrays made on the host for the arrays that they are used with, and kept where these are: at every place the last ones."""

    def __init__(self):
        self._kept = {}

    def __getstate__(self):
        return {"_kept": {}}

    def __call__(self, like, name, make, key=None):
        """The arrays of `make()` where `like` is; made anew where `name` was last asked for with another key."""
        place = name, array_device(like)
        if place not in self._kept or self._kept[place][0] != key:
            self._kept[place] = key, tuple(to_device_of(array, like) for array in make())
        return self._kept[place][1]


def array_device(array):
    """The number of the device that `array` is on, None for the host."""
    return array.device.id if is_device(array) else None


def product(a, b):
    """The matrix product of a (n, s), n large, and b (s, c), in the type of a and where a is.

    On the host not NumPy's: its bits may follow the number of threads, and BLAS threads that wait for the next product take
    the cores from the kernels' own.
    """
    a = contiguous(a, a.dtype)
    b = contiguous(to_device_of(b, a), a.dtype)
    out = np.empty((len(a), b.shape[1]), a.dtype, like=a)
    kernel("product", like=a)(a, b, out)
    return out
