"""Launchers of features.cu."""

import numpy as np

from ..cuda import BLOCKS, DOUBLE, FLOAT, THREADS, TYPES, expression, expressions, launch

ROWS = 256  # as in features.cu
SMALL_DIMS = range(1, 9)  # dimensions with kernels of their own
FREQUENCIES = {FLOAT: 8, DOUBLE: 2}  # of a thread, for small d
POINTS = {FLOAT: (8, 4), DOUBLE: (4, 4)}  # of a thread of the adjoint, for many and for few points
SIDE = {FLOAT: 8, DOUBLE: 4}  # points, and frequencies, of a thread beyond small d, as in tiles.cuh
ADJOINT_POINTS = {dtype: (16 * side, 32) for dtype, side in SIDE.items()}  # of a block, for many and for few points

VARIANTS = [
    *expressions("feature_sum", TYPES.values(), SMALL_DIMS),
    *expressions("feature_adjoint", ["float"], SMALL_DIMS, POINTS[FLOAT]),
    *expressions("feature_adjoint", ["double"], SMALL_DIMS, POINTS[DOUBLE][:1]),
    *expressions("feature_sum_tiled", TYPES.values()),
    *[expression("feature_adjoint_tiled", (TYPES[dtype], points)) for dtype in TYPES for points in ADJOINT_POINTS[dtype]],
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
    (m, dim), dtype = turns.shape, turns.dtype
    if dim in SMALL_DIMS:
        blocks, threads = _frequency_threads(m, dtype)
        lanes = threads * FREQUENCIES[dtype]
    else:
        lanes = 16 * SIDE[dtype]
        blocks = -(-m // lanes)
    padded = np.zeros((blocks * lanes, dim), dtype, like=turns)
    padded[:m] = turns
    return padded.reshape(blocks, lanes, dim).swapaxes(1, 2).copy()


def point_parts(n, blocks):
    """Rows of each part of n points: enough parts to fill the device, of whole tiles where there are many points."""
    count, dim, lanes = blocks.shape
    rows = -(-n // max(1, BLOCKS // count))
    tile = ROWS if dim in SMALL_DIMS else lanes  # tiles of any d have as many points as frequencies
    if rows < tile and dim in SMALL_DIMS:
        tile = 32
    return tile * -(-rows // tile)


def feature_sum(x, weights, turns, part_rows, partial):
    """Twin of `features.feature_sum`."""
    parts, blocks, _, lanes = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    weights = weights if weights.size else np.uint64(0)  # a null pointer
    arguments = x, weights, turns, np.int64(part_rows), partial, np.int64(n), np.int32(blocks)
    if dim in SMALL_DIMS:
        launch("features", "feature_sum", (TYPES[dtype], dim), parts * blocks, lanes // FREQUENCIES[dtype],
               (*arguments, np.int32(lanes)), ROWS * _row_bytes(dim + 1, dtype))  # fmt: skip
        return
    staged = 2 * (16 * (_stride(lanes, dtype) + lanes) + lanes)  # points, frequencies, weights
    launch("features", "feature_sum_tiled", (TYPES[dtype],), parts * blocks, THREADS,
           (*arguments, np.int32(dim)), staged * dtype.itemsize)  # fmt: skip


def point_lanes(n):
    """Points of a block of the adjoint: fewer, whose block shares the frequencies among its threads, where n is small."""
    if n >= BLOCKS * THREADS:
        return 4 * THREADS
    return 128 if n >= BLOCKS // 4 * 128 else 32


def feature_adjoint(x, turns, moduli, arguments, lanes, out):
    """Twin of `features.feature_adjoint`; beyond small d a block takes at most as many points as its tile."""
    dtype, (n, dim), m = x.dtype, x.shape, len(turns)
    if dim in SMALL_DIMS:
        points = POINTS[dtype][lanes == 32]
        groups = THREADS * points // lanes
        launch("features", "feature_adjoint", (TYPES[dtype], dim, points), -(-n // lanes), THREADS,
               (x, turns, moduli, arguments, np.int32(lanes), out, np.int64(n), np.int32(m)),
               ROWS * _row_bytes(dim + 2, dtype) + 8 * groups * lanes)  # fmt: skip
        return
    points = ADJOINT_POINTS[dtype][lanes == 32]
    frequencies = THREADS * SIDE[dtype] ** 2 // points
    chunk = 8 if frequencies > 128 else 16
    staged = 2 * (chunk * (_stride(points, dtype) + _stride(frequencies, dtype)) + 2 * frequencies)
    launch("features", "feature_adjoint_tiled", (TYPES[dtype], points), -(-n // points), THREADS,
           (x, turns, moduli, arguments, np.int32(points), out, np.int64(n), np.int32(m), np.int32(dim)),
           staged * dtype.itemsize)  # fmt: skip


def _stride(length, dtype):
    """Numbers between two dimensions of so many rows in shared memory."""
    return length + 16 // dtype.itemsize


def column_magnitudes(x, out):
    """Twin of `features.column_magnitudes`; `out` is an array of the host."""
    bits = np.zeros(x.shape[1], np.int64, like=x)
    launch("features", "column_magnitudes", (TYPES[x.dtype],), min(BLOCKS, -(-len(x) // THREADS)), THREADS,
           (x, bits, np.int64(len(x)), np.int32(x.shape[1])))  # fmt: skip
    out[:] = bits.get().view(np.float64)
    return bool(np.isfinite(out).all())
