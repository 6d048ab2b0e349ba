"""TIFF files: one picture, or the pages of a volume, at their own depth.

tifffile reads them; Pillow knows more compressions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TIFF_SUFFIXES = (".tif", ".tiff")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PHOTOMETRICS = {0: "white is zero", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
READABLE = (0, 1, 2, 3, 6)
ALPHA = "has an alpha channel: flatten it first"
# What ImageJ says of a stack besides its axes, which are written anew.
IMAGEJ_KEPT = (
    *("spacing", "unit", "yunit", "zunit", "finterval", "fps", "loop", "mode", "min", "max"),
    *("Info", "Labels", "Ranges", "LUTs", "Properties"),
)
OME_KEPT = ("PhysicalSize", "TimeIncrement")  # as OME says it of a stack


class Unsuitable(ValueError):
    """A sound file that holds something else than is needed: says what."""


class Opened(NamedTuple):
    """What the header of an image or volume says, and how to read its samples."""

    shape: tuple[int, ...]  # when it is upright, without the channels
    channels: int
    dtype: np.dtype
    read: Callable[[], NDArray]  # (*shape), or (*shape, channels) if there are several


class Stack(NamedTuple):
    """A volume in a TIFF file, and the settings with which tifffile writes another one like it."""

    opened: Opened
    axes: str  # in the file, as tifffile calls them
    settings: dict[str, Any]


def open_picture(file: IO[bytes]) -> Opened:
    """The one picture, grey or RGB, of a TIFF file; Unsuitable for anything else."""
    import tifffile

    pages = count_pages(file)
    if pages > 1:
        raise Unsuitable(f"has {pages} pages: save each in a file of its own")
    file.seek(0)
    page: Any = tifffile.TiffFile(file).pages[0]
    dtype = _checked(page)
    color = int(page.photometric)
    tag = page.tags.get(274)
    orientation = int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1
    height, width = page.imagelength, page.imagewidth
    shape = (width, height) if orientation >= 5 else (height, width)

    def read() -> NDArray:
        _check_length([page], file)
        if color == 6:
            return _by_pillow(file)
        with _other_compressions(page, dtype):
            return upright(_as_levels(page.asarray().reshape(page.shape), page), orientation)
        return _by_pillow(file)

    return Opened(shape, 3 if color in (2, 3, 6) else 1, dtype, read)


def count_pages(file: IO[bytes]) -> int:
    """Number of pages of a TIFF file, of which ImageJ may describe only the first."""
    import tifffile

    tiff = tifffile.TiffFile(file)
    images = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
    page: Any = tiff.pages[0]
    return max(len(tiff.pages), images, page.imagedepth)


def open_stack(file: IO[bytes]) -> Stack:
    """The volume of a TIFF file of several pages along one axis, which may have channels."""
    import tifffile

    tiff = tifffile.TiffFile(file)
    series = tiff.series
    if len(series) > 1:
        raise Unsuitable("has pages of different sizes or kinds: save them in separate files")
    page: Any = tiff.pages[0]
    dtype = _checked(page)
    if int(page.photometric) == 3:
        raise Unsuitable("has pages with a palette: convert them to grey or RGB first")
    axes, sizes = series[0].axes, series[0].shape
    planes = [axis for axis in axes if axis not in "YXS"]
    depth = planes if len(planes) == 1 else [axis for axis in planes if axis != "C"]
    channel = "S" if "S" in axes else "C" if len(planes) == len(depth) + 1 else ""
    if len(depth) != 1 or axes.count("C") + axes.count("S") > 1 + (depth == ["C"]):
        if not planes:
            raise Unsuitable("has one page, where a volume of several is needed")
        raise Unsuitable(f"has the axes {axes}: save one volume (depth or time) in a file")
    order = [axes.index(axis) for axis in (depth[0], "Y", "X", *channel)]
    shape = tuple(sizes[k] for k in order)

    def read() -> NDArray:
        _check_length(series[0].pages, file, series[0])
        samples = None
        with _other_compressions(page, dtype):
            samples = series[0].asarray()
        if samples is None:
            samples = _by_pillow(file, len(series[0].pages)).reshape(sizes)
        levels = _in_native_order(_as_grey(samples, page))
        return np.ascontiguousarray(levels.transpose(order))

    channels = shape[3] if channel else 1
    return Stack(Opened(shape[:3], channels, dtype, read), axes, _settings(tiff, page, axes))


def write_stack(file: IO[bytes], volume: NDArray, like: Stack | None = None) -> None:
    """Write samples (D, H, W) or (D, H, W, C) as pages; as ImageJ or OME has them, if `like` is."""
    import tifffile

    has_channels = volume.ndim == 4
    if like is not None and len(like.axes) == volume.ndim:
        axes, settings = like.axes, like.settings
    else:
        is_rgb = has_channels and volume.shape[3] == 3
        axes = "ZYXS" if is_rgb else "ZCYX" if has_channels else "ZYX"
        settings = {"photometric": "rgb" if is_rgb else "minisblack"}
        settings["metadata"] = {"axes": axes} if "C" in axes else None
    channel = ("S" if "S" in axes else "C") * has_channels
    own = next(axis for axis in axes if axis not in f"YX{channel}") + "YX" + channel
    pages = volume.transpose([own.index(axis) for axis in axes])
    content = io.BytesIO()  # tifffile wants the name of a real file
    tifffile.imwrite(content, np.ascontiguousarray(pages), **settings)
    file.write(content.getbuffer())


def upright(samples: NDArray, orientation: int) -> NDArray:
    """The samples turned and mirrored as EXIF says."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(samples[::down, ::across])


