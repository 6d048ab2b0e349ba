"""The map that makes a Gaussian scale mixture normal: its law, its inverse, its derivative."""

import numpy as np
import pytest
from problems import make_scale_mixture
from scipy import stats

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
DOUBLE = EPS[np.float64]
N_ERRORS = 5  # standard errors: a normal mean is farther with probability 6e-7

over_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def radii(law, r):
    """T of points at the whitened radii r, in a fixed direction: their radii."""
    direction = np.linalg.cholesky(law.covariance) @ (np.ones(law.dim) / np.sqrt(law.dim))
    return np.linalg.norm(law.gaussianise(np.asarray(r)[:, None] * direction), axis=1)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_gaussianised_points_are_standard_normal(d):
    law, n = make_scale_mixture(d), 4000
    u = law.gaussianise(law.sample(n, rng=4))
    # P(sqrt(n) D > 2.5) = 2 exp(-2 2.5^2) = 7e-6
    towards = np.ones(d) / np.sqrt(d)
    for sample, distribution in [
        (np.linalg.norm(u, axis=1), stats.chi(d).cdf),
        (u @ towards, stats.norm.cdf),
    ]:
        assert np.sqrt(n) * stats.kstest(sample, distribution).statistic < 2.5
    products = (u[:, :, None] * u[:, None, :]).reshape(n, -1)
    error = products.std(axis=0) / np.sqrt(n)
    assert (np.abs(products.mean(axis=0) - np.eye(d).ravel()) <= N_ERRORS * error).all()
    # The law itself, white, is told apart by the same statistic.
    white = np.linalg.solve(
        np.linalg.cholesky(law.term_covariances.T @ law.term_weights), law.sample(n, rng=4).T
    )
    assert np.sqrt(n) * stats.kstest(np.linalg.norm(white, axis=0), stats.chi(d).cdf).statistic > 5


@pytest.mark.parametrize("d", [1, 2, 3, 8, 35])
def test_radius_is_the_one_exceeded_as_often(d):
    law = make_scale_mixture(d, scales=(0.4, 1.0, 1.9), weights=(0.3, 0.5, 0.2))
    r = np.geomspace(0.05, 8, 301) * np.sqrt(d)
    t = radii(law, r)
    ratios = (r[:, None] / law.scales) ** 2
    # The table has some 180 nodes a decade: a monotone cubic errs by a millionth, relative to both tails.
    np.testing.assert_allclose(
        stats.chi2.cdf(t**2, d), stats.chi2.cdf(ratios, d) @ law.term_weights, rtol=1e-4
    )
    np.testing.assert_allclose(
        stats.chi2.sf(t**2, d), stats.chi2.sf(ratios, d) @ law.term_weights, rtol=1e-4
    )


@pytest.mark.parametrize("d", [1, 3, 35])
def test_one_scale_is_whitened_alone(d):
    law = make_scale_mixture(d, scales=(0.7,), weights=(1.0,))
    x = law.sample(65, rng=5)
    white = np.linalg.solve(np.linalg.cholesky(law.term_covariances[0]), x.T).T
    # The table is exact at its nodes to the precision of scipy's inverse distribution functions.
    np.testing.assert_allclose(law.gaussianise(x), white, rtol=0, atol=1e-10 * np.abs(white).max())


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_directions_stay(d):
    law = make_scale_mixture(d)
    x = law.sample(65, rng=6)
    white, u = np.linalg.solve(np.linalg.cholesky(law.covariance), x.T).T, law.gaussianise(x)
    directions = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (white, u)]
    np.testing.assert_allclose(*directions, rtol=0, atol=1000 * DOUBLE)


@over_types
@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_degaussianise_is_the_inverse(dtype, d):
    law = make_scale_mixture(d)
    x = law.sample(257, rng=7).astype(dtype)
    u = law.gaussianise(x)
    back = law.degaussianise(u)
    assert u.dtype == back.dtype == dtype
    # Two tables, each interpolated: good to some millionths of a radius where the other is flat, between the scales.
    tolerance = np.maximum(1e-4, 1000 * EPS[dtype]) * np.linalg.norm(x, axis=1, keepdims=True)
    assert (np.abs(back - x) <= tolerance).all()
    assert np.median(np.abs(back - x)) <= np.maximum(1e-6, 10 * EPS[dtype]) * np.abs(x).max()


@pytest.mark.parametrize("d", [1, 2, 3, 8, 35])
def test_tails_stay_finite_and_in_order(d):
    law = make_scale_mixture(d)
    r = np.concatenate([[0], np.geomspace(1e-140, 1e140, 2001)])
    t = radii(law, r)
    assert np.isfinite(t).all()
    assert t[0] == 0
    assert (np.diff(t) > 0).all()
    # Beyond the table both slopes are one: a factor of ten is a factor of ten.
    far = radii(law, [1e-60, 1e-59, 1e59, 1e60])
    np.testing.assert_allclose(far[[1, 3]] / far[[0, 2]], 10, rtol=1e-9)
    direction = np.ones((1, d)) / np.sqrt(d)
    back = np.linalg.norm(law.degaussianise(t[1:, None] * direction), axis=1)
    assert np.isfinite(back).all()
    assert (np.diff(back) >= 0).all()
    ends = [1, 2, -2, -1]
    root = np.linalg.norm(np.linalg.cholesky(law.covariance) @ direction[0])
    np.testing.assert_allclose(back[[0, 1, -2, -1]], r[ends] * root, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_pull_back_is_the_directional_derivative(d):
    law, step, rng = make_scale_mixture(d), 1e-6, np.random.default_rng(8)
    x = law.sample(65, rng=9)
    x[0] *= 1e-8  # on the linear ends of the table
    x[1] *= 1e4
    weights, towards = rng.standard_normal((65, d)), rng.standard_normal((65, d))
    steps = step * np.linalg.norm(x, axis=1, keepdims=True)
    sides = [law.gaussianise(x + sign * steps * towards) for sign in (1, -1)]
    difference = ((sides[0] - sides[1]) * weights).sum(axis=1) / (2 * steps[:, 0])
    slope = (law.pull_back(x, weights) * towards).sum(axis=1)
    # Rounding over the step, and the step times the second derivative of the table, which jumps at its nodes.
    size = np.abs(law.pull_back(x, weights) * towards).sum(axis=1) + np.linalg.norm(
        sides[0], axis=1
    ) / np.linalg.norm(x, axis=1)
    np.testing.assert_array_less(np.abs(slope - difference), 1e-4 * size)
    assert np.median(np.abs(slope - difference) / size) < 1e-6
    single = law.pull_back(x.astype(np.float32), weights)
    assert single.dtype == np.float32


@pytest.mark.parametrize("size", [0.0, 1e-200])
def test_pull_back_at_the_origin_is_the_linear_end(size):
    law = make_scale_mixture(2)
    gradient = np.array([[1.0, -2.0]])
    near = law.pull_back(np.full((1, 2), 1e-50), gradient)
    np.testing.assert_allclose(law.pull_back(np.full((1, 2), size), gradient), near, rtol=1e-6)
