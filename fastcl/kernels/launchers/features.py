"""Launchers of features.cu."""

import numpy as np

from ..cuda import BLOCKS, DOUBLE, FLOAT, THREADS, TYPES, expressions, launch

ROWS = 256  # as in features.cu
SMALL_DIMS = (1, 2, 3, 4)  # dimensions with kernels of their own
FREQUENCIES = {FLOAT: 8, DOUBLE: 2}  # of a thread, for small d
POINTS = (4, 1)  # of a thread of the adjoint, for small d

VARIANTS = [
    *expressions("feature_sum", TYPES.values(), SMALL_DIMS),
    *expressions("feature_adjoint", TYPES.values(), SMALL_DIMS, POINTS),
    *expressions("column_magnitudes", TYPES.values()),
]


def _row_bytes(numbers, dtype):
    """Bytes of a `Row` of so many numbers in shared memory."""
    return -(-numbers * dtype.itemsize // 16) * 16


def _frequency_threads(m, dtype):
    """(blocks, threads of a block) that hold m frequencies with the fewest places left empty."""
    blocks = -(-m // (FREQUENCIES[dtype] * THREADS))
    return blocks, 32 * -(-m // (32 * FREQUENCIES[dtype] * blocks))


def frequency_blocks(turns):
    """Frequencies (m, d) in the layout (blocks, d, lanes) of `feature_sum`, zeros beyond m."""
    m, dim = turns.shape
    blocks, threads = _frequency_threads(m, turns.dtype)
    lanes = threads * FREQUENCIES[turns.dtype]
    padded = np.zeros((blocks * lanes, dim), turns.dtype, like=turns)
    padded[:m] = turns
    return padded.reshape(blocks, lanes, dim).swapaxes(1, 2).copy()


def point_parts(n, blocks):
    """Rows of each part of n points: enough parts to fill the device, of whole tiles where there are many points."""
    rows = -(-n // max(1, BLOCKS // blocks))
    return ROWS * -(-rows // ROWS) if rows > ROWS else 32 * -(-rows // 32)


def feature_sum(x, weights, turns, part_rows, partial):
    """Twin of `features.feature_sum`."""
    parts, blocks, _, lanes = partial.shape
    dtype, dim = x.dtype, x.shape[1]
    weights = weights if weights.size else np.uint64(0)  # a null pointer
    launch("features", "feature_sum", (TYPES[dtype], dim), parts * blocks, lanes // FREQUENCIES[dtype],
           (x, weights, turns, np.int64(part_rows), partial, np.int64(len(x)), np.int32(blocks), np.int32(lanes)),
           ROWS * _row_bytes(dim + 1, dtype))  # fmt: skip


def point_lanes(n):
    """Points of a block of the adjoint: fewer, whose block shares the frequencies among its threads, where n is small."""
    return POINTS[0] * THREADS if n >= BLOCKS * THREADS else 32


def feature_adjoint(x, turns, moduli, arguments, lanes, out):
    """Twin of `features.feature_adjoint`."""
    dtype, (n, dim) = x.dtype, x.shape
    points = POINTS[0] if lanes > 32 else POINTS[1]
    groups = THREADS * points // lanes
    launch("features", "feature_adjoint", (TYPES[dtype], dim, points), -(-n // lanes), THREADS,
           (x, turns, moduli, arguments, np.int32(lanes), out, np.int64(n), np.int32(len(turns))),
           ROWS * _row_bytes(dim + 2, dtype) + 8 * groups * lanes)  # fmt: skip


def column_magnitudes(x, out):
    """Twin of `features.column_magnitudes`; `out` is an array of the host."""
    bits = np.zeros(x.shape[1], np.int64, like=x)
    launch("features", "column_magnitudes", (TYPES[x.dtype],), min(BLOCKS, -(-len(x) // THREADS)), THREADS,
           (x, bits, np.int64(len(x)), np.int32(x.shape[1])))  # fmt: skip
    out[:] = bits.get().view(np.float64)
    return bool(np.isfinite(out).all())
