"""Launchers of harmonics.cu."""

import numpy as np

from ..cuda import THREADS, TYPES, expressions, launch
from .groups import staged_rows, sum_threads

VARIANTS = expressions("harmonic_sum", TYPES.values(), range(2, 17))
VARIANTS += expressions("harmonic_adjoint", TYPES.values(), range(2, 17))


def harmonic_sum(x, weights, freqs, harmonics, part_rows, partial):
    """Twin of `harmonics.harmonic_sum`."""
    parts, blocks, count, _, lanes = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    threads = sum_threads(lanes)
    row_bytes = (dim + 1) * dtype.itemsize  # coordinates and weight
    rows = staged_rows(row_bytes, dim)
    weights = weights if weights.size else np.uint64(0)  # a null pointer
    launch("harmonics", "harmonic_sum", (TYPES[dtype], count), parts * blocks * (lanes // threads), threads,
           (x, weights, freqs, np.int64(part_rows), partial, np.int64(n), np.int32(blocks), np.int32(dim), np.int32(lanes),
            np.int32(rows)), rows * row_bytes)  # fmt: skip


def harmonic_adjoint(x, freqs, harmonics, real, imag, lanes, out):
    """Twin of `harmonics.harmonic_adjoint`."""
    (n, dim), dtype, count = x.shape, x.dtype, len(harmonics)
    row_bytes = (
        -(-2 * count * dtype.itemsize // 16) * 16 + dim * dtype.itemsize
    )  # coefficients and coordinates
    rows, lanes = staged_rows(row_bytes, dim), min(lanes, THREADS)
    launch("harmonics", "harmonic_adjoint", (TYPES[dtype], count), -(-n // lanes), THREADS,
           (x.T.copy(), freqs, real, imag, np.int32(lanes), out, np.int64(n), np.int32(len(freqs)), np.int32(dim),
            np.int32(rows)), max(rows * row_bytes, 8 * THREADS))  # fmt: skip
