"""Random numbers by counters: a point depends on the seed, the step and its place alone, not on who draws it or when."""

from functools import cached_property

import numpy as np

from ..backend import kernel

WORD = 2**32


class Stream:
    """The random numbers of one step of a run.

    Uniform points come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by the
    seed; its counter holds the index of the point, that of its coordinates, the step, and the number of sets drawn before.
    Everything else comes from `generator`.

    Parameters
    ----------
    seed : int
        In [0, 2^64).
    step : int
        In [0, 2^32).
    """

    def __init__(self, seed, step=0):
        self.seed, self.step, self.sets = int(seed), int(step), 0

    @cached_property
    def generator(self):
        """A `numpy.random.Generator` of the seed and the step, for laws other than the uniform."""
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, self.step]))

    def uniform(self, n, low, high, dtype, like=None):
        """n points drawn uniformly from the box between low and high (d,), (n, d) of `dtype`, where `like` is."""
        points = np.empty((n, len(low)), dtype, like=low if like is None else like)
        key = np.array([self.seed % WORD, self.seed // WORD], np.uint64)
        kernel("uniform_points", like=points)(
            key, np.uint64(self.step), np.uint64(self.sets), low.astype(dtype), (high - low).astype(dtype), points
        )  # fmt: skip
        self.sets += 1
        return points
