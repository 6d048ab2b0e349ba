"""Photographs: sketch their patches, learn a patch prior from the sketch, denoise another photograph with it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import files
from .adaptive import adapt_frequencies
from .domains import domain_from_arrays
from .gaussianised import GaussianisedPrior, prior_from_arrays, standard_normal
from .learn import learn
from .max_entropy import max_entropy
from .objective import METHODS
from .optimizers import Adam, Cosine
from .patches import PatchTransform, as_image
from .prior import MLPPrior
from .readers import ImageFolder
from .scale_mixtures import GaussianScaleMixture, MixtureOfScaleMixtures
from .sketch import Partial, Sketch, run_pass
from .sources import Patches
from .validation import as_choice, as_count, as_generator, as_positive

SUBSAMPLE = 100_000  # patches that the transform, the reference measure and the frequencies are fitted on
DITHER = 1 / 255  # width of the uniform noise that undoes the rounding of 8-bit photographs
SAMPLES = 200_000  # drawn from the density of largest entropy to fit the mixture that denoises
N_ITER, NETWORK_N_ITER = 300, 600  # steps by default
N_COMPONENTS = 40  # of the mixture
# Half-quadratic splitting with posterior means: precision of the patches over that of the noise, growing.  Every pass
# smooths, so few are wanted; chosen on photographs that neither learn nor test.
PRECISIONS = (1.5, 4.0)
IMAGE_METHODS = ("max_entropy", *(method for method in METHODS if method != "grid"))


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
    prior : reference measure, MLPPrior, MaxEntropyPrior or GaussianisedPrior
        What patches are denoised with, of dimension patch^2 - 1.
    density : GaussianisedPrior or None
        The density of largest entropy that `prior` was fitted to, where it was.
    precisions : tuple of float
        Of the passes of half-quadratic splitting with posterior means: that of the patches over that of the noise.
    interrupted : bool
        Whether a KeyboardInterrupt ended the learning early.
    """

    def __init__(self, transform, prior, density=None, precisions=PRECISIONS):
        if prior.dim != transform.dim:
            raise ValueError(f"prior must have dimension {transform.dim}, that of the patches, got {prior.dim}")
        self.transform, self.prior, self.density, self.interrupted = transform, prior, density, False
        self.precisions = tuple(as_positive(float(precision), "precisions") for precision in precisions)
        if not self.precisions:
            raise ValueError("precisions is empty: at least one pass is needed")

    def to_arrays(self):
        """What `save` writes: name -> array."""
        arrays = files.with_prefix("transform", self.transform.to_arrays()) | files.with_prefix("prior", self.prior.to_arrays())
        if self.density is not None:
            arrays |= files.with_prefix("density", self.density.to_arrays())
        return arrays | {"precisions": np.array(self.precisions)}

    @classmethod
    def from_arrays(cls, arrays):
        """The model whose `to_arrays` gave `arrays`."""
        transform = PatchTransform.from_arrays(files.without_prefix("transform", arrays))
        prior, density = (files.without_prefix(name, arrays) for name in ("prior", "density"))
        precisions = arrays.get("precisions", PRECISIONS)
        return cls(transform, prior_from_arrays(prior), prior_from_arrays(density) if density else None, precisions)

    def save(self, path):
        """Write the model to one npz file, atomically; `fastcl.load_prior` reads it."""
        files.write_npz(path, "image-model", self.to_arrays())


