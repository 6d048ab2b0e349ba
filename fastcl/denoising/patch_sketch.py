"""Sketching the patches of signals, in the coordinates in which their prior is learned."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import files
from ..data.patch_transform import PatchTransform
from ..data.patches import position_counts
from ..data.readers import ImageFolder
from ..data.signals import Signals, as_patch, check_photograph
from ..data.sources import Patches
from ..learning.adaptive import SearchEffort, adapt_frequencies
from ..measures.base import ReferenceMeasure
from ..measures.gaussian_scale_mixtures import GaussianScaleMixture
from ..measures.mixtures import standard_normal
from ..measures.scale_mixtures import MixtureOfScaleMixtures
from ..sketching.checkpoint import POINTS_BETWEEN, OtherData, PassState, run_pass
from ..sketching.sketch import Sketch
from ..validation import as_count, as_generator, as_nonnegative
from .noisy_signals import ESTIMATE, AddedNoise, GivenNoise, as_noise, noise_levels

SUBSAMPLE = 100_000
MAX_DIM = 48  # axes that are sketched: beyond them patches are nearly Gaussian, of varying size
PILOT_COMPONENTS = 20  # of the mixture that says how the axes beyond them vary
DITHER = 1 / 255  # width of the uniform noise that hides the rounding of 8-bit photographs


class PatchSketch(files.Storable, kind="patch-sketch"):
    """The sketch of the patches of signals, with the transform and reference to learn from it.

    Attributes
    ----------
    transform : PatchTransform
        From patches to white coordinates.
    reference : ReferenceMeasure
        A Gaussian scale mixture, fitted to the white coordinates of a subsample.
    sketch : Sketch
        Of all patches, in the coordinates in which `reference` is standard normal (`gaussianise`).
    channel_axis : int or None
        The axis of the signals that has the channels.
    rate : float or None
        Of sounds, in samples per second.
    pilot : MixtureOfScaleMixtures or None
        If there are more axes than are sketched, a mixture that is fitted to all white coordinates
        of the subsample, those beyond the sketch as its tail. It says how the tail follows from the
        others.
    noise : float
        Standard deviation of the white noise that all signals have, or are given, or zero; of
        sounds in units of the clean ones, scaled to a root mean square of 1. Everything above
        refers to the noisy signals; learning takes the noise out.

    Raises
    ------
    ValueError
        Parts of different dimensions.
    """

    def __init__(
        self,
        transform: PatchTransform,
        reference: ReferenceMeasure,
        sketch: Sketch,
        channel_axis: int | None = None,
        rate: float | None = None,
        pilot: MixtureOfScaleMixtures | None = None,
        noise: float = 0.0,
    ) -> None:
        dims = [transform.dim, reference.dim, sketch.dim]
        if pilot is not None:
            dims.append(pilot.head_dim)
        if len(set(dims)) > 1:
            raise ValueError(
                f"transform, reference, sketch and pilot must share the dimension, got {dims}"
            )
        if pilot is not None and pilot.dim != transform.all_stds.size:
            raise ValueError(
                f"pilot must have dimension {transform.all_stds.size}, that of all axes, "
                f"got {pilot.dim}"
            )
        self.transform = transform
        self.reference = reference
        self.sketch = sketch
        self.channel_axis = channel_axis
        self.rate = rate
        self.pilot = pilot
        self.noise = as_nonnegative(noise, "noise")

    def __repr__(self) -> str:
        parts = f"reference={self.reference}, sketch={self.sketch}"
        parts += f", noise={self.noise:g}" if self.noise else ""
        return f"PatchSketch({self.transform}, {parts})"

    @property
    def scale_mixture(self) -> GaussianScaleMixture:
        """`reference`; ValueError if it is not a Gaussian scale mixture."""
        if not isinstance(self.reference, GaussianScaleMixture):
            raise ValueError(
                "patch_sketch has no Gaussian scale mixture as its reference: "
                "make it anew with sketch_signals"
            )
        return self.reference

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        return (
            files.parts_of("transform", self.transform)
            | files.parts_of("reference", self.reference)
            | files.parts_of("sketch", self.sketch)
            | layout_to_arrays(self.channel_axis, self.rate)
            | ({} if self.pilot is None else files.parts_of("pilot", self.pilot))
            | ({"noise": self.noise} if self.noise else {})
        )

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> PatchSketch:
        """The sketch whose `to_arrays` gave `arrays`."""
        has_pilot = any(name.startswith("pilot.") for name in arrays)
        return cls(
            files.part_from("transform", arrays, PatchTransform),
            files.part_from("reference", arrays, ReferenceMeasure),
            files.part_from("sketch", arrays, Sketch),
            *layout_from_arrays(arrays),
            files.part_from("pilot", arrays, MixtureOfScaleMixtures) if has_pilot else None,
            float(arrays.get("noise", 0.0)),
        )


def layout_to_arrays(channel_axis: int | None, rate: float | None) -> files.Arrays:
    """What a file keeps of the layout of signals: what is not None."""
    layout = {"channel_axis": channel_axis, "rate": rate}
    return {name: value for name, value in layout.items() if value is not None}


def layout_from_arrays(arrays: files.Arrays) -> tuple[int | None, float | None]:
    """(channel_axis, rate) of `layout_to_arrays`."""
    channel_axis = int(arrays["channel_axis"]) if "channel_axis" in arrays else None
    return channel_axis, float(arrays["rate"]) if "rate" in arrays else None


def sketch_signals(
    signals: Sequence[ArrayLike],
    patch: int | Sequence[int] = 6,
    m: int = 4000,
    rng: Any = None,
    progress: bool = False,
    checkpoint: files.PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    *,
    channel_axis: int | None = None,
    dim: int = MAX_DIM,
    keep_means: bool = True,
    dither: float = 0.0,
    noise: float | Sequence[float] | str = 0.0,
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
) -> PatchSketch:
    """Sketch all overlapping patches of signals of any shape.

    A subsample of the patches is used to fit the transform (keep the means of the channels apart,
    project on the leading principal axes, scale to unit variance) and a Gaussian scale mixture, and
    to choose the frequencies at which patches differ from it (`adapt_frequencies`). The sketch then
    reads every patch once, in the coordinates in which the scale mixture is standard normal
    (`gaussianise`).

    Parameters
    ----------
    signals : sequence of arrays
        (T,), (H, W) or (D, H, W), with or without an axis of channels: sounds, images, volumes.
        Their sizes may differ. Floats; 8 and 16-bit integers are divided by the largest value of
        their type.
    patch : int or tuple of int
        Sides of the patches: one for all axes, or one per axis. A patch has all channels.
    m : int
        Number of frequencies.
    rng : int or numpy.random.Generator, optional
    progress : bool
    checkpoint, checkpoint_every : optional
        As in `sketch`, counted in patches. The file also keeps what was fitted before the pass;
        `fastcl.load` reads it.
    channel_axis : int, optional
        The axis of the channels, if there are any.
    dim : int
        Largest number of principal axes that are sketched. Along the others, patches count as
        independent and Gaussian, with variances that follow from the sketched coordinates as they
        do in the subsample.
    keep_means : bool
        Whether the mean of every channel of a patch is kept apart, and is not denoised in itself.
    dither : float
        Width of the uniform noise that hides the rounding of the values, such as 1 / 255.
    noise : float, sequence of float, or "estimate"
        Standard deviation of the white Gaussian noise that the signals have, on the scale of their
        floats, or one for each of them: the less noisy ones get more noise until all have the same.
        "estimate" is for signals of one camera or instrument: the level below which a tenth of the
        results of `estimate_noise` lie, as fine texture raises the others; a signal without any
        noise counts as zero. `learn_patches` then learns the prior of signals without noise.
    subsample : int
        Approximate number of patches in the subsample.
    effort : SearchEffort, optional
        How long to search for frequencies, see `adapt_frequencies`.

    Returns
    -------
    PatchSketch

    Raises
    ------
    TypeError, ValueError
        No signals; one that is not finite, smaller than a patch, or with other axes or channels
        than the first; noise that a signal cannot have; a checkpoint of other signals or settings.
    OSError
        A checkpoint that cannot be written.

    Notes
    -----
    Peak memory besides the signals: the patches of the subsample and their coordinates, about 40 D
    bytes per patch of D numbers, and what `adapt_frequencies` takes.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> stereo = np.random.default_rng(0).standard_normal((3000, 2)).cumsum(axis=0) / 100
    >>> sketch = fastcl.sketch_signals([stereo], patch=8, m=50, channel_axis=-1, rng=0)
    >>> sketch.transform
    PatchTransform(patch=(8,), channels=2, dim=14)
    """
    patch_signals = Signals(signals, "signals", patch, channel_axis)
    settings = PassSettings(m, dim, keep_means, dither, subsample, effort, as_noise(noise))
    return sketch_patches(patch_signals, settings, rng, progress, checkpoint, checkpoint_every)


def sketch_images(
    images: Sequence[ArrayLike] | files.PathLike,
    patch: int | Sequence[int] = 6,
    m: int = 4000,
    rng: Any = None,
    progress: bool = False,
    checkpoint: files.PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    *,
    channel_axis: int | None = None,
    dim: int = MAX_DIM,
    noise: float | Sequence[float] | str = 0.0,
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
    skip_bad: bool = False,
) -> PatchSketch:
    """Sketch all overlapping patches of photographs: `sketch_signals` in units of [0, 1].

    Parameters
    ----------
    images : sequence of arrays (H, W), or path
        Grey photographs in [0, 1]; 8 and 16-bit integers are divided by their largest value. Colour
        has an axis of channels. A path names a folder of image files (PNG, JPEG, TIFF, BMP, PGM;
        needs the extra "demo"), which are opened one at a time, and turned upright: in colour if
        `channel_axis` is given, and in grey otherwise. Hidden files are passed over.
    patch : int or (int, int)
        Sides of the patches in pixels.
    m, rng, progress, checkpoint, checkpoint_every, dim, noise, subsample, effort
        As in `sketch_signals`. The dither is one step of 8-bit levels.
    channel_axis : int, optional
        The axis of the channels; -1 for (H, W, 3).
    skip_bad : bool
        Whether to leave out the files of a folder that cannot be used, with a warning for each,
        instead of raising an error. Each file is then read once more.

    Returns
    -------
    PatchSketch

    Raises
    ------
    TypeError, ValueError
        No images; an image with alpha or NaN, not in [0, 1], with other channels than the first, or
        smaller than a patch; a checkpoint of other images or settings.
    OSError, ImportError
        A folder that cannot be read, or a checkpoint that cannot be written; a folder without the
        extra "demo".

    Notes
    -----
    Memory as in `sketch_signals`.
    """
    patch = as_patch(patch, 2)
    settings = PassSettings(m, dim, True, DITHER, subsample, effort, as_noise(noise))
    opened = _open_images(images, patch, channel_axis, skip_bad)
    return sketch_patches(opened, settings, rng, progress, checkpoint, checkpoint_every)


class PassSettings(NamedTuple):
    """What a sketch of patches depends on besides the signals and the seed."""

    m: int
    dim: int
    keep_means: bool
    dither: float
    subsample: int
    effort: SearchEffort | None
    noise: GivenNoise = 0.0

    def check(self) -> None:
        """TypeError or ValueError for a setting that makes no sense."""
        for name in ("m", "dim", "subsample"):
            as_count(getattr(self, name), name)
        if not (np.ndim(self.dither) == 0 and 0 <= self.dither < np.inf):
            raise ValueError(f"dither must be a number, not negative, got {self.dither!r}")
        if self.effort is not None and not isinstance(self.effort, SearchEffort):
            raise TypeError(f"effort must be a fastcl.SearchEffort, got {self.effort!r}")

    def describe(self, seed: int | None) -> str:
        """A text that differs between settings; it leaves out what is as it is by default."""
        words = [f"m={self.m} seed={seed}"]
        default = PassSettings(self.m, MAX_DIM, True, DITHER, SUBSAMPLE, None)
        for name, value in self._asdict().items():
            if value != getattr(default, name):
                words.append(str(value) if name == "effort" else f"{name}={value}")
        return " ".join(words)


def sketch_patches(
    signals: Signals,
    settings: PassSettings,
    rng: Any = None,
    progress: bool = False,
    checkpoint: files.PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    *,
    rate: float | None = None,
    levels: NDArray | None = None,
) -> PatchSketch:
    """The `PatchSketch` of checked signals; `rate` is that of sounds, in samples per second.

    `levels` (n,) are those of the noise in the signals, if they do not follow from the settings.
    """
    settings.check()
    checkpoint_every = as_count(checkpoint_every, "checkpoint_every")
    source = Patches(signals)
    is_repeatable = rng is not None
    rng = as_generator(rng)
    seed = int(rng.integers(2**63))
    result = state = None
    if checkpoint is not None:
        words = f" {settings.describe(seed if is_repeatable else None)}"
        state = PassState(source.describe() + words, seed=seed)
        result = _resumed(checkpoint, source.describe(), state.data)
    if levels is None and result is not None and settings.noise == ESTIMATE:
        levels = np.full(len(signals), result.noise)
    levels = noise_levels(settings.noise, signals) if levels is None else levels
    added = AddedNoise(settings.dither, levels, signals.name)
    if result is None:
        result = _fitted(signals, settings, added, rng, progress, rate)
        result.sketch.pass_state = state
        if checkpoint is not None:  # the fit may take longer than the pass
            result.save(checkpoint)
    if result.sketch.pass_state is not None:
        seed = result.sketch.pass_state.seed
    source.prepare = _coordinates(result, added, seed)
    run_pass(
        result.sketch,
        source,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        save=result.save,
    )
    return result


def _open_images(
    images: Any, patch: tuple[int, ...], channel_axis: int | None, skip_bad: bool
) -> Signals:
    if isinstance(images, np.ndarray) and images.ndim == 2 + (channel_axis is not None):
        raise ValueError("images must be a sequence of images, got one: pass [image]")
    items = images
    if isinstance(images, (str, os.PathLike)):
        if channel_axis not in (None, -1, 2):
            raise ValueError(f"channel_axis of a folder must be -1, the last, got {channel_axis!r}")
        items = ImageFolder(images, patch, skip_bad, colour=channel_axis is not None)
    return Signals(items, "images", patch, channel_axis, 2, check_photograph)


def _resumed(checkpoint: files.PathLike, signals: str, data: str) -> PatchSketch | None:
    """The `PatchSketch` in a checkpoint, or None if there is no such file.

    ValueError unless it belongs to a pass over `data`: these `signals`, with all settings.
    """
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return None
    result = PatchSketch.load(checkpoint)
    found = getattr(result.sketch.pass_state, "data", "")
    if found != data:
        same = found.startswith(f"{signals} ")
        raise (ValueError if same else OtherData)(
            f"checkpoint {str(checkpoint)!r} belongs to other {'settings' if same else 'signals'}: "
            "remove it to start anew"
        )
    return result


def _fitted(
    signals: Signals,
    settings: PassSettings,
    added: AddedNoise,
    rng: np.random.Generator,
    progress: bool,
    rate: float | None,
) -> PatchSketch:
    """Everything that is fitted on a subsample, with an empty sketch."""
    sample = rng.permutation(_random_patches(signals, settings.subsample, added, rng))
    transform = PatchTransform.fit(
        added.dither(sample, rng),
        signals.patch,
        settings.dim,
        signals.channels,
        settings.keep_means,
    )
    white = transform.with_dim().whiten(added.dither(sample, rng))
    n_tail = white.shape[1] - transform.dim
    pilot = None
    if n_tail:
        pilot = MixtureOfScaleMixtures.fit(
            white, PILOT_COMPONENTS, rng=rng, progress=progress, n_tail=n_tail
        )
        white = np.ascontiguousarray(white[:, : transform.dim])
    reference = GaussianScaleMixture.fit(white)
    normal = standard_normal(transform.dim)
    points = reference.gaussianise(white)
    omega = adapt_frequencies(points, settings.m, normal, rng, progress, effort=settings.effort)
    sketch = Sketch(omega)
    sketch.domain = normal
    layout = signals.channel_axis, rate
    return PatchSketch(transform, reference, sketch, *layout, pilot, added.sigma)


def _coordinates(
    fitted: PatchSketch, added: AddedNoise, seed: int
) -> Callable[[int], Callable[[NDArray], NDArray]]:
    """For the index of a signal, the function from its patches to the coordinates of the sketch.

    What is added to a signal depends on the seed and the index alone, so that a pass can resume.
    """

    transform = fitted.transform
    scale_mixture = fitted.scale_mixture

    def prepare(index: int) -> Callable[[NDArray], NDArray]:
        rng = np.random.default_rng([seed, index])
        noise_rng = np.random.default_rng([seed, index, 1])  # so that tiles make no difference

        def to_coordinates(patches: NDArray) -> NDArray:
            noisy = added.complete(patches.astype(np.float32), index, noise_rng)
            return scale_mixture.gaussianise(transform.whiten(added.dither(noisy, rng)))

        return to_coordinates

    return prepare


def _random_patches(
    signals: Signals, n: int, added: AddedNoise, rng: np.random.Generator
) -> NDArray:
    """About n flat patches, from every signal in proportion to its number of patches.

    All have the same noise.
    """
    patch = signals.patch
    totals = [math.prod(position_counts(shape, patch)) for shape in signals.shapes]
    counts = np.array(totals, np.float64)
    counts = np.ceil(n * counts / counts.sum()).astype(int)
    sample = []
    for index, count in enumerate(counts):
        signal = signals[index]
        axes = tuple(range(1, signal.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(signal, patch, axis=axes)
        places: list[Any] = [slice(None)]
        places += [rng.integers(size, size=count) for size in windows.shape[1 : signal.ndim]]
        chosen = np.moveaxis(windows[tuple(places)], 0, 1)  # (count, C, *patch)
        flat = chosen.reshape(count, -1).astype(np.float32)
        added.check(flat, index)
        sample.append(added.complete(flat, index, rng))
    return np.concatenate(sample)
