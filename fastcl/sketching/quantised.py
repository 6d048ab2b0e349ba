"""Dithered features of a few bits, and the moments that their sums estimate (arXiv 1804.10109).

With a phase theta = <omega_l, x> + xi_l, where the dither xi_l is uniform on [0, 2 pi), a point has
two features per frequency, ``q(cos theta)`` and ``q(cos(theta - pi/2))``. For b bits, q rounds to
the middle of one of 2^b equal cells of [-1, 1]; for b = 1 it is the sign. Here q is multiplied by
2^b, so that it takes the odd integers from 1 - 2^b to 2^b - 1 and sums are exact. It is a sum of
2^b - 1 signs, ``q(c) = sum_j sign(c - tau_j)``, with thresholds tau_j = j 2^(1 - b),
|j| < 2^(b - 1).

Since q is odd, ``q(cos theta) = sum_k F_k cos(k theta)`` over odd k, with
``F_k = 4 / (pi k) sum_j sin(k arccos tau_j)``. Hence

    q(cos theta) - i q(cos(theta - pi/2)) = sum_h F_|h| exp(-i h theta),    h = 1, -3, 5, -7, ...

because the quarter turn makes the terms of all other h cancel. With theta = phi + xi, multiplied by
exp(i xi) / F_1, this is

    exp(-i phi) + sum_(h != 1) (F_|h| / F_1) exp(i (1 - h) xi) exp(-i h phi).

Over the dither, every term but the first has mean zero, so the values are unbiased. For one dither
the moments at -3, 5, -7, ... times the frequency remain; they are small if the characteristic
function of the data is small there. Only the sketch is quantised, never the model ("asymmetric").

See Schellekens and Jacques, "Quantized compressive K-means", arXiv 1804.10109, and "Breaking the
waves: asymmetric random periodic features for low-bitrate kernel machines", arXiv 2004.06560.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import kernel, to_host
from ..files import Arrays
from ..fourier.operator import DirectOperator
from ..fourier.structured import Frequencies
from ..validation import as_count, as_vector

MAX_BITS = 8


class Quantiser:
    """Turns points into sums of quantised features, and such sums into moments.

    Parameters
    ----------
    bits : int
        Bits of each of the two features per point and frequency, from 1 to 8.
    dither : array (m,)
        One angle per frequency, radians, drawn uniformly on [0, 2 pi).
    m : int
        Number of frequencies.

    Raises
    ------
    TypeError, ValueError
        bits outside 1..8; no dither, or one that is not finite or does not have length m.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcl.sketching.quantised import Quantiser
    >>> quantiser = Quantiser(1, [0.0], m=1)
    >>> bool(np.isclose(quantiser.coefficient(1), 4 / np.pi)), quantiser.highest_levels.tolist()
    (True, [[1, 1]])
    """

    def __init__(self, bits: int, dither: ArrayLike | None, m: int) -> None:
        self.bits = as_count(bits, "bits")
        if self.bits > MAX_BITS:
            raise ValueError(f"bits must be from 1 to {MAX_BITS}, got {bits}")
        if dither is None:
            raise ValueError(
                "quantised features need a dither: one angle per frequency, uniform on [0, 2 pi)"
            )
        self.dither: NDArray[np.float64] = as_vector(dither, "dither", m).copy()
        self.dither.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantiser):
            return NotImplemented
        return self.bits == other.bits and np.array_equal(self.dither, other.dither)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Values of the cosine at which its level changes, (2^bits - 1,)."""
        half = 2 ** (self.bits - 1)
        return np.arange(1 - half, half) / half

    def coefficient(self, k: int) -> float:
        """The Fourier coefficient F_k of q(cos theta), for odd k."""
        return 4 / (np.pi * k) * np.sin(k * np.arccos(self.thresholds)).sum()

    @property
    def power(self) -> float:
        """Mean squared magnitude of what one point adds to `values`, for phases of all angles."""
        edges = np.concatenate([[0.0], np.arccos(self.thresholds[::-1]), [np.pi]])
        levels = np.arange(2**self.bits - 1, -(2**self.bits), -2)
        mean_square = (np.diff(edges) * levels**2).sum() / np.pi
        return float(2 * mean_square / self.coefficient(1) ** 2)

    @property
    def highest_levels(self) -> NDArray[np.int64]:
        """Pairs of |levels| of cosine and sine that occur over a quarter turn, (cells, 2)."""
        positive = self.thresholds[self.thresholds >= 0]
        edges = np.unique(np.concatenate([np.arccos(positive), np.arcsin(positive)]))
        middles = (edges[1:] + edges[:-1]) / 2
        sincos = np.stack([np.cos(middles), np.sin(middles)], axis=1)
        return 2 * np.floor(sincos * 2 ** (self.bits - 1)).astype(int) + 1

    def values(self, total: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
        """The moments (m,), estimated from the sums `total` (m,) over `count` points."""
        return total * (np.exp(1j * self.dither) / (count * self.coefficient(1)))

    @np.errstate(over="ignore")  # frequencies that overflow become infinite: see check_phases
    def pack(
        self, omega: Frequencies, dtype: DTypeLike, like: NDArray | None = None
    ) -> DirectOperator:
        """The operator for frequencies (m, d) with dither, for points of `dtype` like `like`."""
        # The dither enters as an extra coordinate that is always 1.
        dithered = np.column_stack([omega, np.remainder(self.dither, 2 * np.pi)])
        operator = DirectOperator(dithered, dtype, np.empty(0) if like is None else like)
        operator.freqs = operator.freqs[:, :-1]  # only the kernels may see the dither
        return operator

    def sum(
        self, x: Any, operator: DirectOperator, first: int, last: int
    ) -> NDArray[np.complex128]:
        """Sums (m,) over rows first..last of x: levels of cosines minus i times levels of sines.

        Their real and imaginary parts are integers.
        """
        sums = np.zeros((2, len(operator.omega)), like=operator.like)
        half = operator.freqs.dtype.type(2 ** (self.bits - 1)) if self.bits > 1 else None
        for _, chunk in operator.chunks(x, first, last):
            blocks, _, width = operator.blocks.shape
            part_rows = kernel("rows_per_part", like=chunk)(len(chunk), operator.blocks)
            partial = np.empty((-(-len(chunk) // part_rows), blocks, 2, width), like=chunk)
            kernel("quantised_sum", like=chunk)(chunk, operator.blocks, half, part_rows, partial)
            sums += partial.sum(axis=0).swapaxes(0, 1).reshape(2, -1)[:, : sums.shape[1]]
        real, imag = to_host(sums)
        return real + 1j * imag

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {"bits": np.int64(self.bits), "dither": self.dither}


def draw_dither(m: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """m angles, uniform on [0, 2 pi)."""
    return 2 * np.pi * rng.random(m)
