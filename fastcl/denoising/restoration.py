"""Denoising photographs with a patch prior, by half-quadratic splitting.

Passes alternate between two steps. Every patch is replaced by its estimate under the prior, as if
its noise had precision beta / sigma^2. The image is then the weighted mean of the noisy image and
of all patches that cover a pixel, with weights 1 and beta. beta grows from pass to pass.

Zoran and Weiss, "From learning models of natural image patches to whole image restoration",
ICCV 2011 (EPLL).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import is_device, to_device_of, to_host
from ..data.patches import (
    add_patches,
    as_image,
    as_photograph,
    extract_patches,
    patch_bands,
    patch_counts,
)
from ..measures.base import ReferenceMeasure
from ..priors.base import Prior
from ..progress import progress_bar
from ..validation import as_choice, as_count, as_positive
from .patch_model import ImageModel
from .vectors import ESTIMATORS, closed_form_mean, map_estimate, normal_points, posterior_mean

MAP_PRECISIONS = (4.0, 16.0, 64.0)  # beta for MAP estimates, pass by pass
NORMAL_MEDIAN = 0.6744897501960817  # median of |N(0, 1)|
RUN = 8  # equal pixels in a row or column that have no noise
MIN_SHARE = 0.01  # of the pixels at level 0 or an end of the range, if it is not by chance
MIN_WINDOWS = 100  # of 3 x 3 pixels with noise, from which it is estimated; else from all of them
CHUNK_PATCHES = 8192  # patches whose posterior means are sampled at a time


def estimate_noise(image: ArrayLike) -> float:
    """Estimate the standard deviation of white Gaussian noise in a photograph.

    Parameters
    ----------
    image : array (H, W)
        Values in [0, 1]; 8 and 16-bit integers are divided by their largest value. At least 3 x 3
        pixels.

    Returns
    -------
    float
        On the same scale. Too large if fine texture fills half of the image. Areas without noise
        do not count: masked or saturated pixels, borders, rows and columns that were repeated. Far
        too small if the image was enlarged or smoothed after the noise had come.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_image`; or an image without any noise.

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
    whole = to_host(as_image(image, "image", 3))
    kept = _without_repeats(_without_repeats(whole).T).T
    kept = kept if min(kept.shape) >= 3 else whole
    # Second differences along both axes are blind to planes and to edges along an axis. Divided by
    # six, they have the variance of the noise.
    rows = kept[:-2] - 2 * kept[1:-1] + kept[2:]
    values = (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6
    bad = _has_no_noise(kept)
    good = ~np.lib.stride_tricks.sliding_window_view(bad, (3, 3)).any(axis=(2, 3))
    if good.sum() >= MIN_WINDOWS:
        values = values[good]
    sigma = float(np.median(np.abs(values))) / NORMAL_MEDIAN
    if sigma == 0:
        raise ValueError("image has no noise to estimate: pass sigma")
    return sigma


def _without_repeats(image: NDArray) -> NDArray:
    """The rows of an image that differ from the row before."""
    return image[np.append(True, (image[1:] != image[:-1]).any(axis=1))]


def _has_no_noise(image: NDArray) -> NDArray:
    """Which pixels are in a run of RUN equal ones, masked by 0, or where the image is cut off."""
    bad = _in_runs(image) | _in_runs(image.T).T
    for level in (0, image.min(), image.max()):
        equal = image == level
        if equal.mean() > MIN_SHARE:
            bad |= equal
    return bad


def _in_runs(image: NDArray) -> NDArray:
    """Which pixels (H, W) are in a run of RUN equal ones along the first axis."""
    bad = np.zeros(image.shape, bool)
    starts = np.ones((max(len(image) - RUN + 1, 0), image.shape[1]), bool)
    for k in range(RUN - 1):
        starts &= (image[1:] == image[:-1])[k : k + len(starts)]
    for k in range(RUN):
        bad[k : k + len(starts)] |= starts
    return bad


def denoise_image(
    model: ImageModel,
    noisy: ArrayLike,
    sigma: float | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    n_samples: int = 8,
    n_iter: int = 30,
    rng: Any = 0,
    progress: bool = False,
) -> NDArray:
    """Denoise a grey photograph by half-quadratic splitting on its overlapping patches.

    Parameters
    ----------
    model : ImageModel
    noisy : array (H, W)
        Values in [0, 1] before the noise; 8 and 16-bit integers are divided by their largest value.
    sigma : float, optional
        Standard deviation of the noise, on the same scale: 25 / 255, say. By default it is
        estimated by `estimate_noise`.
    strength : float
        Factor of the prior's energy.
    estimator : {"mean", "map"}
        What replaces every patch: its posterior mean, from `n_samples` weighted points, or its MAP
        estimate, from `n_iter` steps per pass, which smooths too much under heavy-tailed priors.
    n_samples, n_iter : int
    rng : int or numpy.random.Generator
    progress : bool

    Returns
    -------
    float array (H, W), not clipped, in the type of the image and on its device.

    Raises
    ------
    TypeError, ValueError
        An image with colour, alpha or NaN, not in [0, 1], or smaller than a patch; sigma not above
        zero or above 1; strength not above zero; no sigma for an image without noise.

    Notes
    -----
    Memory: a few images; a few copies of one band of about 32768 patches (262144 on a device); and
    for MAP estimates one number per term of the mixture for 16384 patches (65536 on a device).
    """
    if not isinstance(model, ImageModel):
        hint = ": use denoise" if isinstance(model, (Prior, ReferenceMeasure)) else ""
        raise TypeError(
            f"model must be an image model from learn_image_prior, got {type(model).__name__}{hint}"
        )
    transform = model.transform
    noisy = as_photograph(noisy, "noisy", transform.patch)
    sigma = estimate_noise(noisy) if sigma is None else as_image_noise(sigma)
    strength = as_positive(strength, "strength")
    as_choice(estimator, "estimator", ESTIMATORS)
    normals = normal_points(as_count(n_samples, "n_samples"), transform.dim, rng)
    normals = to_device_of(normals, noisy)
    n_iter = as_count(n_iter, "n_iter")

    def estimate(coordinates: NDArray, noise: NDArray) -> NDArray:
        if estimator == "map":
            return map_estimate(model.prior, coordinates, noise, strength, n_iter)
        return _mean_by_chunks(model.prior, coordinates, noise, strength, normals)

    precisions = model.precisions if estimator == "mean" else MAP_PRECISIONS
    return _split(model, noisy, sigma, precisions, estimate, progress)


def as_image_noise(sigma: Any) -> float:
    """`sigma` as the standard deviation of the noise of an image in [0, 1], at most 1."""
    sigma = as_positive(sigma, "sigma")
    if sigma > 1:
        raise ValueError(
            f"sigma must be on the scale of the image, [0, 1], got {sigma:g}: "
            "for 25 levels of 255 pass 25 / 255"
        )
    return sigma


def _split(
    model: ImageModel,
    noisy: NDArray,
    sigma: float,
    precisions: tuple[float, ...],
    estimate: Callable[[NDArray, NDArray], NDArray],
    progress: bool,
) -> NDArray:
    """Run the passes, with `estimate(coordinates (n, d), noise (d,))` for the patches."""
    transform = model.transform
    patch = transform.patch
    counts = to_device_of(patch_counts(noisy.shape, patch).astype(noisy.dtype), noisy)
    bands = patch_bands(noisy.shape, patch, is_device(noisy))
    image = noisy
    with progress_bar(progress, len(precisions) * len(bands), "denoise", "band") as bar:
        for beta in precisions:
            noise = sigma / np.sqrt(beta) / transform.stds
            patches_sum = np.zeros_like(image)
            for band in bands:
                patches = extract_patches(image, patch, band)
                coordinates, means = transform.forward(patches)
                clean = transform.inverse(estimate(coordinates, noise), means)
                add_patches(clean, patches_sum, patch, band)
                bar.update(1)
            image = (noisy + beta * patches_sum) / (1 + beta * counts)
    return image


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
