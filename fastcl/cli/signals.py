"""Folders and files of signals: which fit which model, and in which units."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..data.image_formats import kept_dtype
from ..data.npy_files import open_npy
from ..data.readers import SignalFolder
from ..data.signal_files import SignalFile, open_signal, outputs_of, write_signal
from ..data.signals import AXES, check_size
from ..denoising.audio import sketch_audio
from ..denoising.colour import denoise_channels
from ..denoising.noise_level import estimate_noise
from ..denoising.noisy_signals import ESTIMATE
from ..denoising.patch_model import SignalModel
from ..denoising.patch_sketch import PatchSketch, sketch_images, sketch_signals
from ..denoising.photographs import denoise_image, ready_path
from ..denoising.restoration import denoise_signal
from ..denoising.spectral import estimate_audio_noise
from .streams import warn

KINDS = {1: "sounds", 2: "photographs", 3: "volumes"}
PATCHES = {1: 40, 2: 6, 3: 4}  # sides by default, by the number of axes
MAX_CHANNELS = 4  # on the last axis of an array, if the model has none
LEVELS = 255  # of which the noise of photographs is counted


def axes_of(kept: SignalModel | PatchSketch) -> int:
    """Number of axes of the signals of a model or sketch; sounds with a rate become spectra."""
    return 1 if kept.rate is not None else len(kept.transform.patch)


def sketch_folder(options: Namespace, source: Path, checkpoint: Path) -> PatchSketch:
    """The sketch of the patches of a folder of signals, which resumes from the checkpoint."""
    result = _sketch_folder(options, source, checkpoint)
    if options.noise == ESTIMATE:
        print(f"estimated noise: {noise_in_words(result)}")
    return result


def noise_in_words(sketch: PatchSketch) -> str:
    """The standard deviation of the noise of signals, with its unit."""
    if sketch.rate is not None:
        return f"{sketch.noise:.3g} times the level of the sounds"
    if axes_of(sketch) == 2:
        return f"{LEVELS * sketch.noise:.3g} grey levels"
    return f"{sketch.noise:.3g}"


def _sketch_folder(options: Namespace, source: Path, checkpoint: Path) -> PatchSketch:
    patch = PATCHES if options.patch is None else options.patch
    folder = SignalFolder(source, patch, options.skip_bad, colour=options.colour)
    settings: dict[str, Any] = {"rng": options.seed, "checkpoint": checkpoint}
    settings |= {"channel_axis": folder.channel_axis, "progress": not options.quiet}
    if options.m is not None:
        settings["m"] = options.m
    if options.noise is not None:
        settings["noise"] = _in_units(options.noise, folder.n_axes)
    if folder.rate is not None:
        if options.patch is not None:
            raise ValueError("--patch is not for sounds: their spectra have patches of one size")
        return sketch_audio(folder, folder.rate, **settings)
    if folder.n_axes == 2:
        return sketch_images(folder, folder.patch, **settings)
    return sketch_signals(folder, folder.patch, dither=folder.step, **settings)


def _in_units(noise: float | str, n_axes: int) -> float | str:
    """--noise in units of the signals, if it is a number."""
    if isinstance(noise, str) or n_axes != 2:
        return noise
    _warn_of_grey_levels("sketch", "--noise", noise)
    return noise / LEVELS


def ready_for(path: Path) -> str:
    """The file of the ready model for a photograph; ValueError for any other file."""
    if path.suffix.lower() == ".npz":
        raise ValueError(f"{str(path)!r} is no signal: name the noisy file after it")
    shape = open_npy(path).shape if path.suffix.lower() == ".npy" else ()
    file = open_signal(path, len(shape) == 3 and shape[-1] == 3)
    if len(file.shape) != 2:
        what = f"of shape {shape}" if shape else f"a {file.kind}"
        raise ValueError(
            f"{file.name} is {what}, and fastcl has ready models of photographs alone: learn one "
            "with `fastcl sketch` and `fastcl learn`, and name it before the noisy file"
        )
    is_grey = file.channels is None or _is_grey(file.read())
    return str(ready_path("grey" if is_grey else "colour"))


def _is_grey(photograph: NDArray) -> bool:
    """Whether all channels (H, W, C) are the same, and so is their noise."""
    return bool((photograph == photograph[..., :1]).all())


def denoise_file(model: SignalModel, options: Namespace, sigma: float | None) -> str:
    """Denoise one file with a model of its kind, and write it in its own type of samples.

    Returns what has been done, in words. ValueError, before the work, for a file that does not fit.
    """
    out = Path(options.out)
    file = open_noisy(Path(options.noisy), model, options.prior)
    suffixes = outputs_of(file, model.rate)
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"the output must end in {' or '.join(suffixes)}, got {options.out!r}")
    signal = file.read()
    n_axes = axes_of(model)
    is_grey = (n_axes, signal.ndim, model.channel_axis) == (2, 3, None) and _is_grey(signal)
    if is_grey:
        signal = signal[..., 0]
    scale = LEVELS if n_axes == 2 else 1
    _warn_of_the_scale(sigma, n_axes, signal)
    _warn_of_the_depth(file, out)
    if sigma is None:
        sigma = scale * _noise_of(model, signal)
    settings = {"strength": options.strength, "estimator": options.estimator}
    settings |= {"effort": options.effort, "progress": not options.quiet}
    clean = _denoised(model, signal, sigma / scale, settings)
    check_finite(clean, options.prior)
    if is_grey:
        clean = np.stack([clean] * (file.channels or 1), axis=-1)
    with files.replacing(out) as stream:
        write_signal(stream, clean, out.suffix.lower(), file, model.rate)
    done = f"denoised at sigma {sigma:g}"
    if model.channel_axis is None and signal.ndim > n_axes:
        done += f"; {signal.shape[-1]} channels by a model of one: one of them all does better"
    return done


def _noise_of(model: SignalModel, signal: NDArray) -> float:
    """The level of the noise that the channels, which come last, share."""

    def estimate(part: NDArray, axis: int | None = None) -> float:
        if model.rate is not None:
            return estimate_audio_noise(part, model.rate, axis)
        return estimate_noise(part, axis)

    if signal.ndim == axes_of(model):
        return estimate(signal)
    if model.channel_axis is not None:
        return estimate(signal, -1)
    return float(np.mean([estimate(channel) for channel in np.moveaxis(signal, -1, 0)]))


def _denoised(
    model: SignalModel, signal: NDArray, sigma: float, settings: dict[str, Any]
) -> NDArray:
    """A signal, with its channels last, denoised with all of them together or one by one."""
    axis = model.channel_axis
    if axis is None and signal.ndim > model.n_axes:
        return denoise_channels(model, signal, sigma, **settings)
    denoise: Any = denoise_image if model.n_axes == 2 else denoise_signal
    if axis is None:
        return denoise(model, signal, sigma, **settings)
    clean = denoise(model, np.moveaxis(signal, -1, axis), sigma, **settings)
    return np.moveaxis(clean, axis, -1)


def check_finite(clean: NDArray, prior: str) -> None:
    """FloatingPointError for a result that holds NaN or infinity."""
    if not np.isfinite(clean).all():
        raise FloatingPointError(
            f"the result is not finite: {prior!r} is damaged, or sigma or the strength is extreme"
        )


def open_noisy(path: Path, model: SignalModel, prior: str) -> SignalFile:
    """The file of a noisy signal; ValueError unless it has the axes and channels of the model."""
    n_axes, channels = axes_of(model), model.transform.channels
    is_array = path.suffix.lower() == ".npy"
    file = open_signal(path, is_array and len(open_npy(path).shape) == n_axes + 1)
    words = f"{prior!r} is a model of {KINDS[n_axes]} {AXES[n_axes]}"
    if len(file.shape) != n_axes:
        what = f"of shape {file.shape}" if is_array else f"a {file.kind}"
        raise ValueError(f"{words}, but {file.name} is {what}")
    found = file.channels or 1
    if model.channel_axis is not None and file.channels != channels:
        which = f"has {found} channels" if found > 1 else "has one channel"
        raise ValueError(f"{words} with {channels} channels, but {file.name} {which}")
    if is_array and channels == 1 and found > MAX_CHANNELS:
        raise ValueError(f"{words}, but {file.name} is of shape {(*file.shape, found)}")
    if file.rate is not None and model.rate not in (None, file.rate):
        raise ValueError(
            f"{words} of {model.rate:g} Hz, but {file.name} is of {file.rate} Hz: resample it"
        )
    if model.rate is None:
        check_size(file.shape, file.name, model.transform.patch)
    return file


def _warn_of_the_scale(sigma: float | None, n_axes: int, signal: NDArray) -> None:
    """Warn of a sigma that is certainly on the other of the two scales."""
    if sigma is None:
        return
    if n_axes == 2:
        _warn_of_grey_levels("denoise", "--sigma", sigma)
    elif sigma > np.ptp(signal):
        warn(
            "denoise",
            f"--sigma {sigma:g} is more than the range of the signal, {np.ptp(signal):.3g}: for "
            f"sounds and volumes full scale is 1: did you mean {sigma / LEVELS:.3g}?",
        )


def _warn_of_grey_levels(command: str, option: str, sigma: float) -> None:
    """Warn of a sigma that is certainly not in grey levels."""
    if sigma < 1:
        warn(
            command,
            f"{option} {sigma:g} is less than one grey level: "
            f"for images it is on the 0..255 scale: did you mean {LEVELS * sigma:g}?",
        )


def _warn_of_the_depth(file: SignalFile, out: Path) -> None:
    suffix = out.suffix.lower()
    if len(file.shape) != 2 or file.sample != "uint16" or suffix == ".npy":
        return
    if kept_dtype(np.dtype(np.uint16), suffix, 2 + (file.channels is not None)) == np.uint8:
        warn("denoise", f"{out.name} is written with 8 bits of 16: TIFF files keep them all")
