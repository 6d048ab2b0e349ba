"""Denoising signals with a prior of their patches: the stages, and the checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.signals import as_signal
from ..measures.base import ReferenceMeasure
from ..priors.base import Prior
from ..validation import LIMITS, as_array, as_choice, check_lengths
from .anscombe import denoise_poisson
from .batches import denoise_each
from .noise_level import NoiseLevel, estimate_noise
from .patch_model import SignalModel
from .scales import denoise_scales
from .similar import dtype_for_groups, image_search, refine
from .spectral import denoise_sound, estimate_audio_noise
from .splitting import Splitting

NOISES = ("gaussian", "poisson")
EFFORTS = ("fast", "balanced", "best")
MIN_COUNT = 1.0  # mean count of photons, below which there is no second stage by default
COARSE = 2 / 3  # of the side of a patch: their distance in a first stage that others follow
SCALES = 2  # scales of a signal with a second stage
SMALLEST = 4  # patches along the smallest side of a half signal
STRONG = 1.8  # standard deviations of the samples of a patch, beyond which noise counts as strong


def denoise_signal(
    model: SignalModel,
    noisy: ArrayLike,
    sigma: float | ArrayLike | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    noise: str = "gaussian",
    effort: str = "balanced",
    second_stage: bool | None = None,
    stride: int | None = None,
    n_samples: int = 8,
    n_iter: int = 30,
    rng: Any = 0,
    progress: bool = False,
) -> NDArray:
    """Denoise a signal by half-quadratic splitting on its overlapping patches.

    Parameters
    ----------
    model : SignalModel
    noisy : array
        A signal with the axes and channels of those from which the model was learned, plus white
        Gaussian noise; 8 and 16-bit integers are divided by the largest value of their type. With
        one more axis in front, a batch of signals, each denoised on its own; on a model without
        channels, also (B, 1, H, W).
    sigma : float or array, optional
        Standard deviation of the noise, on the same scale: one number; one per channel; a map, of
        the shape of a signal with or without its channels; or what is broadcast to such a map. A
        patch under a map takes the root mean square of its own. For a batch, one of these for all
        signals, or with one more axis in front, one for each: (B,), or (B, C). Three numbers for
        three signals with three channels are refused: pass (3, 1, 1, 1), or (1, 3, 1, 1) if
        `channel_axis` is 0. By default it is estimated, for each signal, by `estimate_noise`, or by
        `estimate_audio_noise`.
    strength : float
        Factor of the prior's energy.
    estimator : {"mean", "map"}
        What replaces every patch: its posterior mean, from `n_samples` weighted points, or its MAP
        estimate, from `n_iter` steps per pass, which smooths too much under heavy-tailed priors.
    noise : {"gaussian", "poisson"}
        "poisson": `noisy` holds counts of photons, not divided by anything, and sigma is left out.
        They are denoised through Anscombe's transform and its exact unbiased inverse, on a model of
        values in [0, 1]. See Makitalo and Foi, IEEE TIP 2011.
    effort : {"fast", "balanced", "best"}
        How much time to spend: for images, one round of the second stage, four, or six, of which
        the last two have more groups. For sound and volumes, "fast" leaves out the second stage or
        takes fewer patches, and "best" equals "balanced".
    second_stage : bool, optional
        Whether to denoise once more, in groups of patches that are similar in the first estimate
        (for images, that of two scales). By default this is done for images, unless they are counts
        with a mean below one, and for sound unless `effort` is "fast"; not for volumes, and never
        under a map of the noise.
    stride : int, optional
        Distance of neighbouring patches along each axis in the first stage, at most their smallest
        side. By default 2 for sound; for others two thirds of that side, rounded down, if a second
        stage follows, and otherwise 1, or 2 if `effort` is "fast".
    n_samples, n_iter : int
    rng : int or numpy.random.Generator
    progress : bool

    Returns
    -------
    float array of the shape of `noisy`, not clipped, in its type and on its device.

    Raises
    ------
    TypeError, ValueError
        A signal of another shape than the model needs, with NaN, or smaller than a patch; sigma not
        above zero; strength not above zero; no sigma for a signal without noise.

    Notes
    -----
    With a second stage, an image is in single precision unless its noise is below 1 / 64 of its
    largest value, and then in double; its two scales are separated and joined on the host. At a
    strength other than 1, or under a prior other than a mixture, the noise of channels with levels
    of their own counts as independent in the white coordinates.

    Memory: eight signals with a second stage, in the precision that it has, and a few without; a
    few copies of one tile of at most 32768 patches (262144 on a device) and four million numbers;
    for MAP estimates one number per term of the mixture for 16384 patches (65536 on a device);
    about 1 GiB for a mixture at a strength other than 1.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sounds = np.random.default_rng(0).standard_normal((2, 4000)).cumsum(axis=1) / 100
    >>> quick = {"n_iter": 2, "n_components": 4, "n_samples": 2000}
    >>> model = fastcl.learn_signal_prior(sounds, patch=16, m=50, rng=0, **quick)
    >>> fastcl.denoise_signal(model, sounds[0], sigma=0.1).shape
    (4000,)
    """
    _check_model(model)
    if as_choice(noise, "noise", NOISES) == "poisson" and sigma is not None:
        raise ValueError('sigma has no meaning with noise="poisson": leave it out')
    as_choice(effort, "effort", EFFORTS)
    is_sound, axis = model.rate is not None, model.channel_axis
    splitting = Splitting(
        model,
        strength=strength,
        estimator=estimator,
        stride=stride,
        n_samples=n_samples,
        n_iter=n_iter,
        rng=rng,
        progress=progress,
    )
    by_default = effort != "fast" if is_sound else model.n_axes == 2

    def denoise_one(one: NDArray, level: Any, name: str, suits: bool = True) -> NDArray:
        signal, given = as_noisy(model, one, level, name)
        more = by_default and suits if second_stage is None else second_stage
        if is_sound:
            clean = denoise_sound(splitting, signal, given, more)
        else:
            clean = _in_stages(splitting, signal, given, effort, more)
        return clean[0] if axis is None else np.moveaxis(clean, 0, axis)

    def denoise_counts(one: NDArray, level: None, name: str) -> NDArray:
        # The noise of fewer counts is not Gaussian, and groups keep some of it.
        enough = bool(as_array(one, name).mean() >= MIN_COUNT)
        return denoise_poisson(lambda stable, noise: denoise_one(stable, noise, name, enough), one)

    denoise = denoise_counts if noise == "poisson" else denoise_one
    return denoise_each(denoise, noisy, sigma, model.n_axes, axis)


def _check_model(model: Any) -> None:
    """TypeError for what is no signal model."""
    if not isinstance(model, SignalModel):
        hint = ": use denoise" if isinstance(model, (Prior, ReferenceMeasure)) else ""
        raise TypeError(
            "model must be a signal model from learn_signal_prior, learn_image_prior or "
            f"learn_audio_prior, got {type(model).__name__}{hint}"
        )


def _in_stages(
    splitting: Splitting, signal: NDArray, level: NoiseLevel, effort: str, second_stage: bool
) -> NDArray:
    """A signal (C, *axes), denoised with or without a second stage, which needs a level, no map."""
    if not second_stage or level.variances is not None:
        coarse = min(2, *splitting.model.transform.patch)
        return splitting(signal, level, coarse if effort == "fast" else 1)
    transform, dtype = splitting.model.transform, signal.dtype
    stride = max(int(COARSE * min(transform.patch)), 1)

    def denoise_uniform(scaled: NDArray, sigma: Any) -> NDArray:
        return splitting(scaled, NoiseLevel(sigma, scaled.shape, 0), stride)

    signal = signal.astype(dtype_for_groups(signal, level.uniform), copy=False)
    spread = np.sqrt(np.square(transform.all_stds).sum() / len(transform.axes))
    strong = np.sqrt(np.mean(np.square(level.uniform))) > STRONG * spread
    search = image_search(effort, transform.channels, bool(strong))
    least = SMALLEST * max(transform.patch)
    # Without a name here, the pilot may go when it is no longer needed.
    clean = refine(
        signal,
        denoise_scales(denoise_uniform, signal, level.uniform, SCALES, least),
        level.uniform,
        search,
        splitting.progress,
    )
    return clean.astype(dtype, copy=False)


def as_noisy(
    model: SignalModel, noisy: ArrayLike, sigma: Any, name: str = "noisy"
) -> tuple[NDArray, NoiseLevel]:
    """(signal (C, *axes), level of its noise), after checks that the model can denoise it."""
    axis, channels = model.channel_axis, model.transform.channels
    noisy = as_array(noisy, name)
    least = model.transform.patch if model.rate is None else 1
    signal = as_signal(noisy, name, model.n_axes, axis, least)
    if len(signal) != channels:
        raise ValueError(
            f"{name} must have {channels} channels on axis {axis}, as those of the model, got "
            f"{len(signal)}"
        )
    # Sounds are scaled in double precision.
    dtype = signal.dtype if model.rate is None else np.dtype(np.float64)
    largest = float(abs(signal).max())
    if largest > LIMITS[dtype]:
        raise ValueError(
            f"{name} holds values up to {largest:g}, too large for {dtype}: change the unit"
        )
    if sigma is None and model.rate is not None:
        sigma = estimate_audio_noise(signal, model.rate, channel_axis=0)
    elif sigma is None:
        sigma = estimate_noise(signal, channel_axis=0)
    level = NoiseLevel(sigma, noisy.shape, axis)
    levels = level.uniform if level.variances is None else np.sqrt(level.variances)
    check_lengths(np.asarray(levels), "sigma", dtype)
    return signal, level
