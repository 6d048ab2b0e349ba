"""The sketch of the patches of photographs, in the coordinates in which a prior is learned from them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from .. import files
from ..data.patches import PatchTransform, as_image
from ..data.readers import ImageFolder
from ..data.sources import Patches
from ..learning.adaptive import adapt_frequencies
from ..measures.base import ReferenceMeasure
from ..measures.mixtures import standard_normal
from ..measures.scale_mixtures import GaussianScaleMixture
from ..sketching.checkpoint import POINTS_BETWEEN, PassState, run_pass
from ..sketching.sketch import Sketch
from ..validation import as_count, as_generator

SUBSAMPLE = (
    100_000  # patches that the transform, the reference measure and the frequencies are fitted on
)
DITHER = 1 / 255  # width of the uniform noise that undoes the rounding of 8-bit photographs


class PatchSketch(files.Storable, kind="patch-sketch"):
    """The sketch of the patches of photographs, with the transform and the reference measure that learning needs.

    Attributes
    ----------
    transform : PatchTransform
    reference : GaussianScaleMixture
        The law that was fitted to the white coordinates of some patches.
    sketch : Sketch
        Of all patches, in the coordinates in which `reference` is standard normal (`gaussianise`).

    Raises
    ------
    ValueError
        A reference that is none, or parts of other dimensions.

    """

    def __init__(self, transform, reference, sketch):
        if not transform.dim == reference.dim == sketch.dim:
            raise ValueError(
                f"transform, reference and sketch must share the dimension, got {transform.dim}, {reference.dim}, {sketch.dim}"
            )
        self.transform, self.reference, self.sketch = transform, reference, sketch

    def __repr__(self):
        return f"PatchSketch(patch={self.transform.patch}, reference={self.reference}, sketch={self.sketch})"

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        parts = {"transform": self.transform, "reference": self.reference, "sketch": self.sketch}
        arrays = {}
        for name, part in parts.items():
            arrays |= files.parts_of(name, part)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> PatchSketch:
        """The sketch whose `to_arrays` gave `arrays`."""
        return cls(
            files.part_from("transform", arrays, PatchTransform),
            files.part_from("reference", arrays, ReferenceMeasure),
            files.part_from("sketch", arrays, Sketch),
        )


class ImageList:
    """Images in memory as an `ImageFolder` would give them, all checked at once and converted one at a time."""

    def __init__(self, images, patch):
        self.images, self.patch = list(images), patch
        self.shapes = [self[index].shape for index in range(len(self))]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        return as_image(self.images[index], f"images[{index}]", self.patch)

    def describe(self):
        """What tells these images from others."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(np.ascontiguousarray(image).tobytes())
        return f"{self.shapes} {digest.hexdigest()[:32]}"


def sketch_images(
    images,
    patch=6,
    m=4000,
    rng=None,
    progress=False,
    checkpoint=None,
    checkpoint_every=POINTS_BETWEEN,
):
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
    OSError, ImportError
        A folder that cannot be read, or a checkpoint that cannot be written; a folder without the extra "demo".

    Notes
    -----
    Peak memory above the images: the patches of the subsample and their coordinates, some 40 d bytes each of 100,000, and the
    frequencies with what chooses them.
    """
    patch, m = as_count(patch, "patch", least=2), as_count(m, "m")
    if isinstance(images, np.ndarray) and images.ndim == 2:
        raise ValueError("images must be a sequence of images, got one: pass [image]")
    images = (
        ImageFolder(images) if isinstance(images, (str, os.PathLike)) else ImageList(images, patch)
    )
    if not len(images):
        raise ValueError("images is empty")
    source = Patches(images, patch)
    checkpoint_every = as_count(checkpoint_every, "checkpoint_every")
    given, rng = rng is not None, as_generator(rng)
    seed = int(rng.integers(2**63))
    started, pass_state = None, None
    if checkpoint is not None:
        pass_state = PassState(
            f"{source.describe()} m={m} seed={seed if given else None}", seed=seed
        )
        started = _started(checkpoint, pass_state)
    if started is None:
        started = _start(images, patch, m, rng, progress)
        started.sketch.pass_state = pass_state
        if checkpoint is not None:  # what was fitted took longer than many a pass
            started.save(checkpoint)
    transform, reference, result = started.transform, started.reference, started.sketch
    seed = seed if result.pass_state is None else result.pass_state.seed

    def prepare(index):
        noise = np.random.default_rng([seed, index])
        return lambda patches: reference.gaussianise(
            transform.forward(_dither(patches.astype(np.float32), noise))[0]
        )

    source.prepare = prepare
    run_pass(result, source, progress, checkpoint, checkpoint_every, started.save)
    return started


def _started(checkpoint, pass_state):
    """The `PatchSketch` of a checkpoint, None where there is no such file; ValueError where it is of another pass."""
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return None
    started = PatchSketch.load(checkpoint)
    if getattr(started.sketch.pass_state, "data", None) != pass_state.data:
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} belongs to other images or settings: remove it to start anew"
        )
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
    counts = np.array(
        [np.prod(np.subtract(shape, patch - 1)) for shape in images.shapes], np.float64
    )
    shares = np.ceil(SUBSAMPLE * counts / counts.sum()).astype(int)
    sample = []
    for image, share in zip(images, shares, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch))
        rows, columns = (rng.integers(size, size=share) for size in windows.shape[:2])
        sample.append(windows[rows, columns].reshape(share, -1).astype(np.float32))
    return np.concatenate(sample)


def _dither(patches, rng):
    return patches + (rng.random(patches.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(
        DITHER
    )
