"""Launcher of quantised.cu."""

from __future__ import annotations

import numpy as np

from ..cuda import TYPES, Array, expressions, launch
from .groups import staged_rows, sum_threads

VARIANTS = {"quantised": expressions("quantised_sum", TYPES.values(), ["false", "true"])}


def quantised_sum(
    x: Array, freqs: Array, half: np.floating | None, part_rows: int, partial: Array
) -> None:
    """Twin of `quantised.quantised_sum`."""
    parts, blocks, _, block_width = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    threads = sum_threads(block_width)
    row_bytes = dim * dtype.itemsize
    rows = staged_rows(row_bytes, dim)
    template = TYPES[dtype], "true" if half is None else "false"
    sizes = np.int64(n), *map(np.int32, (blocks, dim, block_width, rows))
    arguments = (x, freqs, dtype.type(half or 1), np.int64(part_rows), partial, *sizes)
    grid = parts * blocks * (block_width // threads)
    launch("quantised", "quantised_sum", template, grid, threads, arguments, rows * row_bytes)
