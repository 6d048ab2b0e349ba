"""Image files: the samples that one holds, upright and at its own depth, and a file of them.

Pillow reads every format but TIFF, which it would cut down to 8 bits in colour, and to the first
of many pages.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .tiff_formats import (
    ALPHA,
    TIFF_STARTS,
    TIFF_SUFFIXES,
    Opened,
    Stack,
    Unsuitable,
    count_pages,
    open_picture,
    open_stack,
    upright,
)

T = TypeVar("T")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES, ".bmp", ".pgm")
PILLOW_MODES = ("1", "L", "P", "I", "F", "RGB", "RGBX", "YCbCr")
COLOUR_MODES = ("P", "RGB", "RGBX", "YCbCr")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")


def read_levels(path: Path) -> NDArray:
    """The samples of an image file: uint8, uint16 or floats, (H, W) or (H, W, 3), upright."""
    # Read it all first: from an open file, Pillow would allocate whatever a damaged length says.
    return _decoded(path, lambda file: _open(io.BytesIO(file.read())).read())


def open_image(path: Path) -> Opened:
    """The size, the number of channels and the type of the samples of an image file."""
    return _decoded(path, _open)


def read_stack(path: Path) -> NDArray:
    """The samples of a TIFF file of several pages: (D, H, W), or (D, H, W, C) with channels."""
    return _decoded(path, lambda file: open_stack(file).opened.read())


def stack_header(path: Path) -> Stack:
    """What the header of a TIFF file of several pages says."""
    return _decoded(path, open_stack)


def page_count(path: Path) -> int:
    """Number of pages of a TIFF file."""
    return _decoded(path, count_pages)


def write_image(file: IO[bytes], image: NDArray, suffix: str, dtype: DTypeLike) -> None:
    """Write floats (H, W) or (H, W, 3), on the scale [0, 1], as samples of `dtype`.

    Integers take 1 as their largest value, and what lies beyond is clipped.
    """
    dtype = np.dtype(dtype)
    samples = image
    if dtype.kind == "u":
        samples = np.round(np.iinfo(dtype).max * np.clip(image, 0, 1))
    samples = samples.astype(dtype)
    if suffix.lower() in TIFF_SUFFIXES:
        import tifffile

        photometric = "rgb" if image.ndim == 3 else "minisblack"
        content = io.BytesIO()  # tifffile wants the name of a real file
        tifffile.imwrite(content, samples, photometric=photometric, metadata=None)
        file.write(content.getbuffer())
    else:
        from PIL import Image

        formats = {".png": "PNG", ".bmp": "BMP", ".pgm": "PPM"}
        Image.fromarray(samples).save(file, formats.get(suffix.lower(), "JPEG"))


def kept_dtype(dtype: np.dtype, suffix: str, ndim: int) -> np.dtype:
    """The type of samples, as close to `dtype` as a file of that format holds it."""
    if suffix.lower() in TIFF_SUFFIXES and dtype.kind in "uf":
        return dtype
    in_grey = suffix.lower() in (".png", ".pgm") and ndim == 2
    return np.dtype(np.uint16 if dtype == np.uint16 and in_grey else np.uint8)


class _Bounded(io.FileIO):
    """A file of which nobody reads, and allocates, more than it holds."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, and no more than there are."""
        rest = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(rest if size is None or size < 0 else min(size, rest))


def _decoded(path: Path, decode: Callable[[IO[bytes]], T]) -> T:
    """`decode(file)` of a file; whatever it raises becomes a ValueError in one line."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    with _Bounded(path) as file:
        try:
            with warnings.catch_warnings():
                # Pillow warns of pictures above a size, and refuses those above twice that size.
                warnings.simplefilter("ignore")
                return decode(file)
        except Unsuitable as error:
            raise ValueError(f"{str(path)!r} {error}") from None
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # damaged bytes make decoders raise all kinds of exceptions
            if "pixels, could be decompression bomb" in str(error):
                error = ValueError("more pixels than PIL.Image.MAX_IMAGE_PIXELS allows")
            raise ValueError(f"{str(path)!r} is not a readable image ({error})") from None


def _open(file: IO[bytes]) -> Opened:
    """An image that can be used."""
    start = file.read(4)
    file.seek(0)
    return open_picture(file) if start in TIFF_STARTS else _open_pillow(file)


def _open_pillow(file: IO[bytes]) -> Opened:
    from PIL import Image

    image: Any = Image.open(file)
    if getattr(image, "n_frames", 1) > 1 and image.format not in ("JPEG", "MPO"):
        raise Unsuitable(f"has {image.n_frames} frames: save each in a file of its own")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        raise Unsuitable(ALPHA)
    if image.mode == "RGB" and _has_16_bits(image):
        raise Unsuitable("has colours of 16 bits, of which 8 would be read: save it as a TIFF file")
    if image.mode.partition(";")[0] not in PILLOW_MODES:
        raise Unsuitable(f"is in {image.mode}: convert it to grey or RGB first")
    try:
        orientation = int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged notes do not damage the picture
        orientation = 1
    orientation = orientation if 1 <= orientation <= 8 else 1
    width, height = image.size
    shape = (width, height) if orientation >= 5 else (height, width)
    dtype = np.dtype({"I": np.uint16, "F": np.float32}.get(image.mode[0], np.uint8))
    channels = 3 if image.mode in COLOUR_MODES else 1
    return Opened(shape, channels, dtype, lambda: upright(pillow_samples(image), orientation))


def _has_16_bits(image: Any) -> bool:
    """Whether the file of a Pillow image in RGB has more than the 8 bits that Pillow reads."""
    if image.format not in ("PNG", "PPM") or not image.tile:
        return False
    arguments = image.tile[0][3]
    words = (arguments,) if isinstance(arguments, str) else arguments
    return any("16" in word if isinstance(word, str) else word > 255 for word in words)


def pillow_samples(image: Any) -> NDArray:
    """The samples of a Pillow image, grey or RGB."""
    if image.mode in ("P", "YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    samples = np.asarray(image)
    if image.mode == "I":
        if image.format not in ("PNG", "PPM"):  # which have 16 bits, in Pillow's words
            raise Unsuitable("holds int32: save it as 8 or 16-bit integers, or floats in [0, 1]")
        samples = samples.astype(np.uint16)
    return samples.astype(samples.dtype.newbyteorder("="))
