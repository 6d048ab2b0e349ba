"""Checks of what comes from outside: one clear exception that names the argument, before any work is done."""

import numbers

import numpy as np

from .backend import contiguous, is_device, to_host

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def is_dask(array):
    """Whether `array` is one of dask's collections."""
    return type(array).__module__.partition(".")[0] == "dask"


def reject_foreign(array, name):
    """TypeError for arrays of libraries that there are no kernels for."""
    if is_dask(array):
        raise TypeError(
            f"{name} is a dask array, which fastcl.sketch alone reads: pass {name}.compute()"
        )


def as_array(array, name, kinds="fiub"):
    """`array` as a NumPy or CuPy array of numbers; TypeError for objects, strings and, by default, complex numbers."""
    reject_foreign(array, name)
    try:
        array = array if is_device(array) else np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    if array.dtype.kind == "c" and "c" not in kinds:
        raise TypeError(f"{name} must be real, got {array.dtype}")
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}")
    return array


def work_dtype(array):
    """float32 for float32 and float16, float64 for everything else."""
    dtype = np.dtype(array.dtype)
    return (
        np.dtype(np.float32) if dtype.kind == "f" and dtype.itemsize <= 4 else np.dtype(np.float64)
    )  # of any order of bytes


def as_rows(array, name, dim=None):
    """`array` as a 2-D array of rows with `dim` columns, of its own dtype and strides; values are not looked at."""
    array = as_array(array, name)
    if array.ndim != 2:
        hint = f"; for points of one dimension pass {name}[:, None]" if array.ndim == 1 else ""
        raise ValueError(f"{name} must be 2-D (rows are points), got shape {array.shape}{hint}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    if dim is not None and array.shape[1] != dim:
        raise ValueError(f"{name} must have {dim} columns, got {array.shape[1]}")
    return array


def as_vector(array, name, size=None, dtype=np.float64):
    """`array` as a finite contiguous 1-D vector of `size` numbers."""
    array = as_array(array, name)
    if array.ndim != 1 or (size is not None and array.size != size):
        raise ValueError(
            f"{name} must have shape ({'n' if size is None else size},), got {array.shape}"
        )
    with np.errstate(
        over="ignore"
    ):  # what the type cannot hold becomes infinite, and is refused as such
        array = np.ascontiguousarray(array, dtype, like=array)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity in {array.dtype}")
    return array


def as_points(array, name, dim=None):
    """`array` as a finite, contiguous, writable 2-D float array; copied only where it is none of these."""
    array = as_rows(array, name, dim)
    array = contiguous(array, work_dtype(array))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def as_count(value, name, least=1):
    """`value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def as_stored_count(array, name):
    """The int that a file keeps in `array`, from 0 to 2^63 - 1; ValueError or TypeError for anything else."""
    array = as_array(array, name)
    value = (
        array.item() if array.ndim == 0 else -1
    )  # as Python's number: 2^63 is beyond what float16 can be compared with
    if not 0 <= value < 2**63 or value != int(value):
        raise ValueError(f"{name} must be one whole number from 0 to 2^63 - 1, got {array}")
    return int(value)


def as_positive(value, name):
    """`value` as a finite float above zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (0 < value < np.inf):
        raise ValueError(f"{name} must be above zero and finite, got {value}")
    return float(value)


def as_choice(value, name, choices):
    """`value` where it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def as_generator(rng):
    """`rng` (None, an int seed, a `numpy.random.Generator` or a `Stream`) as a Generator, as SPEC 7 asks."""
    rng = getattr(rng, "generator", rng)
    if rng is not None and not isinstance(rng, (numbers.Integral, np.random.Generator)):
        raise TypeError(f"rng must be an int seed or a numpy.random.Generator, got {rng!r}")
    if isinstance(rng, numbers.Integral) and rng < 0:
        raise ValueError(f"rng must not be negative, got {rng}")
    return np.random.default_rng(rng)


def as_noise_level(sigma, dim):
    """`sigma` (a number, or one number a coordinate) as standard deviations (d,), all above zero, on the host."""
    sigma = to_host(sigma) if is_device(sigma) else sigma
    if np.ndim(sigma) == 0:
        return np.full(
            dim, as_positive(sigma.item() if isinstance(sigma, np.ndarray) else sigma, "sigma")
        )
    sigma = as_vector(sigma, "sigma", dim)
    if (sigma <= 0).any():
        raise ValueError("sigma must be above zero in every coordinate")
    return sigma
