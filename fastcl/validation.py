"""Checks of arguments: one clear exception that names the argument, before any work is done."""

from __future__ import annotations

import difflib
import inspect
import numbers
import operator
from collections.abc import Callable, Collection, Sized
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .backend import contiguous, cupy, is_device, to_host

T = TypeVar("T")
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
PLAIN = {bool, int, float}  # types of numbers that a list may hold without a closer look
# Lengths from 1 / limit to limit have squares, and inverse squares, that the type can hold.
LIMITS = {np.dtype(np.float32): 1e18, np.dtype(np.float64): 1e150}
DEVICES = (2, 13)  # DLPack's numbers for memory of a CUDA device, and for managed memory
MISSING = ("NoneType", "NAType", "NaTType")  # None, and the missing values of pandas


def is_dask(array: object) -> bool:
    """Whether `array` is one of dask's collections."""
    return type(array).__module__.partition(".")[0] == "dask"


def reject_foreign(array: object, name: str) -> None:
    """TypeError, with the remedy, for arrays that NumPy would misread, also inside lists."""
    if isinstance(array, (list, tuple)):
        if not PLAIN.issuperset(map(type, array)):
            for index, part in enumerate(array):
                reject_foreign(part, f"{name}[{index}]")
    elif isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose hidden values would be used: pass "
            f"np.ma.compress_rows({name}), {name}.compressed() or {name}.filled(value)"
        )
    elif is_dask(array):
        raise TypeError(
            f"{name} is a dask array, which only fastcl.sketch reads: pass {name}.compute()"
        )
    elif hasattr(array, "toarray"):
        raise TypeError(f"{name} is a sparse matrix: pass {name}.toarray()")
    elif getattr(array, "requires_grad", False) is True:
        raise TypeError(
            f"{name} requires a gradient, which fastcl does not follow: pass {name}.detach()"
        )


def as_array(array: Any, name: str, kinds: str = "fiub") -> NDArray:
    """`array` as a NumPy or CuPy array of numbers, of dtypes in `kinds`.

    It may be anything that NumPy reads, or that speaks DLPack; arrays on a CUDA device become CuPy
    arrays. TypeError for masked and sparse arrays, for what does not hold numbers and, by default,
    for complex numbers.
    """
    given, array = array, _read(array, name)
    if array.dtype.kind == "O" and array is not given:  # as pandas gives columns of several types
        array = _as_floats(array, name)
    kind = array.dtype.kind
    if kind == "c" and "c" not in kinds:
        raise TypeError(f"{name} must be real, got {array.dtype}")
    if kind not in kinds:
        foreign = kind == "V" and array.dtype.names is None  # such as bfloat16
        hint = f": pass {name}.astype('float32')" if foreign or kind == "O" else ""
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}{hint}")
    return array


def _read(array: Any, name: str) -> NDArray:
    """`array` as a NumPy or CuPy array of any dtype, copied only if necessary."""
    if type(array) is np.ndarray or is_device(array):
        return array
    reject_foreign(array, name)
    try:
        if hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] in DEVICES:
            return cupy().from_dlpack(array)
        if hasattr(array, "__dlpack__") and not hasattr(array, "__array__"):
            return np.from_dlpack(array)
        return np.asarray(array)
    except Exception as error:  # libraries raise what they like
        if isinstance(array, (list, tuple)) and isinstance(error, ValueError):
            raise ValueError(f"{name} is not a rectangular array: {error}") from None
        raise TypeError(
            f"{name} cannot be read as an array ({error}): pass it in float32 or float64"
        ) from error


def _as_floats(array: NDArray, name: str) -> NDArray:
    """An array of Python objects, if all of them are real numbers, as float64."""
    for index, value in np.ndenumerate(array):
        if index and type(value).__name__ in MISSING:
            raise TypeError(f"{name} has a missing value in row {index[0]}: drop or fill it")
        if not isinstance(value, (numbers.Real, Decimal)):
            kind = type(value).__qualname__
            raise TypeError(f"{name} must hold numbers, got an object of type {kind}")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{name} holds an integer beyond the range of float64") from None


def work_dtype(array: Any) -> np.dtype:
    """float32 for float32 and float16 in any byte order, float64 for everything else."""
    dtype = np.dtype(array.dtype)
    single = dtype.kind == "f" and dtype.itemsize <= 4
    return np.dtype(np.float32 if single else np.float64)