def _checked(page: Any) -> np.dtype:
    """The type of the samples of a page; Unsuitable unless it is a grey or RGB picture."""
    from PIL import Image

    color = int(page.photometric)
    if color not in READABLE:
        words = PHOTOMETRICS.get(color, getattr(page.photometric, "name", color))
        raise Unsuitable(f"is in {words}: convert it to grey or RGB first")
    if page.extrasamples or page.samplesperpixel not in (1, 3):
        known = page.samplesperpixel in (2, 4)
        raise Unsuitable(ALPHA if known else f"has {page.samplesperpixel} channels, not 1 or 3")
    dtype = np.dtype(page.dtype if page.dtype is not None else object)
    if page.bitspersample != 8 * dtype.itemsize and dtype.kind != "b":
        raise Unsuitable(f"holds {page.bitspersample} bits per sample: save it with 8 or 16")
    if dtype not in (bool, np.uint8, np.uint16) and (dtype.kind != "f" or color not in (1, 2)):
        raise Unsuitable(f"holds {dtype}: save it as 8 or 16-bit integers, or floats in [0, 1]")
    pixels = page.imagelength * page.imagewidth
    if pixels == 0:
        raise ValueError("no pixels")
    if Image.MAX_IMAGE_PIXELS and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError("more pixels than PIL.Image.MAX_IMAGE_PIXELS allows")
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _check_length(pages: Any, file: IO[bytes], series: Any = None) -> None:
    """ValueError if samples lie beyond the end of the file: before memory is taken for them."""
    size = file.seek(0, io.SEEK_END)
    ends = [
        sum(part)
        for page in pages
        if page is not None
        for part in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if series is not None and series.dataoffset is not None:
        ends.append(series.dataoffset + math.prod(series.shape) * series.dtype.itemsize)
    if any(page is None for page in pages) and (series is None or series.dataoffset is None):
        raise ValueError("pages are missing")
    if max(ends) > size:
        raise ValueError("it is truncated")


@contextmanager
def _other_compressions(page: Any, dtype: np.dtype) -> Iterator[None]:
    """Pass over the error of tifffile for a compression that Pillow reads, in these samples."""
    try:
        yield
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        is_grey = int(page.photometric) == 1 and page.samplesperpixel == 1
        if dtype != np.uint8 and not is_grey:
            words = f"is compressed by {page.compression.name}: save it without compression"
            raise Unsuitable(words) from None


def _by_pillow(file: IO[bytes], pages: int = 0) -> NDArray:
    """The samples by Pillow: of the only picture, which it turns upright itself, or of pages."""
    from PIL import Image

    from .image_formats import pillow_samples

    file.seek(0)
    image = Image.open(io.BytesIO(file.read()))
    if not pages:
        return pillow_samples(image)
    samples = []
    for number in range(pages):
        image.seek(number)
        samples.append(pillow_samples(image))
    return np.stack(samples)


def _as_levels(samples: NDArray, page: Any) -> NDArray:
    """The samples of a page as (H, W) or (H, W, 3), in which white is the largest value."""
    if page.samplesperpixel == 3 and int(page.planarconfig) == 2:
        samples = np.moveaxis(samples, 0, -1)
    if int(page.photometric) == 3:
        return (page.colormap[:, samples] >> 8).astype(np.uint8).transpose(1, 2, 0)
    return _in_native_order(_as_grey(samples, page))


def _as_grey(samples: NDArray, page: Any) -> NDArray:
    """The samples with white as their largest value."""
    if samples.dtype == bool:
        samples = samples * np.uint8(255)
    if int(page.photometric) == 0:
        samples = np.iinfo(samples.dtype).max - samples
    return samples


def _in_native_order(samples: NDArray) -> NDArray:
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _settings(tiff: Any, page: Any, axes: str) -> dict[str, Any]:
    """Settings of tifffile.imwrite that keep what a stack says of itself."""
    import tifffile

    settings: dict[str, Any] = {"photometric": "rgb" if "S" in axes else "minisblack"}
    if "S" in axes:
        settings["planarconfig"] = int(page.planarconfig)
    settings["metadata"] = None
    if tiff.is_imagej:
        said = tiff.imagej_metadata or {}
        kept = {name: said[name] for name in IMAGEJ_KEPT if name in said}
        settings |= {"imagej": True, "metadata": {"axes": axes} | kept}
    elif tiff.is_ome:
        image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        said = image["Pixels"] if isinstance(image, dict) else {}
        kept = {name: said[name] for name in said if name.startswith(OME_KEPT)}
        settings |= {"ome": True, "metadata": {"axes": axes} | kept}
    elif tiff.is_shaped:
        settings["metadata"] = {"axes": axes}
    if page.tags.get(282) is not None and page.tags.get(283) is not None:
        settings["resolution"] = page.resolution
        settings["resolutionunit"] = page.resolutionunit
    return settings
