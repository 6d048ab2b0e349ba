"""Photographs: sketch their patches, learn a patch prior from the sketch, denoise another photograph with it."""

import numpy as np

from . import files
from .denoise import ESTIMATORS, map_estimate, normal_points, posterior_mean
from .domains import GaussianScaleMixture, domain_from_arrays
from .frequencies import draw_frequencies
from .learn import learn
from .optimizers import Adam, Cosine
from .patches import PatchTransform, add_patches, as_image, extract_patches, patch_bands, patch_counts
from .prior import MLPPrior
from .progress import progress_bar
from .sketch import Sketch
from .validation import as_choice, as_count, as_generator, as_positive

SUBSAMPLE = 40_000  # patches that the transform and the reference measure are fitted on
DITHER = 1 / 255  # width of the uniform noise that undoes the rounding of 8-bit photographs
SCALE = 1.0  # of the frequencies, in units of the standard deviation of a white coordinate
# Half-quadratic splitting: precision of the patches over that of the noise, growing.  The posterior mean smooths at
# every pass and wants few of them; these were chosen on photographs that neither learn nor test.
BETAS = {"mean": (1.5, 4.0), "map": (4.0, 16.0, 64.0)}


class PatchSketch:
    """The sketch of the patches of photographs, with the transform and the reference measure that learning needs.

    Attributes
    ----------
    transform : PatchTransform
    reference : GaussianMixture
        Law of the white patch coordinates, up to what the network will learn.
    sketch : Sketch
        Of the white coordinates of all patches.
    """

    def __init__(self, transform, reference, sketch):
        if not reference.is_reference or not transform.dim == reference.dim == sketch.dim:
            raise ValueError(
                f"transform, reference and sketch must share the dimension, got {transform.dim}, {reference.dim}, {sketch.dim}"
            )
        self.transform, self.reference, self.sketch = transform, reference, sketch

    def to_arrays(self):
        """What `save` writes: name -> array."""
        return (
            files.with_prefix("transform", self.transform.to_arrays())
            | files.with_prefix("reference", self.reference.to_arrays())
            | files.with_prefix("sketch", self.sketch.to_arrays())
        )

    @classmethod
    def from_arrays(cls, arrays):
        """The sketch whose `to_arrays` gave `arrays`."""
        transform = PatchTransform.from_arrays(files.without_prefix("transform", arrays))
        reference = domain_from_arrays(files.without_prefix("reference", arrays))
        return cls(transform, reference, Sketch.from_arrays(files.without_prefix("sketch", arrays)))

    def save(self, path):
        """Write everything to one npz file, atomically; `fastcl.load` reads it."""
        files.write_npz(path, "patch-sketch", self.to_arrays())


class ImageModel:
    """A prior of image patches: the transform to white coordinates and the density of these.

    Attributes
    ----------
    transform : PatchTransform
    prior : MLPPrior or reference measure
        Of dimension patch^2 - 1.
    interrupted : bool
        Whether a KeyboardInterrupt ended the learning early.
    """

    def __init__(self, transform, prior):
        if prior.dim != transform.dim:
            raise ValueError(f"prior must have dimension {transform.dim}, that of the patches, got {prior.dim}")
        self.transform, self.prior, self.interrupted = transform, prior, False

    def to_arrays(self):
        """What `save` writes: name -> array."""
        return files.with_prefix("transform", self.transform.to_arrays()) | files.with_prefix("prior", self.prior.to_arrays())

    @classmethod
    def from_arrays(cls, arrays):
        """The model whose `to_arrays` gave `arrays`."""
        transform = PatchTransform.from_arrays(files.without_prefix("transform", arrays))
        prior = files.without_prefix("prior", arrays)
        return cls(transform, domain_from_arrays(prior) if "kind" in prior else MLPPrior.from_arrays(prior))

    def save(self, path):
        """Write the model to one npz file, atomically; `fastcl.load_prior` reads it."""
        files.write_npz(path, "image-model", self.to_arrays())


def sketch_images(images, patch=6, m=4000, rng=None, progress=False):
    """Sketch all overlapping patches of photographs.

    The transform (patch means apart, principal axes, unit variance) and a Gaussian scale mixture are fitted on some
    40,000 patches; the sketch then reads every patch once.

    Parameters
    ----------
    images : sequence of arrays (H, W)
        Grey photographs in [0, 1]; 8 and 16-bit integers are divided by their largest value.
    patch : int
        Side of the patches in pixels, at least 2.
    m : int
        Number of frequencies.
    rng : int or numpy.random.Generator, optional
    progress : bool

    Returns
    -------
    PatchSketch

    Raises
    ------
    TypeError, ValueError
        No image; an image with colour, alpha, NaN, or smaller than a patch.
    """
    patch, m = as_count(patch, "patch", least=2), as_count(m, "m")
    if isinstance(images, np.ndarray) and images.ndim == 2:
        raise ValueError("images must be a sequence of images, got one: pass [image]")
    images = list(images)
    if not images:
        raise ValueError("images is empty")
    images = [as_image(image, f"images[{i}]", patch).astype(np.float32) for i, image in enumerate(images)]
    rng = as_generator(rng)
    sample = _random_patches(images, patch, rng)
    transform = PatchTransform.fit(_dither(sample, rng))
    reference = GaussianScaleMixture.fit(transform.forward(_dither(sample, rng))[0])
    result = Sketch(draw_frequencies(m, transform.dim, SCALE, rng=rng))
    total = sum(np.prod(np.subtract(image.shape, patch - 1)) for image in images)
    with progress_bar(progress, total, "sketch", "patch") as bar:
        for image in images:
            for band in patch_bands(image.shape, patch):
                patches = _dither(extract_patches(image, patch, band), rng)
                result.update(transform.forward(patches)[0])
                bar.update(len(patches))
    return PatchSketch(transform, reference, result)


