"""Lapped transforms of sound.

The lapped cosine transform (MDCT, Princen and Bradley 1986) cuts a signal into frames of `bins`
samples and gives each as many coefficients. Frame n holds, for the samples t of a window of 2 bins,

    c_nk = sqrt(2 / bins) sum_t h_t x_(n bins + t) cos(pi / bins (t + 1/2 + bins / 2) (k + 1/2))

with h_t = sin(pi (t + 1/2) / (2 bins)). It is orthonormal: whatever `bins` is, white noise of the
samples becomes white noise of the coefficients, of the same level. A tone becomes a line along the
frames, and a click one along the bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import DTypeLike, NDArray

CAP = 3.0  # standard deviations of the noise above which a coefficient is signal


def frame_count(length: int, bins: int) -> int:
    """How many frames `lapped` makes of a signal of this length: at least four."""
    return -(-(length + bins // 2) // bins) + 3


def lapped(signal: NDArray, bins: int, shift: int = 0) -> NDArray:
    """The coefficients (..., frames, bins) of signals (..., T); `bins` is even.

    The first frame begins `bins` + `shift` samples before the signal, and zeros surround it;
    `shift` is at most bins / 2.
    """
    length = signal.shape[-1]
    before = bins + shift
    after = (frame_count(length, bins) - 1) * bins - before - length
    edges = [(0, 0)] * (signal.ndim - 1)
    padded = np.pad(signal, [*edges, (before + bins, after + bins)])
    blocks = padded.reshape(*signal.shape[:-1], -1, bins)
    rising, falling = _slopes(bins, signal.dtype)
    first, second = blocks[..., :-1, :] * rising, blocks[..., 1:, :] * falling
    half = bins // 2
    folded = np.concatenate(
        [
            -second[..., half - 1 :: -1] - second[..., half:],
            first[..., :half] - first[..., : half - 1 : -1],
        ],
        axis=-1,
    )
    return scipy.fft.dct(folded, type=4, norm="ortho")


def unlapped(coefficients: NDArray, shift: int, length: int) -> NDArray:
    """The signals (..., T) of this length with these coefficients: the inverse of `lapped`."""
    bins = coefficients.shape[-1]
    half = bins // 2
    folded = scipy.fft.dct(coefficients, type=4, norm="ortho")
    low, high = folded[..., :half], folded[..., half:]
    rising, falling = _slopes(bins, folded.dtype)
    first = np.concatenate([high, -high[..., ::-1]], axis=-1) * rising
    second = np.concatenate([-low[..., ::-1], -low], axis=-1) * falling
    blocks = first[..., 1:, :] + second[..., :-1, :]  # those that two frames cover
    start = bins + shift
    return blocks.reshape(*coefficients.shape[:-2], -1)[..., start : start + length]


def _slopes(bins: int, dtype: DTypeLike) -> tuple[NDArray, NDArray]:
    """The two halves of the window."""
    rising = np.sin(np.pi * (np.arange(bins) + 0.5) / (2 * bins)).astype(dtype)
    return rising, rising[::-1]


def choose_bins(signal: NDArray, sigma: NDArray, candidates: Sequence[int]) -> int:
    """The number of bins whose frames gather the energy of signals (C, T) best.

    It leaves the least energy below CAP sigma (C,): the transforms are orthonormal, so that more is
    then above. Those whose window exceeds the signal do not count, but for the first.
    """

    def buried(bins: int) -> float:
        total = 0.0
        for shift in (0, bins // 2):
            squares = (lapped(signal, bins, shift) / sigma[:, None, None]) ** 2
            total += float(np.minimum(squares, CAP**2).sum())
        return total

    usable = [bins for bins in candidates if 2 * bins <= signal.shape[-1]] or candidates[:1]
    return min(usable, key=buried) if len(usable) > 1 else usable[0]
