"""Readers for the files of data sets: .npy arrays, mapped, and images, one at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..files import PathLike
from ..validation import as_rows
from .patches import as_photograph

T = TypeVar("T")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm")


class NpyFile:
    """The array (n, d) of a .npy file that is read slice by slice, for where it cannot be mapped.

    Raises ValueError for a file that is damaged, or shorter than its header says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            read_header = files.HEADERS.get(np.lib.format.read_magic(file))
            if read_header is None:
                raise ValueError("an array of an unknown format")
            self.shape, self.by_columns, self.dtype = read_header(file)
            self.start = file.tell()
            size = math.prod(self.shape) * self.dtype.itemsize
            if self.dtype.hasobject or size > os.fstat(file.fileno()).st_size - self.start:
                raise ValueError("its header does not fit its content")

    def __getitem__(self, rows: slice) -> NDArray:
        first, last, _ = rows.indices(self.shape[0])
        n, dim = self.shape
        out = np.empty((last - first, dim), self.dtype, order="F" if self.by_columns else "C")
        starts = [k * n + first for k in range(dim)] if self.by_columns else [first * dim]
        with open(self.path, "rb") as file:
            for start, part in zip(starts, out.T if self.by_columns else [out], strict=True):
                file.seek(self.start + start * self.dtype.itemsize)
                if file.readinto(part.view(np.uint8).data) < part.nbytes:
                    raise OSError(f"{str(self.path)!r} became shorter while it was read")
        return out


def read_array(path: Path) -> NDArray | NpyFile:
    """The array (n, d) of a .npy file: mapped or, where that is refused, read slice by slice."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{str(path)!r} is neither a folder of images nor a .npy file")
    array: Any
    try:
        with open(path, "rb") as file:
            start = file.read(12)
        # NumPy would allocate as much memory as the header claims before it looks any further.
        has_long_header = start[6:7] in (b"\2", b"\3")
        if has_long_header and int.from_bytes(start[8:], "little") > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        with files.silence():
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except OSError:  # no address space, as under ulimit -v, or a file system without maps
                array = NpyFile(path)
    except PermissionError:
        raise
    except files.DAMAGE as error:
        raise ValueError(f"{str(path)!r} is not a readable .npy file ({error})") from None
    if len(array.shape) == 1:
        raise ValueError(
            f"{path.name} must be 2-D (rows are points), got shape {array.shape}: "
            "save x[:, None] for points of one dimension"
        )
    return as_sliceable(array, path.name)


def as_sliceable(x: Any, name: str, dim: int | None = None) -> Any:
    """x itself, after the checks of `as_rows` that need no values."""
    as_rows(np.broadcast_to(np.zeros((), x.dtype), tuple(x.shape)), name, dim)
    return x


def image_files(folder: PathLike) -> list[Path]:
    """The image files of a folder, sorted by name; ValueError if there are none."""
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {str(folder)!r}")
    return paths


def read_image(path: Path, grey: bool = False) -> NDArray:
    """An image file as floats in [0, 1], (H, W) or (H, W, 3); `grey` turns colour into grey."""
    import imageio.v3 as iio

    # The plugin is named because imageio would otherwise try others too, and warn.
    image = _decoded(path, lambda content: np.asarray(iio.imread(content, plugin="pillow")))
    _check_shape(path, image.shape)
    if image.ndim == 3:
        channels = [as_photograph(channel, str(path)) for channel in np.moveaxis(image, -1, 0)]
        image = np.stack(channels, axis=-1)
    else:
        image = as_photograph(image, str(path))
    if grey and image.ndim == 3:
        from skimage.color import rgb2gray

        image = rgb2gray(image)
    return image


def image_shape(path: Path) -> tuple[int, int]:
    """(H, W) of an image file, from its header."""
    import imageio.v3 as iio

    shape = _decoded(path, lambda content: iio.improps(content, plugin="pillow").shape)
    _check_shape(path, shape)
    return shape[0], shape[1]


def _decoded(path: Path, decode: Callable[[bytes], T]) -> T:
    """`decode(content)` of a file; whatever it raises becomes a ValueError in one line."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    # Read it all first: from an open file, a decoder would allocate whatever a damaged length says.
    content = path.read_bytes()
    try:
        return decode(content)
    except Exception as error:  # damaged bytes make decoders raise all kinds of exceptions
        raise ValueError(f"{str(path)!r} is not a readable image ({error})") from None


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) == 3 and shape[2] in (2, 4):
        raise ValueError(f"{str(path)!r} has an alpha channel: flatten it first")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(f"{str(path)!r} is not a single grey or RGB image: shape {shape}")


class ImageFolder:
    """The images of a folder, in grey: a sequence that opens each one only when it is used.

    Attributes
    ----------
    paths : list of Path
        The files, sorted by name.
    shapes : list of (H, W)
        Sizes of the images, in pixels.
    """

    def __init__(self, folder: PathLike) -> None:
        if not Path(folder).exists():
            raise FileNotFoundError(f"no such folder: {str(folder)!r}")
        if not Path(folder).is_dir():
            raise NotADirectoryError(
                f"{str(folder)!r} is a file, but a folder of images is needed: put it into one"
            )
        self.paths = image_files(folder)
        self.shapes = [image_shape(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray:
        # An index beyond the last one raises IndexError, which ends an iteration.
        image = read_image(self.paths[index], grey=True)
        if image.shape != self.shapes[index]:
            raise ValueError(f"{str(self.paths[index])!r} changed while it was read")
        return image

    def describe(self) -> str:
        """Names and sizes of the files, which identify the folder."""
        return repr([(path.name, path.stat().st_size) for path in self.paths])
