"""Launchers of harmonics.cu."""

from __future__ import annotations

import numpy as np

from ..cuda import ACCESS_BYTES, DOUBLE, NULL, THREADS, TYPES, Array, expressions, launch
from .groups import staged_rows, sum_threads

VARIANTS = {
    "harmonics": [
        *expressions("harmonic_sum", TYPES.values(), range(2, 17)),
        *expressions("harmonic_adjoint", TYPES.values(), range(2, 17)),
    ]
}


def harmonic_sum(
    x: Array,
    weights: Array,
    freqs: Array,
    harmonics: tuple[int, ...],
    part_rows: int,
    partial: Array,
) -> None:
    """Twin of `harmonics.harmonic_sum`."""
    parts, blocks, count, _, block_width = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    threads = sum_threads(block_width)
    row_bytes = (dim + 1) * dtype.itemsize  # coordinates and weight
    rows = staged_rows(row_bytes, dim)
    weights = weights if weights.size else NULL
    sizes = np.int64(n), *map(np.int32, (blocks, dim, block_width, rows))
    arguments = (x, weights, freqs, np.int64(part_rows), partial, *sizes)
    template, grid = (TYPES[dtype], count), parts * blocks * (block_width // threads)
    launch("harmonics", "harmonic_sum", template, grid, threads, arguments, rows * row_bytes)


def harmonic_adjoint(
    x: Array,
    freqs: Array,
    harmonics: tuple[int, ...],
    real: Array,
    imag: Array,
    block_width: int,
    out: Array,
) -> None:
    """Twin of `harmonics.harmonic_adjoint`."""
    (n, dim), dtype, count = x.shape, x.dtype, len(harmonics)
    coefficient_bytes = -(-2 * count * dtype.itemsize // ACCESS_BYTES) * ACCESS_BYTES
    row_bytes = coefficient_bytes + dim * dtype.itemsize
    rows, block_width = staged_rows(row_bytes, dim), min(block_width, THREADS)
    sizes = np.int64(n), *map(np.int32, (len(freqs), dim, rows))
    arguments = (x.T.copy(), freqs, real, imag, np.int32(block_width), out, *sizes)
    template, grid = (TYPES[dtype], count), -(-n // block_width)
    shared = max(rows * row_bytes, DOUBLE.itemsize * THREADS)
    launch("harmonics", "harmonic_adjoint", template, grid, THREADS, arguments, shared)
