"""Missing pixels, blur, any linear operator: a denoiser as the prior of an inverse problem.

For y = A x + noise of standard deviation sigma, every pass makes one step towards the data and one
towards the prior, at a noise level that falls from pass to pass:

    x = argmin ||A x - y||^2 + w ||x - (v - u)||^2     w = (sigma / level)^WEIGHT_POWER
    v = denoiser(x + u, level)
    u = u + x - v

Without u, the sum of what x and v disagreed on, this is half-quadratic splitting; with it, the
alternating direction method of multipliers, which in the same number of passes gains half a decibel
on blur, and 1 to 2 on missing pixels. u shrinks in proportion to the level, as ever less is left to
disagree on.

Venkatakrishnan, Bouman and Wohlberg, "Plug-and-play priors for model based reconstruction",
GlobalSIP 2013. Chan, Wang and Elgendy, "Plug-and-play ADMM for image restoration", IEEE TCI 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import to_device_of
from ..progress import progress_bar
from ..validation import as_array, as_choice, as_nonnegative, as_positive, as_vector
from .data_terms import BOUNDARIES, data_term
from .patch_model import SignalModel
from .restoration import as_noisy

# Chosen on photographs that are used neither for learning nor for testing: the first and the last
# level of the denoiser by default, in standard deviations of the signal, and how many there are.
FIRST_LEVEL = 1.5
LAST_LEVEL = 0.1
N_PASSES = 12
WEIGHT_POWER = 2.2  # 2 by the formula: 2.2 gains 0.1 to 0.3 dB on blur; 2.5 fails at low noise

Denoiser = Callable[[NDArray, float], NDArray]


def restore(
    model: SignalModel | Denoiser,
    y: ArrayLike,
    operator: Any,
    sigma: float | ArrayLike,
    *,
    boundary: str = "periodic",
    shape: Sequence[int] | None = None,
    channel_axis: int | None = None,
    levels: ArrayLike | None = None,
    progress: bool = False,
    **settings: Any,
) -> NDArray:
    """Restore a signal x from y = operator x + noise: missing pixels, blur, any linear operator.

    Parameters
    ----------
    model : SignalModel, or callable
        A learned model, or ``denoiser(noisy, sigma)``, which returns an array like `noisy`.
    y : array
        The data, in the units of the model; 8 and 16-bit integers are divided by their largest
        value. What is unknown under a mask may hold anything, NaN as well.
    operator : array of bool, array of float, LinearOperator or matrix
        It acts on every channel.

        - a mask of the shape of y: True where y is known. It may lack the channels, or have one
          that counts for all
        - the kernel of a blur, with as many axes as y, not counting channels, and no larger
        - a `scipy.sparse.linalg.LinearOperator`, or a matrix, dense or sparse, that maps x in C
          order to y
    sigma : float or array (C,)
        Standard deviation of the noise in y, or one per channel. Zero is allowed.
    boundary : {"periodic", "valid"}
        Of a blur. "periodic": x is as large as y and goes around its ends, like
        `scipy.ndimage.convolve` in mode "wrap". "valid": x is larger than y, which holds only what
        does not depend on anything beyond x, like `scipy.signal.convolve` in mode "valid". This is
        the choice for a photograph that was blurred by a camera.
    shape : tuple of int, optional
        Shape of x, channels included, for a LinearOperator or a matrix; by default that of y.
    channel_axis : int, optional
        Axis of y and x that holds the channels; by default that of the model, if it has one.
    levels : array, optional
        Noise level of the denoiser, pass by pass. By default 12, from 1.5 times the standard
        deviation of the signal down to a tenth of it, or to the least `sigma` if that is larger.
    progress : bool
    **settings
        For the denoiser, such as `effort`: see `denoise_signal`. "fast" takes half of the time of
        "balanced", and loses some tenths of a dB.

    Returns
    -------
    float array of the shape of x, not clipped, in the type of y and on its device.

    Raises
    ------
    TypeError, ValueError
        An operator that does not fit y, or is none of the above; y not finite where it is known, or
        known nowhere; levels not above zero; a negative sigma; a denoiser that changes the shape;
        channels on another axis than the model's. From the model, as in `denoise_signal`.

    Notes
    -----
    Memory: about a dozen arrays like x besides what the denoiser needs. Each pass calls it once.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> from scipy.ndimage import gaussian_filter
    >>> x = 0.5 + 0.4 * np.sin(np.indices((32, 32)).sum(axis=0) / 5)
    >>> known = np.random.default_rng(0).random(x.shape) < 0.5
    >>> smooth = lambda noisy, sigma: gaussian_filter(noisy, 1)  # anybody's denoiser
    >>> estimate = fastcl.restore(smooth, np.where(known, x, np.nan), known, sigma=0)
    >>> bool(np.abs(estimate - x).mean() < 0.01)
    True
    """
    if not callable(model):
        raise TypeError(
            "model must be a signal model, such as one from learn_image_prior, or a function "
            f"denoiser(noisy, sigma), got {type(model).__name__}"
        )
    as_choice(boundary, "boundary", BOUNDARIES)
    y = as_array(y, "y")
    if channel_axis is None:
        channel_axis = getattr(model, "channel_axis", None)
    elif isinstance(model, SignalModel) and model.channel_axis not in (
        channel_axis,
        channel_axis - y.ndim,
        channel_axis + y.ndim,
    ):
        raise ValueError(f"channel_axis must be that of the model, {model.channel_axis}")
    term = data_term(y, operator, boundary, shape, channel_axis)
    v = term.start
    sigma = _as_noise(sigma, v.shape, channel_axis)
    if isinstance(model, SignalModel):
        as_noisy(model, v, 1.0, "y")  # before any work is done
    u = np.zeros_like(v)
    falling = _levels(v, sigma) if levels is None else _as_levels(levels)
    before = falling[0]
    with progress_bar(progress, len(falling), "restore", "pass") as bar:
        for level in falling:
            weight = (sigma / level) ** WEIGHT_POWER
            u *= level / before
            x = term.nearest(v - u, weight)
            v = _denoised(partial(model, **settings), x + u, level)
            u += x - v
            before = level
            bar.update(1)
    # Far below the level of the last pass, the data know better than the denoiser.
    low = to_device_of(2 * sigma < level, v)
    return np.where(low, term.nearest(v, weight), v) if low.any() else v


def _as_noise(sigma: Any, shape: tuple[int, ...], channel_axis: int | None) -> NDArray[np.float64]:
    """`sigma` as an array without axes, or with those of a signal and one number per channel."""
    if np.ndim(sigma) == 0:
        return np.array(as_nonnegative(sigma, "sigma"))
    channels = 1 if channel_axis is None else shape[channel_axis]
    levels = [as_nonnegative(level, "sigma") for level in as_vector(sigma, "sigma").tolist()]
    if len(levels) not in (1, channels):
        raise ValueError(
            f"sigma must be a number, or one for each of {channels} channels, got {len(levels)}"
        )
    placed = np.array(levels).reshape(-1, *[1] * (len(shape) - 1))
    return placed if channel_axis is None else np.moveaxis(placed, 0, channel_axis)


def _denoised(denoiser: Denoiser, noisy: NDArray, level: float) -> NDArray:
    """What the denoiser makes of an array, in the type of that array."""
    clean = to_device_of(denoiser(noisy, level), noisy, noisy.dtype)
    if clean.shape != noisy.shape:
        raise ValueError(f"model returned shape {clean.shape} for a signal {noisy.shape}")
    if not np.isfinite(clean).all():
        raise ValueError(f"model returned NaN or infinity at the noise level {level:g}")
    return clean


def _as_levels(levels: Any) -> list[float]:
    values = as_vector(levels, "levels").tolist()
    if not values:
        raise ValueError("levels is empty: at least one pass is needed")
    return [as_positive(value, "levels") for value in values]


def _levels(start: NDArray, sigma: NDArray) -> list[float]:
    """The noise levels of the passes by default."""
    scale = float(start.std()) or 1.0
    last = max(LAST_LEVEL * scale, float(sigma.min()))
    return np.geomspace(max(FIRST_LEVEL * scale, last), last, N_PASSES).tolist()
