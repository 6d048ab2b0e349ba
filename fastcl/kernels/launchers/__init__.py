"""Launchers of the CUDA kernels: the names and arguments of their Numba twins, for CuPy arrays.

Every module lists the name expressions of its `.cu` files in `VARIANTS`, and the constants that
these files are compiled with in `CONSTANTS`; both are merged here, by file. `tile` has no `.cu`
file: it calls cuBLAS.
"""

from . import (
    features,
    groups,
    harmonics,
    mixtures,
    mlp,
    objective,
    optimizers,
    patches,
    quantised,
    random,
    similar,
    tile,
)

VARIANTS: dict[str, list[str]] = {
    **features.VARIANTS,
    **harmonics.VARIANTS,
    **mixtures.VARIANTS,
    **mlp.VARIANTS,
    **objective.VARIANTS,
    **optimizers.VARIANTS,
    **patches.VARIANTS,
    **quantised.VARIANTS,
    **random.VARIANTS,
    **similar.VARIANTS,
}
CONSTANTS: dict[str, dict[str, float]] = {
    **features.CONSTANTS,
    **groups.CONSTANTS,
    **mixtures.CONSTANTS,
    **mlp.CONSTANTS,
    **objective.CONSTANTS,
    **optimizers.CONSTANTS,
    **random.CONSTANTS,
    **similar.CONSTANTS,
}
LAUNCHERS = {
    "feature_sum": features.feature_sum,
    "feature_adjoint": features.feature_adjoint,
    "frequency_blocks": features.frequency_blocks,
    "rows_per_part": features.rows_per_part,
    "points_per_block": features.points_per_block,
    "column_magnitudes": features.column_magnitudes,
    "harmonic_sum": harmonics.harmonic_sum,
    "harmonic_adjoint": harmonics.harmonic_adjoint,
    "quantised_sum": quantised.quantised_sum,
    "uniform_points": random.uniform_points,
    "adam_step": optimizers.adam_step,
    "transpose_weights": mlp.transpose_weights,
    "rows_of_part": mlp.rows_of_part,
    "activation_size": mlp.activation_size,
    "energy_forward": mlp.energy_forward,
    "energy_backward": mlp.energy_backward,
    "energy_grad": mlp.energy_grad,
    "add_parts": mlp.add_parts,
    "mixture_responsibilities": mixtures.mixture_responsibilities,
    "mixture_means": mixtures.mixture_means,
    "denoise_similar": similar.denoise_similar,
    "product": tile.product,
    "add_patches": patches.add_patches,
}
