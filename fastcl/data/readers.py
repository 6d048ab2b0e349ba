"""Readers for the files of data sets: .npy arrays, mapped, and images, one at a time."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..files import PathLike
from ..validation import as_rows
from .image_formats import IMAGE_SUFFIXES, image_shape, read_levels
from .patches import as_photograph, check_size


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
    """The image files of a folder, sorted by name, without hidden ones; ValueError if none."""
    paths = sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and not path.is_dir()
    )
    if not paths:
        raise ValueError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {str(folder)!r}")
    return paths


def read_image(path: Path, grey: bool = False, least: int = 1) -> NDArray:
    """An image file as floats in [0, 1], (H, W) or (H, W, 3); `grey` turns colour into grey.

    Raises ValueError for a file that holds anything else, or has a side below `least`.
    """
    return as_picture(read_levels(path), repr(str(path)), grey, least)


def as_picture(image: NDArray, name: str, grey: bool = False, least: int = 1) -> NDArray:
    """The samples of a grey or RGB image as floats in [0, 1]."""
    if image.ndim == 2:
        return as_photograph(image, name, least)
    channels = [as_photograph(channel, name, least) for channel in np.moveaxis(image, -1, 0)]
    image = np.stack(channels, axis=-1)
    if grey:
        from skimage.color import rgb2gray

        image = rgb2gray(image)
    return image


class ImageFolder:
    """The images of a folder, in grey: a sequence that opens each one only when it is used.

    Parameters
    ----------
    folder : path
    patch : int
        The least side of an image, in pixels.
    skip_bad : bool
        Whether to leave out, with a warning, the files that cannot be used. All are then read once.

    Attributes
    ----------
    paths : list of Path
        The files, sorted by name.
    shapes : list of (H, W)
        Sizes of the images, in pixels.
    """

    def __init__(self, folder: PathLike, patch: int = 1, skip_bad: bool = False) -> None:
        if not Path(folder).exists():
            raise FileNotFoundError(f"no such folder: {str(folder)!r}")
        if not Path(folder).is_dir():
            raise NotADirectoryError(
                f"{str(folder)!r} is a file, but a folder of images is needed: put it into one"
            )
        self.paths: list[Path] = []
        self.shapes: list[tuple[int, int]] = []
        for path in image_files(folder):
            try:
                height, width = image_shape(path)
                check_size((height, width), repr(str(path)), patch)
                if skip_bad:
                    read_image(path, grey=True)
            except (ValueError, TypeError, OSError) as error:
                if not skip_bad:
                    raise
                warnings.warn(f"skipped: {error}", stacklevel=2)
                continue
            self.paths.append(path)
            self.shapes.append((height, width))
        if not self.paths:
            raise ValueError(f"no image in {str(folder)!r} can be used")

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
