"""The two linear maps at packed frequencies: one class for each way to compute them.

A `PackedOperator` holds frequencies in the layouts that its kernels read, for one type of points.
For points x (n, d) of that type, `sum` is ``(A w)_l = sum_i w_i exp(-i <omega_l, x_i>)`` and
`adjoint` is ``(A* c)_i = Re sum_l c_l exp(i <omega_l, x_i>)``. `pack` picks the class that suits
the frequencies and the array; `chunks` reads points from any array and checks them. The classes
here evaluate every pair; `nufft.NufftOperator` does not.

Memory: no n x m array is formed. The host needs about 1 KiB and 32 d bytes per frequency, and one
chunk of 131072 rows, which is a copy only if x has to be converted or is read-only. A device needs
at most 1056 parts of 2048 sums (33 MiB; for harmonic frequencies, times the number of harmonics),
64 MiB for chunks of x if it is streamed or converted, and 32 d bytes per frequency.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from operator import mul
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import contiguous, is_device, kernel, phase_unit, to_device_of, to_host
from ..kernels import features, hadamard
from ..kernels.lanes import VECTOR_BYTES
from .structured import Frequencies, HadamardFrequencies, HarmonicFrequencies
from .transfer import chunk_rows, streamed_chunks

CHUNK_ROWS = 1 << 17  # rows that are checked, and converted if necessary, at a time
MAX_PHASE_ERROR = 1 / 64  # turns; the largest error that rounding alone may cause in a phase
# The dimension at which a frequency of a Hadamard block costs as much as a direct one: measured in
# float32 for sum and adjoint together at D = 64 (48 for the sum alone, 40 for the adjoint). It
# hardly grows with D, because log2(D) is only a part of the cost.
HADAMARD_COST = 45


class PackedOperator:
    """Frequencies in the layouts that the kernels read, on the host or on a device.

    Attributes
    ----------
    omega : float64 array (m, d), or structured frequencies
        Radians per unit of x.
    freqs : array (m, d)
        The same frequencies in turns per unit of x, in the working type, on the host.
    like : array
        An array that is where the kernels work.
    """

    like: NDArray
    copies_points: ClassVar[bool] = False  # whether CUDA kernels need a second copy of the points

    def __init__(self, omega: Frequencies, dtype: DTypeLike) -> None:
        self.omega = omega
        self.freqs = np.divide(omega, 2 * np.pi).astype(dtype)

    @staticmethod
    @np.errstate(over="ignore")  # frequencies that overflow become infinite: see check_phases
    def pack(omega: Frequencies, dtype: DTypeLike, like: NDArray | None = None) -> PackedOperator:
        """The operator for validated `omega` and points of `dtype`, on the device of `like`.

        Without `like` it works on the host.
        """
        like = np.empty(0) if like is None else like
        if isinstance(omega, HarmonicFrequencies):
            return HarmonicOperator(omega, dtype, like)
        if isinstance(omega, HadamardFrequencies) and HadamardOperator.pays(omega, like):
            return HadamardOperator(omega, dtype)
        return DirectOperator(omega, dtype, like)

    def sum(self, x: NDArray, weights: NDArray) -> NDArray:
        """``sum_i w_i exp(-i <omega_l, x_i>)``, (m,) complex128.

        x (n, d) is contiguous, weights are (n,), or (0,) if all are 1; both in the working type.
        """
        raise NotImplementedError

    def adjoint(self, x: NDArray, c: NDArray, out: NDArray) -> NDArray:
        """``Re sum_l c_l exp(i <omega_l, x_i>)`` for contiguous x (n, d), written to `out` (n,)."""
        raise NotImplementedError

    @cached_property
    def on_device(self) -> bool:
        """Whether the kernels work on a device."""
        return is_device(self.like)

    def chunks(self, x: NDArray, first: int, last: int) -> Iterator[tuple[int, NDArray]]:
        """(first row, chunk) over rows first..last of x, an array or anything sliced like one.

        Chunks are contiguous, in the working type and where the kernels work. Raises ValueError if
        a value is not finite or a phase would lose all its digits.
        """
        magnitudes = np.empty(x.shape[1])
        for start, chunk in self._converted(x, first, last):
            if not kernel("column_magnitudes", like=chunk)(chunk, magnitudes):
                row = start + int(to_host(np.isfinite(chunk).all(axis=1)).argmin())
                raise ValueError(f"x holds NaN or infinity in row {row}")
            self.check_phases(magnitudes)
            yield start, chunk

    def _converted(self, x: NDArray, first: int, last: int) -> Iterator[tuple[int, NDArray]]:
        dtype, rows = self.freqs.dtype, CHUNK_ROWS
        if self.on_device and not is_device(x):
            yield from streamed_chunks(x, first, last, dtype, self.like)
            return
        if is_device(x):
            # The host waits for every chunk, so take x as one chunk unless it has to be copied.
            ready = x.dtype == dtype and x.flags.c_contiguous and not self.copies_points
            rows = last - first if ready else chunk_rows(x.shape[1], dtype)
        for start in range(first, last, rows):
            yield start, contiguous(x[start : min(start + rows, last)], dtype)

    def check_phases(self, magnitudes: NDArray) -> None:
        """Raise ValueError if phases of points up to `magnitudes` (d,) would lose all digits."""
        dtype, eps = self.freqs.dtype, self._eps
        bound = sum(map(mul, self._largest, magnitudes.tolist()))  # in Python: no warnings
        if bound * eps <= 0.99 * MAX_PHASE_ERROR:
            return  # no need to look at the frequencies one by one
        with np.errstate(over="ignore", invalid="ignore"):
            phases = (np.abs(self.freqs) * magnitudes).sum(axis=1)
        largest = float(np.nan_to_num(phases, nan=np.inf).max())  # NaN is infinity times zero
        if not largest * eps <= MAX_PHASE_ERROR:
            remedy = "draw omega with a larger scale, centre x"
            remedy += ", or pass x as float64" if dtype == np.float32 else ""
            raise ValueError(
                f"omega is too large for x in {dtype}: phases of {largest:.1e} turns lose all "
                f"their digits; {remedy}"
            )

    @cached_property
    def _largest(self) -> list[float]:
        """The largest magnitude in each column of `freqs`, d numbers."""
        return np.abs(self.freqs).max(axis=0).tolist()

    @cached_property
    def _eps(self) -> float:
        """The relative rounding error of the working type."""
        return float(np.finfo(self.freqs.dtype).eps)


def _in_kernel_units(omega: Frequencies, dtype: DTypeLike, like: NDArray) -> NDArray:
    """`omega` (radians per unit of x) in the unit of the kernels' phases, where `like` is."""
    scale = phase_unit(like, dtype) / (2 * np.pi)
    return to_device_of(np.multiply(omega, scale).astype(dtype), like)


