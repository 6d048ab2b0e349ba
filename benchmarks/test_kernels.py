"""pytest-benchmark of the kernels and of one CL-SGD step.

    python -m pytest benchmarks -o addopts= --benchmark-only

Its shortest form adds `-k "2 and sum" --benchmark-max-time 0.1`.
"""

import numpy as np
import pytest

import fastcl
from fastcl.learning.objective import SketchMatching

N = 4000  # points
M = 500  # frequencies


@pytest.mark.parametrize("dim", [2, 8, 16, 64])
@pytest.mark.parametrize("name", ["sum", "adjoint"])
def test_features(benchmark, name, dim):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, dim), dtype=np.float32)
    omega = rng.standard_normal((M, dim))
    benchmark.extra_info["pairs"] = N * M
    if name == "sum":
        benchmark(fastcl.feature_sum, x, omega, np.ones(N, np.float32))
    else:
        benchmark(fastcl.feature_adjoint, x, omega, np.ones(M, np.complex64))


@pytest.mark.parametrize("n_points", [400, 4000])
@pytest.mark.parametrize("method", ["grid", "naive", "unbiased"])
def test_step(benchmark, method, n_points):
    x = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(M, 2, 0.1, rng=0))
    prior = fastcl.MLPPrior(2, rng=0)
    objective = SketchMatching(sketch, fastcl.Box([-1, -1], [1, 1]), prior.dtype)
    optimizer = fastcl.Adam(1e-3)
    rng = np.random.default_rng(0)
    points = round(n_points**0.5) if method == "grid" else n_points

    def step():
        optimizer.update(prior.theta, objective.gradient(prior, method, points, rng)[1])

    benchmark(step)