@dataclass
class _Images:
    """Images in memory as a sequence with `shapes`, in single precision one at a time."""

    images: list
    patch: int

    def __post_init__(self):
        self.shapes = [self._image(index).shape for index in range(len(self.images))]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self._image(index)

    def _image(self, index):
        return as_image(self.images[index], f"images[{index}]", self.patch)

    def describe(self):
        """What tells these images from others."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(np.ascontiguousarray(image).tobytes())
        return f"{self.shapes} {digest.hexdigest()[:32]}"


def sketch_images(images, patch=6, m=4000, rng=None, progress=False, checkpoint=None, checkpoint_every=10_000_000):
    """Sketch all overlapping patches of photographs.

    The transform (patch means apart, principal axes, unit variance), a Gaussian scale mixture and the frequencies at
    which patches differ from it (`adapt_frequencies`) are fitted on some 100,000 patches; the sketch then reads every
    patch once, in the coordinates in which the scale mixture is standard normal (`gaussianise`).

    Parameters
    ----------
    images : sequence of arrays (H, W), or path
        Grey photographs in [0, 1]; 8 and 16-bit integers are divided by their largest value. A path leads to a folder of
        image files (PNG, JPEG, TIFF, BMP, PGM; needs the extra "demo"), of which one is open at a time.
    patch : int
        Side of the patches in pixels, at least 2.
    m : int
        Number of frequencies.
    rng : int or numpy.random.Generator, optional
    progress : bool
    checkpoint, checkpoint_every : optional
        As of `sketch`, in patches. The file also keeps what was fitted before the pass, and is one that `fastcl.load` reads.

    Returns
    -------
    PatchSketch

    Raises
    ------
    TypeError, ValueError
        No image; an image with colour, alpha, NaN, or smaller than a patch; a checkpoint of other images or settings.
    OSError
        A folder that cannot be read, or a checkpoint that cannot be written.

    Notes
    -----
    Peak memory above the images: the patches of the subsample and their coordinates, some 40 d bytes each of 100,000, and the
    frequencies with what chooses them.
    """
    patch, m = as_count(patch, "patch", least=2), as_count(m, "m")
    if isinstance(images, np.ndarray) and images.ndim == 2:
        raise ValueError("images must be a sequence of images, got one: pass [image]")
    if isinstance(images, (str, os.PathLike)):
        images = ImageFolder(images)
    else:
        images = _Images(list(images), patch)
    if not len(images):
        raise ValueError("images is empty")
    source = Patches(images, patch)
    checkpoint_every = as_count(checkpoint_every, "checkpoint_every")
    given, rng = rng is not None, as_generator(rng)
    seed = int(rng.integers(2**63))
    started, pass_over = None, None
    if checkpoint is not None:
        pass_over = Partial(f"{source.describe()} m={m} seed={seed if given else None}", seed=seed)
        started = _started(checkpoint, pass_over)
    if started is None:
        started = _start(images, patch, m, rng, progress)
        started.sketch.partial = pass_over
    transform, reference, result = started.transform, started.reference, started.sketch
    seed = seed if result.partial is None else result.partial.seed

    def prepare(index):
        noise = np.random.default_rng([seed, index])
        return lambda patches: reference.gaussianise(transform.forward(_dither(patches.astype(np.float32), noise))[0])

    source.prepare = prepare
    run_pass(result, source, progress, checkpoint, checkpoint_every, started.save)
    return started


def _started(checkpoint, pass_over):
    """The `PatchSketch` of a checkpoint, None where there is no such file; ValueError where it is of another pass."""
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return None
    started = PatchSketch.from_arrays(files.read_npz(checkpoint, ["patch-sketch"])[1])
    if getattr(started.sketch.partial, "data", None) != pass_over.data:
        raise ValueError(f"checkpoint {str(checkpoint)!r} belongs to other images or settings: remove it to start anew")
    return started


def _start(images, patch, m, rng, progress):
    """What a pass over the patches starts from: everything fitted on a subsample, and an empty sketch."""
    sample = rng.permutation(_random_patches(images, patch, rng))
    transform = PatchTransform.fit(_dither(sample, rng))
    white = transform.forward(_dither(sample, rng))[0]
    reference = GaussianScaleMixture.fit(white)
    normal = standard_normal(transform.dim)
    result = Sketch(adapt_frequencies(reference.gaussianise(white), m, normal, rng, progress))
    result.domain = normal
    return PatchSketch(transform, reference, result)


def _random_patches(images, patch, rng):
    """About SUBSAMPLE flat patches, from every image in proportion to its size."""
    counts = np.array([np.prod(np.subtract(shape, patch - 1)) for shape in images.shapes], np.float64)
    shares = np.ceil(SUBSAMPLE * counts / counts.sum()).astype(int)
    sample = []
    for image, share in zip(images, shares, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch))
        rows, columns = (rng.integers(size, size=share) for size in windows.shape[:2])
        sample.append(windows[rows, columns].reshape(share, -1).astype(np.float32))
    return np.concatenate(sample)


def _dither(patches, rng):
    return patches + (rng.random(patches.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(DITHER)


def learn_patches(patch_sketch, method="max_entropy", n_iter=None, rng=None, progress=False, **settings):
    """Learn an `ImageModel` from a `PatchSketch`.

    Parameters
    ----------
    patch_sketch : PatchSketch
    method : {"max_entropy", "normalised", "tracked", "unbiased", "naive"}
        "max_entropy": the density of largest entropy with the moments of the sketch, and a mixture of Gaussian scale
        mixtures fitted to 200,000 points drawn from it, whose posterior mean has a closed form and denoises. The others
        learn a network by `learn`, with the same reference.
    n_iter : int, optional
        Steps: 300 for "max_entropy" and 600 for a network by default.
    rng, progress
        As in `learn`.
    **settings
        "max_entropy": those of `max_entropy`, and `n_components` of the mixture (40). Otherwise those of `learn`, and
        `widths` of the hidden layers (64, 128).

    Returns
    -------
    ImageModel

    Raises
    ------
    TypeError, ValueError
        As `learn` and `max_entropy`.
    """
    as_choice(method, "method", IMAGE_METHODS)
    if not isinstance(patch_sketch, PatchSketch):
        raise TypeError(f"patch_sketch must be a fastcl.PatchSketch, got {type(patch_sketch).__name__}")
    if not isinstance(patch_sketch.reference, GaussianScaleMixture):
        raise ValueError("patch_sketch has no Gaussian scale mixture as its reference: make it anew with sketch_images")
    learn_density, usual = (_learn_mixture, N_ITER) if method == "max_entropy" else (_learn_network, NETWORK_N_ITER)
    n_iter = usual if n_iter is None else as_count(n_iter, "n_iter")
    return learn_density(patch_sketch, method, n_iter, as_generator(rng), progress, **settings)


def _learn_mixture(patch_sketch, method, n_iter, rng, progress, n_components=N_COMPONENTS, **settings):
    sk, reference = patch_sketch.sketch, patch_sketch.reference
    inner = max_entropy(sk, standard_normal(sk.dim), n_iter=n_iter, rng=rng, progress=progress, **settings)
    density = GaussianisedPrior(inner, reference)
    mixture = MixtureOfScaleMixtures.fit(density.sample(SAMPLES, rng), n_components, rng=rng)
    model = ImageModel(patch_sketch.transform, mixture, density)
    model.interrupted = inner.interrupted
    return model


def _learn_network(patch_sketch, method, n_iter, rng, progress, widths=(64, 128), n_points=2048, **settings):
    normal = standard_normal(patch_sketch.transform.dim)
    prior = MLPPrior(normal.dim, widths, rng=rng, reference=normal)
    prior.start_near(normal, rng=rng)
    settings.setdefault("optimizer", Adam(1e-3, schedule=Cosine(n_iter)))
    result = learn(prior, patch_sketch.sketch, normal, method, n_points, n_iter, rng=rng, progress=progress, **settings)
    model = ImageModel(patch_sketch.transform, GaussianisedPrior(prior, patch_sketch.reference))
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
