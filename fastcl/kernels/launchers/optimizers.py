"""Launchers of optimizers.cu.

`captured` is what a captured run adds: its counters, the parameters before the step, and their running mean or None; `rates`
then has one row a step.
"""

import numpy as np

from ..cuda import THREADS, TYPES, expressions, launch

NULL = np.uint64(0)

VARIANTS = [*expressions("adam_step", TYPES.values()), *expressions("sgd_step", TYPES.values())]


def adam_step(theta, gradient, first, second, rates, captured=(None, None, None)):
    """Twin of `optimizers.adam_step`; rates (steps, 6) of a captured run end with the share of theta in its running mean."""
    _launch("adam_step", theta, (gradient, first, second, rates), (), captured)


def sgd_step(theta, gradient, velocity, rates, nesterov, captured):
    """Momentum; rates (steps, 3) are the step, the momentum, and the share of theta in its running mean."""
    _launch("sgd_step", theta, (gradient, velocity, rates), (np.int32(nesterov),), captured)


def _launch(name, theta, arrays, settings, captured):
    arrays = [np.asarray(array, like=theta) for array in arrays]
    captured = [NULL if array is None else array for array in captured]
    launch("optimizers", name, (TYPES[theta.dtype],), -(-theta.size // THREADS), THREADS,
           (theta, *arrays, np.int64(theta.size), *settings, *captured))  # fmt: skip
