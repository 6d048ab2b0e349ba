"""Random Fourier features: their sum over points and its adjoint (arXiv 2310.03085)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..backend import contiguous, empty, is_device, kernel, to_device_of, to_host, turn
from ..validation import as_array, as_frequencies, as_rows, as_vector, work_dtype
from .nufft import GROUP_ROWS, Nufft
from .transfer import chunk_rows, streamed_chunks

CHUNK_ROWS = (
    1 << 17
)  # rows checked, and converted where need be, at a time: bounds the memory of a pass over x
PHASE_ERROR = 1 / 64  # largest error of a phase, in turns, that rounding alone may cause


@dataclass
class FeatureOperator:
    """Frequencies in the layouts that the kernels read, on the host or on the device."""

    omega: np.ndarray  # (m, d) float64, radians; an array or structured frequencies
    freqs: np.ndarray  # (m, d) in the working precision, omega / 2 pi, on the host
    rows: np.ndarray = None  # (m, d), in the unit of the kernels' phases
    blocks: np.ndarray = None  # (blocks, d, lanes), likewise, transposed and padded with zeros
    structure: object = (
        None  # with `sum` and `adjoint` as here, where omega has faster kernels of its own
    )

    @classmethod
    @np.errstate(
        over="ignore"
    )  # frequencies that the type cannot hold become infinite, which `check_phases` refuses
    def pack(cls, omega, dtype, like=None):
        """`omega` (m, d), already validated, for points of `dtype` that are where `like` is, by default on the host."""
        freqs = np.divide(omega, 2 * np.pi).astype(dtype)
        like = freqs if like is None else like
        structure = omega.pack(dtype, like) if getattr(omega, "is_structured", False) else None
        if structure is not None:
            return cls(omega, freqs, structure=structure)
        rows = to_device_of(np.multiply(omega, turn(like, dtype) / (2 * np.pi)).astype(dtype), like)
        return cls(omega, freqs, rows, kernel("frequency_blocks", like=rows)(rows))

    @property
    def like(self):
        """An array that is where the kernels work."""
        return self.rows if self.structure is None else self.structure.like

    @property
    def on_device(self):
        """Whether the kernels work on a device."""
        return is_device(self.like)

    @cached_property
    def largest(self):
        """The largest modulus in every column of `freqs`, (d,)."""
        return np.abs(self.freqs).max(axis=0)

    @np.errstate(over="ignore", invalid="ignore")
    def check_phases(self, magnitudes):
        """ValueError where phases of points up to `magnitudes` (d,) would lose all their digits."""
        dtype = self.freqs.dtype
        if float((self.largest * magnitudes).sum()) * np.finfo(dtype).eps <= PHASE_ERROR:
            return  # no need to look at the frequencies one by one
        largest = float(
            np.nan_to_num((np.abs(self.freqs) * magnitudes).sum(axis=1), nan=np.inf).max()
        )  # infinity times zero
        if not largest * np.finfo(dtype).eps <= PHASE_ERROR:
            remedy = "draw omega with a larger scale, centre x" + (
                ", or pass x as float64" if dtype == np.float32 else ""
            )
            raise ValueError(
                f"omega is too large for x in {dtype}: phases of {largest:.1e} turns lose all their digits; {remedy}"
            )

    def sum(self, x, weights):
        """(m,) complex128 for x (n, d) contiguous and weights (n,) or (0,), both in the working precision."""
        if self.structure is not None:
            return self.structure.sum(x, weights)
        partial = self.sum_parts(x, weights)
        real, imag = partial.sum(axis=0).swapaxes(0, 1).reshape(2, -1)[:, : len(self.omega)]
        return real + 1j * imag

    def sum_parts(self, x, weights):
        """The sums over parts of the points, (parts, blocks, 2, lanes): real and imaginary parts of every frequency."""
        count, _, lanes = self.blocks.shape
        part_rows = kernel("rows_per_part", like=x)(len(x), self.blocks)
        partial = np.empty((-(-len(x) // part_rows), count, 2, lanes), like=x)
        kernel("feature_sum", like=x)(x, weights, self.blocks, part_rows, partial)
        return partial

    def adjoint(self, x, c, out):
        """out (n,) for x (n, d) contiguous and c (m,) complex."""
        if self.structure is not None:
            return self.structure.adjoint(x, c, out)
        c, unit = to_device_of(c, x), turn(x, x.dtype) / (2 * np.pi)
        return self.adjoint_polar(
            x, np.abs(c).astype(x.dtype), (np.angle(c) * unit).astype(x.dtype), out
        )

    def adjoint_polar(self, x, amplitudes, phase_offsets, out):
        """`adjoint` for the amplitudes (m,) and phase offsets (m,) of c, these in the unit of the kernels' phases."""
        kernel("feature_adjoint", like=x)(
            x, self.rows, amplitudes, phase_offsets, kernel("point_lanes", like=x)(len(x)), out
        )
        return out


