"""Denoising photographs with a patch prior, by half-quadratic splitting."""

import numpy as np

from ..backend import is_device, to_device_of
from ..data.patches import add_patches, as_image, extract_patches, patch_bands, patch_counts
from ..progress import progress_bar
from ..validation import as_choice, as_count, as_positive
from .patch_model import ImageModel
from .vectors import ESTIMATORS, closed_form_mean, map_estimate, normal_points, posterior_mean

MAP_PRECISIONS = (
    4.0,
    16.0,
    64.0,
)  # of the patches over that of the noise, pass by pass, for MAP estimates
NORMAL_MEDIAN = 0.6744897501960817  # median of |N(0, 1)|


def estimate_noise(image):
    """Estimate the standard deviation of white Gaussian noise in a photograph.

    Parameters
    ----------
    image : array (H, W)
        Values in [0, 1]; 8 and 16-bit integers are divided by their largest value. At least 3 x 3 pixels.

    Returns
    -------
    float
        On the same scale. Too large where fine texture fills half of the image.

    Raises
    ------
    TypeError, ValueError
        As `denoise_image`; or an image without any noise.

    Notes
    -----
    The mask of Immerkaer, "Fast noise variance estimation", CVIU 1996, with the median of Donoho and Johnstone 1994.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((200, 200))
    >>> round(fastcl.estimate_noise(noisy), 2)
    0.1
    """
    image = as_image(image, "image", 3)
    # Second differences along both axes are blind to planes and to edges along an axis; a sixth keeps the variance of noise.
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    values = (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6
    sigma = float(np.median(np.abs(values))) / NORMAL_MEDIAN
    if sigma == 0:
        raise ValueError("image has no noise to estimate: pass sigma")
    return sigma


def denoise_image(
    model,
    noisy,
    sigma=None,
    strength=1.0,
    estimator="mean",
    n_samples=8,
    n_iter=30,
    rng=0,
    progress=False,
):
    """Denoise a grey photograph by half-quadratic splitting on its overlapping patches.

    Parameters
    ----------
    model : ImageModel
    noisy : array (H, W)
        Values in [0, 1] before the noise; 8 and 16-bit integers are divided by their largest value.
    sigma : float, optional
        Standard deviation of the noise, on the same scale: 25 / 255, say; by default that of `estimate_noise`.
    strength : float
        Factor of the prior's energy.
    estimator : {"mean", "map"}
        What every patch is replaced by: its posterior mean, from `n_samples` weighted points, or its MAP estimate,
        from `n_iter` steps a pass.
    n_samples, n_iter : int
    rng : int or numpy.random.Generator
    progress : bool

    Returns
    -------
    float array (H, W), not clipped, in the type of the image and where it is.

    Raises
    ------
    TypeError, ValueError
        An image with colour, alpha, NaN, or smaller than a patch; sigma or strength not above zero; no sigma for an image
        without noise.

    Notes
    -----
    Zoran and Weiss, "From learning models of natural image patches to whole image restoration", ICCV 2011 (EPLL).
    Memory: a few images, and of one band of about 32768 patches a few copies, and for MAP estimates one number a term of the
    mixture for 16384 of them. On a device 262144 and 65536.
    """
    if not isinstance(model, ImageModel):
        raise TypeError(
            f"model must be an image model, as learn_image_prior gives, got {type(model).__name__}"
        )
    transform = model.transform
    noisy = as_image(noisy, "noisy", transform.patch)
    sigma = estimate_noise(noisy) if sigma is None else as_positive(sigma, "sigma")
    strength = as_positive(strength, "strength")
    as_choice(estimator, "estimator", ESTIMATORS)
    normals = to_device_of(
        normal_points(as_count(n_samples, "n_samples"), transform.dim, rng), noisy
    )
    n_iter = as_count(n_iter, "n_iter")
    counts = to_device_of(patch_counts(noisy.shape, transform.patch).astype(noisy.dtype), noisy)
    bands = patch_bands(noisy.shape, transform.patch, is_device(noisy))
    precisions = model.precisions if estimator == "mean" else MAP_PRECISIONS
    image = noisy
    with progress_bar(progress, len(precisions) * len(bands), "denoise", "band") as bar:
        for beta in precisions:
            noise = sigma / np.sqrt(beta) / transform.stds
            patches_sum = np.zeros_like(image)
            for band in bands:
                coordinates, means = transform.forward(
                    extract_patches(image, transform.patch, band)
                )
                if estimator == "map":
                    clean = map_estimate(model.prior, coordinates, noise, strength, n_iter)
                else:
                    clean = _mean_by_chunks(model.prior, coordinates, noise, strength, normals)
                add_patches(transform.inverse(clean, means), patches_sum, transform.patch, band)
                bar.update(1)
            image = (noisy + beta * patches_sum) / (1 + beta * counts)
    return image


def _mean_by_chunks(prior, y, noise, strength, normals, rows=8192):
    known = closed_form_mean(prior, y, noise, strength)
    if known is not None:
        return known
    return np.concatenate(
        [
            posterior_mean(prior, y[i : i + rows], noise, strength, normals)
            for i in range(0, len(y), rows)
        ]
    )