def _random_patches(images, patch, rng):
    """About SUBSAMPLE flat patches, from every image in proportion to its size."""
    counts = np.array([np.prod(np.subtract(image.shape, patch - 1)) for image in images], np.float64)
    shares = np.ceil(SUBSAMPLE * counts / counts.sum()).astype(int)
    sample = []
    for image, share in zip(images, shares, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch))
        rows, columns = (rng.integers(size, size=share) for size in windows.shape[:2])
        sample.append(windows[rows, columns].reshape(share, -1))
    return np.concatenate(sample)


def _dither(patches, rng):
    return patches + (rng.random(patches.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(DITHER)


def learn_patches(
    patch_sketch, widths=(64, 128), method="unbiased", n_points=2048, n_iter=600, rng=None, progress=False, **settings
):
    """Learn an `ImageModel` from a `PatchSketch`: `learn` with its reference measure and settings that suit patches.

    Parameters
    ----------
    patch_sketch : PatchSketch
    widths : sequence of int
        Hidden layers of the network.
    method, n_points, n_iter, rng, progress, **settings
        As in `learn`.

    Returns
    -------
    ImageModel
    """
    rng = as_generator(rng)
    reference = patch_sketch.reference
    prior = MLPPrior(patch_sketch.transform.dim, widths, rng=rng, reference=reference)
    prior.start_near(reference, rng=rng)
    settings.setdefault("optimizer", Adam(1e-3, schedule=Cosine(n_iter)))
    result = learn(prior, patch_sketch.sketch, reference, method, n_points, n_iter, rng=rng, progress=progress, **settings)
    model = ImageModel(patch_sketch.transform, prior)
    model.interrupted = result.interrupted
    return model


def learn_image_prior(images, patch=6, m=4000, rng=None, progress=False, **settings):
    """Learn a patch prior from photographs through a sketch of all their patches.

    Parameters
    ----------
    images, patch, m, progress
        As in `sketch_images`.
    rng : int or numpy.random.Generator, optional
    **settings
        As in `learn_patches`.

    Returns
    -------
    ImageModel

    Raises
    ------
    TypeError, ValueError
        As `sketch_images`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> photograph = np.random.default_rng(0).random((32, 48)).cumsum(axis=0).cumsum(axis=1) % 1
    >>> model = fastcl.learn_image_prior([photograph], patch=3, m=50, n_iter=2, rng=0)
    >>> model.prior.dim
    8
    >>> fastcl.denoise_image(model, photograph, sigma=0.1).shape
    (32, 48)
    """
    rng = as_generator(rng)
    return learn_patches(sketch_images(images, patch, m, rng, progress), rng=rng, progress=progress, **settings)


def denoise_image(model, noisy, sigma, strength=1.0, estimator="mean", n_samples=8, n_iter=30, rng=0, progress=False):
    """Denoise a grey photograph by half-quadratic splitting on its overlapping patches.

    Parameters
    ----------
    model : ImageModel
    noisy : array (H, W)
        Values in [0, 1] before the noise; 8 and 16-bit integers are divided by their largest value.
    sigma : float
        Standard deviation of the noise, on the same scale: 25 / 255, say.
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
    float array (H, W), not clipped.

    Raises
    ------
    TypeError, ValueError
        An image with colour, alpha, NaN, or smaller than a patch; sigma not above zero.

    Notes
    -----
    Zoran and Weiss, "From learning models of natural image patches to whole image restoration", ICCV 2011 (EPLL).
    Memory: a few images, and one band of about 32768 patches.
    """
    if not isinstance(model, ImageModel):
        raise TypeError(f"model must be an image model, as learn_image_prior gives, got {type(model).__name__}")
    transform = model.transform
    noisy = as_image(noisy, "noisy", transform.patch)
    sigma, strength = as_positive(sigma, "sigma"), as_positive(strength, "strength")
    as_choice(estimator, "estimator", ESTIMATORS)
    normals = normal_points(as_count(n_samples, "n_samples"), transform.dim, rng)
    n_iter = as_count(n_iter, "n_iter")
    counts = patch_counts(noisy.shape, transform.patch).astype(noisy.dtype)
    bands = patch_bands(noisy.shape, transform.patch)
    image = noisy
    with progress_bar(progress, len(BETAS[estimator]) * len(bands), "denoise", "band") as bar:
        for beta in BETAS[estimator]:
            noise = sigma / np.sqrt(beta) / transform.deviations
            patches_sum = np.zeros_like(image)
            for band in bands:
                coordinates, means = transform.forward(extract_patches(image, transform.patch, band))
                if estimator == "map":
                    clean = map_estimate(model.prior, coordinates, noise, strength, n_iter)
                else:
                    clean = _mean_by_chunks(model.prior, coordinates, noise, strength, normals)
                add_patches(transform.inverse(clean, means), patches_sum, transform.patch, band)
                bar.update(1)
            image = (noisy + beta * patches_sum) / (1 + beta * counts)
    return image


def _mean_by_chunks(prior, y, noise, strength, normals, rows=8192):
    if getattr(prior, "is_reference", False) and strength == 1:
        return prior.posterior_mean(y, noise)
    return np.concatenate([posterior_mean(prior, y[i : i + rows], noise, strength, normals) for i in range(0, len(y), rows)])
