"""Files that hold one signal each: photographs, sounds, volumes, and arrays of any of these.

A file is opened for what its header says, read as floats with full scale 1, and a signal like it is
written in the same type of samples, as far as the format of the output has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import image_formats, sound_formats, tiff_formats
from .image_formats import IMAGE_SUFFIXES
from .npy_files import open_npy
from .signals import as_photograph
from .sound_formats import SOUND_SUFFIXES
from .tiff_formats import TIFF_SUFFIXES

KINDS = {1: "sound", 2: "photograph", 3: "volume"}  # number of axes -> what it is taken for


class SignalFile:
    """A file with one signal in it, of which only the header has been read.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        Its axes, without the channels.
    channels : int or None
        None if it has no axis of channels.
    sample : str
        The type of its samples.
    rate : int or None
        Samples per second.
    is_rgb : bool
        Whether its channels are red, green and blue.
    """

    kind: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # of files that can be read
    path: Path
    shape: tuple[int, ...]
    channels: int | None = None
    sample: str
    rate: int | None = None
    is_rgb: bool = False

    @property
    def step(self) -> float:
        """The distance of two levels of its samples, as `read` returns them: 0 for floats."""
        if self.sample[0] == "f":
            return 0.0
        bits = int(self.sample.lstrip("uint"))
        is_signed = self.sample[0] == "i" or self.kind == "sound"
        return 2.0 ** (1 - bits) if is_signed else 1 / (2.0**bits - 1)

    @property
    def name(self) -> str:
        """The path in quotes, for messages."""
        return repr(str(self.path))

    def read(self) -> NDArray:
        """The signal as floats: (*shape), or (*shape, channels)."""
        raise NotImplementedError


class Photograph(SignalFile):
    """An image file, grey (H, W) or in colour (H, W, 3), upright, on the scale [0, 1]."""

    kind = "photograph"
    suffixes = IMAGE_SUFFIXES

    def __init__(self, path: Path) -> None:
        self.path = path
        opened = image_formats.open_image(path)
        self.shape = opened.shape
        self.channels = opened.channels if opened.channels > 1 else None
        self.is_rgb = self.channels is not None
        self.sample = opened.dtype.name

    def read(self) -> NDArray:
        """(H, W) or (H, W, 3); ValueError for floats that are far from [0, 1]."""
        return as_picture(image_formats.read_levels(self.path), self.name)


class Sound(SignalFile):
    """A WAV file, (T,) or (T, channels), with full scale 1."""

    kind = "sound"
    suffixes = SOUND_SUFFIXES

    def __init__(self, path: Path) -> None:
        self.path = path
        header = sound_formats.read_header(path)
        self.shape = (header.frames,)
        self.channels = header.channels if header.channels > 1 else None
        self.sample = header.sample
        self.rate = header.rate

    def read(self) -> NDArray:
        """(T,) or (T, channels)."""
        return sound_formats.read_sound(self.path)


class Volume(SignalFile):
    """A TIFF file of several pages, (D, H, W) or (D, H, W, channels); integers have full scale 1.

    Its axis D is depth or time. Floats stay as they are.
    """

    kind = "volume"
    suffixes = TIFF_SUFFIXES

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack = image_formats.stack_header(path)
        opened = self.stack.opened
        self.shape = opened.shape
        self.channels = opened.channels if opened.channels > 1 else None
        self.is_rgb = "S" in self.stack.axes
        self.sample = opened.dtype.name

    def read(self) -> NDArray:
        """(D, H, W) or (D, H, W, channels): float32, but float64 for a file of float64."""
        return as_floats(image_formats.read_stack(self.path), self.name)


class Array(SignalFile):
    """A .npy file; integers have full scale 1, floats stay as they are.

    Parameters
    ----------
    path : Path
    has_channels : bool
        Whether its last axis has channels.
    """

    kind = "array"
    suffixes = (".npy",)

    def __init__(self, path: Path, has_channels: bool = False) -> None:
        self.path = path
        array = open_npy(path)
        axes = len(array.shape) - has_channels
        if axes not in KINDS:
            words = " and one of channels" if has_channels else ", and colour if there are channels"
            raise ValueError(f"{self.name} has shape {array.shape}: it needs 1 to 3 axes{words}")
        self.shape = array.shape[:axes]
        self.channels = array.shape[axes] if has_channels else None
        self.sample = array.dtype.name
        _scale(array.dtype, self.name)
        if 0 in array.shape:
            raise ValueError(f"{self.name} of shape {array.shape} is empty")

    def read(self) -> NDArray:
        """The array: float32, but float64 for a file of float64 or of 32-bit integers."""
        return as_floats(open_npy(self.path)[:], self.name)


def open_signal(path: Path, has_channels: bool = False) -> SignalFile:
    """The file as what its suffix says: a TIFF file is a volume if it has several pages.

    `has_channels` says whether the last axis of a .npy file has channels. ValueError for a file
    that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in SOUND_SUFFIXES:
        return Sound(path)
    if suffix == ".npy":
        return Array(path, has_channels)
    if suffix in TIFF_SUFFIXES and image_formats.page_count(path) > 1:
        return Volume(path)
    return Photograph(path)


