"""The level of the noise: estimated, or given as a number, by channels, or as a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import to_host
from ..data.signals import MAX_AXES, UNITS, as_signal, spatial_shape
from ..validation import as_array, as_positive, check_lengths

NORMAL_MEDIAN = 0.6744897501960817  # median of |N(0, 1)|
RUN = 8  # equal samples along an axis that have no noise
MIN_SHARE = 0.01  # of the samples at level 0 or an end of the range, if it is not by chance
MIN_SIDE = 3  # samples along each axis that second differences take
MIN_WINDOWS = 100  # of 3 samples along each axis, from which noise is estimated; else from all


class NoNoise(ValueError):
    """A signal without any noise, whose level was to be estimated."""


def estimate_noise(signal: ArrayLike, channel_axis: int | None = None) -> float:
    """Estimate the standard deviation of white Gaussian noise in a signal, such as a photograph.

    Parameters
    ----------
    signal : array
        (T,), (H, W) or (D, H, W), with or without channels; 8 and 16-bit integers are divided by
        their largest value. At least three samples along each axis.
    channel_axis : int, optional
        The axis of the channels. The estimate is then the root mean square of theirs.

    Returns
    -------
    float
        On the same scale. Too large if fine texture fills half of the signal. Areas without noise
        do not count: masked or saturated samples, borders, rows and columns that were repeated. Far
        too small if an image was enlarged or smoothed after the noise had come.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_signal`; or a signal without any noise.

    Notes
    -----
    The mask of Immerkaer, "Fast noise variance estimation", CVIU 1996, with the median of Donoho
    and Johnstone 1994.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((200, 200))
    >>> round(fastcl.estimate_noise(noisy), 2)
    0.1
    """
    signal = as_array(signal, "signal")
    if channel_axis is None and signal.ndim == 3 and signal.shape[2] in (2, 3, 4):
        raise ValueError(f"signal of shape {signal.shape} looks like colour: pass channel_axis=-1")
    n_axes = min(max(signal.ndim - (channel_axis is not None), 1), MAX_AXES)
    channels = to_host(as_signal(signal, "signal", n_axes, channel_axis, MIN_SIDE))
    return float(np.sqrt(np.mean([_estimate(channel) ** 2 for channel in channels])))


def _estimate(whole: NDArray) -> float:
    kept = whole
    for axis in range(whole.ndim):
        kept = _without_repeats(kept, axis)
    kept = kept if min(kept.shape) >= 3 else whole
    # Second differences along all axes are blind to planes and to edges along an axis. Divided by
    # the root of six for each axis, they have the variance of the noise.
    values = kept
    for axis in range(kept.ndim):
        along = np.moveaxis(values, axis, 0)
        values = np.moveaxis(along[:-2] - 2 * along[1:-1] + along[2:], 0, axis)
    values = values / 6 ** (kept.ndim / 2)
    bad = _has_no_noise(kept)
    axes = tuple(range(kept.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(bad, (3,) * kept.ndim, axis=axes)
    good = ~windows.any(axis=tuple(range(kept.ndim, 2 * kept.ndim)))
    if good.sum() >= MIN_WINDOWS:
        values = values[good]
    sigma = float(np.median(np.abs(values))) / NORMAL_MEDIAN
    if sigma == 0:
        raise NoNoise(f"the {UNITS[whole.ndim]} have no noise to estimate: pass sigma")
    return sigma


def _without_repeats(signal: NDArray, axis: int) -> NDArray:
    """A signal without the slices across an axis that equal the one before."""
    slices = np.moveaxis(signal, axis, 0)
    differ = (slices[1:] != slices[:-1]).any(axis=tuple(range(1, signal.ndim)))
    return np.moveaxis(slices[np.append(True, differ)], 0, axis)


def _has_no_noise(signal: NDArray) -> NDArray:
    """Which samples are in a run of RUN equal ones, masked by 0, or where the signal is cut off."""
    bad = np.zeros(signal.shape, bool)
    for axis in range(signal.ndim):
        bad |= np.moveaxis(in_runs(np.moveaxis(signal, axis, 0)), 0, axis)
    for level in (0, signal.min(), signal.max()):
        equal = signal == level
        if equal.mean() > MIN_SHARE:
            bad |= equal
    return bad


def in_runs(signal: NDArray) -> NDArray:
    """Which samples are in a run of RUN equal ones along the first axis."""
    bad = np.zeros(signal.shape, bool)
    starts = np.ones((max(len(signal) - RUN + 1, 0), *signal.shape[1:]), bool)
    for k in range(RUN - 1):
        starts &= (signal[1:] == signal[:-1])[k : k + len(starts)]
    for k in range(RUN):
        bad[k : k + len(starts)] |= starts
    return bad


class NoiseLevel:
    """The standard deviation of the noise of a signal (C, *axes).

    Parameters
    ----------
    sigma : float or array
        One number for the whole signal; one per channel (C,); a map: one per sample, of the shape
        of the axes without the channels; or an array with as many axes as the signal, which is
        broadcast to its shape.
    shape : tuple of int
        Of the signal as the caller gives it.
    channel_axis : int or None

    Attributes
    ----------
    uniform : float or array (C,)
        The level, if it does not depend on the place; for a map, its root mean square.
    variances : array (C, *axes) or None
        The squares of a map.
    """

    def __init__(
        self, sigma: Any, shape: tuple[int, ...], channel_axis: int | None, name: str = "sigma"
    ) -> None:
        self.uniform: Any = None
        self.variances: NDArray | None = None
        if np.ndim(sigma) == 0:
            self.uniform = as_positive(sigma, name)
            return
        sigma = to_host(as_array(sigma, name)).astype(np.float64)
        if not (np.isfinite(sigma).all() and (sigma > 0).all()):
            raise ValueError(f"{name} must be finite and above zero everywhere")
        levels = place_levels(sigma, shape, channel_axis)
        channels = 1 if channel_axis is None else shape[channel_axis]
        if levels is None:
            kinds = "" if channel_axis is None else f", one for each of {channels} channels"
            raise ValueError(
                f"{name} must be a number{kinds}, or a map of the shape {shape} of the signal, "
                f"got shape {sigma.shape}"
            )
        check_lengths(levels, name)
        if levels.size == len(levels):
            levels = levels.ravel()
            self.uniform = levels if np.ptp(levels) else float(levels[0])
            return
        whole = (channels, *spatial_shape(shape, channel_axis))
        self.variances = np.square(np.broadcast_to(levels, whole), order="C")
        self.uniform = float(np.sqrt(self.variances.mean()))


def place_levels(
    sigma: NDArray, shape: tuple[int, ...], channel_axis: int | None
) -> NDArray | None:
    """`sigma` with the axes (C, *axes) of a signal of this shape, some of length one for all.

    None if it does not fit the signal: see `NoiseLevel`.
    """
    if sigma.size == 1:
        sigma = sigma.reshape([1] * len(shape))
    elif channel_axis is not None and sigma.shape == (shape[channel_axis],):
        sigma = np.moveaxis(sigma.reshape(-1, *[1] * (len(shape) - 1)), 0, channel_axis)
    elif channel_axis is not None and sigma.shape == spatial_shape(shape, channel_axis):
        sigma = np.expand_dims(sigma, channel_axis)
    if len(sigma.shape) != len(shape) or not all(
        size in (1, full) for size, full in zip(sigma.shape, shape, strict=True)
    ):
        return None
    return sigma[None] if channel_axis is None else np.moveaxis(sigma, channel_axis, 0)
