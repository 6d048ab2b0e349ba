"""The public operator: the results of `feature_sum` and `feature_adjoint`, packed once."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastcl

N, M, D = 257, 40, 3
STRUCTURES = [None, "seeded", "harmonic", "hadamard"]


def make(structure=None, **settings):
    omega = fastcl.draw_frequencies(M, D, 0.5, rng=0, structure=structure)
    return omega, fastcl.FeatureOperator(omega, **settings)


def make_points(dtype, backend=None):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((N, D)).astype(dtype), rng.standard_normal(N)
    c = rng.standard_normal((M, 2)) @ (1, 1j)
    return (x, w, c) if backend is None else (backend.array(x), w, c)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16])
def test_it_gives_what_the_functions_give(backend, structure, dtype):
    if structure == "hadamard" and backend.name != "numba":
        pytest.skip("no CUDA kernels for Hadamard blocks")
    omega, own = make(structure)
    x, w, c = make_points(dtype, backend)
    for points in (x, x[::-2], x[:1], x):
        v = w[: len(points)]
        for found, expected in (
            (own.sum(points), fastcl.feature_sum(points, omega)),
            (own.sum(points, v), fastcl.feature_sum(points, omega, v)),
            (own.adjoint(points, c), fastcl.feature_adjoint(points, omega, c)),
        ):
            assert type(found) is type(expected)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(backend.host(found), backend.host(expected))


def test_results_are_written_to_out():
    omega, own = make()
    x, w, c = make_points(np.float32)
    sums, values = np.full(M, np.nan + 0j), np.full(N, np.nan, np.float32)
    assert own.sum(x, w, out=sums) is sums
    assert own.adjoint(x, c, out=values) is values
    np.testing.assert_array_equal(sums, fastcl.feature_sum(x, omega, w))
    np.testing.assert_array_equal(values, fastcl.feature_adjoint(x, omega, c))


def test_the_frequencies_are_its_own():
    omega, own = make()
    x = make_points(np.float64)[0]
    before = own.sum(x)
    omega[:] = 0
    np.testing.assert_array_equal(fastcl.FeatureOperator(own.omega).sum(x), before)
    np.testing.assert_array_equal(own.sum(x), before)


def test_pickles_hold_the_frequencies_alone():
    _, own = make()
    x, size = make_points(np.float32)[0], len(pickle.dumps(own))
    before = own.sum(x)
    assert len(pickle.dumps(own)) == size < 24 * M + 500
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(own)).sum(x), before)


def test_threads_may_share_it(monkeypatch):
    omega, own = make()
    points = [make_points(dtype)[0] for dtype in (np.float32, np.float64)] * 8
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(own.sum, points))
    for x, result in zip(points, results, strict=True):
        np.testing.assert_array_equal(result, fastcl.feature_sum(x, omega))


X, OMEGA = np.ones((4, D)), np.ones((M, D))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda op: op.sum(X[:, :2]), ValueError, "x has 2 columns and omega 3"),
        (lambda op: op.adjoint(X[:, :2], np.ones(M)), ValueError, "x has 2 columns and omega 3"),
        (lambda op: op.sum(X[0]), ValueError, "x must be 2-D"),
        (lambda op: op.sum(X * np.nan), ValueError, "x holds NaN or infinity in row 0"),
        (lambda op: op.sum(X * 1e30), ValueError, "omega is too large for x"),
        (lambda op: op.sum(X, np.ones(3)), ValueError, "weights must have shape"),
        (lambda op: op.sum(X, out=np.ones(M)), ValueError, "out must be a contiguous complex128"),
        (
            lambda op: op.adjoint(X, np.ones(3)),
            ValueError,
            r"c must have shape \(40,\), got \(3,\)",
        ),
        (lambda op: op.adjoint(X, "c"), TypeError, "c must hold numbers"),
        (lambda op: op.adjoint(X, np.full(M, np.nan)), ValueError, "c holds NaN or infinity"),
        (lambda op: op.adjoint(X, np.full(M, -1j * np.inf)), ValueError, "c holds NaN or inf"),
        (lambda op: op.adjoint(np.float32(X), np.full(M, 1e39)), ValueError, "in float32"),
        (lambda op: fastcl.FeatureOperator(OMEGA[0]), ValueError, "omega must be 2-D"),
        (lambda op: fastcl.FeatureOperator(OMEGA, method="fft"), ValueError, "method must be one"),
        (lambda op: fastcl.FeatureOperator(OMEGA, accuracy=0), ValueError, "accuracy must be"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(fastcl.FeatureOperator(OMEGA))
