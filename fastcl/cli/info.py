"""`fastcl info`: what a file holds, in a few lines."""

from __future__ import annotations

import math
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..data.image_formats import IMAGE_SUFFIXES
from ..data.npy_files import open_npy
from ..data.readers import SignalFolder, read_array
from ..data.signal_files import Array, Photograph, open_signal
from ..data.signals import UNITS
from ..data.sound_formats import SOUND_SUFFIXES
from ..denoising.patch_model import SignalModel
from ..denoising.patch_sketch import PatchSketch
from ..fourier.structured import Frequencies, StructuredFrequencies
from ..measures.base import ReferenceMeasure
from ..priors.base import Prior
from ..priors.gaussianised import GaussianisedPrior
from ..priors.max_entropy import MaxEntropyPrior
from ..sketching.checkpoint import PassState
from ..sketching.sketch import Sketch
from .signals import KINDS as SIGNALS
from .signals import axes_of, noise_in_words

Lines = list[tuple[str, object]]  # (name, what is said about it)


def describe(path: files.PathLike) -> list[str]:
    """The lines of `fastcl info`.

    Raises FileNotFoundError, or ValueError for a file that is neither one of fastcl's nor data.
    """
    path = Path(path)
    lines: Lines
    if path.is_dir():
        lines = _folder(SignalFolder(path))
    elif path.suffix.lower() in (".npy", *IMAGE_SUFFIXES, *SOUND_SUFFIXES):
        lines = _data(path)
    else:
        kind, version, arrays = files.read_versioned(path)
        name = "signal-model" if kind == SignalModel.kind else kind  # it began with images
        lines = [("kind", name.replace("-", " ")), ("format version", version)]
        if kind == "checkpoint":
            lines += _checkpoint(arrays)
        else:
            lines += about(files.load(path, files.Storable))
    width = max(len(name) for name, _ in lines) + 2
    return [f"{name + ':':{width}}{said}" for name, said in [("file", path), *lines]]


def _folder(folder: SignalFolder) -> Lines:
    """What is said about a folder of signals."""
    word = "images" if folder.kind == Photograph.kind else f"{folder.kind}s"
    sizes = [math.prod(shape[: folder.n_axes]) for shape in folder.shapes]
    lines: Lines = [("kind", f"folder of {word}"), (word, len(folder))]
    return lines + _size(UNITS[folder.n_axes], f"{sum(sizes):,}", folder.rate, folder.channels)


def _data(path: Path) -> Lines:
    """What is said about a file of data."""
    if path.suffix.lower() == ".npy" and len(open_npy(path).shape) == 2:
        array = read_array(path)
        lines: Lines = [("kind", "array"), ("points (n)", f"{array.shape[0]:,}")]
        return [*lines, ("dimension (d)", array.shape[1]), ("type", array.dtype)]
    file = open_signal(path)
    lines = [("kind", "image" if file.kind == Photograph.kind else file.kind)]
    size = " x ".join(str(size) for size in file.shape)
    unit = "shape" if file.kind == Array.kind else UNITS[len(file.shape)]
    return [*lines, *_size(unit, size, file.rate, file.channels), ("type", file.sample)]


def _size(unit: str, size: str, rate: float | None, channels: int | None) -> Lines:
    lines: Lines = [(unit, size)]
    if rate is not None:
        lines.append(("rate", f"{rate:g} Hz"))
    return lines if channels is None else [*lines, ("channels", channels)]


@singledispatch
def about(thing: Any) -> Lines:
    """What is said about an object, line by line."""
    return [("holds", thing), ("made by", "save, in Python")]


@about.register
def _(sketch: Sketch) -> Lines:
    lines: Lines = [("points (n)", f"{sketch.count:,}"), ("dimension (d)", sketch.dim)]
    lines += _frequencies(sketch.omega)
    if sketch.bits is not None:
        lines.append(("quantised", f"{sketch.bits} bits per feature"))
    if sketch.noise is not None:
        lines.append(("noise taken out", sketch.noise))
    lines.append(("domain", "unknown" if sketch.domain is None else sketch.domain))
    lines.append(("privacy", _privacy(sketch)))
    made = "fastcl sketch, or sketch in Python"
    if sketch.privacy is not None:
        made = "release"
    if sketch.pass_state is not None:
        made += f": {_pass(sketch.pass_state)}"
    return [*lines, ("made by", made)]


