"""Launchers of the CUDA kernels: functions with the names and arguments of their Numba twins, for CuPy arrays.

Each module launches the kernels of the `.cu` file of its name, and lists in `VARIANTS` the name expressions that there are.
"""

from . import features, objective, optimizers, random

VARIANTS = {
    "features": features.VARIANTS,
    "objective": objective.VARIANTS,
    "optimizers": optimizers.VARIANTS,
    "random": random.VARIANTS,
}
LAUNCHERS = {
    "feature_sum": features.feature_sum,
    "feature_adjoint": features.feature_adjoint,
    "frequency_blocks": features.frequency_blocks,
    "point_parts": features.point_parts,
    "point_lanes": features.point_lanes,
    "column_magnitudes": features.column_magnitudes,
    "uniform_points": random.uniform_points,
    "adam_step": optimizers.adam_step,
}
