"""Launchers of features.cu and, for larger d, of features_tiled.cu and features_tensor.cu."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..cuda import (
    ACCESS_BYTES,
    BLOCKS,
    DOUBLE,
    FLOAT,
    NULL,
    THREADS,
    TYPES,
    WARP,
    Array,
    by_type,
    expression,
    expressions,
    launch,
)

ROWS = 256  # rows that are staged at once, and added in the working precision
SMALL_DIMS = range(1, 9)  # dimensions with kernels of their own
FREQUENCIES = {FLOAT: 8, DOUBLE: 2}  # frequencies per thread, for small d
POINTS = {FLOAT: (8, 4), DOUBLE: (4, 4)}  # points per thread of the adjoint: of many, of few
FEW_POINTS = 32  # points per block of the adjoint if there are few
TILE = {FLOAT: 128, DOUBLE: 64}  # points, and frequencies, per block of the sum beyond small d
ADJOINT_TILES = {  # (points, frequencies) per block of the adjoint: of many points, of few
    FLOAT: ((128, 128), (FEW_POINTS, 256)),
    DOUBLE: ((64, 64), (FEW_POINTS, 128)),
}
SIDE = 4  # points, and frequencies, per thread of features_tiled.cu
CHUNK = 16  # dimensions that are staged at once
BANK_PADDING = 8  # numbers added to rows of sums in shared memory: spread a warp over all banks

CONSTANTS = {
    "features": {"ROWS": ROWS, **by_type("FREQUENCIES", FREQUENCIES)},
    "features_tiled": {"ROWS": ROWS, "TILE": TILE[DOUBLE], "SIDE": SIDE, "CHUNK": CHUNK},
    "features_tensor": {
        "ROWS": ROWS,
        "TILE": TILE[FLOAT],
        "CHUNK": CHUNK,
        "BANK_PADDING": BANK_PADDING,
    },
}
VARIANTS = {
    "features": [
        *expressions("feature_sum", TYPES.values(), SMALL_DIMS),
        *expressions("feature_adjoint", ["float"], SMALL_DIMS, POINTS[FLOAT]),
        *expressions("feature_adjoint", ["double"], SMALL_DIMS, POINTS[DOUBLE][:1]),
        *expressions("column_magnitudes", TYPES.values()),
    ],
    "features_tiled": [
        "feature_sum_tiled<double>",
        *(expression("feature_adjoint_tiled", ("double", *tile)) for tile in ADJOINT_TILES[DOUBLE]),
    ],
    "features_tensor": [
        "feature_sum_tensor",
        *(expression("feature_adjoint_tensor", tile) for tile in ADJOINT_TILES[FLOAT]),
        "pack_frequencies",
    ],
}


def frequency_blocks(freqs: Array) -> Array:
    """Frequencies (m, d) as (blocks, d, block_width), for `feature_sum`: zeros beyond m."""
    (m, dim), dtype = freqs.shape, freqs.dtype
    if dim in SMALL_DIMS:
        blocks = -(-m // (FREQUENCIES[dtype] * THREADS))
        warps = -(-m // (WARP * FREQUENCIES[dtype] * blocks))  # as few as hold the frequencies
        block_width = WARP * warps * FREQUENCIES[dtype]
    else:
        block_width = TILE[dtype]
        blocks = -(-m // block_width)
    padded = np.zeros((blocks * block_width, dim), dtype, like=freqs)
    padded[:m] = freqs
    return padded.reshape(blocks, block_width, dim).swapaxes(1, 2).copy()


def rows_per_part(n: int, blocks: Array) -> int:
    """Rows per part of n points, such that the parts fill the device.

    Parts consist of whole tiles if there are many points.
    """
    count, dim, block_width = blocks.shape
    rows = -(-n // max(1, BLOCKS // count))
    small = dim in SMALL_DIMS
    tile = ROWS if small else block_width  # beyond small d a tile has as many points as frequencies
    if rows < tile and small:
        tile = WARP
    return tile * -(-rows // tile)


def feature_sum(x: Array, weights: Array, freqs: Array, part_rows: int, partial: Array) -> None:
    """Twin of `features.feature_sum`."""
    parts, blocks, _, block_width = partial.shape
    (n, dim), dtype = x.shape, x.dtype
    weights = weights if weights.size else NULL
    grid = parts * blocks
    rows, sizes = np.int64(part_rows), (np.int64(n), np.int32(blocks))
    arguments: tuple[object, ...]
    if dim in SMALL_DIMS:
        arguments = (x, weights, freqs, rows, partial, *sizes, np.int32(block_width))
        threads = block_width // FREQUENCIES[dtype]
        shared = ROWS * _row_bytes(dim + 1, dtype)
        launch("features", "feature_sum", (TYPES[dtype], dim), grid, threads, arguments, shared)
    elif dtype == FLOAT:
        strides = (dim * block_width, 1, block_width)
        packed, scales = _pack_frequencies(x, freqs, blocks * block_width, block_width, strides)
        arguments = (x, weights, packed, rows, partial, scales, *sizes, np.int32(dim))
        sums = 16 * (2 * block_width + BANK_PADDING)  # numbers for 16 rows of threads
        shared = _staged_bytes(2 * block_width) + dtype.itemsize * (2 * block_width + sums)
        launch("features_tensor", "feature_sum_tensor", (), grid, THREADS, arguments, shared)
    else:
        arguments = (x, weights, freqs, rows, partial, *sizes, np.int32(dim))
        dimension = _stride(block_width, dtype) + block_width  # points and frequencies
        shared = 2 * (CHUNK * dimension + block_width) * dtype.itemsize
        name = "feature_sum_tiled"
        launch("features_tiled", name, (TYPES[dtype],), grid, THREADS, arguments, shared)


def points_per_block(n: int) -> int:
    """Points per block of the adjoint.

    They are fewer if n is small: the threads of a block then share the frequencies.
    """
    if n >= BLOCKS * THREADS:
        return 4 * THREADS
    return 128 if n >= BLOCKS // 4 * 128 else FEW_POINTS


def feature_adjoint(
    x: Array, freqs: Array, amplitudes: Array, phase_offsets: Array, block_width: int, out: Array
) -> None:
    """Twin of `features.feature_adjoint`.

    Beyond small d a block takes at most as many points as its tile.
    """
    dtype, (n, dim), m = x.dtype, x.shape, len(freqs)
    few = block_width == FEW_POINTS
    sizes = np.int64(n), np.int32(m)
    arguments: tuple[object, ...]
    if dim in SMALL_DIMS:
        count = POINTS[dtype][few]
        groups = THREADS * count // block_width
        arguments = (x, freqs, amplitudes, phase_offsets, np.int32(block_width), out, *sizes)
        template = (TYPES[dtype], dim, count)
        shared = ROWS * _row_bytes(dim + 2, dtype) + DOUBLE.itemsize * groups * block_width
        grid = -(-n // block_width)
        launch("features", "feature_adjoint", template, grid, THREADS, arguments, shared)
        return
    points, frequencies = ADJOINT_TILES[dtype][few]
    grid, width = -(-n // points), np.int32(points)
    if dtype == FLOAT:
        strides = (frequencies * dim, dim, 1)
        packed, scales = _pack_frequencies(x, freqs, m, frequencies, strides)
        sums = frequencies // 8 * (points + BANK_PADDING)  # numbers for threads that share points
        shared = _staged_bytes(points + frequencies) + dtype.itemsize * (4 * frequencies + sums)
        arguments = (
            x,
            packed,
            amplitudes,
            phase_offsets,
            width,
            out,
            scales,
            *sizes,
            np.int32(dim),
        )
        name = "feature_adjoint_tensor"
        launch("features_tensor", name, (points, frequencies), grid, THREADS, arguments, shared)
    else:
        dimension = _stride(points, dtype) + _stride(frequencies, dtype)
        shared = 2 * (CHUNK * dimension + 2 * frequencies) * dtype.itemsize
        arguments = (x, freqs, amplitudes, phase_offsets, width, out, *sizes, np.int32(dim))
        template = (TYPES[dtype], points, frequencies)
        name = "feature_adjoint_tiled"
        launch("features_tiled", name, template, grid, THREADS, arguments, shared)


def column_magnitudes(x: Array, out: NDArray) -> bool:
    """Twin of `features.column_magnitudes`; `out` is an array on the host."""
    bits: Array = np.zeros(x.shape[1], np.int64, like=x)
    _launch_magnitudes(x, bits)
    out[:] = bits.get().view(np.float64)
    return bool(np.isfinite(out).all())


def _launch_magnitudes(x: Array, bits: Array) -> None:
    """Largest magnitudes over all axes of x but the second, as float64 bits, in bits (d,), zero."""
    n, dim, inner = (*x.shape, 1)[:3]
    grid = min(BLOCKS, -(-x.size // THREADS))
    arguments = (x, bits, np.int64(n), np.int32(dim), np.int32(inner))
    launch("features", "column_magnitudes", (TYPES[x.dtype],), grid, THREADS, arguments)


def _pack_frequencies(
    x: Array, freqs: Array, m: int, block_width: int, strides: tuple[int, int, int]
) -> tuple[Array, Array]:
    """(m frequencies in blocks of `block_width`, scales) for the points x, by pack_frequencies.

    `strides` are those of `freqs` along blocks, rows and columns.
    """
    dim, blocks = x.shape[1], -(-m // block_width)
    chunks = -(-dim // CHUNK)
    bits = np.empty((2, dim), np.int64, like=x)
    bits[...] = 0
    for array, out in zip((x, freqs), bits, strict=True):
        _launch_magnitudes(array, out)
    scales = np.empty(chunks * CHUNK + 1, x.dtype, like=x)
    packed = np.empty((blocks, chunks, block_width, CHUNK), x.dtype, like=x)  # float32: two float16
    sizes = map(np.int32, (blocks, block_width, m, dim))
    arguments = (freqs, bits.view(np.float64), packed, scales, *sizes, *map(np.int64, strides))
    grid = min(BLOCKS, -(-packed.size // (4 * THREADS)))
    launch("features_tensor", "pack_frequencies", (), grid, THREADS, arguments, 4 * THREADS)
    return packed, scales


def _row_bytes(numbers: int, dtype: np.dtype) -> int:
    """Bytes of a `Row` of `numbers` numbers, see features.cu."""
    return -(-numbers * dtype.itemsize // ACCESS_BYTES) * ACCESS_BYTES


def _stride(length: int, dtype: np.dtype) -> int:
    """Numbers from one staged dimension of `length` rows to the next, STRIDE in tiles.cuh."""
    return length + ACCESS_BYTES // dtype.itemsize


def _staged_bytes(rows: int) -> int:
    """Bytes of two staged chunks of `rows` points and frequencies, as units of tensor.cuh."""
    return 2 * rows * CHUNK // 4 * ACCESS_BYTES
