"""What the commands and the sketches read from disk: arrays in .npy files, mapped, and images, one at a time."""

from pathlib import Path

import numpy as np

from .. import files
from ..validation import as_rows
from .patches import as_image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm")


def read_array(path):
    """The array of a .npy file, mapped rather than read."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{str(path)!r} is neither a folder of images nor a .npy file")
    try:
        with open(path, "rb") as file:
            start = file.read(12)
        if (
            start[6:7] in (b"\2", b"\3")
            and int.from_bytes(start[8:], "little") > path.stat().st_size
        ):
            raise ValueError(
                "its header is longer than the file"
            )  # and NumPy would take as much memory before it looks
        with files.silence():
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise
    except files.DAMAGE as error:
        raise ValueError(f"{str(path)!r} is not a readable .npy file ({error})") from None
    return as_rows(array, path.name)


def image_files(folder):
    """The images of a folder, by name; ValueError where there is none."""
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {str(folder)!r}")
    return paths


def read_image(path, grey=False):
    """An image file as floats in [0, 1], (H, W) or (H, W, 3); colour becomes grey where `grey` is true."""
    import imageio.v3 as iio

    image = _decoded(
        path, lambda content: np.asarray(iio.imread(content, plugin="pillow"))
    )  # others would be tried, and warn
    _check_shape(path, image.shape)
    if image.ndim == 3:
        image = np.stack(
            [as_image(channel, str(path)) for channel in np.moveaxis(image, -1, 0)], axis=-1
        )
    else:
        image = as_image(image, str(path))
    if grey and image.ndim == 3:
        from skimage.color import rgb2gray

        image = rgb2gray(image)
    return image


def image_shape(path):
    """(H, W) of an image file, from its header."""
    import imageio.v3 as iio

    shape = _decoded(path, lambda content: iio.improps(content, plugin="pillow").shape)
    _check_shape(path, shape)
    return shape[:2]


def _decoded(path, decode):
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    content = (
        path.read_bytes()
    )  # of an open file, a damaged length would be taken from memory before it is read
    try:
        return decode(content)
    except Exception as error:  # decoders raise what they like over damaged bytes
        raise ValueError(f"{str(path)!r} is not a readable image ({error})") from None


def _check_shape(path, shape):
    if len(shape) == 3 and shape[2] in (2, 4):
        raise ValueError(f"{str(path)!r} has an alpha channel: flatten it first")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(f"{str(path)!r} is not a single grey or RGB image: shape {shape}")


class ImageFolder:
    """The images of a folder in grey, as a sequence that opens each one when it is asked for.

    Attributes
    ----------
    shapes : list of (H, W)
    """

    def __init__(self, folder):
        if not Path(folder).exists():
            raise FileNotFoundError(f"no such folder: {str(folder)!r}")
        self.paths = image_files(folder)
        self.shapes = [image_shape(path) for path in self.paths]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):  # IndexError beyond the last one, by which iteration ends
        image = read_image(self.paths[index], grey=True)
        if image.shape != self.shapes[index]:
            raise ValueError(f"{str(self.paths[index])!r} changed while it was read")
        return image

    def describe(self):
        """What tells this folder from another one: names and sizes of the files."""
        return repr([(path.name, path.stat().st_size) for path in self.paths])
