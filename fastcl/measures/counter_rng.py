"""Counter-based random numbers: a point depends on the seed, the step and its index alone.

It is the same on any device, on any number of threads and in any order.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import kernel

WORD = 2**32


class Stream:
    """The random numbers of one step of a run.

    Uniform points come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", SC 2011), keyed by the seed. The counter holds the index of the point, the index of
    the block of coordinates, the step, and the number of sets drawn before. All other random
    numbers come from `generator`.

    Parameters
    ----------
    seed : int
        Seed of the run, in [0, 2^64).
    step : int
        Number of the step, in [0, 2^32).
    """

    def __init__(self, seed: int, step: int = 0) -> None:
        self.seed = int(seed)
        self.step = int(step)
        self.sets = 0

    @cached_property
    def generator(self) -> np.random.Generator:
        """A `numpy.random.Generator` that follows from seed and step, for other distributions."""
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, self.step]))

    def uniform(
        self, n: int, low: NDArray, high: NDArray, dtype: DTypeLike, like: NDArray | None = None
    ) -> NDArray:
        """n uniform points (n, d) in the box from low to high, (d,), on the device of `like`."""
        points = np.empty((n, len(low)), dtype, like=low if like is None else like)
        key = np.array([self.seed % WORD, self.seed // WORD], np.uint64)
        kernel("uniform_points", like=points)(
            key,
            np.uint64(self.step),
            np.uint64(self.sets),
            low.astype(dtype),
            (high - low).astype(dtype),
            points,
        )
        self.sets += 1
        return points
