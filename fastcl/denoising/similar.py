"""A second stage: groups of similar patches, found in a first estimate, which is their pilot.

Lebrun, Buades and Morel, "A nonlocal Bayesian image denoising algorithm", SIAM Journal on Imaging
Sciences 2013, of which this is the second step, with the estimate by the prior as its pilot.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import SPARE, contiguous, empty, is_device, kernel, to_device_of
from ..progress import progress_bar
from ..validation import LIMITS

GROUP = 40  # patches of a group
SLAB = 4  # reference positions along the first axis that share one partial sum
SLABS = 16  # at a time
SHIFT = 2  # samples by which the reference patches move from one round to the next
# Least noise, relative to the largest value, at which single precision is enough: the systems of a
# group have condition numbers up to the square of its inverse.
MIN_SINGLE = 1 / 64


class Search(NamedTuple):
    """How groups are found.

    Attributes
    ----------
    sides : tuple of int
        Of the patches, round by round: the result of a round is the pilot of the next one.
    strides : tuple of int
        Distance of neighbouring reference patches, round by round, at most the side.
    half : int
        Largest distance of a similar patch along an axis.
    """

    sides: tuple[int, ...]
    strides: tuple[int, ...]
    half: int


def image_search(effort: str, channels: int, strong: bool) -> Search:
    """The search for an image; `strong`: whether its noise is.

    Patches grow from round to round, as the pilot gets better. In colour they have more numbers
    than a group has patches, and stay small.
    """
    rounds = {"fast": 1, "balanced": 4, "best": 6}[effort]
    half = {"fast": 15, "balanced": 23, "best": 31}[effort]
    if channels > 1:
        side, sides = 5, (5,) * rounds
    else:
        side = 6
        sides = tuple((8 if strong else 6) + k // 2 for k in range(rounds))
    last = 2 if effort == "best" else 0  # rounds with more groups
    return Search(sides, (side,) * (rounds - last) + (4,) * last, half)


def dtype_for_groups(signal: NDArray, sigma: Any) -> np.dtype:
    """The precision that groups need for a signal with noise `sigma`, a number or several."""
    largest, limit = float(abs(signal).max()), LIMITS[np.dtype(np.float32)]
    enough = np.min(sigma) >= max(MIN_SINGLE * largest, 1 / limit) and largest <= limit
    return np.dtype(np.float32 if enough else np.float64)


def refine(
    noisy: NDArray, pilot: NDArray, sigma: Any, search: Search, progress: bool = False
) -> NDArray:
    """The signal (C, *axes) denoised in groups of patches that are similar in the pilot.

    sigma is a number or one per channel. Memory: six times the signal, or four times and SLABS
    slabs of the sums of its channels and one more. On a device, ten times the signal.
    """
    levels = np.broadcast_to(sigma, len(noisy)).astype(noisy.dtype)
    units = to_device_of(levels.reshape(-1, *[1] * (noisy.ndim - 1)), noisy)
    given = contiguous(noisy / units, noisy.dtype)
    found = with_spare(pilot / units)
    del pilot
    rounds = list(zip(search.sides, search.strides, strict=True))
    with progress_bar(progress, len(rounds), "groups", "round") as bar:
        for k, (side, stride) in enumerate(rounds):
            found = with_spare(refine_once(given, found, side, stride, search.half, SHIFT * k))
            bar.update(1)
    return found[:-SPARE].reshape(noisy.shape) * units


def with_spare(signal: NDArray) -> NDArray:
    """A flat copy of a signal, with numbers to spare at its end."""
    return np.concatenate([signal.reshape(-1), np.zeros(SPARE, signal.dtype, like=signal)])


def refine_once(
    noisy: NDArray, pilot: NDArray, side: int, stride: int, half: int, shift: int = 0
) -> NDArray:
    """One round, for noise with standard deviation one, and a pilot from `with_spare`."""
    shape = noisy.shape[1:]
    # Neighbours are compared along the last axis.
    sizes = {1: (1, 1, *shape), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]
    patch = tuple(min(side, size) for size in sizes)
    halves = tuple(half if size > 1 else 0 for size in sizes)
    places = [
        _references(size - length + 1, stride, shift)
        for size, length in zip(sizes, patch, strict=True)
    ]
    # Slabs are cut along the first axis that there is, as in the kernel. On a device, where the
    # order of additions makes no difference, there is one.
    cut, per_slab = (2, 4 * SLAB) if sizes[:2] == (1, 1) else (0, SLAB)
    taken = places[cut]
    if is_device(noisy):
        per_slab = len(taken)
    rows = min(sizes[cut], (per_slab - 1) * stride + 2 * halves[cut] + patch[cut])
    slab = tuple(rows if axis == cut else size for axis, size in enumerate(sizes))
    slabs = min(SLABS, -(-len(taken) // per_slab))
    total = empty((slabs, len(noisy) * math.prod(slab)), noisy.dtype, noisy)
    starts = empty((slabs, math.prod(slab)), noisy.dtype, noisy)
    flat = contiguous(noisy, noisy.dtype).reshape(-1)
    offsets, out_offsets = (
        to_device_of(_offsets(len(noisy), axes, patch), noisy) for axes in (sizes, slab)
    )
    out = np.zeros((len(noisy), *sizes), noisy.dtype, like=noisy)
    counts = np.zeros(sizes, noisy.dtype, like=noisy)
    for at in range(0, len(taken), SLABS * per_slab):
        places[cut] = taken[at : at + SLABS * per_slab]
        tasks = -(-len(places[cut]) // per_slab)
        references = (to_device_of(along, noisy) for along in places)
        kernel("denoise_similar", like=noisy)(
            flat, pilot, *references, sizes, patch, halves, GROUP, offsets, per_slab, out_offsets,
            total[:tasks], starts[:tasks],
        )  # fmt: skip
        for k in range(tasks):
            first = int(max(places[cut][k * per_slab] - halves[cut], 0))
            _add_slab(total[k].reshape(-1, *slab), out, cut + 1, first)
            _add_slab(starts[k].reshape(slab), counts, cut, first)
    del total, starts
    out /= _covered(counts, patch)
    return out.reshape(noisy.shape)


def _add_slab(part: NDArray, whole: NDArray, axis: int, first: int) -> None:
    """Add a slab to `whole`, from position `first` of an axis on; what lies beyond it is zero."""
    part, whole = np.moveaxis(part, axis, 0), np.moveaxis(whole, axis, 0)
    whole[first : first + len(part)] += part[: len(whole) - first]


def _covered(starts: NDArray, patch: tuple[int, ...]) -> NDArray:
    """How many patches cover each sample, for the number of those that start there."""
    for axis, side in enumerate(patch):
        if side == 1:
            continue
        moved = np.moveaxis(starts, axis, 0)
        total = moved.copy()
        for step in range(1, side):
            total[step:] += moved[:-step]
        starts = np.moveaxis(total, 0, axis)
    return starts


def _offsets(channels: int, sizes: tuple[int, ...], patch: tuple[int, ...]) -> NDArray[np.uint64]:
    """Where the numbers of a patch are in a flat signal, from that of its first one."""
    places = np.indices((channels, *patch)).reshape(4, -1)
    return np.asarray(np.ravel_multi_index(tuple(places), (channels, *sizes)), np.uint64)


def _references(count: int, stride: int, shift: int) -> NDArray[np.int64]:
    """Positions of the reference patches along an axis: every `stride`-th, and both ends."""
    regular = np.arange(shift % stride, count, stride)
    return np.unique(np.concatenate([[0], regular, [count - 1]]))
