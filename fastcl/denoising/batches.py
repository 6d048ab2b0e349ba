"""Batches of signals, and the level of the noise of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import to_host
from ..validation import as_array
from .noise_level import place_levels


def denoise_each(
    denoise: Callable[[NDArray, Any, str], NDArray],
    noisy: ArrayLike,
    sigma: Any,
    n_axes: int,
    channel_axis: int | None,
) -> NDArray:
    """`denoise(signal, sigma, name)` for a signal with `n_axes` axes, or for each of a batch.

    A batch has one more axis in front, and without channels perhaps another of length one after it.
    """
    noisy = as_array(noisy, "noisy")
    if not (sigma is None or np.ndim(sigma) == 0):
        sigma = to_host(as_array(sigma, "sigma"))
    more = noisy.ndim - n_axes - (channel_axis is not None)
    if more == 2 and channel_axis is None and noisy.shape[1] == 1:
        if np.ndim(sigma) == noisy.ndim and sigma.shape[1] == 1:
            sigma = sigma[:, 0]
        return denoise_each(denoise, noisy[:, 0], sigma, n_axes, None)[:, None]
    if more != 1:
        return denoise(noisy, sigma, "noisy")
    if not len(noisy):
        raise ValueError("noisy is an empty batch")
    levels = _levels(sigma, noisy.shape, channel_axis)
    parts = enumerate(zip(noisy, levels, strict=True))
    return np.stack([denoise(one, level, f"noisy[{k}]") for k, (one, level) in parts])


def _levels(sigma: Any, shape: tuple[int, ...], channel_axis: int | None) -> list[Any]:
    """The sigma of each signal of a batch of this shape."""
    count = shape[0]
    if sigma is None or np.ndim(sigma) == 0 or sigma.size == 1:
        return [sigma] * count
    for_all = sigma.ndim == len(shape) and len(sigma) == 1
    sigma = sigma[0] if for_all else sigma
    of_each = not for_all and len(sigma) == count
    of_each = of_each and place_levels(sigma[0], shape[1:], channel_axis) is not None
    of_all = place_levels(sigma, shape[1:], channel_axis) is not None
    if of_each and of_all and count > 1:
        raise ValueError(
            f"sigma of shape {sigma.shape} may be one for each of {count} signals, or the same for "
            f"all: give it the {len(shape)} axes of noisy, of length 1 where it does not change"
        )
    if not (of_each or of_all):
        raise ValueError(
            f"sigma must be a number, or one for each of {count} signals, of shape {(count,)}, or "
            f"what fits one of shape {shape[1:]}, got shape {sigma.shape}"
        )
    return list(sigma) if of_each else [sigma] * count
