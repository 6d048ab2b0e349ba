"""The noise of the signals that a prior is learned from: its level in each of them.

A prior is learned from patches with one level of noise. So where the levels differ, the signals get
noise of our own on top of theirs, until all have that of the noisiest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.signals import Signals
from ..validation import as_nonnegative, as_vector
from .noise_level import NoNoise, estimate_noise

ESTIMATE = "estimate"
# Share of the signals whose estimates lie below the level that all are taken to have: fine texture
# counts as noise in the others.
LOW = 0.1

Noise = float | tuple[float, ...] | str


def as_noise(noise: Any) -> Noise:
    """A standard deviation, a tuple with one for each signal, or "estimate".

    TypeError or ValueError for anything else.
    """
    if isinstance(noise, str):
        if noise != ESTIMATE:
            raise ValueError(
                f"noise must be a number, one per signal, or 'estimate', got {noise!r}"
            )
        return noise
    if np.ndim(noise) == 0:
        return as_nonnegative(noise, "noise")
    levels = as_vector(noise, "noise")
    if (levels < 0).any():
        raise ValueError(f"noise must be zero or above for all signals, got {levels.min():g}")
    return tuple(levels.tolist())


def noise_levels(noise: Noise, signals: Signals) -> NDArray:
    """The standard deviation of the noise in every signal, (n,).

    If it is to be estimated, all signals are taken to have the same.
    """
    if noise == ESTIMATE:
        found = []
        for index in range(len(signals)):
            channels = signals[index]
            try:
                found.append(estimate_noise(channels, 0))
            except NoNoise:
                found.append(0.0)
        return np.full(len(signals), np.quantile(found, LOW))
    return spread(noise, signals)


def spread(noise: Noise, signals: Signals) -> NDArray:
    """One number for every signal, (n,); ValueError unless there are as many, or one for all."""
    levels = np.atleast_1d(np.asarray(noise, np.float64))
    if len(levels) not in (1, len(signals)):
        raise ValueError(
            f"noise must be one number, or one for each of {len(signals)} {signals.name}, "
            f"got {len(levels)}"
        )
    return np.repeat(levels, len(signals)) if len(levels) == 1 else levels


class Blur:
    """What is added to the patches of signals: a dither, and noise where they have too little.

    Parameters
    ----------
    width : float
        Of the uniform noise that hides the rounding of the values.
    levels : array (n,)
        Standard deviations of the noise in the signals.

    Attributes
    ----------
    noise : float
        The standard deviation of the noise that all signals have in the end.
    """

    def __init__(self, width: float, levels: NDArray | Sequence[float]) -> None:
        self.width = width
        self.noise = float(np.max(levels))
        self.missing = np.sqrt(self.noise**2 - np.square(levels))

    def even(self, patches: NDArray, index: int, rng: np.random.Generator) -> NDArray:
        """Patches (n, D) of a signal with the noise that it lacks, as float32."""
        return _with_noise(patches, self.missing[index], rng)

    def dither(self, patches: NDArray, rng: np.random.Generator) -> NDArray:
        """Patches (n, D) with uniform noise of the width, as float32."""
        if self.width == 0:
            return patches
        noise = rng.random(patches.shape, dtype=np.float32) - np.float32(0.5)
        return patches + noise * np.float32(self.width)


def _with_noise(patches: NDArray, sigma: float, rng: np.random.Generator) -> NDArray:
    if sigma == 0:
        return patches
    return patches + np.float32(sigma) * rng.standard_normal(patches.shape, np.float32)
