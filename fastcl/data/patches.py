"""From signals to patches and back.

A signal is (C, *axes), see `signals`. A patch takes all channels of a box of samples; flat, it is a
row of C prod(patch) numbers, channel after channel. A *tile* is a tuple of slices, one per axis,
that selects patches by the positions of their first samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import contiguous, kernel

CHUNK_PATCHES = 1 << 15  # patches per tile of a signal
CHUNK_VALUES = 1 << 22  # numbers in the patches of a tile, if these are large
DEVICE_CHUNK_PATCHES = 1 << 18  # patches per tile on a device, where each takes several launches

Tile = tuple[slice, ...]


def extract_patches(signal: NDArray, patch: tuple[int, ...], tile: Tile = ()) -> NDArray:
    """The overlapping patches of a signal (C, *axes), one flat patch per row: (n, C prod(patch)).

    `tile` selects some of them; by default they are all taken.
    """
    n_axes = len(patch)
    axes = tuple(range(1, n_axes + 1))
    windows = np.lib.stride_tricks.sliding_window_view(signal, patch, axis=axes)
    chosen: Tile = (slice(None), *tile)
    windows = windows[chosen]  # (C, *positions, *patch)
    order = (*axes, 0, *range(n_axes + 1, 2 * n_axes + 1))
    return windows.transpose(order).reshape(-1, len(signal) * math.prod(patch))


def add_patches(
    patches: NDArray, out: NDArray, patch: tuple[int, ...], tile: Tile | None = None
) -> None:
    """Adjoint of `extract_patches`: add every sample of every patch to the signal `out`."""
    positions = position_counts(out.shape[1:], patch)
    tile = tuple(slice(0, count) for count in positions) if tile is None else tile
    ranges = [range(count)[part] for count, part in zip(positions, tile, strict=True)]
    shape = (*map(len, ranges), len(out), *patch)
    starts = tuple(steps.start for steps in ranges)
    strides = tuple(steps.step for steps in ranges)
    windows = contiguous(patches, out.dtype).reshape(shape)
    kernel("add_patches", like=out)(windows, starts, strides, out)


def position_counts(shape: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """How many positions a patch has along each axis of a signal."""
    return tuple(size - side + 1 for size, side in zip(shape, patch, strict=True))


def patch_counts(
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    stride: int = 1,
    dtype: DTypeLike = np.float64,
) -> NDArray:
    """How many patches cover each sample, (*axes), for the tiles with this stride."""
    counts = np.ones((), dtype)
    for count, side in zip(position_counts(shape, patch), patch, strict=True):
        taken = np.zeros(count, dtype)
        for part in _strided(count, stride):
            taken[part] = 1
        counts = np.multiply.outer(counts, np.convolve(taken, np.ones(side, dtype)))
    return counts


def patch_tiles(
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    channels: int = 1,
    on_device: bool = False,
    stride: int = 1,
) -> list[Tile]:
    """Tiles that divide the patches of a signal with these axes into parts of bounded size.

    They come in the order of their first samples, if the stride is 1. With a larger one, the
    patches start at its multiples and at the last position along each axis, so that every sample
    is covered.
    """
    most = DEVICE_CHUNK_PATCHES if on_device else CHUNK_PATCHES
    most = max(1, min(most, CHUNK_VALUES // (channels * math.prod(patch))))
    grids: list[Tile] = [()]
    for count in position_counts(shape, patch):
        grids = [(*grid, part) for grid in grids for part in _strided(count, stride)]
    return [tile for grid in grids for tile in _divided(grid, most)]


def _strided(count: int, stride: int) -> list[slice]:
    """Slices of the positions 0, stride, 2 stride, ... below `count`, and of the last one."""
    parts = [slice(0, count, stride)]
    return parts + [slice(count - 1, count, stride)] * ((count - 1) % stride != 0)


def _divided(tile: Tile, most: int) -> Iterator[Tile]:
    """A tile in parts of at most `most` patches: slabs of the first axis, then of the next."""
    first, rest = tile[0], tile[1:]
    inner = math.prod(len(range(part.stop)[part]) for part in rest)
    at_a_time = max(1, most // inner) * first.step
    for start in range(first.start, first.stop, at_a_time):
        slab = slice(start, min(start + at_a_time, first.stop), first.step)
        if inner > most:
            yield from ((slab, *part) for part in _divided(rest, most))
        else:
            yield (slab, *rest)
