"""Launcher of random.cu."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..cuda import THREADS, TYPES, Array, expressions, launch

COUNTER_BYTES = 16  # random bytes from one counter

CONSTANTS = {"random": {"COUNTER_BYTES": COUNTER_BYTES}}
VARIANTS = {"random": expressions("uniform_points", TYPES.values())}


def uniform_points(
    key: ArrayLike,
    step: ArrayLike,
    number: int,
    low: ArrayLike,
    side: ArrayLike,
    x: Array,
) -> None:
    """Twin of `random.uniform_points`; `step` is a number, or an array (1,) on the device."""
    n, dim = x.shape
    key, low, side = (np.asarray(array, like=x) for array in (key, low, side))
    step = np.asarray(step, np.uint64, like=x).reshape(1)
    counters = -(-dim * x.dtype.itemsize // COUNTER_BYTES)
    arguments = (key, step, np.uint64(number), low, side, x, np.int64(n), np.int32(dim))
    grid = -(-n * counters // THREADS)
    launch("random", "uniform_points", (TYPES[x.dtype],), grid, THREADS, arguments)
