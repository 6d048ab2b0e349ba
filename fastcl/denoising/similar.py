"""A second stage: groups of similar patches, found in a first estimate, which is their pilot.

Lebrun, Buades and Morel, "A nonlocal Bayesian image denoising algorithm", SIAM Journal on Imaging
Sciences 2013, of which this is the second step, with the estimate by the prior as its pilot.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import contiguous, kernel, to_device_of, to_host

SIDES = (6, 8)  # of the patches of images: under moderate and under strong noise
GROUP = 40  # patches of a group
SLAB = 16  # reference positions along one axis that share one partial sum


class Search(NamedTuple):
    """How groups are found; the defaults are for images.

    Attributes
    ----------
    side : int
        Of the patches.
    half : int
        Largest distance of a similar patch along an axis.
    stride : int
        Distance of neighbouring reference patches.
    rounds : int
        How often: the result of a round is the pilot of the next one.
    """

    side: int = SIDES[0]
    half: int = 14
    stride: int = 3
    rounds: int = 4


def refine(noisy: NDArray, pilot: NDArray, sigma: Any, search: Search) -> NDArray:
    """The signal (C, *axes) denoised in groups of patches that are similar in the pilot.

    sigma is a number or one per channel. Memory: eight times the signal. On the host.
    """
    levels = np.broadcast_to(sigma, len(noisy)).astype(noisy.dtype)
    units = levels.reshape(-1, *[1] * (noisy.ndim - 1))
    given = np.ascontiguousarray(to_host(noisy) / units)
    found = np.ascontiguousarray(to_host(pilot) / units)
    for _ in range(search.rounds):
        found = refine_once(given, found, search)
    return to_device_of(found * units, noisy)


def refine_once(noisy: NDArray, pilot: NDArray, search: Search) -> NDArray:
    """One round, for noise with standard deviation one."""
    shape, stride = noisy.shape[1:], search.stride
    # Neighbours are compared along the last axis.
    sizes = {1: (1, 1, *shape), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]
    patch = tuple(min(search.side, size) for size in sizes)
    half = tuple(search.half if size > 1 else 0 for size in sizes)
    places = [
        _references(size - length + 1, stride) for size, length in zip(sizes, patch, strict=True)
    ]
    # Slabs are cut along the first axis that there is, as in the kernel.
    cut = 2 if sizes[:2] == (1, 1) else 0
    tasks = -(-len(places[cut]) // SLAB)
    rows = min(sizes[cut], (SLAB - 1) * stride + 2 * half[cut] + patch[cut])
    slab = tuple(rows if axis == cut else size for axis, size in enumerate(sizes))
    total = np.empty((tasks, len(noisy) * math.prod(slab)), noisy.dtype)
    weights = np.empty((tasks, math.prod(slab)), noisy.dtype)
    flat = [contiguous(signal, noisy.dtype).reshape(-1) for signal in (noisy, pilot)]
    offsets, out_offsets = (_offsets(len(noisy), axes, patch) for axes in (sizes, slab))
    kernel("denoise_similar", like=noisy)(
        *flat, *places, sizes, patch, half, GROUP, offsets, SLAB, out_offsets, total, weights
    )
    out, counts = np.zeros((len(noisy), *sizes), noisy.dtype), np.zeros(sizes, noisy.dtype)
    for k in range(tasks):
        first = max(places[cut][k * SLAB] - half[cut], 0)
        found, weight = total[k].reshape(-1, *slab), weights[k].reshape(slab)
        for whole, part in ((out, found), (counts[None], weight[None])):
            whole, part = (np.moveaxis(each, cut + 1, 0) for each in (whole, part))
            whole[first : first + rows] += part[: sizes[cut] - first]
    return (out / counts).reshape(noisy.shape)


def _offsets(channels: int, sizes: tuple[int, ...], patch: tuple[int, ...]) -> NDArray[np.int64]:
    """Where the numbers of a patch are in a flat signal, from that of its first one."""
    places = np.indices((channels, *patch)).reshape(4, -1)
    return np.asarray(np.ravel_multi_index(tuple(places), (channels, *sizes)), np.int64)


def _references(count: int, stride: int) -> NDArray[np.int64]:
    """Positions of the reference patches along an axis: every `stride`-th, and the last."""
    return np.unique(np.append(np.arange(0, count, stride), count - 1))