def checked_chunks(x, packed, first, last):
    """(first row, contiguous chunk) over rows of x, where `packed` is, each finite and with phases that keep their digits."""
    dtype = packed.freqs.dtype
    magnitudes = np.empty(x.shape[1])
    if packed.on_device and not is_device(x):
        chunks = streamed_chunks(x, first, last, dtype, packed.like)
    else:
        rows = CHUNK_ROWS
        if is_device(
            x
        ):  # the host waits at every chunk: as many as conversions and transposed copies need, or one
            ready = x.dtype == dtype and x.flags.c_contiguous and packed.structure is None
            rows = last - first if ready else chunk_rows(x.shape[1], dtype)
        chunks = (
            (start, contiguous(x[start : min(start + rows, last)], dtype))
            for start in range(first, last, rows)
        )
    for start, chunk in chunks:
        if not kernel("column_magnitudes", like=chunk)(chunk, magnitudes):
            raise ValueError(
                f"x holds NaN or infinity in row {start + int(to_host(np.isfinite(chunk).all(axis=1)).argmin())}"
            )
        packed.check_phases(magnitudes)
        yield start, chunk


def _check_out(out, shape, dtype, like):
    if out is None:
        return np.empty(shape, dtype, like=like)
    same_kind = is_device(out) if is_device(like) else isinstance(out, np.ndarray)
    if not same_kind or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be a contiguous {np.dtype(dtype)} {type(like).__module__} array of shape {shape}"
        )
    if not is_device(out) and not out.flags.writeable:
        raise ValueError("out is read-only")
    return out


def feature_sum(x, omega, weights=None, out=None, method="auto", accuracy=None):
    """Sum of complex exponentials over points: ``sum_i w_i exp(-i <omega_l, x_i>)``.

    Parameters
    ----------
    x : array (n, d)
        Points. float32 and float16 are computed in float32 and accumulated in float64 across blocks of 256 points; every
        other real type in float64. Any strides; read in chunks, so a memory map is never loaded whole. The work is done on the
        device where x or omega is a CuPy array; a NumPy array x is then streamed through it.
    omega : array (m, d), or structured frequencies
        Radians per unit of x.
    weights : array (n,), optional
        One real weight a point; ones by default.
    out : complex128 array (m,), optional
        Where to write the result.
    method : "auto", "direct" or "nufft", optional
        "direct" evaluates every pair. "nufft" takes the non-uniform fast Fourier transform of finufft, for d of at most 3.
        "auto" takes what should be faster, by what both cost on this machine: measured in about half a second when that is
        first needed, and kept in the user's cache folder. Without finufft, beyond d = 3 and for fewer than two million
        pairs it is "direct".
    accuracy : float, optional
        Largest error of "nufft" relative to ``sum_i |w_i|``: by default 1e-6 for float32 points, at least 2e-7, and 1e-12
        for float64, at least 1e-13. To this adds the rounding of the phases in float64, 5e-16 of the largest phase in
        radians. The error of "direct" is rounding in the type of x, whatever the accuracy asked for.

    Returns
    -------
    complex128 array (m,)
        Where x is. The same bits for any number of threads. They follow the method and the device, and "auto" may choose
        otherwise on another machine: ask for "direct", or "nufft" with the same finufft, where bits must be the same.

    Raises
    ------
    TypeError, ValueError
        x, omega or weights not finite, empty, of other sizes; an `out` of another kind; float32 phases that would lose all
        their digits; "nufft" for CuPy arrays, for d beyond 3, or where the ranges of x and omega would take a grid of more
        than 1 GiB; an accuracy out of reach.
    ImportError
        "nufft" where finufft is missing.

    Notes
    -----
    ``A`` in arXiv 2310.03085; its adjoint for the real inner product is `feature_adjoint`.

    No n x m array is formed. On a device: at most 1056 parts of 2048 sums (33 MiB; for harmonic frequencies as often as there
    are harmonics), 64 MiB for chunks of x where it is streamed or converted, and 32 d bytes a frequency. Extra memory of
    "direct" on the host: one chunk of 131072 rows, which is copied only if it has to be converted or is read-only, and about
    1 KiB and 32 d bytes a frequency. Of "nufft": grids of at most 1 GiB in all, 256 MiB where "auto" chooses, which grow with
    the product over the axes of (range of x) (range of omega), and for each of the m frequencies and of at most 2^18 points at
    a time 200 bytes, or 16 bytes a piece, at most 16 pieces, where those are more.

    "nufft" is by Barnett, Magland and af Klinteberg, "A parallel non-uniform fast Fourier transform library based on an
    exponential of semicircle kernel", SIAM J. Sci. Comput. 41(5), 2019.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.feature_sum([[0.0], [1.0]], [[2.0]]).round(6)
    array([0.583853-0.909297j])
    """
    nufft, x = Nufft(method, accuracy), as_rows(x, "x")
    like, omega = place(x, omega), as_frequencies(omega, x.shape[1])
    nufft.check(x.shape[1], work_dtype(x), is_device(like))
    weights = (
        None
        if weights is None
        else to_device_of(as_vector(weights, "weights", len(x), work_dtype(x)), x)
    )
    out = _check_out(out, (len(omega),), np.complex128, x)
    out[:] = to_device_of(
        sum_of_rows(x, FeatureOperator.pack(omega, work_dtype(x), like), weights, nufft), x
    )
    return out


