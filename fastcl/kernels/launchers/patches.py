"""Launcher of patches.cu."""

from __future__ import annotations

import numpy as np

from ..cuda import BLOCKS, THREADS, TYPES, Array, expressions, launch

VARIANTS = {"patches": expressions("add_patches", TYPES.values())}


def add_patches(patches: Array, first: int, out: Array) -> None:
    """Twin of `patches.add_patches`."""
    rows, columns, patch, _ = patches.shape
    pixels = (rows + patch - 1) * (columns + patch - 1)
    arguments = (patches, np.int64(first), out, *map(np.int32, (rows, columns, patch)))
    grid = min(BLOCKS, -(-pixels // THREADS))
    launch("patches", "add_patches", (TYPES[out.dtype],), grid, THREADS, arguments)
