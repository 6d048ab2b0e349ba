"""Launchers of the CUDA kernels: functions with the names and arguments of their Numba twins, for CuPy arrays.

Each module launches the kernels of the `.cu` file of its name, and lists in `VARIANTS` the name expressions that there are;
`tile` has no such file.
"""

from . import features, mixtures, objective, optimizers, random, tile

VARIANTS = {
    "features": features.VARIANTS,
    "mixtures": mixtures.VARIANTS,
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
    "mixture_shares": mixtures.mixture_shares,
    "mixture_means": mixtures.mixture_means,
    "product": tile.product,
}
