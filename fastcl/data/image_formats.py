"""Image files: the samples that one holds, upright and at its own depth, and a file of them.

Pillow reads every format but TIFF, which it would cut down to 8 bits in colour, and to the first
of many pages; tifffile reads that.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T")
TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES, ".bmp", ".pgm")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PILLOW_MODES = ("1", "L", "P", "I", "F", "RGB", "RGBX", "YCbCr")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
ALPHA = "has an alpha channel: flatten it first"
PHOTOMETRICS = {0: "white is zero", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
READABLE = (0, 1, 2, 3, 6)


class _Unsuitable(ValueError):
    """A sound file that holds something else than one grey or RGB picture: says what."""


def read_levels(path: Path) -> NDArray:
    """The samples of an image file: uint8, uint16 or floats, (H, W) or (H, W, 3), upright."""
    return _decoded(path, lambda content: _open(content)[1]())


def image_shape(path: Path) -> tuple[int, int]:
    """(H, W) of an image file when it is upright, from its header."""
    return _decoded(path, lambda content: _open(content)[0])


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


def _decoded(path: Path, decode: Callable[[bytes], T]) -> T:
    """`decode(content)` of a file; whatever it raises becomes a ValueError in one line."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    # Read it all first: from an open file, a decoder would allocate whatever a damaged length says.
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures above a size, and refuses those above twice that size.
            warnings.simplefilter("ignore")
            return decode(content)
    except _Unsuitable as error:
        raise ValueError(f"{str(path)!r} {error}") from None
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # damaged bytes make decoders raise all kinds of exceptions
        if "pixels, could be decompression bomb" in str(error):
            error = ValueError("more pixels than PIL.Image.MAX_IMAGE_PIXELS allows")
        raise ValueError(f"{str(path)!r} is not a readable image ({error})") from None


def _open(content: bytes) -> tuple[tuple[int, int], Callable[[], NDArray]]:
    """((H, W), the function that reads the samples) of an image that can be used."""
    return _open_tiff(content) if content[:4] in TIFF_STARTS else _open_pillow(content)


def _upright(samples: NDArray, orientation: int) -> NDArray:
    """The samples turned and mirrored as EXIF says."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(samples[::down, ::across])


def _open_pillow(content: bytes) -> tuple[tuple[int, int], Callable[[], NDArray]]:
    from PIL import Image

    image: Any = Image.open(io.BytesIO(content))
    if getattr(image, "n_frames", 1) > 1 and image.format not in ("JPEG", "MPO"):
        raise _Unsuitable(f"has {image.n_frames} frames: save each in a file of its own")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        raise _Unsuitable(ALPHA)
    if image.mode == "RGB" and _has_16_bits(image):
        raise _Unsuitable(
            "has colours of 16 bits, of which 8 would be read: save it as a TIFF file"
        )
    if image.mode.partition(";")[0] not in PILLOW_MODES:
        raise _Unsuitable(f"is in {image.mode}: convert it to grey or RGB first")
    try:
        orientation = int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged notes do not damage the picture
        orientation = 1
    orientation = orientation if 1 <= orientation <= 8 else 1
    width, height = image.size
    shape = (width, height) if orientation >= 5 else (height, width)
    return shape, lambda: _upright(_pillow_samples(image), orientation)


def _has_16_bits(image: Any) -> bool:
    """Whether the file of a Pillow image in RGB has more than the 8 bits that Pillow reads."""
    if image.format not in ("PNG", "PPM") or not image.tile:
        return False
    arguments = image.tile[0][3]
    words = (arguments,) if isinstance(arguments, str) else arguments
    return any("16" in word if isinstance(word, str) else word > 255 for word in words)


def _pillow_samples(image: Any) -> NDArray:
    if image.mode in ("P", "YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    samples = np.asarray(image)
    if image.mode == "I":
        if image.format not in ("PNG", "PPM"):  # which have 16 bits, in Pillow's words
            raise _Unsuitable("holds int32: save it as 8 or 16-bit integers, or floats in [0, 1]")
        samples = samples.astype(np.uint16)
    return samples.astype(samples.dtype.newbyteorder("="))


def _open_tiff(content: bytes) -> tuple[tuple[int, int], Callable[[], NDArray]]:
    import tifffile
    from PIL import Image

    tiff = tifffile.TiffFile(io.BytesIO(content))
    images = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
    if max(len(tiff.pages), images) > 1:
        pages = max(len(tiff.pages), images)
        raise _Unsuitable(f"has {pages} pages: save each in a file of its own")
    page: Any = tiff.pages[0]
    color = int(page.photometric)
    if color not in READABLE:
        words = PHOTOMETRICS.get(color, getattr(page.photometric, "name", color))
        raise _Unsuitable(f"is in {words}: convert it to grey or RGB first")
    if page.extrasamples or page.samplesperpixel not in (1, 3) or page.imagedepth > 1:
        known = page.samplesperpixel in (2, 4)
        raise _Unsuitable(ALPHA if known else f"has {page.samplesperpixel} channels, not 1 or 3")
    dtype = np.dtype(page.dtype if page.dtype is not None else object)
    if page.bitspersample != 8 * dtype.itemsize and dtype.kind != "b":
        raise _Unsuitable(f"holds {page.bitspersample} bits per sample: save it with 8 or 16")
    if dtype not in (bool, np.uint8, np.uint16) and (dtype.kind != "f" or color not in (1, 2)):
        raise _Unsuitable(f"holds {dtype}: save it as 8 or 16-bit integers, or floats in [0, 1]")
    height, width = page.imagelength, page.imagewidth
    if height * width == 0:
        raise ValueError("no pixels")
    if Image.MAX_IMAGE_PIXELS and height * width > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError("more pixels than PIL.Image.MAX_IMAGE_PIXELS allows")
    tag = page.tags.get(274)
    orientation = int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1
    shape = (width, height) if orientation >= 5 else (height, width)

    def read() -> NDArray:
        if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > len(content):
            raise ValueError("it is truncated")
        if color == 6:
            return _tiff_by_pillow(content)
        try:
            samples = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if dtype in (bool, np.uint8) or (color == 1 and page.samplesperpixel == 1):
                return _tiff_by_pillow(content)
            raise _Unsuitable(
                f"is compressed by {page.compression.name}: save it without compression"
            ) from None
        return _upright(_tiff_samples(samples, page, color), orientation)

    return shape, read


def _tiff_samples(samples: NDArray, page: Any, color: int) -> NDArray:
    """The samples of a page as (H, W) or (H, W, 3), in which white is the largest value."""
    samples = samples.reshape(page.shape)
    if page.samplesperpixel == 3 and int(page.planarconfig) == 2:
        samples = np.moveaxis(samples, 0, -1)
    if color == 3:
        return (page.colormap[:, samples] >> 8).astype(np.uint8).transpose(1, 2, 0)
    if samples.dtype == bool:
        samples = samples * np.uint8(255)
    if color == 0:
        samples = np.iinfo(samples.dtype).max - samples
    return samples.astype(samples.dtype.newbyteorder("="))


def _tiff_by_pillow(content: bytes) -> NDArray:
    """The samples by Pillow, which knows more compressions, and turns them upright itself."""
    from PIL import Image

    return _pillow_samples(Image.open(io.BytesIO(content)))
