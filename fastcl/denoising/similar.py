"""A second stage: groups of similar patches, found in a first estimate, which is their pilot.

Lebrun, Buades and Morel, "A nonlocal Bayesian image denoising algorithm", SIAM Journal on Imaging
Sciences 2013, of which this is the second step, with the estimate by the prior as its pilot.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import contiguous, kernel, to_device_of, to_host

SIDES = (6, 8)  # of the patches: under moderate and under strong noise
GROUP = 40  # patches of a group
ROUNDS = 4
HALF = 14  # largest distance of a similar patch along an axis
STRIDE = 3  # distance of neighbouring reference patches
SLAB = 16  # reference positions along the first axis that share one partial sum


def refine(noisy: NDArray, pilot: NDArray, sigma: Any, is_strong: bool = False) -> NDArray:
    """The signal (C, *axes) denoised in groups of patches that are similar in the pilot.

    The result of a round is the pilot of the next one. sigma is a number or one per channel;
    `is_strong` says that the noise hides most of what a patch holds. Memory: eight times the
    signal. On the host.
    """
    levels = np.broadcast_to(sigma, len(noisy)).astype(noisy.dtype)
    units = levels.reshape(-1, *[1] * (noisy.ndim - 1))
    given = np.ascontiguousarray(to_host(noisy) / units)
    found = np.ascontiguousarray(to_host(pilot) / units)
    for _ in range(ROUNDS):
        found = refine_once(given, found, SIDES[is_strong])
    return to_device_of(found * units, noisy)


def refine_once(noisy: NDArray, pilot: NDArray, side: int) -> NDArray:
    """One round with patches of this side, for noise with standard deviation one."""
    shape = noisy.shape[1:]
    # Slabs are cut along the first axis, and neighbours are compared along the last.
    sizes = {1: (1, 1, *shape), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]
    patch = tuple(min(side, size) for size in sizes)
    half = tuple(HALF if size > 1 else 0 for size in sizes)
    xs, ys, zs = (_references(size - length + 1) for size, length in zip(sizes, patch, strict=True))
    tasks = -(-len(xs) // SLAB)
    rows = min(sizes[0], (SLAB - 1) * STRIDE + 2 * half[0] + patch[0])
    slab = (rows, *sizes[1:])
    total = np.empty((tasks, len(noisy) * math.prod(slab)), noisy.dtype)
    weights = np.empty((tasks, math.prod(slab)), noisy.dtype)
    flat = [contiguous(signal, noisy.dtype).reshape(-1) for signal in (noisy, pilot)]
    offsets, out_offsets = (_offsets(len(noisy), axes, patch) for axes in (sizes, slab))
    kernel("denoise_similar", like=noisy)(
        *flat, xs, ys, zs, sizes, patch, half, GROUP, offsets, SLAB, out_offsets, total, weights
    )
    out, counts = np.zeros((len(noisy), *sizes), noisy.dtype), np.zeros(sizes, noisy.dtype)
    for k in range(tasks):
        first = max(xs[k * SLAB] - half[0], 0)
        stop = min(first + rows, sizes[0])
        out[:, first:stop] += total[k].reshape(-1, *slab)[:, : stop - first]
        counts[first:stop] += weights[k].reshape(slab)[: stop - first]
    return (out / counts).reshape(noisy.shape)


def _offsets(channels: int, sizes: tuple[int, ...], patch: tuple[int, ...]) -> NDArray[np.int64]:
    """Where the numbers of a patch are in a flat signal, from that of its first one."""
    places = np.indices((channels, *patch)).reshape(4, -1)
    return np.asarray(np.ravel_multi_index(tuple(places), (channels, *sizes)), np.int64)


def _references(count: int) -> NDArray[np.int64]:
    """Positions of the reference patches along an axis: every STRIDE-th, and the last."""
    return np.unique(np.append(np.arange(0, count, STRIDE), count - 1))
