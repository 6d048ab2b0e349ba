"""Launcher of random.cu."""

import numpy as np

from ..cuda import THREADS, TYPES, expressions, launch

VARIANTS = expressions("uniform_points", TYPES.values())


def uniform_points(key, step, number, low, side, x, per_set=None):
    """Twin of `random.uniform_points`, for `step` on the device, (1,), or a number.

    Rows `per_set` and on, if given, are those of the next number: several sets in one launch.
    """
    (n, dim), numbers = x.shape, x.dtype.itemsize
    key, low, side = (np.asarray(array, like=x) for array in (key, low, side))
    step = np.asarray(step, np.uint64, like=x).reshape(1)
    counters = -(-dim * numbers // 16)
    launch("random", "uniform_points", (TYPES[x.dtype],), -(-n * counters // THREADS), THREADS,
           (key, step, np.uint64(number), low, side, x, np.int64(n), np.int32(dim), np.int64(per_set or n)))  # fmt: skip
