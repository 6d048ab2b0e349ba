"""Sketching the patches of photographs, in the coordinates in which their prior is learned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import files
from ..data.patches import PatchTransform, as_photograph
from ..data.readers import ImageFolder
from ..data.sources import Patches
from ..learning.adaptive import SearchEffort, adapt_frequencies
from ..measures.base import ReferenceMeasure
from ..measures.mixtures import standard_normal
from ..measures.scale_mixtures import GaussianScaleMixture
from ..sketching.checkpoint import POINTS_BETWEEN, OtherData, PassState, run_pass
from ..sketching.sketch import Sketch
from ..validation import as_count, as_generator

SUBSAMPLE = 100_000
DITHER = 1 / 255  # width of the uniform noise that hides the rounding of 8-bit photographs


class PatchSketch(files.Storable, kind="patch-sketch"):
    """The sketch of the patches of photographs, with the transform and reference to learn from it.

    Attributes
    ----------
    transform : PatchTransform
        From patches to white coordinates.
    reference : ReferenceMeasure
        A Gaussian scale mixture, fitted to the white coordinates of a subsample.
    sketch : Sketch
        Of all patches, in the coordinates in which `reference` is standard normal (`gaussianise`).

    Raises
    ------
    ValueError
        Parts of different dimensions.
    """

    def __init__(
        self, transform: PatchTransform, reference: ReferenceMeasure, sketch: Sketch
    ) -> None:
        dims = (transform.dim, reference.dim, sketch.dim)
        if len(set(dims)) > 1:
            raise ValueError(
                f"transform, reference and sketch must share the dimension, got {dims}"
            )
        self.transform = transform
        self.reference = reference
        self.sketch = sketch

    def __repr__(self) -> str:
        parts = f"reference={self.reference}, sketch={self.sketch}"
        return f"PatchSketch(patch={self.transform.patch}, {parts})"

    @property
    def scale_mixture(self) -> GaussianScaleMixture:
        """`reference`; ValueError if it is not a Gaussian scale mixture."""
        if not isinstance(self.reference, GaussianScaleMixture):
            raise ValueError(
                "patch_sketch has no Gaussian scale mixture as its reference: "
                "make it anew with sketch_images"
            )
        return self.reference

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        return (
            files.parts_of("transform", self.transform)
            | files.parts_of("reference", self.reference)
            | files.parts_of("sketch", self.sketch)
        )

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> PatchSketch:
        """The sketch whose `to_arrays` gave `arrays`."""
        return cls(
            files.part_from("transform", arrays, PatchTransform),
            files.part_from("reference", arrays, ReferenceMeasure),
            files.part_from("sketch", arrays, Sketch),
        )


class ImageList:
    """Images in memory, read in the same way as an `ImageFolder`.

    All are checked at once, and each is converted when it is asked for.

    Attributes
    ----------
    shapes : list of (H, W)
    """

    def __init__(self, images: Sequence[ArrayLike], patch: int) -> None:
        self.images = list(images)
        self.patch = patch
        self.shapes = [self[index].shape for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray:
        if index >= len(self):
            raise IndexError(index)
        return as_photograph(self.images[index], f"images[{index}]", self.patch)

    def describe(self) -> str:
        """A text that identifies these images: their shapes and a checksum."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(np.ascontiguousarray(image).tobytes())
        return f"{self.shapes} {digest.hexdigest()[:32]}"


Images = ImageFolder | ImageList


def sketch_images(
    images: Sequence[ArrayLike] | files.PathLike,
    patch: int = 6,
    m: int = 4000,
    rng: Any = None,
    progress: bool = False,
    checkpoint: files.PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    *,
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
    skip_bad: bool = False,
) -> PatchSketch:
    """Sketch all overlapping patches of photographs.

    A subsample of the patches is used to fit the transform (remove the mean, project on the
    principal axes, scale to unit variance) and a Gaussian scale mixture, and to choose the
    frequencies at which patches differ from it (`adapt_frequencies`). The sketch then reads every
    patch once, in the coordinates in which the scale mixture is standard normal (`gaussianise`).

    Parameters
    ----------
    images : sequence of arrays (H, W), or path
        Grey photographs in [0, 1]; 8 and 16-bit integers are divided by their largest value. A path
        names a folder of image files (PNG, JPEG, TIFF, BMP, PGM; needs the extra "demo"), which are
        opened one at a time, and turned upright. Hidden files are passed over.
    patch : int
        Side of the patches in pixels, at least 2.
    m : int
        Number of frequencies.
    rng : int or numpy.random.Generator, optional
    progress : bool
    checkpoint, checkpoint_every : optional
        As in `sketch`, counted in patches. The file also keeps what was fitted before the pass;
        `fastcl.load` reads it.
    subsample : int
        Approximate number of patches in the subsample.
    effort : SearchEffort, optional
        How long to search for frequencies, see `adapt_frequencies`.
    skip_bad : bool
        Whether to leave out the files of a folder that cannot be used, with a warning for each,
        instead of raising an error. Each file is then read once more.

    Returns
    -------
    PatchSketch

    Raises
    ------
    TypeError, ValueError
        No images; an image with colour, alpha or NaN, not in [0, 1], or smaller than a patch; a
        checkpoint of other images or settings.
    OSError, ImportError
        A folder that cannot be read, or a checkpoint that cannot be written; a folder without the
        extra "demo".

    Notes
    -----
    Peak memory besides the images: the patches of the subsample and their coordinates, about 40 d
    bytes per patch, and what `adapt_frequencies` takes.
    """
    patch = as_count(patch, "patch", least=2)
    m = as_count(m, "m")
    subsample = as_count(subsample, "subsample")
    if effort is not None and not isinstance(effort, SearchEffort):
        raise TypeError(f"effort must be a fastcl.SearchEffort, got {effort!r}")
    checkpoint_every = as_count(checkpoint_every, "checkpoint_every")
    opened = _open_images(images, patch, skip_bad)
    source = Patches(opened, patch)
    is_repeatable = rng is not None
    rng = as_generator(rng)
    seed = int(rng.integers(2**63))
    result = state = None
    if checkpoint is not None:
        settings = f" m={m} seed={seed if is_repeatable else None}"
        settings += "" if subsample == SUBSAMPLE else f" subsample={subsample}"
        settings += "" if effort is None else f" {effort}"
        state = PassState(source.describe() + settings, seed=seed)
        result = _resumed(checkpoint, source.describe(), state.data)
    if result is None:
        result = _fitted(opened, patch, m, subsample, effort, rng, progress)
        result.sketch.pass_state = state
        if checkpoint is not None:  # the fit may take longer than the pass
            result.save(checkpoint)
    if result.sketch.pass_state is not None:
        seed = result.sketch.pass_state.seed
    source.prepare = _coordinates(result, seed)
    run_pass(
        result.sketch,
        source,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        save=result.save,
    )
    return result


