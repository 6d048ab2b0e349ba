"""Features of a few bits, with a dither, and the moments that their sums estimate (Schellekens and Jacques, arXiv 1804.10109).

With a phase theta = <omega_l, x> + xi_l, xi_l uniform on [0, 2 pi), a point has two features at a frequency,
``q(cos theta)`` and ``q(cos(theta - pi/2))``.  q rounds to the middle of one of 2^b equal cells of [-1, 1], or is the sign for
b = 1; here it takes the odd integers k from 1 - 2^b to 2^b - 1, its values times 2^b, so that sums are exact.  It is
a sum of 2^b - 1 signs, ``q(c) = sum_j sign(c - tau_j)``, with thresholds tau_j = j 2^(1 - b), |j| < 2^(b - 1).

As q is odd, ``q(cos theta) = sum_k F_k cos(k theta)`` over odd k, with ``F_k = 4 / (pi k) sum_j sin(k arccos tau_j)``.  Hence

    q(cos theta) - i q(cos(theta - pi/2)) = sum_h F_|h| exp(-i h theta),    h = 1, -3, 5, -7, ...

for the quarter of a turn makes the terms of the other h cancel.  With theta = phi + xi, multiplied by exp(i xi) / F_1, this
is ``exp(-i phi) + sum_(h != 1) (F_|h| / F_1) exp(i (1 - h) xi) exp(-i h phi)``: over the dither every term but the first has mean
zero, so the values are unbiased.  For one dither the moments at -3, 5, -7... times the frequency remain; they are
small where the characteristic function of the data is.  Only the sketch is quantised, never the model ("asymmetric":
Schellekens and Jacques, "Breaking the waves", arXiv 2004.06560).
"""

import numpy as np

from ..backend import kernel, to_host
from ..fourier.operator import FeatureOperator
from ..validation import as_count, as_vector

MAX_BITS = 8


class Quantiser:
    """What turns points into quantised features and their sums into moments.

    Parameters
    ----------
    bits : int
        Of each of the two features that a point has at a frequency, from 1 to 8.
    dither : array (m,)
        Radians, one a frequency.

    Raises
    ------
    TypeError, ValueError
        bits out of its range; no dither, or one of another length or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcl.sketching.quantised import Quantiser
    >>> quantiser = Quantiser(1, [0.0], m=1)
    >>> bool(np.isclose(quantiser.coefficient(1), 4 / np.pi)), quantiser.highest_levels.tolist()
    (True, [[1, 1]])
    """

    def __init__(self, bits, dither, m):
        self.bits = as_count(bits, "bits")
        if self.bits > MAX_BITS:
            raise ValueError(f"bits must be from 1 to {MAX_BITS}, got {bits}")
        if dither is None:
            raise ValueError(
                "quantised features need a dither: one angle a frequency, uniform on [0, 2 pi)"
            )
        self.dither = as_vector(dither, "dither", m).copy()
        self.dither.flags.writeable = False

    @property
    def thresholds(self):
        """Of the cosine, (2^bits - 1,)."""
        half = 2 ** (self.bits - 1)
        return np.arange(1 - half, half) / half

    def coefficient(self, k):
        """F_k, for odd k."""
        return 4 / (np.pi * k) * np.sin(k * np.arccos(self.thresholds)).sum()

    @property
    def highest_levels(self):
        """The moduli (cells, 2) that the levels of cosine and sine take together, over a quarter of a turn."""
        positive = self.thresholds[self.thresholds >= 0]
        edges = np.unique(np.concatenate([np.arccos(positive), np.arcsin(positive)]))
        middles = (edges[1:] + edges[:-1]) / 2
        waves = np.stack([np.cos(middles), np.sin(middles)], axis=1)
        return 2 * np.floor(waves * 2 ** (self.bits - 1)).astype(int) + 1

    def values(self, total, count):
        """The moments (m,) that `total`, the sums over `count` points, estimates."""
        return total * (np.exp(1j * self.dither) / (count * self.coefficient(1)))

    def pack(self, omega, dtype, like=None):
        """The frequencies (m, d) in the layouts that the kernels read, for points of `dtype` where `like` is."""
        dithered = np.column_stack(
            [omega, np.remainder(self.dither, 2 * np.pi)]
        )  # as of one more coordinate, which is one
        packed = FeatureOperator.pack(dithered, dtype, like)
        packed.freqs = packed.freqs[:, :-1]  # the kernels alone see the dither
        return packed

    def sum(self, x, packed, first, last):
        """Sums (m,) over rows first..last of x, whole numbers: of the levels of the cosines, less i times those of the sines."""
        sums = np.zeros((2, len(packed.omega)), like=packed.like)
        half = packed.freqs.dtype.type(2 ** (self.bits - 1)) if self.bits > 1 else None
        for _, chunk in packed.chunks(x, first, last):
            blocks, _, lanes = packed.blocks.shape
            part_rows = kernel("rows_per_part", like=chunk)(len(chunk), packed.blocks)
            partial = np.empty((-(-len(chunk) // part_rows), blocks, 2, lanes), like=chunk)
            kernel("quantised_sum", like=chunk)(chunk, packed.blocks, half, part_rows, partial)
            sums += partial.sum(axis=0).swapaxes(0, 1).reshape(2, -1)[:, : sums.shape[1]]
        real, imag = to_host(sums)
        return real + 1j * imag

    def to_arrays(self):
        """What a file keeps: name -> array."""
        return {"bits": np.int64(self.bits), "dither": self.dither}


def draw_dither(m, rng):
    """Angles (m,), uniform on [0, 2 pi), from a Generator."""
    return 2 * np.pi * rng.random(m)