def as_rows(array: Any, name: str, dim: int | None = None) -> NDArray:
    """`array` as a 2-D array with `dim` columns, of its own dtype and strides, values unchecked."""
    array = as_array(array, name)
    if array.ndim != 2:
        hint = f"; for points of one dimension pass {name}[:, None]" if array.ndim == 1 else ""
        raise ValueError(f"{name} must be 2-D (rows are points), got shape {array.shape}{hint}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    if dim is not None and array.shape[1] != dim:
        raise ValueError(f"{name} must have {dim} columns, got {array.shape[1]}")
    return array


def has_no_rows(x: Any, dim: int) -> bool:
    """Whether x is an array or a sequence of no points, in `dim` dimensions if it has a shape."""
    shape = getattr(x, "shape", None)
    if shape is None:
        shape = (len(x),) if isinstance(x, Sized) else ()
    return tuple(shape) in ((0,), (0, dim))


def as_vector(
    array: Any, name: str, size: int | None = None, dtype: DTypeLike = np.float64
) -> NDArray:
    """`array` as a finite contiguous 1-D vector of `size` numbers."""
    array = as_array(array, name)
    if array.ndim != 1 or (size is not None and array.size != size):
        raise ValueError(
            f"{name} must have shape ({'n' if size is None else size},), got {array.shape}"
        )
    with np.errstate(over="ignore", under="ignore"):  # infinity is refused below
        array = np.ascontiguousarray(array, dtype, like=array)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity in {array.dtype}")
    return array


def as_points(array: Any, name: str, dim: int | None = None) -> NDArray:
    """`array` as a finite, contiguous, writable 2-D float array, copied only if it is not one."""
    array = as_rows(array, name, dim)
    array = contiguous(array, work_dtype(array))
    finite = np.isfinite(array)
    if not finite.all():
        row = int(finite.all(axis=1).argmin())
        raise ValueError(f"{name} holds NaN or infinity in row {row}")
    return array


def as_count(value: Any, name: str, least: int = 1) -> int:
    """`value` as an int of at least `least`."""
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    if count is None:
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if count >= 2**63:
        raise ValueError(f"{name} must be below 2^63, got {value}")
    return count


def as_stored_count(array: Any, name: str) -> int:
    """The int, from 0 to 2^63 - 1, in an array of a file; ValueError or TypeError if it is none."""
    array = as_array(array, name)
    # A Python number, because float16 cannot be compared with 2^63.
    value = array.item() if array.ndim == 0 else -1
    if not 0 <= value < 2**63 or value != int(value):
        raise ValueError(f"{name} must be one whole number from 0 to 2^63 - 1, got {array}")
    return int(value)


def as_positive(value: Any, name: str) -> float:
    """`value`, a number or an array of one without axes, as a finite float above zero."""
    number = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(number)
    except OverflowError:
        number = np.inf
    if not 0 < number < np.inf:
        raise ValueError(f"{name} must be above zero and finite, got {value}")
    return number


def as_nonnegative(value: Any, name: str) -> float:
    """`value`, a number as in `as_positive`, or zero."""
    if not isinstance(value, bool) and np.ndim(value) == 0 and value == 0:
        return 0.0
    try:
        return as_positive(value, name)
    except ValueError:
        raise ValueError(f"{name} must be zero or above, and finite, got {value}") from None


def check_lengths(lengths: Any, name: str, dtype: DTypeLike = np.float64) -> None:
    """ValueError unless `dtype` can hold the squares and inverse squares of all `lengths`."""
    limit = LIMITS[np.dtype(dtype)]
    lengths = to_host(lengths)
    for value in (lengths.min(), lengths.max()):
        if not 1 / limit <= value <= limit:
            raise ValueError(
                f"{name} must be from {1 / limit:g} to {limit:g} in {np.dtype(dtype)}, "
                f"got {value:g}: change the unit of the data"
            )


def as_choice(value: T, name: str, choices: Collection[T]) -> T:
    """`value`, if it is one of `choices`."""
    if not isinstance(value, tuple(map(type, choices))) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_settings(settings: dict[str, Any], *functions: Callable) -> None:
    """Check keyword arguments that are handed on to one of `functions` after some other work.

    TypeError for a name that none of them takes; and their counts, which start with "n_".
    """
    known = {name for function in functions for name in inspect.signature(function).parameters}
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            rest = f"did you mean {near[0]!r}?" if near else f"it is none of {sorted(known)}"
            raise TypeError(f"unknown setting {name!r}: {rest}")
        if name.startswith("n_") and value is not None:
            as_count(value, name)


def as_float_dtype(dtype: DTypeLike) -> np.dtype:
    """`dtype` as a NumPy dtype, float32 or float64."""
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
    if dtype not in FLOATS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    return dtype


def undefined(thing: object, method: str) -> NotImplementedError:
    """The exception for a method that a subclass must define."""
    return NotImplementedError(f"{type(thing).__name__} must define {method}")


def as_generator(rng: Any) -> np.random.Generator:
    """`rng`, a `Stream` or whatever `numpy.random.default_rng` takes,, as a Generator."""
    try:
        return np.random.default_rng(getattr(rng, "generator", rng))
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be an int seed, not negative, a numpy.random.Generator, or anything else "
            f"that numpy.random.default_rng takes, got {rng!r}"
        ) from None


def as_noise_level(sigma: Any, dim: int, name: str = "sigma") -> NDArray:
    """`sigma`, a number or one per coordinate, as positive standard deviations (d,) on the host."""
    if not isinstance(sigma, (list, tuple)) and np.ndim(sigma) == 0:
        return np.full(dim, as_positive(sigma, name))
    sigma = as_vector(sigma, name, dim)
    if (sigma <= 0).any():
        raise ValueError(f"{name} must be above zero in every coordinate")
    return to_host(sigma)
