"""Lapped transforms of sound: orthonormal for patches, redundant for the last stage.

The lapped cosine transform (MDCT, Princen and Bradley 1986) cuts a signal into frames of `bins`
samples and gives each as many coefficients. Frame n holds, for the samples t of a window of 2 bins,

    c_nk = sqrt(2 / bins) sum_t h_t x_(n bins + t) cos(pi / bins (t + 1/2 + bins / 2) (k + 1/2))

with h_t = sin(pi (t + 1/2) / (2 bins)). It is orthonormal: whatever `bins` is, white noise of the
samples becomes white noise of the coefficients, of the same level. A tone becomes a line along the
frames, and a click one along the bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy
from numpy.typing import DTypeLike, NDArray

CAP = 3.0  # standard deviations of the noise above which a coefficient is signal
OVERLAP = 4  # frames of the last stage that cover a sample
CHUNK_VALUES = 1 << 20  # numbers in the frames of the last stage that are held at a time


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


def empirical_wiener(noisy: NDArray, pilot: NDArray, candidates: Sequence[int]) -> NDArray:
    """Wiener's filter of signals (C, T) in long frames, with the spectra P of a pilot estimate.

    The noise has standard deviation 1: every coefficient of the noisy signal is multiplied by
    |P|^2 / (|P|^2 + noise). The length of the frames, a multiple of OVERLAP, is the candidate for
    which this predicts the least risk.
    """

    def risk(size: int) -> float:
        return sum(float(gains.sum()) for _, gains in _gains(pilot, size))

    usable = [size for size in candidates if size <= noisy.shape[-1]] or candidates[:1]
    size = min(usable, key=risk) if len(usable) > 1 else usable[0]
    hop = size // OVERLAP
    window = _window(size, noisy.dtype)
    padded = _padded(noisy, size)
    out = np.zeros_like(padded)
    for start, gains in _gains(pilot, size):
        frames = _frames(padded, size)[:, start : start + gains.shape[1]]
        clean = scipy.fft.irfft(gains * scipy.fft.rfft(frames * window), size) * window
        for part in range(OVERLAP):
            rows = clean[..., part * hop : (part + 1) * hop].reshape(len(out), -1)
            first = (start + part) * hop
            out[:, first : first + rows.shape[1]] += rows
    return out[:, size : size + noisy.shape[-1]] / (OVERLAP / 2)


def _gains(pilot: NDArray, size: int) -> Iterator[tuple[int, NDArray]]:
    """(number of the first frame, gains (C, frames, size / 2 + 1)), for some frames at a time."""
    window = _window(size, pilot.dtype)
    frames = _frames(_padded(pilot, size), size)
    step = max(1, CHUNK_VALUES // (size * len(pilot)))
    for start in range(0, frames.shape[1], step):
        power = np.abs(scipy.fft.rfft(frames[:, start : start + step] * window)) ** 2
        yield start, power / (power + size / 2)  # the noise: the sum of the squares of the window


def _padded(signal: NDArray, size: int) -> NDArray:
    """Signals (C, T) with zeros around, so that OVERLAP frames cover every sample."""
    after = size + -signal.shape[-1] % (size // OVERLAP)
    return np.pad(signal, [(0, 0), (size, after)])


def _frames(padded: NDArray, size: int) -> NDArray:
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)
    return windows[:, :: size // OVERLAP]


def _window(size: int, dtype: DTypeLike) -> NDArray:
    """The root of Hann's window: its squares, OVERLAP of them shifted, add up to OVERLAP / 2."""
    return np.sin(np.pi * np.arange(size) / size).astype(dtype)