def place(x, omega):
    """An array that is where the work is to be done: on the device where x or omega is."""
    return omega if is_device(omega) else x


def sum_of_rows(x, packed, weights, nufft, first=0, last=None):
    """(m,) complex128, where `packed` is, over rows first..last of x: an array, or what is sliced like one."""
    sums = np.zeros(len(packed.omega), np.complex128, like=packed.like)
    for begin, end in _groups(packed, first, x.shape[0] if last is None else last):
        w = None if weights is None else weights[begin:end]
        chunks = checked_chunks(x, packed, begin, end)
        total = (
            None
            if packed.on_device
            else nufft.sum(chunks, end - begin, packed.freqs.dtype, packed.omega, w)
        )
        if total is not None:
            sums += total
            continue
        for start, chunk in checked_chunks(x, packed, begin, end):
            rows = slice(start, start + len(chunk))
            sums += packed.sum(
                chunk,
                np.empty(0, chunk.dtype, like=chunk)
                if weights is None
                else to_device_of(weights[rows], chunk),
            )
    return sums


def _groups(packed, first, last):
    """First and last row of the groups of rows for which the method is chosen: on a device there is one."""
    rows = last - first if packed.on_device else GROUP_ROWS
    return [(start, min(start + rows, last)) for start in range(first, last, rows)]


def feature_adjoint(x, omega, c, out=None, method="auto", accuracy=None):
    """Adjoint of `feature_sum`: ``Re sum_l c_l exp(+i <omega_l, x_i>)``.

    Parameters
    ----------
    x : array (n, d)
        Points; float32 and float16 give float32, every other real type float64.
    omega : array (m, d), or structured frequencies
        Radians per unit of x.
    c : array (m,), real or complex
        One coefficient a frequency.
    out : array (n,), optional
        Where to write the result, in the type of the result.
    method : "auto", "direct" or "nufft", optional
        As of `feature_sum`, and so are bits and memory.
    accuracy : float, optional
        As of `feature_sum`, relative to ``sum_l |c_l|``.

    Returns
    -------
    float array (n,), where x is
        With ``Re <c, A w> = <A* c, w>``. The same bits for any number of threads; extra memory of "direct" at most one
        chunk of 131072 rows, where x has to be converted, and 100 bytes a frequency.

    Raises
    ------
    TypeError, ValueError, ImportError
        As `feature_sum`; and for c of another length.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.feature_adjoint([[0.0], [1.0]], [[2.0]], [1.0]).round(6)
    array([ 1.      , -0.416147])
    """
    nufft, x = Nufft(method, accuracy), as_rows(x, "x")
    like, omega = place(x, omega), as_frequencies(omega, x.shape[1])
    dtype = work_dtype(x)
    nufft.check(x.shape[1], dtype, is_device(like))
    c = as_array(c, "c", kinds="fiubc")
    for part in (c.real, c.imag):
        as_vector(part, "c", len(omega), dtype)  # finite where the work is done
    packed, out = FeatureOperator.pack(omega, dtype, like), _check_out(out, (len(x),), dtype, x)
    c = to_device_of(c.astype(np.complex128), packed.like)
    for first, last in _groups(packed, 0, len(x)):
        chunks = checked_chunks(x, packed, first, last)
        if (
            packed.on_device
            or nufft.adjoint(chunks, last - first, omega, c, out[first:last]) is None
        ):
            for start, chunk in checked_chunks(x, packed, first, last):
                rows = out[start : start + len(chunk)]
                if is_device(chunk) == is_device(out):
                    packed.adjoint(chunk, c, rows)
                else:
                    rows[:] = to_device_of(
                        packed.adjoint(chunk, c, empty(len(chunk), dtype, chunk)), rows
                    )
    return out
