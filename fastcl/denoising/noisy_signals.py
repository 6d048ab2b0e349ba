"""The noise of the signals that a prior is learned from: its level in each of them.

A prior is learned from patches with one level of noise. So where the levels differ, the signals get
noise of our own on top of theirs, until all have that of the noisiest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.signals import Signals
from ..validation import as_nonnegative, as_vector, check_lengths
from .noise_level import MIN_SIDE, NoNoise, estimate_noise

ESTIMATE = "estimate"
# Share of the signals whose estimates lie below the level that all are taken to have: fine texture
# counts as noise in the others.
LOW = 0.1
MAX_RATIO = 2  # of the noise to the standard deviation of a signal with it; clipping lowers that

GivenNoise = float | tuple[float, ...] | str


def as_noise(noise: Any) -> GivenNoise:
    """A standard deviation, a tuple with one for each signal, or "estimate".

    TypeError or ValueError for anything else.
    """
    if isinstance(noise, str):
        if noise != ESTIMATE:
            raise ValueError(
                f"noise must be a number, one per signal, or {ESTIMATE!r}, got {noise!r}"
            )
        return noise
    is_number = np.ndim(noise) == 0
    levels = np.array([as_nonnegative(noise, "noise")]) if is_number else as_vector(noise, "noise")
    if (levels < 0).any():
        raise ValueError(f"noise must be zero or above for all signals, got {levels.min():g}")
    if levels.any():
        check_lengths(levels[levels > 0], "noise", np.float32)
    return float(levels[0]) if is_number else tuple(levels.tolist())


def is_noisy(noise: GivenNoise) -> bool:
    """Whether there may be noise."""
    return noise == ESTIMATE or bool(np.any(noise))


def noise_levels(noise: GivenNoise, signals: Signals) -> NDArray:
    """The standard deviation of the noise in every signal, (n,).

    If it is to be estimated, all signals are taken to have the same.
    """
    if noise != ESTIMATE:
        return given_levels(noise, signals)
    for index, shape in enumerate(signals.shapes):
        if min(shape) < MIN_SIDE:
            raise ValueError(
                f"noise cannot be estimated in {signals.name}[{index}], which has {min(shape)} "
                f"samples along an axis, and at least {MIN_SIDE} are needed"
            )
    found = estimated_levels(signals, partial(estimate_noise, channel_axis=0))
    return np.full(len(found), np.quantile(found, LOW, method="lower"))


def given_levels(noise: GivenNoise, signals: Signals) -> NDArray:
    """A number for every signal, (n,); ValueError if there is another number of them."""
    if isinstance(noise, tuple) and len(noise) != len(signals):
        raise ValueError(
            f"noise must be a number, or one for each of {len(signals)} {signals.name}, "
            f"got {len(noise)}"
        )
    return np.broadcast_to(np.asarray(noise, np.float64), len(signals))


def estimated_levels(signals: Signals, estimate: Callable[[NDArray], float]) -> NDArray:
    """What `estimate` finds in every signal, (n,): the root mean square over the noisy channels.

    It gets one channel (1, *axes) at a time. The level is zero if none of them is noisy.
    """
    levels = np.zeros(len(signals))
    for index in range(len(signals)):
        found = []
        for channel in signals[index]:
            try:
                found.append(estimate(channel[None]))
            except NoNoise:
                continue
        levels[index] = np.sqrt(np.mean(np.square(found))) if found else 0.0
    return levels


class AddedNoise:
    """What is added to the patches of signals: a dither, and noise where they have too little.

    Parameters
    ----------
    width : float
        Of the uniform noise that hides the rounding of the values.
    levels : array (n,)
        Standard deviations of the noise in the signals.
    name : str
        What messages call the signals.

    Attributes
    ----------
    sigma : float
        The standard deviation of the noise that all signals have in the end.
    """

    def __init__(self, width: float, levels: NDArray, name: str = "signals") -> None:
        self.width = width
        self.levels = np.asarray(levels, np.float64)
        self.name = name
        self.sigma = float(self.levels.max())
        self.missing = np.sqrt(np.square(self.levels.max()) - np.square(self.levels))

    def check(self, patches: NDArray, index: int) -> None:
        """ValueError if patches (n, D) of a signal cannot have as much noise as they should."""
        level = self.levels[index]
        if level == 0:
            return
        std = float(patches.std(dtype=np.float64))
        if level > MAX_RATIO * std:
            raise ValueError(
                f"noise of {level:.3g} is more than {self.name}[{index}] can have, whose standard "
                f"deviation is {std:.3g}: give it in the same units"
            )

    def complete(self, patches: NDArray, index: int, rng: np.random.Generator) -> NDArray:
        """Patches (n, D) of a signal with the noise that it lacks."""
        sigma = self.missing[index]
        if sigma == 0:
            return patches
        return patches + np.float32(sigma) * rng.standard_normal(patches.shape, np.float32)

    def dither(self, patches: NDArray, rng: np.random.Generator) -> NDArray:
        """Patches (n, D) with uniform noise of the width."""
        if self.width == 0:
            return patches
        noise = rng.random(patches.shape, dtype=np.float32) - np.float32(0.5)
        return patches + noise * np.float32(self.width)