class DirectOperator(PackedOperator):
    """Evaluates every pair of a point and a frequency; for frequencies of any kind.

    Attributes
    ----------
    rows : array (m, d)
        The frequencies in the unit of the kernels' phases, where the kernels work.
    blocks : array (blocks, d, block_width)
        The same in blocks that are transposed and padded with zeros.
    """

    def __init__(self, omega: Frequencies, dtype: DTypeLike, like: NDArray) -> None:
        super().__init__(omega, dtype)
        self.rows = self.like = _in_kernel_units(omega, dtype, like)
        self.blocks = kernel("frequency_blocks", like=self.rows)(self.rows)

    def sum(self, x: NDArray, weights: NDArray) -> NDArray:
        """See `PackedOperator.sum`."""
        return _add_parts(self.sum_parts(x, weights), len(self.omega))

    def sum_parts(self, x: NDArray, weights: NDArray) -> NDArray:
        """Real and imaginary sums over each part of the points, (parts, blocks, 2, block_width)."""
        count, _, width = self.blocks.shape
        part_rows = kernel("rows_per_part", like=x)(len(x), self.blocks)
        partial = np.empty((-(-len(x) // part_rows), count, 2, width), like=x)
        kernel("feature_sum", like=x)(x, weights, self.blocks, part_rows, partial)
        return partial

    def adjoint(self, x: NDArray, c: NDArray, out: NDArray) -> NDArray:
        """See `PackedOperator.adjoint`."""
        return self.adjoint_polar(x, *self.polar(to_device_of(c, x), x.dtype), out)

    def polar(self, c: NDArray, dtype: DTypeLike) -> tuple[NDArray, NDArray]:
        """(amplitudes (m,), phases (m,) in the kernels' unit) of c (m,) complex, in `dtype`."""
        unit = phase_unit(c, dtype) / (2 * np.pi)
        return np.abs(c).astype(dtype), (np.arctan2(c.imag, c.real) * unit).astype(dtype)

    def adjoint_polar(
        self, x: NDArray, amplitudes: NDArray, phase_offsets: NDArray, out: NDArray
    ) -> NDArray:
        """`adjoint` for c given by `polar`."""
        width = kernel("points_per_block", like=x)(len(x))
        kernel("feature_adjoint", like=x)(x, self.rows, amplitudes, phase_offsets, width, out)
        return out


class HarmonicOperator(PackedOperator):
    """Evaluates pairs of a point and a base frequency, and the harmonics by a recurrence."""

    copies_points = True

    def __init__(self, omega: HarmonicFrequencies, dtype: DTypeLike, like: NDArray) -> None:
        super().__init__(omega, dtype)
        self.harmonics = (0,) * omega.harmonics  # kernels are compiled for its length
        self.base = self.like = _in_kernel_units(omega.base, dtype, like)
        self.blocks = kernel("frequency_blocks", like=self.base)(self.base)

    def sum(self, x: NDArray, weights: NDArray) -> NDArray:
        """See `PackedOperator.sum`."""
        count, _, width = self.blocks.shape
        part_rows = kernel("rows_per_part", like=x)(len(x), self.blocks)
        parts = -(-len(x) // part_rows)
        partial = np.empty((parts, count, len(self.harmonics), 2, width), like=x)
        kernel("harmonic_sum", like=x)(x, weights, self.blocks, self.harmonics, part_rows, partial)
        real, imag = partial.sum(axis=0).transpose(2, 0, 3, 1).reshape(2, -1)[:, : len(self.omega)]
        return real + 1j * imag

    def adjoint(self, x: NDArray, c: NDArray, out: NDArray) -> NDArray:
        """See `PackedOperator.adjoint`."""
        c = to_device_of(c, x)
        shape = -1, len(self.harmonics)
        real, imag = (part.astype(x.dtype).reshape(shape) for part in (c.real, c.imag))
        width = kernel("points_per_block", like=x)(len(x))
        kernel("harmonic_adjoint", like=x)(x, self.base, self.harmonics, real, imag, width, out)
        return out


class HadamardOperator(PackedOperator):
    """Transforms points by Hadamard blocks, with scales in turns; on the host only."""

    def __init__(self, omega: HadamardFrequencies, dtype: DTypeLike) -> None:
        super().__init__(omega, dtype)
        size = omega.signs.shape[2]
        self.signs = self.like = omega.signs.astype(dtype)
        self.scales = self._in_blocks(omega.scales / (2 * np.pi * size**1.5), dtype)
        levels = size.bit_length() - 1
        passes = -(-levels // hadamard.LEVELS)
        self.levels = np.array([levels // passes + (i < levels % passes) for i in range(passes)])
        self.lanes = hadamard.VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize

    @staticmethod
    def pays(omega: HadamardFrequencies, like: NDArray) -> bool:
        """Whether there are kernels for `like`, and they are faster than the direct ones."""
        m, dim = omega.shape
        computed = omega.signs[:, 0].size  # a last block that is used in part costs as much
        return not is_device(like) and computed * HADAMARD_COST < m * dim

    def _in_blocks(self, values: NDArray, dtype: DTypeLike) -> NDArray:
        """values (m,) as (blocks, D), with zeros beyond m."""
        blocks = np.zeros((len(self.signs), self.signs.shape[2]), dtype)
        blocks.reshape(-1)[: len(values)] = values
        return blocks

    def sum(self, x: NDArray, weights: NDArray) -> NDArray:
        """See `PackedOperator.sum`."""
        parts = min(-(-len(x) // features.ROWS), features.MAX_PARTS)
        part_rows = self.lanes * -(-len(x) // (parts * self.lanes))
        partial = np.empty((-(-len(x) // part_rows), len(self.signs), 2, self.signs.shape[2]))
        kernel("hadamard_sum", like=x)(
            x, weights, self.signs, self.scales, self.levels, part_rows, partial
        )
        return _add_parts(partial, len(self.omega))

    def adjoint(self, x: NDArray, c: NDArray, out: NDArray) -> NDArray:
        """See `PackedOperator.adjoint`."""
        rows = self.lanes * (8 if len(x) > 64 * self.lanes else 1)
        amplitudes = self._in_blocks(np.abs(c), x.dtype)
        phase_offsets = self._in_blocks(np.angle(c) / (2 * np.pi), x.dtype)
        kernel("hadamard_adjoint", like=x)(
            x, self.signs, self.scales, self.levels, amplitudes, phase_offsets, rows, out
        )
        return out


def _add_parts(partial: NDArray, m: int) -> NDArray:
    """The total (m,) complex128 of partial sums (parts, blocks, 2, block_width)."""
    if is_device(partial):
        real, imag = partial.sum(axis=0).swapaxes(0, 1).reshape(2, -1)[:, :m]
        return real + 1j * imag
    out = np.empty(m, np.complex128)
    features.add_parts(partial, out)
    return out
