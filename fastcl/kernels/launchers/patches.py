"""Launchers of patches.cu."""

import numpy as np

from ..cuda import BLOCKS, THREADS, TYPES, expressions, launch

VARIANTS = expressions("add_patches", TYPES.values())


def add_patches(patches, first, out):
    """Twin of `patches.add_patches`."""
    rows, columns, patch, _ = patches.shape
    pixels = (rows + patch - 1) * (columns + patch - 1)
    launch("patches", "add_patches", (TYPES[out.dtype],), min(BLOCKS, -(-pixels // THREADS)), THREADS,
           (patches, np.int64(first), out, np.int32(rows), np.int32(columns), np.int32(patch)))  # fmt: skip
