"""Launcher of quantised.cu."""

import numpy as np

from ..cuda import TYPES, expressions, launch
from .groups import staged_rows, sum_threads

VARIANTS = expressions("quantised_sum", TYPES.values(), ["false", "true"])


def quantised_sum(x, freqs, half, part_rows, partial):
    """Twin of `quantised.quantised_sum`."""
    parts, blocks, _, lanes = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    threads, rows = sum_threads(lanes), staged_rows(dim * dtype.itemsize, dim)
    template = TYPES[dtype], "true" if half is None else "false"
    launch("quantised", "quantised_sum", template, parts * blocks * (lanes // threads), threads,
           (x, freqs, dtype.type(half or 1), np.int64(part_rows), partial, np.int64(n), np.int32(blocks), np.int32(dim),
            np.int32(lanes), np.int32(rows)), rows * dim * dtype.itemsize)  # fmt: skip
