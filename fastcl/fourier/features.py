"""Random Fourier features: their sum over points and its adjoint (arXiv 2310.03085)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import array_device, empty, is_device, to_device_of
from ..validation import FLOATS, as_array, as_rows, as_vector, work_dtype
from .methods import GROUP_ROWS, MethodChoice
from .operator import PackedOperator
from .structured import Frequencies, as_frequencies

COMPLEX = np.dtype(np.complex128)
MAX_COEFFICIENT = {dtype: float(np.finfo(dtype).max) for dtype in FLOATS}


class FeatureOperator:
    """The sum of complex exponentials and its adjoint at fixed frequencies, for many calls.

    `feature_sum` and `feature_adjoint` check the frequencies and bring them into the layout of
    their kernels at every call; an operator does so once for each type of points. A call on few
    points takes a third of the time, and gives the same result.

    Parameters
    ----------
    omega : array (m, d), or structured frequencies
        Frequencies, radians per unit of x; a copy is kept. If it is a CuPy array, NumPy points are
        streamed through its device.
    method : {"auto", "direct", "nufft"}, optional
    accuracy : float, optional
        As in `feature_sum`.

    Attributes
    ----------
    omega : float64 array (m, d), or the structured frequencies that were given
        Radians per unit of x. It must not be written to.
    shape : (m, d)

    Raises
    ------
    TypeError, ValueError
        omega empty or not finite; an unknown method, or an accuracy not above zero.

    Examples
    --------
    >>> import fastcl
    >>> operator = fastcl.FeatureOperator([[2.0]])
    >>> operator.sum([[0.0], [1.0]]).round(6)
    array([0.583853-0.909297j])
    >>> operator.adjoint([[0.0], [1.0]], [1.0]).round(6)
    array([ 1.      , -0.416147])
    """

    def __init__(
        self,
        omega: ArrayLike | Frequencies,
        *,
        method: str = "auto",
        accuracy: float | None = None,
    ) -> None:
        self._choice = MethodChoice(method, accuracy)
        self._device = omega if is_device(omega) else None
        self.omega = as_frequencies(omega)
        if self.omega is omega and isinstance(omega, np.ndarray):
            self.omega = omega.copy()
        self.shape: tuple[int, int] = self.omega.shape
        self._packed: dict[tuple, PackedOperator] = {}

    def __repr__(self) -> str:
        return f"FeatureOperator(m={self.shape[0]}, dim={self.shape[1]})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": {}}

    def sum(
        self, x: ArrayLike, weights: ArrayLike | None = None, out: NDArray | None = None
    ) -> NDArray:
        """``sum_i w_i exp(-i <omega_l, x_i>)``, complex128 (m,): see `feature_sum`."""
        x, packed = self._prepare(x)
        if weights is not None:
            weights = to_device_of(as_vector(weights, "weights", len(x), packed.freqs.dtype), x)
        out = _check_out(out, (self.shape[0],), COMPLEX, x)
        out[:] = to_device_of(sum_of_rows(x, packed, weights, self._choice), x)
        return out

    @np.errstate(under="ignore")  # of coefficients in the type of x
    def adjoint(self, x: ArrayLike, c: ArrayLike, out: NDArray | None = None) -> NDArray:
        """``Re sum_l c_l exp(+i <omega_l, x_i>)``, (n,) in x's type: see `feature_adjoint`."""
        x, packed = self._prepare(x)
        dtype = packed.freqs.dtype
        c = to_device_of(_as_coefficients(c, self.shape[0], dtype), packed.like)
        out = _check_out(out, (len(x),), dtype, x)
        for begin, end in _groups(packed, 0, len(x)):
            chosen, chunks = self._choice.choose("adjoint", packed, x, begin, end)
            for start, chunk in chunks:
                rows = out[start : start + len(chunk)]
                if is_device(chunk) == is_device(out):
                    chosen.adjoint(chunk, c, rows)
                else:
                    values = chosen.adjoint(chunk, c, empty(len(chunk), dtype, chunk))
                    rows[:] = to_device_of(values, rows)
        return out

    def _prepare(self, x: ArrayLike) -> tuple[NDArray, PackedOperator]:
        """x as an array (n, d), and the frequencies in its working type where the work belongs."""
        x = as_rows(x, "x")
        like = device_like(x, self._device)
        key = x.dtype, array_device(like)
        packed = self._packed.get(key)
        if packed is None or packed.omega.shape[1] != x.shape[1]:
            as_frequencies(self.omega, x.shape[1])
            packed = PackedOperator.pack(self.omega, work_dtype(x), like)
            self._packed[key] = packed
        self._choice.check(x.shape[1], packed.freqs.dtype, packed.on_device)
        return x, packed


