"""Launcher of patches.cu."""

from __future__ import annotations

import math

import numpy as np

from ..cuda import BLOCKS, THREADS, TYPES, Array, expressions, launch

VARIANTS = {"patches": expressions("add_patches", TYPES.values())}


def add_patches(
    patches: Array, starts: tuple[int, ...], strides: tuple[int, ...], out: Array
) -> None:
    """Twin of `patches.add_patches`."""
    n_axes = len(starts)
    more = 3 - n_axes  # leading axes of length 1
    ones = (1,) * more
    counts, patch = ones + patches.shape[:n_axes], ones + patches.shape[n_axes + 1 :]
    starts, strides, sizes = (0,) * more + starts, ones + strides, ones + out.shape[1:]
    widths = [
        stride * (count - 1) + side
        for stride, count, side in zip(strides, counts, patch, strict=True)
    ]
    integers = (*counts, len(out), *patch, *starts, *strides, *sizes)
    grid = min(BLOCKS, -(-math.prod(widths) * len(out) // THREADS))
    arguments = (patches, out, *map(np.int32, integers))
    launch("patches", "add_patches", (TYPES[out.dtype],), grid, THREADS, arguments)
