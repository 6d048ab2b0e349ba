"""pytest-benchmark of the kernels and of one CL-SGD step: python -m pytest benchmarks -o addopts= --benchmark-only"""

import numpy as np
import pytest

import fastcl
from fastcl.learning.objective import SketchMatching

N, M = 4000, 500


@pytest.mark.parametrize("dim", [2, 8, 16, 64])
@pytest.mark.parametrize("name", ["sum", "adjoint"])
def test_features(benchmark, name, dim):
    rng = np.random.default_rng(0)
    x, omega = rng.standard_normal((N, dim), dtype=np.float32), rng.standard_normal((M, dim))
    weights, c = np.ones(N, np.float32), np.ones(M, np.complex64)
    benchmark.extra_info["pairs"] = N * M
    if name == "sum":
        benchmark(fastcl.feature_sum, x, omega, weights)
    else:
        benchmark(fastcl.feature_adjoint, x, omega, c)


@pytest.mark.parametrize("n_points", [400, 4000])
@pytest.mark.parametrize("method", ["grid", "naive", "unbiased"])
def test_step(benchmark, method, n_points):
    sk = fastcl.sketch(
        np.random.default_rng(0).uniform(-1, 1, (1000, 2)),
        fastcl.draw_frequencies(M, 2, 0.1, rng=0),
    )
    prior, rng = fastcl.MLPPrior(2, rng=0), np.random.default_rng(0)
    objective, optimizer = (
        SketchMatching(sk, fastcl.Box([-1, -1], [1, 1]), prior.dtype),
        fastcl.Adam(1e-3),
    )
    points = round(n_points**0.5) if method == "grid" else n_points

    def step():
        optimizer.update(prior.theta, objective.gradient(prior, method, points, rng)[1])

    benchmark(step)
