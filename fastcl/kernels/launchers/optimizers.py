"""Launchers of optimizers.cu.

In a captured run, `captured` holds its counters and a place for the parameters from before the
step, and `rates` has one row per step.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ..cuda import NULL, THREADS, TYPES, Array, expressions, launch
from .objective import RUN_CONSTANTS

CONSTANTS = {"optimizers": RUN_CONSTANTS}
VARIANTS = {
    "optimizers": [
        *expressions("adam_step", TYPES.values()),
        *expressions("sgd_step", TYPES.values()),
    ]
}


def adam_step(
    theta: Array,
    gradient: Array,
    first: Array,
    second: Array,
    rates: ArrayLike,
    captured: Iterable[Array | None] = (None, None),
) -> None:
    """Twin of `optimizers.adam_step`; rates (steps, 5) in a captured run."""
    _launch("adam_step", theta, (gradient, first, second, rates), (), captured)


def sgd_step(
    theta: Array,
    gradient: Array,
    velocity: Array,
    rates: ArrayLike,
    nesterov: bool,
    captured: Iterable[Array | None],
) -> None:
    """A step with momentum; rates (steps, 2) are the step size and the momentum."""
    settings = (np.int32(nesterov),)
    _launch("sgd_step", theta, (gradient, velocity, rates), settings, captured)


def _launch(
    name: str,
    theta: Array,
    arrays: Iterable[ArrayLike],
    settings: tuple[np.int32, ...],
    captured: Iterable[Array | None],
) -> None:
    arrays = [np.asarray(array, like=theta) for array in arrays]
    captured = [NULL if array is None else array for array in captured]
    arguments = (theta, *arrays, np.int64(theta.size), *settings, *captured)
    grid = -(-theta.size // THREADS)
    launch("optimizers", name, (TYPES[theta.dtype],), grid, THREADS, arguments)
