"""Launchers of features.cu, and of features_tensor.cu for float32 beyond small d."""

import numpy as np

from ..cuda import BLOCKS, DOUBLE, FLOAT, THREADS, TYPES, expressions, launch

ROWS = 256  # as in features.cu
SMALL_DIMS = range(1, 9)  # dimensions with kernels of their own
FREQUENCIES = {FLOAT: 8, DOUBLE: 2}  # of a thread, for small d
POINTS = {FLOAT: (8, 4), DOUBLE: (4, 4)}  # of a thread of the adjoint, for many and for few points
TILE = {FLOAT: 128, DOUBLE: 64}  # points, and frequencies, of a block beyond small d
ADJOINT_POINTS = {FLOAT: (128, 32), DOUBLE: (64, 32)}  # of a block, for many and for few points
UNIT_BYTES = 16  # four numbers of a row in shared memory, as in features_tensor.cu
CHUNK = 16  # dimensions that are staged at once

VARIANTS = [
    *expressions("feature_sum", TYPES.values(), SMALL_DIMS),
    *expressions("feature_adjoint", ["float"], SMALL_DIMS, POINTS[FLOAT]),
    *expressions("feature_adjoint", ["double"], SMALL_DIMS, POINTS[DOUBLE][:1]),
    *expressions("feature_sum_tiled", ["double"]),
    *expressions("feature_adjoint_tiled", ["double"], ADJOINT_POINTS[DOUBLE]),
    *expressions("column_magnitudes", TYPES.values()),
]
TENSOR_VARIANTS = [
    "feature_sum_tensor",
    *expressions("feature_adjoint_tensor", ADJOINT_POINTS[FLOAT]),
    "pack_frequencies",
]


