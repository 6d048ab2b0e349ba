"""The map that makes a Gaussian scale mixture standard normal, its inverse and its derivative."""

import numpy as np
import pytest
from bounds import assert_within
from problems import make_scale_mixture
from scipy import stats

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
DOUBLE = EPS[np.float64]
N_ERRORS = 5  # standard errors: a normal mean is farther with probability 6e-7

over_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def mapped_radii(mixture, radii):
    """Radii of T(x) for points x in a fixed direction, with the given radii once whitened."""
    direction = np.ones(mixture.dim) / np.sqrt(mixture.dim)
    unwhitened = np.linalg.cholesky(mixture.covariance) @ direction
    return np.linalg.norm(mixture.gaussianise(np.asarray(radii)[:, None] * unwhitened), axis=1)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_gaussianised_points_are_standard_normal(d):
    mixture = make_scale_mixture(d)
    n = 4000
    x = mixture.sample(n, rng=4)
    u = mixture.gaussianise(x)
    # P(sqrt(n) D > 2.5) = 2 exp(-2 2.5^2) = 7e-6
    radii = np.linalg.norm(u, axis=1)
    assert np.sqrt(n) * stats.kstest(radii, stats.chi(d).cdf).statistic < 2.5
    direction = np.ones(d) / np.sqrt(d)
    assert np.sqrt(n) * stats.kstest(u @ direction, stats.norm.cdf).statistic < 2.5
    products = (u[:, :, None] * u[:, None, :]).reshape(n, -1)
    error = products.std(axis=0) / np.sqrt(n)
    assert_within(products.mean(axis=0), np.eye(d).ravel(), N_ERRORS * error)
    # The same statistic rejects the points before the map, whitened.
    root = np.linalg.cholesky(mixture.term_covariances.T @ mixture.term_weights)
    radii = np.linalg.norm(np.linalg.solve(root, x.T), axis=0)
    assert np.sqrt(n) * stats.kstest(radii, stats.chi(d).cdf).statistic > 5


@pytest.mark.parametrize("d", [1, 2, 3, 8, 35])
def test_map_preserves_the_quantiles_of_the_radius(d):
    mixture = make_scale_mixture(d, scales=(0.4, 1.0, 1.9), weights=(0.3, 0.5, 0.2))
    radii = np.geomspace(0.05, 8, 301) * np.sqrt(d)
    mapped = mapped_radii(mixture, radii)
    scaled_squares = (radii[:, None] / mixture.scales) ** 2
    # The table has some 180 nodes per decade: its monotone cubic errs by a millionth, relative to
    # either tail.
    for tail in (stats.chi2.cdf, stats.chi2.sf):
        expected = tail(scaled_squares, d) @ mixture.term_weights
        np.testing.assert_allclose(tail(mapped**2, d), expected, rtol=1e-4)


@pytest.mark.parametrize("d", [1, 3, 35])
def test_one_scale_is_only_whitened(d):
    mixture = make_scale_mixture(d, scales=(0.7,), weights=(1.0,))
    x = mixture.sample(65, rng=5)
    white = np.linalg.solve(np.linalg.cholesky(mixture.term_covariances[0]), x.T).T
    # The nodes of the table are as accurate as SciPy's quantile functions.
    tolerance = 1e-10 * np.abs(white).max()
    np.testing.assert_allclose(mixture.gaussianise(x), white, rtol=0, atol=tolerance)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_map_keeps_whitened_directions(d):
    mixture = make_scale_mixture(d)
    x = mixture.sample(65, rng=6)
    white = np.linalg.solve(np.linalg.cholesky(mixture.covariance), x.T).T
    u = mixture.gaussianise(x)
    directions = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (white, u)]
    np.testing.assert_allclose(*directions, rtol=0, atol=1000 * DOUBLE)


@over_types
@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_degaussianise_is_the_inverse(dtype, d):
    mixture = make_scale_mixture(d)
    x = mixture.sample(257, rng=7).astype(dtype)
    u = mixture.gaussianise(x)
    back = mixture.degaussianise(u)
    assert u.dtype == back.dtype == dtype
    # Each table is interpolated on its own. One is flat where the other is steep, between the
    # scales: there they agree to a few millionths of a radius.
    tolerance = np.maximum(1e-4, 1000 * EPS[dtype]) * np.linalg.norm(x, axis=1, keepdims=True)
    assert_within(back, x, tolerance)
    assert np.median(np.abs(back - x)) <= np.maximum(1e-6, 10 * EPS[dtype]) * np.abs(x).max()


@pytest.mark.parametrize("d", [1, 2, 3, 8, 35])
def test_tails_stay_finite_and_in_order(d):
    mixture = make_scale_mixture(d)
    radii = np.geomspace(1e-140, 1e140, 2001)
    mapped = mapped_radii(mixture, radii)
    assert np.isfinite(mapped).all()
    assert mapped[0] > 0
    assert (np.diff(mapped) > 0).all()
    assert mapped_radii(mixture, [0.0])[0] == 0
    # Beyond the table the map is linear: ten times the radius is mapped to ten times the radius.
    far = mapped_radii(mixture, [1e-60, 1e-59, 1e59, 1e60])
    np.testing.assert_allclose(far[[1, 3]] / far[[0, 2]], 10, rtol=1e-9)
    direction = np.ones(d) / np.sqrt(d)
    back = np.linalg.norm(mixture.degaussianise(mapped[:, None] * direction), axis=1)
    assert np.isfinite(back).all()
    assert (np.diff(back) >= 0).all()
    ends = [0, 1, -2, -1]
    length = np.linalg.norm(np.linalg.cholesky(mixture.covariance) @ direction)
    np.testing.assert_allclose(back[ends], radii[ends] * length, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_pull_back_is_the_directional_derivative(d):
    mixture = make_scale_mixture(d)
    rng = np.random.default_rng(8)
    x = mixture.sample(65, rng=9)
    x[0] *= 1e-8  # on the linear ends of the table
    x[1] *= 1e4
    weights, direction = rng.standard_normal((2, 65, d))
    radii = np.linalg.norm(x, axis=1)
    steps = 1e-6 * radii
    ahead, behind = (mixture.gaussianise(x + sign * steps[:, None] * direction) for sign in (1, -1))
    difference = ((ahead - behind) * weights).sum(axis=1) / (2 * steps)
    terms = mixture.pull_back(x, weights) * direction
    error = np.abs(terms.sum(axis=1) - difference)
    # Rounding over the step, and the step times the second derivative of the table, which jumps
    # at its nodes.
    size = np.abs(terms).sum(axis=1) + np.linalg.norm(ahead, axis=1) / radii
    np.testing.assert_array_less(error, 1e-4 * size)
    assert np.median(error / size) < 1e-6
    assert mixture.pull_back(x.astype(np.float32), weights).dtype == np.float32


@pytest.mark.parametrize("size", [0.0, 1e-200])
def test_pull_back_at_the_origin_is_the_linear_end(size):
    mixture = make_scale_mixture(2)
    gradient = np.array([[1.0, -2.0]])
    near = mixture.pull_back(np.full((1, 2), 1e-50), gradient)
    np.testing.assert_allclose(mixture.pull_back(np.full((1, 2), size), gradient), near, rtol=1e-6)