def outputs_of(file: SignalFile, rate: float | None = None) -> tuple[str, ...]:
    """The suffixes of files in which a signal like that of `file` can be written.

    A sound needs a rate: that of the file, or else `rate`.
    """
    kinds = {1: SOUND_SUFFIXES if file.rate or rate else (), 2: IMAGE_SUFFIXES, 3: TIFF_SUFFIXES}
    return (".npy", *kinds[len(file.shape)])


def write_signal(
    stream: IO[bytes], signal: NDArray, suffix: str, like: SignalFile, rate: float | None = None
) -> None:
    """Write a signal in the format of `suffix`, in the type of the samples of the file `like`.

    An array is written as floats unless `like` is one; an image has as many bits as its format
    allows.
    """
    if suffix == ".npy":
        np.save(stream, as_samples(signal, like.sample) if isinstance(like, Array) else signal)
    elif len(like.shape) == 1:
        known = sound_formats.BYTES  # all but the other types of arrays
        sample = like.sample if like.sample in known else "float32"
        sound_formats.write_sound(stream, signal, round(like.rate or rate or 0), sample)
    elif len(like.shape) == 2:
        dtype = image_formats.kept_dtype(np.dtype(like.sample), suffix, signal.ndim)
        image_formats.write_image(stream, signal, suffix, dtype)
    else:
        stack = like.stack if isinstance(like, Volume) else None
        tiff_formats.write_stack(stream, as_samples(signal, like.sample), stack)


def as_picture(image: NDArray, name: str) -> NDArray:
    """The samples of a grey or RGB image as floats in [0, 1]."""
    if image.ndim == 2:
        return as_photograph(image, name)
    channels = [as_photograph(channel, name) for channel in np.moveaxis(image, -1, 0)]
    return np.stack(channels, axis=-1)


def as_grey(signal: NDArray) -> NDArray:
    """The luminance of a signal in colour, (..., 3) -> (...)."""
    from skimage.color import rgb2gray

    return rgb2gray(signal)


def as_floats(samples: NDArray, name: str) -> NDArray:
    """Samples as finite floats, with full scale 1 for integers."""
    full = _scale(samples.dtype, name)
    is_double = samples.dtype.itemsize > 2 and samples.dtype != np.float32
    floats = samples.astype(np.float64 if is_double else np.float32)
    if samples.dtype.kind in "iu":
        floats /= full
    if not np.isfinite(floats).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return floats


def as_samples(signal: NDArray, sample: str) -> NDArray:
    """The inverse of `as_floats`: rounded and clipped to the type `sample` if it has integers."""
    dtype = np.dtype(sample)
    if dtype.kind == "f":
        return signal.astype(dtype)
    limits = np.iinfo(dtype)
    levels = np.round(signal.astype(np.float64) * _scale(dtype, ""))
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def _scale(dtype: np.dtype, name: str) -> float:
    """The level of full scale of a type of samples: 1 for floats."""
    dtype = dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return 1.0
    if dtype not in (np.uint8, np.uint16, np.int16, np.int32):
        raise ValueError(f"{name} holds {dtype}: save it as 8 or 16-bit integers, or floats")
    limits = np.iinfo(dtype)
    return float(limits.max if limits.min == 0 else -float(limits.min))