def _row_bytes(numbers, dtype):
    """Bytes of a `Row` of so many numbers in shared memory."""
    return -(-numbers * dtype.itemsize // 16) * 16


def _frequency_threads(m, dtype):
    """(blocks, threads of a block) that hold m frequencies with the fewest places left empty."""
    blocks = -(-m // (FREQUENCIES[dtype] * THREADS))
    return blocks, 32 * -(-m // (32 * FREQUENCIES[dtype] * blocks))


def frequency_blocks(freqs):
    """Frequencies (m, d) in the layout (blocks, d, lanes) of `feature_sum`, zeros beyond m."""
    (m, dim), dtype = freqs.shape, freqs.dtype
    if dim in SMALL_DIMS:
        blocks, threads = _frequency_threads(m, dtype)
        lanes = threads * FREQUENCIES[dtype]
    else:
        lanes = TILE[dtype]
        blocks = -(-m // lanes)
    padded = np.zeros((blocks * lanes, dim), dtype, like=freqs)
    padded[:m] = freqs
    return padded.reshape(blocks, lanes, dim).swapaxes(1, 2).copy()


def rows_per_part(n, blocks):
    """Rows of each part of n points: enough parts to fill the device, of whole tiles where there are many points."""
    count, dim, lanes = blocks.shape
    rows = -(-n // max(1, BLOCKS // count))
    tile = ROWS if dim in SMALL_DIMS else lanes  # tiles of any d have as many points as frequencies
    if rows < tile and dim in SMALL_DIMS:
        tile = 32
    return tile * -(-rows // tile)


def feature_sum(x, weights, freqs, part_rows, partial):
    """Twin of `features.feature_sum`."""
    parts, blocks, _, lanes = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    weights = weights if weights.size else np.uint64(0)  # a null pointer
    arguments = x, weights, freqs, np.int64(part_rows), partial, np.int64(n), np.int32(blocks)
    if dim in SMALL_DIMS:
        launch("features", "feature_sum", (TYPES[dtype], dim), parts * blocks, lanes // FREQUENCIES[dtype],
               (*arguments, np.int32(lanes)), ROWS * _row_bytes(dim + 1, dtype))  # fmt: skip
        return
    if dtype == FLOAT:
        packed, scales = _pack_frequencies(x, freqs, blocks * lanes, lanes, (dim * lanes, 1, lanes))
        staged = 2 * 2 * lanes * CHUNK // 4 * UNIT_BYTES
        launch("features_tensor", "feature_sum_tensor", (), parts * blocks, THREADS,
               (x, weights, packed, *arguments[3:5], scales, *arguments[5:], np.int32(dim)),
               staged + 4 * (2 * lanes + 16 * (2 * lanes + 8)))  # fmt: skip
        return
    staged = 2 * (CHUNK * (_stride(lanes, dtype) + lanes) + lanes)  # points, frequencies, weights
    launch("features", "feature_sum_tiled", (TYPES[dtype],), parts * blocks, THREADS,
           (*arguments, np.int32(dim)), staged * dtype.itemsize)  # fmt: skip


def _pack_frequencies(x, freqs, m, lanes, strides):
    """(frequencies in blocks of `lanes`, scales) for the points x; `strides` of `freqs` along blocks, lanes and columns."""
    dim, blocks = x.shape[1], -(-m // lanes)
    width = -(-dim // CHUNK) * CHUNK
    bits, scales = np.empty((2, dim), np.int64, like=x), np.empty(width + 1, x.dtype, like=x)
    packed = np.empty((blocks, width // CHUNK, lanes, CHUNK), x.dtype, like=x)  # of the same bytes
    bits[...] = 0
    for array, out in zip((x, freqs), bits, strict=True):
        _launch_magnitudes(array, out)
    launch("features_tensor", "pack_frequencies", (), min(BLOCKS, -(-packed.size // (4 * THREADS))), THREADS,
           (freqs, bits.view(np.float64), packed, scales, np.int32(blocks), np.int32(lanes), np.int32(m), np.int32(dim),
            *map(np.int64, strides)), 4 * THREADS)  # fmt: skip
    return packed, scales


def point_lanes(n):
    """Points of a block of the adjoint: fewer, whose block shares the frequencies among its threads, where n is small."""
    if n >= BLOCKS * THREADS:
        return 4 * THREADS
    return 128 if n >= BLOCKS // 4 * 128 else 32


def feature_adjoint(x, freqs, amplitudes, phase_offsets, lanes, out):
    """Twin of `features.feature_adjoint`; beyond small d a block takes at most as many points as its tile."""
    dtype, (n, dim), m = x.dtype, x.shape, len(freqs)
    if dim in SMALL_DIMS:
        points = POINTS[dtype][lanes == 32]
        groups = THREADS * points // lanes
        launch("features", "feature_adjoint", (TYPES[dtype], dim, points), -(-n // lanes), THREADS,
               (x, freqs, amplitudes, phase_offsets, np.int32(lanes), out, np.int64(n), np.int32(m)),
               ROWS * _row_bytes(dim + 2, dtype) + 8 * groups * lanes)  # fmt: skip
        return
    points = ADJOINT_POINTS[dtype][lanes == 32]
    sizes = np.int64(n), np.int32(m), np.int32(dim)
    if dtype == FLOAT:
        frequencies = 128 if points == 128 else 256
        columns = 16 if points == 128 else 32  # of threads, which keep sums of their own
        packed, scales = _pack_frequencies(x, freqs, m, frequencies, (frequencies * dim, dim, 1))
        staged = 2 * (points + frequencies) * CHUNK // 4 * UNIT_BYTES
        launch("features_tensor", "feature_adjoint_tensor", (points,), -(-n // points), THREADS,
               (x, packed, amplitudes, phase_offsets, np.int32(points), out, scales, *sizes),
               staged + 4 * (4 * frequencies + columns * (points + 8)))  # fmt: skip
        return
    frequencies = THREADS * 16 // points  # 4 of a thread, by as many points
    staged = 2 * (CHUNK * (_stride(points, dtype) + _stride(frequencies, dtype)) + 2 * frequencies)
    launch("features", "feature_adjoint_tiled", (TYPES[dtype], points), -(-n // points), THREADS,
           (x, freqs, amplitudes, phase_offsets, np.int32(points), out, *sizes), staged * dtype.itemsize)  # fmt: skip


def _stride(length, dtype):
    """Numbers between two dimensions of so many rows in shared memory."""
    return length + 16 // dtype.itemsize


def column_magnitudes(x, out):
    """Twin of `features.column_magnitudes`; `out` is an array of the host."""
    bits = np.zeros(x.shape[1], np.int64, like=x)
    _launch_magnitudes(x, bits)
    out[:] = bits.get().view(np.float64)
    return bool(np.isfinite(out).all())


def _launch_magnitudes(x, bits):
    """The largest amplitudes over all axes of x but the second, as bits of float64, into `bits` (d,), zero beforehand."""
    n, dim, inner = (*x.shape, 1)[:3]
    launch("features", "column_magnitudes", (TYPES[x.dtype],), min(BLOCKS, -(-x.size // THREADS)), THREADS,
           (x, bits, np.int64(n), np.int32(dim), np.int32(inner)))  # fmt: skip
