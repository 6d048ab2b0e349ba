"""Launcher of similar.cu."""

from __future__ import annotations

import math

import numpy as np

from ..cuda import BLOCKS, NULL, TYPES, WARP, Array, expressions, launch, shared_bytes
from ..nearest import BISECTIONS, MAX_DISTANCE

BLOCK_THREADS = 128  # threads per block, one group at a time
TILE = 4  # rows and columns of a thread's tile of a product
CHUNK = 16  # numbers of a patch that are taken at a time
MAX_EXPONENT = 1000  # of the scale of the sums

CONSTANTS = {
    "similar": {
        "BLOCK_THREADS": BLOCK_THREADS,
        "TILE": TILE,
        "CHUNK": CHUNK,
        "BISECTIONS": BISECTIONS,
        "MAX_DISTANCE": MAX_DISTANCE,
    }
}
VARIANTS = {"similar": expressions("denoise_similar", TYPES.values())}


def denoise_similar(
    noisy: Array,
    pilot: Array,
    xs: Array,
    ys: Array,
    zs: Array,
    sizes: tuple[int, ...],
    patch: tuple[int, ...],
    half: tuple[int, ...],
    group: int,
    offsets: Array,
    slab: int,
    out_offsets: Array,
    total: Array,
    starts: Array,
) -> None:
    """Twin of `similar.denoise_similar`, for a single slab, which is the whole signal.

    Memory: 16 bytes per sample, for sums in fixed point.
    """
    dtype, size = noisy.dtype, offsets.size
    reach = [min(2 * h + 1, n - p + 1) for h, n, p in zip(half, sizes, patch, strict=True)]
    window, groups = math.prod(reach), len(xs) * len(ys) * len(zs)
    width = -(-group // TILE) * TILE
    shareable = 3 * width * (width + CHUNK)  # numbers, in whose place distances may be
    numbers = (shareable + 2 * width + size + WARP) * dtype.itemsize
    shared = numbers + 8 * (width + 1) + 4 * (2 * BLOCK_THREADS + WARP)
    if shared > shared_bytes():
        raise ValueError(f"no CUDA kernel for groups in {dtype} here: pass NumPy arrays")
    grid = min(groups, BLOCKS)
    distances = NULL if window <= shareable else np.empty((grid, window), dtype, like=noisy)
    # An estimate is a mean, and what is left of a vector within twice the largest value of it.
    largest = max(float(abs(noisy).max()), float(abs(pilot).max()))
    if not math.isfinite(largest):
        total[...], starts[...] = np.nan, 1
        return
    bound = largest * (2 + 4 * math.sqrt(size)) * groups * group
    exponent = min(62 - math.frexp(bound)[1], MAX_EXPONENT)
    sums = np.zeros(total.size, np.int64, like=total)
    starts[...] = 0
    counts = map(np.int32, (groups, len(ys), len(zs)))
    lengths = map(np.int32, (*sizes, *patch, *half, size, window))
    references = (xs, ys, zs, np.int32(group))
    arrays = (noisy, pilot, *references, offsets, sums, starts, distances)
    arguments = (*arrays, *counts, *lengths, np.float64(2.0**exponent))
    launch("similar", "denoise_similar", (TYPES[dtype],), grid, BLOCK_THREADS, arguments, shared)
    total[...] = (sums * 2.0**-exponent).reshape(total.shape)
