"""Denoising signals with a prior of patches, by half-quadratic splitting.

Passes alternate between two steps. Every patch is replaced by its estimate under the prior, as if
its noise had precision beta / sigma^2. The signal is then the weighted mean of the noisy signal and
of all patches that cover a sample, with weights 1 and beta. beta grows from pass to pass.

Zoran and Weiss, "From learning models of natural image patches to whole image restoration",
ICCV 2011 (EPLL).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import is_device, to_device_of
from ..data.patches import Tile, add_patches, extract_patches, patch_counts, patch_tiles
from ..data.signals import as_signal, check_photograph
from ..measures.base import ReferenceMeasure
from ..measures.scale_mixtures import MixtureOfScaleMixtures
from ..priors.base import Prior
from ..progress import progress_bar
from ..validation import as_array, as_choice, as_count, as_positive
from .anscombe import denoise_poisson
from .noise_level import NoiseLevel, estimate_noise
from .patch_model import SignalModel
from .scales import denoise_scales
from .similar import refine
from .vectors import ESTIMATORS, closed_form_mean, map_estimate, normal_points, posterior_mean

NOISES = ("gaussian", "poisson")
MAP_PRECISIONS = (4.0, 16.0, 64.0)  # beta for MAP estimates, pass by pass
CHUNK_PATCHES = 8192  # patches whose posterior means are sampled at a time
SCALES = 2  # scales of a signal with a second stage
SMALLEST = 4  # patches along the smallest side of a half signal
LEVEL_RATIO = 2**0.125  # between the levels to which a map of the noise is rounded

Estimate = Callable[[NDArray, NDArray], NDArray]  # of coordinates (n, d) and their noise


def denoise_signal(
    model: SignalModel,
    noisy: ArrayLike,
    sigma: float | ArrayLike | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    noise: str = "gaussian",
    second_stage: bool | None = None,
    stride: int = 1,
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
        one more axis in front, a batch of signals, each denoised on its own.
    sigma : float or array, optional
        Standard deviation of the noise, on the same scale: one number; one per channel; or a map,
        of the shape of a signal with or without its channels. A patch under a map takes the root
        mean square of its own. By default it is estimated by `estimate_noise`.
    strength : float
        Factor of the prior's energy.
    estimator : {"mean", "map"}
        What replaces every patch: its posterior mean, from `n_samples` weighted points, or its MAP
        estimate, from `n_iter` steps per pass, which smooths too much under heavy-tailed priors.
    noise : {"gaussian", "poisson"}
        "poisson": `noisy` holds counts of photons, not divided by anything, and sigma is left out.
        They are denoised through Anscombe's transform and its exact unbiased inverse, on a model of
        values in [0, 1]. See Makitalo and Foi, IEEE TIP 2011.
    second_stage : bool, optional
        Whether to work at two scales, and to denoise once more, in groups of similar patches that
        are found in the first estimate. By default that is done for photographs in colour, and
        never under a map of the noise.
    stride : int
        Distance of neighbouring patches along each axis, at most their smallest side. With 2, an
        image takes a quarter of the time, and loses some of the quality.
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
    Memory: a few signals; a few copies of one tile of at most 32768 patches (262144 on a device)
    and four million numbers; and for MAP estimates one number per term of the mixture for 16384
    patches (65536 on a device). Under a prior other than a mixture, the noise of channels with
    levels of their own counts as independent in the white coordinates.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sounds = np.random.default_rng(0).standard_normal((2, 4000)).cumsum(axis=1) / 100
    >>> quick = {"n_iter": 2, "n_components": 4, "n_samples": 2000}
    >>> model = fastcl.learn_signal_prior(sounds, patch=16, m=50, rng=0, **quick)
    >>> fastcl.denoise_signal(model, sounds[0], sigma=0.1).shape
    (4000,)
    """
    if not isinstance(model, SignalModel):
        hint = ": use denoise" if isinstance(model, (Prior, ReferenceMeasure)) else ""
        raise TypeError(
            "model must be a signal model from learn_signal_prior, learn_image_prior or "
            f"learn_audio_prior, got {type(model).__name__}{hint}"
        )
    strength = as_positive(strength, "strength")
    as_choice(estimator, "estimator", ESTIMATORS)
    if as_choice(noise, "noise", NOISES) == "poisson":
        if sigma is not None:
            raise ValueError('sigma has no meaning with noise="poisson": leave it out')
        settings: dict[str, Any] = {"second_stage": second_stage, "stride": stride}
        settings |= {"n_samples": n_samples, "n_iter": n_iter, "rng": rng, "progress": progress}
        denoiser = partial(denoise_signal, model, strength=strength, estimator=estimator)
        return denoise_poisson(partial(denoiser, **settings), noisy)
    if model.rate is not None:
        from .audio import denoise_audio

        settings = {"n_samples": n_samples, "n_iter": n_iter, "rng": rng, "progress": progress}
        return denoise_audio(model, noisy, sigma, None, strength, estimator, **settings)
    normals = normal_points(as_count(n_samples, "n_samples"), model.transform.dim, rng)
    n_iter = as_count(n_iter, "n_iter")
    stride = as_count(stride, "stride")
    if stride > min(model.transform.patch):
        raise ValueError(
            f"stride must be at most {min(model.transform.patch)}, the smallest side of a patch, "
            f"got {stride}"
        )

    def estimate(coordinates: NDArray, level: NDArray) -> NDArray:
        if level.ndim == 2 and not (
            isinstance(model.prior, MixtureOfScaleMixtures) and estimator == "mean"
        ):
            level = np.sqrt(np.diag(level))
        if estimator == "map":
            return map_estimate(model.prior, coordinates, level, strength, n_iter)
        points = to_device_of(normals, coordinates)
        return _mean_by_chunks(model.prior, coordinates, level, strength, points)

    precisions = model.precisions if estimator == "mean" else MAP_PRECISIONS

    def denoise_uniform(signal: NDArray, level: Any) -> NDArray:
        given = NoiseLevel(level, signal.shape, 0)
        return _split(model, signal, given, precisions, estimate, stride, progress)

    def denoise_one(signal: NDArray, name: str) -> NDArray:
        signal, level = as_noisy(model, signal, sigma, name)
        if level.variances is not None:
            clean = _split(model, signal, level, precisions, estimate, stride, progress)
        elif _has_second_stage(model) if second_stage is None else second_stage:
            least = SMALLEST * max(model.transform.patch)
            pilot = denoise_scales(denoise_uniform, signal, level.uniform, SCALES, least)
            clean = refine(signal, pilot, level.uniform)
        else:
            clean = denoise_uniform(signal, level.uniform)
        return clean[0] if axis is None else np.moveaxis(clean, 0, axis)

    axis = model.channel_axis
    noisy = as_array(noisy, "noisy")
    if noisy.ndim != model.n_axes + (axis is not None) + 1:
        return denoise_one(noisy, "noisy")
    if not len(noisy):
        raise ValueError("noisy is an empty batch")
    return np.stack([denoise_one(one, f"noisy[{k}]") for k, one in enumerate(noisy)])


