"""Readers for the files of data sets: .npy arrays, mapped, and images, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..files import PathLike
from ..validation import as_rows
from .patches import as_photograph

T = TypeVar("T")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm")


def read_array(path: Path) -> NDArray:
    """The array (n, d) of a .npy file, mapped rather than read."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{str(path)!r} is neither a folder of images nor a .npy file")
    try:
        with open(path, "rb") as file:
            start = file.read(12)
        # NumPy would allocate as much memory as the header claims before it looks any further.
        has_long_header = start[6:7] in (b"\2", b"\3")
        if has_long_header and int.from_bytes(start[8:], "little") > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        with files.silence():
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise
    except files.DAMAGE as error:
        raise ValueError(f"{str(path)!r} is not a readable .npy file ({error})") from None
    if array.ndim == 1:
        raise ValueError(
            f"{path.name} must be 2-D (rows are points), got shape {array.shape}: "
            "save x[:, None] for points of one dimension"
        )
    return as_rows(array, path.name)


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