def _open_images(images: Any, patch: int, skip_bad: bool) -> Images:
    if isinstance(images, np.ndarray) and images.ndim == 2:
        raise ValueError("images must be a sequence of images, got one: pass [image]")
    is_path = isinstance(images, (str, os.PathLike))
    opened = ImageFolder(images, patch, skip_bad) if is_path else ImageList(images, patch)
    if not len(opened):
        raise ValueError("images is empty")
    return opened


def _resumed(checkpoint: files.PathLike, images: str, data: str) -> PatchSketch | None:
    """The `PatchSketch` in a checkpoint, or None if there is no such file.

    ValueError unless it belongs to a pass over `data`: these `images`, with all settings.
    """
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return None
    result = PatchSketch.load(checkpoint)
    found = getattr(result.sketch.pass_state, "data", "")
    if found != data:
        same = found.startswith(f"{images} ")
        raise (ValueError if same else OtherData)(
            f"checkpoint {str(checkpoint)!r} belongs to other {'settings' if same else 'images'}: "
            "remove it to start anew"
        )
    return result


def _fitted(
    images: Images,
    patch: int,
    m: int,
    subsample: int,
    effort: SearchEffort | None,
    rng: np.random.Generator,
    progress: bool,
) -> PatchSketch:
    """Everything that is fitted on a subsample, with an empty sketch."""
    sample = rng.permutation(_random_patches(images, patch, subsample, rng))
    transform = PatchTransform.fit(_dither(sample, rng))
    white = transform.forward(_dither(sample, rng))[0]
    reference = GaussianScaleMixture.fit(white)
    normal = standard_normal(transform.dim)
    points = reference.gaussianise(white)
    sketch = Sketch(adapt_frequencies(points, m, normal, rng, progress, effort=effort))
    sketch.domain = normal
    return PatchSketch(transform, reference, sketch)


def _coordinates(fitted: PatchSketch, seed: int) -> Callable[[int], Callable[[NDArray], NDArray]]:
    """For the index of an image, the function from its patches to the coordinates of the sketch.

    The dither of an image depends on the seed and the index alone, so that a pass can resume.
    """

    transform = fitted.transform
    scale_mixture = fitted.scale_mixture

    def prepare(index: int) -> Callable[[NDArray], NDArray]:
        noise = np.random.default_rng([seed, index])

        def to_coordinates(patches: NDArray) -> NDArray:
            dithered = _dither(patches.astype(np.float32), noise)
            return scale_mixture.gaussianise(transform.forward(dithered)[0])

        return to_coordinates

    return prepare


def _random_patches(images: Images, patch: int, n: int, rng: np.random.Generator) -> NDArray:
    """About n flat patches, from every image in proportion to its number of patches."""
    totals = [np.prod(np.subtract(shape, patch - 1)) for shape in images.shapes]
    counts = np.array(totals, np.float64)
    counts = np.ceil(n * counts / counts.sum()).astype(int)
    sample = []
    for index, count in enumerate(counts):
        windows = np.lib.stride_tricks.sliding_window_view(images[index], (patch, patch))
        rows, columns = (rng.integers(size, size=count) for size in windows.shape[:2])
        sample.append(windows[rows, columns].reshape(count, -1).astype(np.float32))
    return np.concatenate(sample)


def _dither(patches: NDArray, rng: np.random.Generator) -> NDArray:
    noise = rng.random(patches.shape, dtype=np.float32) - np.float32(0.5)
    return patches + noise * np.float32(DITHER)