def _has_second_stage(model: SignalModel) -> bool:
    """Whether a model is one of photographs in colour."""
    return model.n_axes == 2 and model.transform.channels > 1 and model.rate is None


def as_noisy(
    model: SignalModel, noisy: ArrayLike, sigma: Any, name: str = "noisy"
) -> tuple[NDArray, NoiseLevel]:
    """(signal (C, *axes), level of its noise), after checks that the model can denoise it."""
    axis, channels = model.channel_axis, model.transform.channels
    noisy = as_array(noisy, name)
    signal = as_signal(noisy, name, model.n_axes, axis, model.transform.patch)
    if len(signal) != channels:
        raise ValueError(f"{name} must have {channels} channels, as the model, got {len(signal)}")
    if sigma is None:
        sigma = estimate_noise(signal, channel_axis=0)
    return signal, NoiseLevel(sigma, noisy.shape, axis)


def denoise_image(
    model: SignalModel,
    noisy: ArrayLike,
    sigma: float | ArrayLike | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    data_range: float | None = None,
    **settings: Any,
) -> NDArray:
    """Denoise a photograph: `denoise_signal` in units of [0, 1].

    Parameters
    ----------
    model : SignalModel
        Of images, from `learn_image_prior`.
    noisy : array
        (H, W), or with the channels of the model. Values in [0, 1] before the noise; 8 and 16-bit
        integers are divided by their largest value.
    sigma : float or array, optional
        Standard deviation of the noise, on the same scale: 25 / 255, say. As in `denoise_signal`.
    data_range : float, optional
        White, in units of `noisy`, for images in any others than [0, 1]: noisy and sigma are
        divided by it, integers too, and the result is multiplied by it.
    strength, estimator, **settings
        As in `denoise_signal`.

    Returns
    -------
    float array of the shape of `noisy`, not clipped, in its type and on its device.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_signal`; a model of other signals; an image not in [0, 1], or with colour or
        alpha that the model does not have; sigma above 1.
    """
    if isinstance(model, SignalModel) and (model.n_axes != 2 or model.rate is not None):
        kind = "sound" if model.rate is not None else f"signals with {model.n_axes} axes"
        raise ValueError(f"model is one of {kind}, not of images: use denoise_signal")
    if data_range is not None:
        white = as_positive(data_range, "data_range")
        noisy = as_array(noisy, "noisy") / white
        sigma = None if sigma is None else as_array(sigma, "sigma") / white
        return white * denoise_image(model, noisy, sigma, strength, estimator, **settings)
    counts = settings.get("noise") == "poisson"
    if isinstance(model, SignalModel) and not counts:
        signal = as_signal(noisy, "noisy", 2, model.channel_axis, model.transform.patch)
        check_photograph(signal, "noisy")
    if sigma is not None:
        check_image_noise(sigma)
    return denoise_signal(model, noisy, sigma, strength, estimator, **settings)


