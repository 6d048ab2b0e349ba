"""Sound, denoised in the coefficients of lapped transforms, and the level of its noise.

A prior of the coefficients in frames of one length holds at other lengths too: a sound is denoised
in frames of 16 to 128 ms, those that suit it best. The second stage takes that estimate as the
pilot of groups of similar stretches of the samples themselves, such as the periods of a voice.
Sounds are first scaled to a root mean square of 1, so that their units do not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..backend import to_device_of, to_host
from ..data.patches import patch_counts
from ..data.signals import as_signal
from ..validation import as_positive
from .lapped import choose_bins, lapped, unlapped
from .noise_level import NoiseLevel, NoNoise, in_runs
from .similar import Search, dtype_for_groups, refine
from .splitting import Splitting

FRAME = 0.016  # seconds: a frame for learning
PATCH = (4, 4)  # frames, bins
LENGTHS = (1, 2, 4, 8)  # of the frames for denoising, in those for learning
REACH = 4  # largest distance of similar stretches, in frames for learning
ROUNDS = 3  # of the second stage
MIN_REMOVED = 0.75  # share of the noise that the first stage must remove for long stretches
MIN_LEVEL = 0.03  # least power that a sound is taken to have, in units of that of its noise
BLOCK = (4, 16)  # frames, bins: blocks for the level of the noise
QUIET = 0.05  # share of the blocks that have nothing but noise


def denoise_sound(
    splitting: Splitting, noisy: NDArray, noise: NoiseLevel, second_stage: bool
) -> NDArray:
    """A sound (C, T) in any units, denoised in frames, on the host."""
    if noise.variances is not None:
        raise ValueError("sigma of sound must be a number, or one per channel")
    sound = to_host(noisy)
    means = sound.mean(axis=1, keepdims=True, dtype=np.float64)
    centred = sound - means.astype(sound.dtype)
    variance = float(np.mean(np.square(noise.uniform)))
    power = float(np.mean(np.square(centred, dtype=np.float64))) - variance
    level = np.sqrt(max(power, MIN_LEVEL * variance))
    unit, sigma = centred / sound.dtype.type(level), noise.uniform / level
    shortest = frame_bins(splitting.model.rate)
    levels = np.broadcast_to(np.asarray(sigma, np.float64), len(sound))
    candidates = [shortest * length for length in LENGTHS]
    bins = choose_bins(unit, levels, candidates)
    unit = unit.astype(dtype_for_groups(unit, levels))  # single precision is twice as fast
    clean = _first_stage(splitting, unit, sigma, bins)
    if second_stage:
        side = shortest // 2
        # Where the noise is weak, a group is too small to span long stretches.
        if np.mean(np.square((unit - clean) / levels[:, None])) > MIN_REMOVED:
            side = max(side, bins // 8)
        search = Search((side,) * ROUNDS, (side // 2,) * ROUNDS, REACH * shortest)
        clean = refine(unit, clean, sigma, search, splitting.progress)
    clean = clean * sound.dtype.type(level) + means.astype(sound.dtype)
    return to_device_of(np.ascontiguousarray(clean), noisy)


def _first_stage(
    splitting: Splitting, sound: NDArray, sigma: float | NDArray, bins: int
) -> NDArray:
    """Half-quadratic splitting on two lapped transforms, half a frame apart."""
    clean = np.zeros_like(sound)
    for shift in (0, bins // 2):
        coefficients = lapped(sound, bins, shift)
        mixed = splitting(coefficients, NoiseLevel(sigma, coefficients.shape, 0))
        # Take out the noisy coefficients, which the pass counts as one more patch.
        counts = patch_counts(coefficients.shape[1:], PATCH, splitting.stride or 1)
        estimate = mixed + (mixed - coefficients) / counts.astype(sound.dtype)
        clean += unlapped(estimate, shift, sound.shape[1]) / 2
    return clean


def estimate_audio_noise(signal: ArrayLike, rate: float, channel_axis: int | None = None) -> float:
    """Estimate the standard deviation of white Gaussian noise in sound.

    Parameters
    ----------
    signal : array (T,)
        In any units; with `channel_axis`, (T, C) or (C, T). 8 and 16-bit integers are divided by
        the largest value of their type.
    rate : float
        Samples per second.
    channel_axis : int, optional
        The axis of the channels. The estimate is then the root mean square of theirs.

    Returns
    -------
    float
        In units of the signal (after the division). Digital silence does not count. Too large if
        the clean sound fills nearly all of the time and the frequencies.

    Raises
    ------
    TypeError, ValueError
        A rate below 250 Hz; a signal with other axes, not finite, or without any noise.

    Notes
    -----
    The quietest of all blocks of 64 ms x 500 Hz hold the noise alone: their energies follow a chi-
    squared distribution, of which a low quantile is compared.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> noise = np.random.default_rng(0).standard_normal(8000)
    >>> tone = np.sin(0.3 * np.arange(8000))
    >>> round(fastcl.estimate_audio_noise(tone + 0.1 * noise, rate=8000), 2)
    0.1
    """
    sound = to_host(as_signal(signal, "signal", 1, channel_axis))
    bins = frame_bins(rate)
    variances = [_quiet_variance(channel, bins) for channel in sound]
    if not np.all(variances):
        raise NoNoise("the sound has no noise to estimate: pass sigma")
    return float(np.sqrt(np.mean(variances)))


def _quiet_variance(channel: NDArray, bins: int) -> float:
    """Variance of the coefficients in the quietest blocks of a channel (T,); 0 for silence."""
    silent = in_runs(channel)
    centred = channel - channel.mean()
    kept = []
    for shift in (0, bins // 2):
        frames = lapped(centred, bins, shift)
        before = 2 * bins + shift
        around = np.pad(silent, (before, len(frames) * bins), constant_values=True)
        windows = np.lib.stride_tricks.sliding_window_view(around, 2 * bins)[::bins]
        kept.append(frames[~windows[: len(frames)].any(axis=1)])
    frames = np.concatenate(kept)
    if not len(frames):  # too short for a whole one
        frames = lapped(centred, bins)
    height, width = min(BLOCK[0], len(frames)), min(BLOCK[1], bins)
    rows, columns = len(frames) // height, bins // width
    blocks = np.square(frames[: rows * height, : columns * width], dtype=np.float64)
    energies = blocks.reshape(rows, height, columns, width).sum(axis=(1, 3))
    return float(np.quantile(energies, QUIET) / scipy.stats.chi2.ppf(QUIET, height * width))


def frame_bins(rate: Any) -> int:
    """The number of bins of the frames for learning, which is even."""
    rate = as_positive(rate, "rate")
    bins = 2 * round(FRAME * rate / 2)
    if bins < PATCH[1]:
        raise ValueError(f"rate must be at least 250 Hz, got {rate:g}")
    return bins