def feature_sum(
    x: ArrayLike,
    omega: ArrayLike | Frequencies,
    weights: ArrayLike | None = None,
    out: NDArray | None = None,
    method: str = "auto",
    accuracy: float | None = None,
) -> NDArray:
    """Sum of complex exponentials over points: ``sum_i w_i exp(-i <omega_l, x_i>)``.

    Parameters
    ----------
    x : array (n, d)
        Points, with any strides; read in chunks, so a memory map is never loaded whole. float32
        and float16 points are computed in float32 and accumulated in float64 across blocks of 256
        points; every other real type is computed in float64.
    omega : array (m, d), or structured frequencies
        Frequencies, radians per unit of x.
    weights : array (n,), optional
        One real weight per point; ones by default.
    out : complex128 array (m,), optional
        Where to write the result.
    method : {"auto", "direct", "nufft"}, optional
        "direct" evaluates every pair. "nufft" uses finufft's non-uniform fast Fourier transform,
        for d up to 3. "auto" picks the one that should be faster, by a fixed rule that is the same
        on every machine: "direct" without finufft, for d > 3 and below two million pairs.
    accuracy : float, optional
        Largest error of "nufft", relative to ``sum_i |w_i|``. The default is 1e-6 for float32
        points, which allow 2e-7 at best, and 1e-12 for float64, which allows 1e-13. Rounding of
        the phases in float64 adds 5e-16 times the largest phase in radians. "direct" ignores this
        setting: it rounds in the type of x.

    Returns
    -------
    complex128 array (m,)
        The sums, on the device of x, or on the host if x is there.

    Raises
    ------
    TypeError, ValueError
        x, omega or weights that are empty, not finite, or of sizes that do not match; an `out` of
        the wrong type or shape; phases so large that rounding leaves them no digits; "nufft" for
        CuPy arrays, for d > 3, or if the ranges of x and omega would need a grid of more than
        1 GiB; an accuracy that the type of x cannot reach.
    ImportError
        "nufft" if finufft is not installed.

    Notes
    -----
    This is ``A`` in arXiv 2310.03085; `feature_adjoint` is its adjoint for the real inner product.
    The result is bitwise identical for any number of threads. Its last bits depend on the method,
    on whether a CPU or a GPU did the work and, for "nufft", on the version of finufft.

    If x or omega is a CuPy array, the work is done on its device, and a NumPy array x is streamed
    through it. No n x m array is formed: extra memory is one chunk of 131072 rows if x has to be
    converted, and about 1 KiB and 32 d bytes per frequency. The grids of "nufft" take up to 1 GiB
    in all, or 256 MiB if "auto" chose it; `fastcl.fourier.nufft` cites the method and has more on
    memory.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.feature_sum([[0.0], [1.0]], [[2.0]]).round(6)
    array([0.583853-0.909297j])
    """
    return FeatureOperator(omega, method=method, accuracy=accuracy).sum(x, weights, out)


def sum_of_rows(
    x: NDArray,
    operator: PackedOperator,
    weights: NDArray | None,
    choice: MethodChoice,
    first: int = 0,
    last: int | None = None,
) -> NDArray:
    """The feature sum over rows first..last of x, (m,) complex128, where `operator` works.

    x is an array or anything that is sliced like one; `weights` are one number per row of x, or
    None.
    """
    sums = np.zeros(len(operator.omega), np.complex128, like=operator.like)
    for begin, end in _groups(operator, first, x.shape[0] if last is None else last):
        chosen, chunks = choice.choose("sum", operator, x, begin, end)
        for start, chunk in chunks:
            if weights is None:
                w = np.empty(0, chunk.dtype, like=chunk)
            else:
                w = to_device_of(weights[start : start + len(chunk)], chunk)
            sums += chosen.sum(chunk, w)
    return sums


