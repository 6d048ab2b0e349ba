"""Launchers of the CUDA kernels: functions with the names and arguments of their Numba twins, for CuPy arrays.

Each module launches the kernels of the `.cu` file of its name, and lists in `VARIANTS` the name expressions that there are;
`tile` has no such file.
"""

from . import (
    features,
    harmonics,
    mixtures,
    mlp,
    objective,
    optimizers,
    patches,
    quantised,
    random,
    tile,
)

VARIANTS = {
    "features": features.VARIANTS,
    "features_tensor": features.TENSOR_VARIANTS,
    "harmonics": harmonics.VARIANTS,
    "mixtures": mixtures.VARIANTS,
    "mlp": mlp.VARIANTS,
    "objective": objective.VARIANTS,
    "optimizers": optimizers.VARIANTS,
    "patches": patches.VARIANTS,
    "quantised": quantised.VARIANTS,
    "random": random.VARIANTS,
}
LAUNCHERS = {
    "feature_sum": features.feature_sum,
    "feature_adjoint": features.feature_adjoint,
    "frequency_blocks": features.frequency_blocks,
    "rows_per_part": features.rows_per_part,
    "point_lanes": features.point_lanes,
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
    "product": tile.product,
    "add_patches": patches.add_patches,
}
