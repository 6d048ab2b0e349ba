"""Data sets in parts that come in the same order every time.

A part is (rows, first, last): rows first..last of something with a shape, a dtype and slices. A
pass always stops between two parts, and resumes after the points it has counted.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend import is_device, to_host
from ..fourier.methods import GROUP_ROWS
from ..validation import as_rows, has_no_rows, is_dask, reject_foreign
from .patches import extract_patches, patch_tiles, position_counts
from .readers import ImageFolder, as_sliceable, read_array
from .signals import Signals

DEVICE_ROWS = 1 << 24  # rows per part on a device, where every part allocates new chunks
DROP_EVERY = 8  # rows whose pages, up to 2 MiB each, stay in memory while rows are picked
PROBES = 64  # rows in the checksum that matches a checkpoint to its data

Part = tuple[Any, int, int]  # (rows, first, last)
Prepare = Callable[[NDArray], NDArray]  # from the flat patches of a tile to the rows of a part


class Source(Protocol):
    """A data set that can be read in parts, starting after any number of points."""

    @property
    def total(self) -> int | None:
        """Number of points; None if it is not known."""
        ...

    @property
    def unit(self) -> str:
        """The word for one point, in messages."""
        ...

    @property
    def units(self) -> str:
        """The word for several points."""
        ...

    def describe(self) -> str:
        """A description that differs from those of other data sets."""
        ...

    def parts(self, done: int) -> Iterator[Part]:
        """The parts after the first `done` points."""
        ...


def open_source(x: Any, dim: int, on_device: bool = False) -> Source:
    """The source for anything that `sketch` takes as x, points of dimension `dim`."""
    reject_foreign(x, "x")
    if isinstance(x, (str, os.PathLike)):
        path = Path(x)
        if not path.is_dir():
            return Rows(read_array(path), dim, on_device)
        patch = math.isqrt(dim)
        if patch**2 != dim:
            raise ValueError(
                "x is a folder of images: their patches have a square number of pixels, "
                f"omega has {dim} columns"
            )
        return Patches(Signals(ImageFolder(path, patch), "images", patch, n_axes=2))
    if _is_chunks(x):
        return Chunks(x, dim, on_device)
    return Rows(x, dim, on_device)


class Rows:
    """The rows of an array, a memory map, or anything sliced like an array (HDF5, Zarr)."""

    unit = "point"
    units = "points"

    def __init__(self, x: Any, dim: int, on_device: bool = False) -> None:
        reject_foreign(x, "x")
        self.x = as_sliceable(x, "x", dim) if _is_sliceable(x) else as_rows(x, "x", dim)
        self.total: int = self.x.shape[0]
        self.step = DEVICE_ROWS if on_device or is_device(self.x) else GROUP_ROWS

    def describe(self) -> str:
        """Shape, dtype, and a checksum of rows from all over the array."""
        rows = np.unique(np.linspace(0, self.total - 1, min(self.total, PROBES)).astype(int))
        check = zlib.crc32(self.take(rows).tobytes())
        return f"{(*self.x.shape,)} {np.dtype(self.x.dtype)} {check}"

    def take(self, rows: NDArray) -> NDArray:
        """The rows of these numbers, (k, d), on the host."""
        taken = np.empty((len(rows), self.x.shape[1]), np.dtype(self.x.dtype))
        for number, row in enumerate(rows.tolist()):
            taken[number] = to_host(self.x[row : row + 1])[0]
            if number % DROP_EVERY == 0:
                _drop_pages(self.x)
        _drop_pages(self.x)
        return taken

    def parts(self, done: int) -> Iterator[Part]:
        """The parts after the first `done` points."""
        for first in range(done, self.total, self.step):
            yield self.x, first, min(first + self.step, self.total)
            _drop_pages(self.x)


class Chunks:
    """Arrays of points, one after the other, each released before the next one is requested."""

    unit = "point"
    units = "points"
    total = None

    def __init__(self, chunks: Iterable[Any], dim: int, on_device: bool = False) -> None:
        self.chunks = chunks
        self.dim = dim
        self.on_device = on_device

    def describe(self) -> str:
        """The same for all iterables: nothing is known about chunks that are still to come."""
        return "chunks"

    def parts(self, done: int) -> Iterator[Part]:
        """The parts after the first `done` points; chunks up to there must be as before."""
        for chunk in self.chunks:
            if has_no_rows(chunk, self.dim):
                continue
            rows = Rows(chunk, self.dim, self.on_device)
            del chunk
            if rows.total > done:
                yield from rows.parts(done)
            done = max(0, done - rows.total)
            del rows
        if done:
            raise ValueError(
                f"x ended {done} points short of what the checkpoint has counted: "
                "it is not the same data"
            )


class Patches:
    """All overlapping patches of a sequence of signals, as rows.

    Parameters
    ----------
    signals : Signals
    prepare : function of a signal's index, optional
        Returns a function that is applied to every tile of that signal, in order. By default the
        patches stay as they are.
    """

    unit = "patch"
    units = "patches"

    def __init__(
        self,
        signals: Signals,
        prepare: Callable[[int], Prepare] = lambda index: lambda patches: patches,
    ) -> None:
        self.signals = signals
        self.prepare = prepare
        self.totals = [math.prod(position_counts(shape, signals.patch)) for shape in signals.shapes]
        self.total = sum(self.totals)

    def describe(self) -> str:
        """The sides of the patches, and the description of the signals."""
        sides = self.signals.patch
        words = str(sides[0]) if len(set(sides)) == 1 else str(sides)
        channels = "" if self.signals.channels == 1 else f" x {self.signals.channels}"
        return f"{words}{channels} {self.signals.describe()}"

    def parts(self, done: int) -> Iterator[Part]:
        """The parts after the first `done` patches; opens only the signals they are in."""
        patch = self.signals.patch
        for index, total in enumerate(self.totals):
            if total <= done:
                done -= total
                continue
            signal = self.signals[index]
            prepare = self.prepare(index)
            for tile in patch_tiles(signal.shape[1:], patch, len(signal)):
                rows = prepare(extract_patches(signal, patch, tile))
                if len(rows) > done:
                    yield rows, 0, len(rows)
                done = max(0, done - len(rows))


def _is_chunks(x: Any) -> bool:
    """Whether x is an iterable of 2-D chunks rather than one array."""
    names = ("__array__", "__array_interface__", "__dlpack__")
    if any(hasattr(x, name) for name in names) or _is_sliceable(x):
        return False
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and len(x[0].shape if hasattr(x[0], "shape") else np.shape(x[0])) == 2
    return hasattr(x, "__iter__")


def _is_sliceable(x: Any) -> bool:
    """Whether x is not an array but can be read slice by slice like one."""
    if isinstance(x, np.ndarray) or is_device(x) or is_dask(x):
        return False
    if not all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__")):
        return False
    try:
        return np.dtype(x.dtype) is not None
    except TypeError:  # a dtype of another library
        return False


def _drop_pages(x: Any) -> None:
    """Release the pages of a memory map, which would count as memory of the process.

    A private map keeps its pages: it may have been written to, and no file holds what was written.
    """
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap) and isinstance(x.base, mmap.mmap):
            if x.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
                x.base.madvise(mmap.MADV_DONTNEED)
            return
        x = x.base