def check_image_noise(sigma: Any) -> None:
    """ValueError for a noise of an image in [0, 1] that is above 1."""
    largest = as_array(sigma, "sigma").max()
    if largest > 1:
        raise ValueError(
            f"sigma must be on the scale of the image, [0, 1], got {largest:g}: "
            "for 25 levels of 255 pass 25 / 255"
        )


def _split(
    model: SignalModel,
    noisy: NDArray,
    noise: NoiseLevel,
    precisions: tuple[float, ...],
    estimate: Estimate,
    stride: int,
    progress: bool,
) -> NDArray:
    """Run the passes on a signal (C, *axes), with `estimate` for the patches."""
    transform = model.transform
    patch, shape = transform.patch, noisy.shape[1:]
    tiles = patch_tiles(shape, patch, len(noisy), is_device(noisy), stride)
    levels: list[Any] = [noise.uniform]
    rows_at: list[NDArray] | None = None
    data: Any = 1.0
    if noise.variances is None:
        counts = patch_counts(shape, patch, stride)
    else:
        levels, rows_at = _patch_levels(noise.variances, patch, tiles)
        data = to_device_of((noise.uniform**2 / noise.variances).astype(noisy.dtype), noisy)
        counts = _level_counts(noise, levels, rows_at, patch, tiles)
    counts = to_device_of(counts.astype(noisy.dtype), noisy)
    signal = noisy
    steps = len(precisions) * len(levels) * len(tiles)
    with progress_bar(progress, steps, "denoise", "tile") as bar:
        for beta in precisions:
            total = np.zeros_like(signal)
            for sigma, tile, rows in _places(levels, tiles, rows_at):
                bar.update(1)
                if rows is not None and not len(rows):
                    continue
                patches = extract_patches(signal, patch, tile)
                if rows is not None:
                    rows = to_device_of(rows, patches)
                some = patches if rows is None else patches[rows]
                level = sigma / np.sqrt(beta)
                rms = float(np.sqrt(np.mean(np.square(level))))
                coordinates, rest = transform.forward(some, rms)
                clean = estimate(coordinates, transform.white_noise(level))
                clean = transform.inverse(clean, rest)
                if rows is not None:
                    weighted = clean * (noise.uniform / sigma) ** 2
                    clean = np.zeros(patches.shape, patches.dtype, like=patches)
                    clean[rows] = weighted
                add_patches(clean, total, patch, tile)
            signal = (data * noisy + beta * total) / (data + beta * counts)
    return signal


def _places(
    levels: list[Any], tiles: list[Tile], rows_at: list[NDArray] | None
) -> Iterator[tuple[Any, Tile, NDArray | None]]:
    """(level, tile, patches of the tile that have the level, or None for all), level by level."""
    for number, level in enumerate(levels):
        for k, tile in enumerate(tiles):
            rows = None if rows_at is None else np.flatnonzero(rows_at[k] == number)
            yield level, tile, rows


def _patch_levels(
    variances: NDArray, patch: tuple[int, ...], tiles: list[Tile]
) -> tuple[list[float], list[NDArray]]:
    """(levels, for each tile the level (n,) of its patches) under a map of the noise.

    A patch has the root mean square of its own noise, rounded on a scale of ratio LEVEL_RATIO.
    """
    exponents = []
    for tile in tiles:
        mean = extract_patches(variances, patch, tile).mean(axis=1)
        exponents.append(np.round(np.log(mean) / (2 * np.log(LEVEL_RATIO))).astype(np.int16))
    found = np.unique(np.concatenate([np.unique(part) for part in exponents]))
    levels = [float(LEVEL_RATIO ** float(exponent)) for exponent in found]
    return levels, [np.searchsorted(found, part).astype(np.int16) for part in exponents]


def _level_counts(
    noise: NoiseLevel,
    levels: list[float],
    rows_at: list[NDArray],
    patch: tuple[int, ...],
    tiles: list[Tile],
) -> NDArray:
    """The sum over the patches that cover each sample of their precision, (C, *axes)."""
    assert noise.variances is not None
    total = np.zeros_like(noise.variances)
    precisions = (noise.uniform / np.array(levels)) ** 2
    size = len(total) * math.prod(patch)
    for tile, rows in zip(tiles, rows_at, strict=True):
        add_patches(np.repeat(precisions[rows], size).reshape(-1, size), total, patch, tile)
    return total


def _mean_by_chunks(
    prior: Prior | ReferenceMeasure,
    y: NDArray,
    noise: NDArray,
    strength: float,
    normals: NDArray,
) -> NDArray:
    known = closed_form_mean(prior, y, noise, strength)
    if known is not None:
        return known
    chunks = [y[i : i + CHUNK_PATCHES] for i in range(0, len(y), CHUNK_PATCHES)]
    means = [posterior_mean(prior, chunk, noise, strength, normals)[0] for chunk in chunks]
    return np.concatenate(means)
