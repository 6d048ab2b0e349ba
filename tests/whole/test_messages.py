"""Bad arguments are refused under the names that the caller knows them by."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import fastcl
from fastcl.priors.metric import WhitenedMetric

X = np.random.default_rng(0).standard_normal((20, 2))
OMEGA = np.random.default_rng(1).standard_normal((6, 2))
EYE = np.eye(2)
NORMAL = fastcl.Gaussian([0, 0], EYE)
SCALES = fastcl.GaussianScaleMixture(EYE, [1, 2], [1, 1])
BOX = fastcl.Box([-4, -4], [4, 4])
SKETCH = fastcl.sketch(X, OMEGA)
PRIOR = fastcl.MaxEntropyPrior(OMEGA, np.zeros(6), NORMAL)


def set_log_scale(log_scale):
    PRIOR.log_scale = log_scale


CALLS = {
    "feature_sum": (fastcl.feature_sum, {"x": X, "omega": OMEGA, "method": "auto"}),
    "draw_frequencies": (
        fastcl.draw_frequencies,
        {"m": 4, "dim": 2, "scale": 1.0, "law": "gaussian", "rng": 0, "structure": "harmonic"},
    ),
    "estimate_scale": (fastcl.estimate_scale, {"x": X, "rng": 0, "n_points": 9, "m": 90}),
    "Box": (fastcl.Box, {"low": [0, 0], "high": [1, 1]}),
    "Box.grid": (BOX.grid, {"points_per_axis": 2, "dtype": "f8"}),
    "Box.sample": (BOX.sample, {"n": 2, "rng": 0, "dtype": "f8"}),
    "Gaussian": (fastcl.Gaussian, {"mean": [0, 0], "covariance": EYE}),
    "Gaussian.sample": (NORMAL.sample, {"n": 2, "rng": 0, "dtype": "f8"}),
    "Gaussian.log_density": (NORMAL.log_density, {"x": X}),
    "Gaussian.posterior_mean": (NORMAL.posterior_mean, {"y": X, "noise": np.ones(2)}),
    "GaussianMixture": (
        fastcl.GaussianMixture,
        {"weights": [1, 1], "means": EYE, "covariances": [EYE, EYE]},
    ),
    "GaussianScaleMixture": (
        fastcl.GaussianScaleMixture,
        {"covariance": EYE, "scales": [1, 2], "weights": [1, 1]},
    ),
    "GaussianScaleMixture.fit": (SCALES.fit, {"x": X, "n_scales": 2, "n_iter": 1}),
    "gaussianise": (SCALES.gaussianise, {"x": X}),
    "degaussianise": (SCALES.degaussianise, {"u": X}),
    "pull_back": (SCALES.pull_back, {"x": X, "gradient": X}),
    "posterior_mean": (SCALES.posterior_mean, {"y": X, "noise": np.ones(2)}),
    "MaxEntropyPrior": (
        fastcl.MaxEntropyPrior,
        {"omega": OMEGA, "c": np.zeros(6), "reference": NORMAL},
    ),
    "log_scale": (set_log_scale, {"log_scale": 1.0}),
    "Prior.sample": (PRIOR.sample, {"n": 2, "rng": 0, "dtype": "f4"}),
    "Chains": (fastcl.Chains, {"domain": BOX, "n_points": 2, "rng": 0, "dtype": "f4"}),
    "log_normaliser": (fastcl.log_normaliser, {"prior": PRIOR, "n_points": 9, "rng": 0}),
    "WhitenedMetric": (
        WhitenedMetric,
        {"omega": OMEGA, "domain": NORMAL, "ridge": 0.1, "dtype": "f4"},
    ),
    "apply": (WhitenedMetric(OMEGA, NORMAL).apply, {"residual": np.zeros(6)}),
    "max_entropy": (
        fastcl.max_entropy,
        {"sketch": SKETCH, "reference": NORMAL, "ridge": 1.0, "step_size": 0.1, "n_iter": 1}
        | {"n_points": 9, "rng": 0},
    ),
    "denoise": (
        fastcl.denoise,
        {"prior": NORMAL, "y": X, "sigma": 0.1, "strength": 1.0, "estimator": "map"}
        | {"n_iter": 1, "n_samples": 8, "rng": 0},
    ),
}
BAD = [
    "x", -1, 1j, object(), {"a": 1}, [], [[1, 2], [3]], np.ones((2, 2, 2)), np.zeros((0, 2)),
    np.full((20, 2), np.nan), csr_matrix(EYE), np.ma.masked_equal(EYE, 1),
]  # fmt: skip
CASES = [(call, name) for call, (_, arguments) in CALLS.items() for name in arguments]


@pytest.mark.parametrize(("call", "name"), CASES)
def test_a_bad_argument_is_named(call, name):
    function, arguments = CALLS[call]
    function(**arguments)
    for bad in BAD[:5] if name in ("rng", "dtype") else BAD:  # NumPy takes some of the others
        if isinstance(bad, int) and name == "log_scale":
            continue
        with pytest.raises((TypeError, ValueError), match=rf"(^|\W){name}"):
            function(**arguments | {name: bad})