def _signals(kept: PatchSketch | SignalModel) -> Lines:
    """The signals of a sketch or a model: their kind, and the sides and channels of a patch."""
    transform = kept.transform
    words = SIGNALS[axes_of(kept)]
    if transform.channels > 1:
        words += f", {transform.channels} channels"
    if kept.rate is not None:
        words += f", {kept.rate:g} Hz"
    unit = "frames and bins" if kept.rate is not None else UNITS[len(transform.patch)]
    sides = " x ".join(map(str, transform.patch)) + f" {unit}"
    patches = f"{sides}, whitened to {transform.dim} coordinates"
    return [("signals", words), ("patches", patches)]


@about.register
def _(patch_sketch: PatchSketch) -> Lines:
    lines = _signals(patch_sketch)
    if patch_sketch.noise:
        lines.append(("noise in them", f"standard deviation {noise_in_words(patch_sketch)}"))
    lines += about(patch_sketch.sketch)[:-1]
    made = "fastcl sketch of a folder, or sketch_signals"
    state = patch_sketch.sketch.pass_state
    if state is not None:
        made += f": {_pass(state)}"
    return [*lines, ("reference", patch_sketch.reference), ("made by", made)]


@about.register
def _(prior: Prior) -> Lines:
    lines: Lines = [("dimension (d)", prior.dim), ("density", prior)]
    if isinstance(prior, MaxEntropyPrior):
        return [*lines, *_frequencies(prior.omega), ("made by", "max_entropy")]
    return [*lines, ("made by", "fastcl learn, or learn in Python")]


@about.register
def _(measure: ReferenceMeasure) -> Lines:
    return [("dimension (d)", measure.dim), ("density", measure), ("made by", "save, in Python")]


@about.register
def _(model: SignalModel) -> Lines:
    lines = [*_signals(model), ("density", model.prior)]
    method = "max_entropy" if model.density is not None else "a network"
    if isinstance(model.density, GaussianisedPrior):
        lines.append(("fitted to", model.density.prior))
    passes = ", ".join(f"{value:g}" for value in model.precisions)
    lines.append(("precisions", f"{passes} times that of the noise"))
    return [*lines, ("made by", f"fastcl learn, or learn_patches, by {method}")]


def _checkpoint(arrays: files.Arrays) -> Lines:
    """What is said about the checkpoint of `learn`; ValueError if it is damaged."""
    try:
        omega: NDArray = np.asarray(arrays["omega"])
        lines: Lines = [("steps", int(arrays["iteration"])), ("parameters", arrays["theta"].size)]
        lines += [("dimension (d)", omega.shape[1]), *_frequencies(omega)]
        lines += [("settings", f"{arrays['settings']!s:.200}")]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint is damaged ({error})") from None
    return [*lines, ("made by", "fastcl learn --checkpoint, or learn in Python")]


def _frequencies(omega: Frequencies) -> Lines:
    m = len(omega)
    kind = repr(omega) if isinstance(omega, StructuredFrequencies) else "drawn one by one"
    radii = np.linalg.norm(np.asarray(omega), axis=1)
    low, middle, high = np.quantile(radii, [0, 0.5, 1])
    return [
        ("frequencies (m)", f"{m}, {kind}"),
        ("their radii", f"{low:.3g} to {high:.3g}, median {middle:.3g} radians per unit"),
    ]


def _pass(state: PassState) -> str:
    return f"the checkpoint of a pass that is {'complete' if state.complete else 'interrupted'}"


def _privacy(sketch: Sketch) -> str:
    if sketch.privacy is not None:
        epsilon, delta = sketch.privacy
        return f"a release with epsilon {epsilon:g}, delta {delta:g}"
    epsilon, delta = sketch.spent
    if not epsilon:
        return "none: these are the raw moments"
    return f"none itself; releases of it have spent epsilon {epsilon:g}, delta {delta:g}"
