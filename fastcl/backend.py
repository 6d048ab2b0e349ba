"""Which kernels work on which arrays: the one place where CPU and GPU part ways.

All other code calls NumPy functions, which CuPy arrays dispatch to CuPy's own, and uses this module
if there is no such function. In annotations, NDArray stands for CuPy arrays too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .kernels import (
    cuda,
    features,
    hadamard,
    harmonics,
    launchers,
    mixtures,
    mlp,
    nearest,
    optimizers,
    patches,
    quantised,
    random,
    similar,
    sum_gradient,
    tile,
)

SPARE = nearest.COLUMNS  # numbers beyond the end of a pilot that denoise_similar may read

_NUMBA: dict[str, Callable[..., Any]] = {
    "feature_sum": features.feature_sum,
    "feature_adjoint": features.feature_adjoint,
    "hadamard_sum": hadamard.hadamard_sum,
    "hadamard_adjoint": hadamard.hadamard_adjoint,
    "harmonic_sum": harmonics.harmonic_sum,
    "harmonic_adjoint": harmonics.harmonic_adjoint,
    "quantised_sum": quantised.quantised_sum,
    "frequency_blocks": features.frequency_blocks,
    "rows_per_part": features.rows_per_part,
    "points_per_block": features.points_per_block,
    "sum_gradient": sum_gradient.sum_gradient,
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
    "denoise_similar": similar.denoise_similar,
    "add_patches": patches.add_patches,
}


def cupy() -> ModuleType:
    """The module CuPy; ImportError in one line if it is missing."""
    return cuda.cupy()


def is_device(array: object) -> bool:
    """Whether `array` is a CuPy array."""
    kind = type(array)
    return kind is not np.ndarray and kind.__module__.partition(".")[0] == "cupy"


def kernel(name: str, like: NDArray) -> Callable[..., Any]:
    """The kernel called `name` that works on arrays like `like`, from NumPy or CuPy."""
    if isinstance(like, np.ndarray):
        if numba.config.DISABLE_JIT:
            raise OSError("fastcl needs Numba's compiler: unset NUMBA_DISABLE_JIT")
        return _NUMBA[name]
    if not is_device(like):
        raise TypeError(
            f"no kernels for arrays of type {type(like).__name__}: pass NumPy or CuPy arrays"
        )
    if name not in launchers.LAUNCHERS:
        raise TypeError(f"no CUDA kernel for {name}: pass NumPy arrays")
    return launchers.LAUNCHERS[name]


def phase_unit(like: NDArray, dtype: DTypeLike) -> float:
    """The size of one turn, in the unit of phases of the kernels for arrays like `like`."""
    return cuda.TURN[np.dtype(dtype)] if is_device(like) else 1.0


def to_host(array: Any) -> NDArray:
    """`array` as a NumPy array."""
    return array.get() if is_device(array) else np.asarray(array)


def to_device_of(array: Any, like: NDArray, dtype: DTypeLike | None = None) -> NDArray:
    """`array` where `like` is, on the host or on a device; copied only if necessary."""
    if type(array) is type(like) is np.ndarray and dtype in (None, array.dtype):
        return array
    if is_device(array) != is_device(like) and is_device(array):
        array = array.get()
    return np.asarray(array, dtype, like=like)


def contiguous(array: NDArray, dtype: DTypeLike) -> NDArray:
    """`array` as kernels take it: of `dtype`, contiguous, aligned and writable.

    It is copied only if necessary. Values that overflow in `dtype` become infinite, for the caller
    to refuse. Points that are read slice by slice may turn out to be masked here: TypeError.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("x gives masked arrays, whose hidden values would be used: fill them first")
    with np.errstate(over="ignore", under="ignore"):
        if is_device(array):
            return np.ascontiguousarray(array, dtype, like=array)
        return np.require(array, dtype, ["C", "W", "A"])


def typical_rows(x: NDArray, most: int) -> NDArray:
    """The first `most` rows of x (n, d), or as many from all over x if those are of another kind.

    They are in a file that is sorted: there the mean of x or |x| over the first rows is eight
    standard errors or more from that over the others.
    """
    if len(x) <= most:
        return x
    parts = x[:most], x[most:]
    for function in (np.asarray, np.abs):
        means = [function(part).mean(axis=0, dtype=np.float64) for part in parts]
        squares = [function(part).var(axis=0, dtype=np.float64) / len(part) for part in parts]
        if (np.abs(means[0] - means[1]) > 8 * np.sqrt(squares[0] + squares[1])).any():
            return contiguous(x[:: -(-len(x) // most)], x.dtype)
    return x[:most]


def empty_aligned(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """An uninitialised array aligned to a cache line: a vector across two lines costs double."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


def empty(shape: int | tuple[int, ...], dtype: DTypeLike, like: NDArray) -> NDArray:
    """An uninitialised array where `like` is, aligned to a cache line."""
    return np.empty(shape, dtype, like=like) if is_device(like) else empty_aligned(shape, dtype)


class DeviceCache:
    """Caches arrays that are computed on the host, with a copy on each device that uses them.

    Only the latest arrays are kept for each name and device, and none of them in pickles.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple, tuple[Hashable, tuple[NDArray, ...]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": {}}

    def __call__(
        self,
        like: NDArray,
        name: str,
        make: Callable[[], Iterable[NDArray]],
        key: Hashable = None,
    ) -> tuple[NDArray, ...]:
        """The arrays `make()` where `like` is, computed anew if `key` differs from last time."""
        place = name, array_device(like)
        kept = self._kept.get(place)
        if kept is None or kept[0] != key:
            # Not read back: another thread may have put the arrays for its own key there.
            kept = self._kept[place] = key, tuple(to_device_of(array, like) for array in make())
        return kept[1]


def array_device(array: Any) -> int | None:
    """The number of the device that `array` is on, or None if it is on the host."""
    return array.device.id if is_device(array) else None


def product(a: NDArray, b: ArrayLike) -> NDArray:
    """The matrix product of a (n, s), n large, and b (s, c), in the type of a and where a is.

    On the host it does not use NumPy's, whose last bits can depend on the number of threads, and
    whose BLAS threads keep spinning on cores that the kernels need.
    """
    a = contiguous(a, a.dtype)
    b = contiguous(to_device_of(b, a), a.dtype)
    out = np.empty((len(a), b.shape[1]), a.dtype, like=a)
    kernel("product", like=a)(a, b, out)
    return out
