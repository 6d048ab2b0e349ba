"""Counter-based random numbers: a point depends on the seed, the step and its index alone.

So it does not matter who draws it, on how many threads, or in which order.
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
    1, 2, 3", SC 2011), keyed by the seed. Its counter holds the index of the point, the index of
    its coordinates, the step, and the number of sets drawn before. Everything else comes from
    `generator`.

    Parameters
    ----------
    seed : int
        In [0, 2^64).
    step : int
        In [0, 2^32).
    """

    def __init__(self, seed: int, step: int = 0) -> None:
        self.seed = int(seed)
        self.step = int(step)
        self.sets = 0

    @cached_property
    def generator(self) -> np.random.Generator:
        """A `numpy.random.Generator` of the seed and the step, for all other distributions."""
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, self.step]))

    def uniform(
        self, n: int, low: NDArray, high: NDArray, dtype: DTypeLike, like: NDArray | None = None
    ) -> NDArray:
        """n uniform points in the box from low to high (d,), (n, d), on the device of `like`."""
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