def feature_adjoint(
    x: ArrayLike,
    omega: ArrayLike | Frequencies,
    c: ArrayLike,
    out: NDArray | None = None,
    method: str = "auto",
    accuracy: float | None = None,
) -> NDArray:
    """Adjoint of `feature_sum`: ``Re sum_l c_l exp(+i <omega_l, x_i>)``.

    Parameters
    ----------
    x : array (n, d)
        Points; float32 and float16 give float32, every other real type float64.
    omega : array (m, d), or structured frequencies
        Frequencies, radians per unit of x.
    c : array (m,), real or complex
        One coefficient per frequency.
    out : array (n,), optional
        Where to write the result, in the type of the result.
    method : {"auto", "direct", "nufft"}, optional
        "direct" evaluates every pair. "nufft" uses finufft's non-uniform fast Fourier transform,
        for d up to 3. "auto" picks the one that should be faster, by a fixed rule that is the same
        on every machine: "direct" without finufft, for d > 3 and below two million pairs.
    accuracy : float, optional
        Largest error of "nufft", relative to ``sum_l |c_l|``. The default is 1e-6 for float32
        points, which allow 2e-7 at best, and 1e-12 for float64, which allows 1e-13. Rounding of
        the phases in float64 adds 5e-16 times the largest phase in radians. "direct" ignores this
        setting: it rounds in the type of x.

    Returns
    -------
    float array (n,)
        ``A* c``, on the device of x, or on the host if x is there: ``Re <c, A w> = <A* c, w>`` for
        the feature sum A of any weights w.

    Raises
    ------
    TypeError, ValueError
        x, omega or c that are empty, not finite, or of sizes that do not match; an `out` of the
        wrong type or shape; phases so large that rounding leaves them no digits; "nufft" for CuPy
        arrays, for d > 3, or if the ranges of x and omega would need a grid of more than 1 GiB; an
        accuracy that the type of x cannot reach.
    ImportError
        "nufft" if finufft is not installed.

    Notes
    -----
    The result is bitwise identical for any number of threads. Its last bits depend on the method,
    on whether a CPU or a GPU did the work and, for "nufft", on the version of finufft.

    Extra memory of "direct": at most one chunk of 131072 rows if x has to be converted, and 100
    bytes per frequency. The grids of "nufft" take up to 1 GiB in all, or 256 MiB if "auto" chose
    it.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.feature_adjoint([[0.0], [1.0]], [[2.0]], [1.0]).round(6)
    array([ 1.      , -0.416147])
    """
    return FeatureOperator(omega, method=method, accuracy=accuracy).adjoint(x, c, out)


def device_like(x: NDArray, omega: Any) -> NDArray:
    """Whichever of x and omega is where the work belongs: on a device if either is on one."""
    return omega if is_device(omega) else x


def _as_coefficients(c: ArrayLike, m: int, dtype: np.dtype) -> NDArray:
    """c as complex128 (m,), finite in the working type too."""
    c = as_array(c, "c", kinds="fiubc")
    if c.shape != (m,):
        raise ValueError(f"c must have shape ({m},), got {c.shape}")
    if c.dtype != COMPLEX or not c.flags.c_contiguous:
        c = np.ascontiguousarray(c, COMPLEX, like=c)
    if not float(abs(c.view(np.float64)).max()) <= MAX_COEFFICIENT[dtype]:  # also for NaN
        raise ValueError(f"c holds NaN or infinity in {dtype}")
    return c


def _groups(operator: PackedOperator, first: int, last: int) -> Iterator[tuple[int, int]]:
    """(first, last) row of each group that the method is chosen for; one group on a device."""
    rows = last - first if operator.on_device else GROUP_ROWS
    for start in range(first, last, rows):
        yield start, min(start + rows, last)


def _check_out(out: NDArray | None, shape: tuple, dtype: DTypeLike, like: NDArray) -> NDArray:
    if out is None:
        return np.empty(shape, dtype, like=like)
    same_kind = is_device(out) if is_device(like) else isinstance(out, np.ndarray)
    if not same_kind or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be a contiguous {np.dtype(dtype)} {type(like).__module__} array "
            f"of shape {shape}"
        )
    if not is_device(out) and not out.flags.writeable:
        raise ValueError("out is read-only")
    return out
