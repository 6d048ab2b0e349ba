"""What a sketch is made from, in parts that come in the same order every time, from any of them on.

A part is (rows, first, last): rows first..last of something with a shape, a type and slices.  A pass that was cut off goes on
behind the points that it has counted; it always stops between two parts.
"""

import math
import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from ..backend import is_device
from ..fourier.methods import GROUP_ROWS
from ..validation import as_rows, is_dask, reject_foreign
from .patches import extract_patches, patch_bands
from .readers import ImageFolder, read_array

DEVICE_ROWS = 1 << 24  # of a part for a device, where every part has its chunks allocated anew
PROBES = 64  # rows by which one data set is told from another


def open_source(x, dim, on_device=False):
    """The source of the points x (of dimension `dim`), whatever `sketch` takes; errors name x."""
    reject_foreign(x, "x")
    if isinstance(x, (str, os.PathLike)):
        x = Path(x)
        if not x.is_dir():
            return Rows(read_array(x), dim, on_device)
        patch = math.isqrt(dim)
        if patch**2 != dim:
            raise ValueError(
                f"x is a folder of images: their patches have a square number of pixels, omega has {dim} columns"
            )
        return Patches(ImageFolder(x), patch)
    if _is_chunks(x):
        return Chunks(x, dim, on_device)
    return Rows(x, dim, on_device)


class Rows:
    """The rows of an array, a memory map, or what is sliced like an array, as data sets of HDF5 and Zarr are.

    Attributes
    ----------
    total : int
        Points in all.
    """

    unit, units = "point", "points"

    def __init__(self, x, dim, on_device=False):
        self.x = _as_sliceable(x, dim) if _is_sliceable(x) else as_rows(x, "x", dim)
        self.total, self.step = (
            self.x.shape[0],
            DEVICE_ROWS if on_device or is_device(self.x) else GROUP_ROWS,
        )

    def describe(self):
        """What tells this data set from another one: shape, type, and some rows all over it."""
        rows = np.unique(np.linspace(0, self.total - 1, min(self.total, PROBES)).astype(int))
        check = 0
        for row in rows.tolist():
            line = self.x[row : row + 1]
            check = zlib.crc32(
                np.ascontiguousarray(line.get() if is_device(line) else line).tobytes(), check
            )
            _drop_pages(self.x)  # 2 MiB may have come with a row
        return f"{(*self.x.shape,)} {np.dtype(self.x.dtype)} {check}"

    def parts(self, done):
        """The parts behind the first `done` points."""
        for first in range(done, self.total, self.step):
            yield self.x, first, min(first + self.step, self.total)
            _drop_pages(self.x)


class Chunks:
    """Arrays of points, one after the other, each released before the next one is asked for."""

    unit, units, total = "point", "points", None

    def __init__(self, chunks, dim, on_device=False):
        self.chunks, self.dim, self.on_device = chunks, dim, on_device

    def describe(self):
        """Nothing is known of chunks that are still to come."""
        return "chunks"

    def parts(self, done):
        """The parts behind the first `done` points, which the chunks have to be the same up to."""
        for chunk in self.chunks:
            rows = Rows(chunk, self.dim, self.on_device)
            del chunk
            if rows.total > done:
                yield from rows.parts(done)
            done = max(0, done - rows.total)
            del rows
        if done:
            raise ValueError(
                f"x ended {done} points before those that the checkpoint has counted: it is not the same data"
            )


class Patches:
    """All overlapping patches of a sequence of images with `shapes`, as rows.

    `prepare(index)` gives the function that the bands of image `index` go through, in their order and none left out.
    """

    unit, units = "patch", "patches"

    def __init__(self, images, patch, prepare=lambda index: lambda patches: patches):
        self.images, self.patch, self.prepare = images, patch, prepare
        for index, shape in enumerate(images.shapes):
            if min(shape) < patch:
                raise ValueError(
                    f"image {index} of {shape[0]} x {shape[1]} pixels is smaller than a patch of {patch} x {patch}"
                )
        self.totals = [math.prod(size - patch + 1 for size in shape) for shape in images.shapes]
        self.total = sum(self.totals)

    def describe(self):
        """What tells these images from others, and their patches from smaller or larger ones."""
        return f"{self.patch} {self.images.describe()}"

    def parts(self, done):
        """The parts behind the first `done` patches; an image is opened only where some of its patches are among them."""
        for index, total in enumerate(self.totals):
            if total <= done:
                done -= total
                continue
            image, prepare = self.images[index], self.prepare(index)
            for band in patch_bands(image.shape, self.patch):
                rows = prepare(extract_patches(image, self.patch, band))
                if len(rows) > done:
                    yield rows, 0, len(rows)
                done = max(0, done - len(rows))


def _is_chunks(x):
    """Whether x is an iterable of 2-D chunks rather than something that is one array."""
    if hasattr(x, "__array__") or hasattr(x, "__array_interface__") or _is_sliceable(x):
        return False
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and len(np.shape(x[0]) if not hasattr(x[0], "shape") else x[0].shape) == 2
    return hasattr(x, "__iter__")


def _is_sliceable(x):
    """Whether x is not an array but is read like one, slice by slice."""
    if (
        isinstance(x, np.ndarray)
        or is_device(x)
        or is_dask(x)
        or not all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__"))
    ):
        return False
    try:
        return np.dtype(x.dtype) is not None
    except TypeError:  # a type of another library
        return False


def _as_sliceable(x, dim):
    """x, after the checks of `as_rows` that need no values."""
    as_rows(np.broadcast_to(np.zeros((), x.dtype), tuple(x.shape)), "x", dim)
    return x


def _drop_pages(x):
    """Let go of the pages of a memory map: those that were read would count as memory of the process.

    Not where it is private to the process and may have been written to, in pages that no file holds.
    """
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap) and isinstance(x.base, mmap.mmap):
            if x.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
                x.base.madvise(mmap.MADV_DONTNEED)
            return
        x = x.base
