"""Fits of scale mixtures and of their mixtures to points: likelihood, recovery, reproducibility."""

import numpy as np
import pytest
from bounds import assert_within
from problems import COVARIANCE, crossed, make_scale_mixture

import fastcl
from fastcl.backend import kernel
from fastcl.kernels.mixtures import MOMENT_PARTS, MOMENT_ROWS
from fastcl.measures import scale_mixture_starts, scale_mixtures

DOUBLE = np.finfo(np.float64).eps
N_ERRORS = 5  # standard errors: a normal mean is farther with probability 6e-7

over_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def likelihood_gain(better, worse, x):
    """(mean, standard error) of the difference of log-densities, nats per point."""
    difference = better.log_density(x) - worse.log_density(x)
    return difference.mean(), difference.std() / np.sqrt(len(x))


@pytest.mark.slow
def test_more_steps_of_a_fit_increase_the_likelihood():
    x = crossed(np.random.default_rng(10), 2000)
    for fit in (
        lambda n_iter: fastcl.MixtureOfScaleMixtures.fit(x, 3, 4, n_iter=n_iter, rng=0),
        lambda n_iter: fastcl.GaussianScaleMixture.fit(x, 4, n_iter=n_iter),
    ):
        likelihoods = [fit(n_iter).log_density(x).mean() for n_iter in (1, 2, 4, 16)]
        assert (np.diff(likelihoods) > 0).all()


def test_two_components_fit_crossed_points_better_than_one():
    rng = np.random.default_rng(11)
    x, fresh = crossed(rng, 4000), crossed(rng, 4000)
    one = fastcl.GaussianScaleMixture.fit(x)
    two = fastcl.MixtureOfScaleMixtures.fit(x, 2, 8, rng=0)
    mean, error = likelihood_gain(two, one, fresh)
    # Most points lie along one of the axes and are a tenth as wide across it as a single
    # component has to be: more than half a nat per point.
    assert mean - N_ERRORS * error > 0.5


def test_fit_recovers_two_crossed_components():
    covariances = np.array([np.diag([4.0, 0.04]), np.diag([0.04, 4.0])])
    scales = np.array([0.3, 1.5])
    weights = np.array([[0.4, 0.2], [0.1, 0.3]])
    true = fastcl.MixtureOfScaleMixtures(covariances, scales, weights)
    x, fresh = true.sample(8000, rng=12), true.sample(8000, rng=13)
    fitted = fastcl.MixtureOfScaleMixtures.fit(x, 2, 10, n_iter=60, rng=0)
    # No density does better on fresh points, up to chance. Some 25 parameters cost 1 / (2 n) nat
    # each. Scales that do not match the true ones cost 0.02 nat, as for one component below. The
    # ridge adds a thousandth of 4 where the variance is 0.04 or less, which costs log(1.1) / 2.
    mean, error = likelihood_gain(true, fitted, fresh)
    assert -N_ERRORS * error < mean < 0.07
    order = np.argsort(-fitted.covariances[:, 0, 0] / fitted.covariances[:, 1, 1])
    np.testing.assert_allclose(fitted.weights.sum(axis=1)[order], [0.6, 0.4], atol=0.03)
    moments = (fitted.weights[order] @ fitted.scales**2)[:, None, None] * fitted.covariances[order]
    expected = (weights @ scales**2)[:, None, None] * covariances
    # The long axes, to the standard error of a variance with heavy tails.
    long_axes = [0, 1], [0, 1], [0, 1]
    np.testing.assert_allclose(moments[long_axes], expected[long_axes], rtol=0.1)


@over_types
def test_fit_has_the_second_moments_of_the_points(dtype):
    true = make_scale_mixture(8)
    x = true.sample(4000, rng=14).astype(dtype)
    fitted = fastcl.GaussianScaleMixture.fit(x)
    # A step of the fit preserves the mean of x x^T / s^2, not that of x x^T. So the moments agree
    # only as well as the points determine them.
    found, expected = (each.term_covariances.T @ each.term_weights for each in (fitted, true))
    np.testing.assert_allclose(found, expected, atol=0.15)
    mean, error = likelihood_gain(true, fitted, true.sample(4000, rng=15))
    assert -N_ERRORS * error < mean < 0.05


def test_same_seed_gives_the_same_fit_and_another_seed_does_not():
    x = crossed(np.random.default_rng(16), 1000)
    fits = [
        fastcl.MixtureOfScaleMixtures.fit(x, 3, 4, n_iter=3, rng=rng)
        for rng in (5, np.random.default_rng(5), 6)
    ]
    for name in ("covariances", "scales", "weights"):
        np.testing.assert_array_equal(getattr(fits[0], name), getattr(fits[1], name))
    assert (fits[0].covariances != fits[2].covariances).any()
    ones = [fastcl.GaussianScaleMixture.fit(x, 4, n_iter=3) for _ in range(2)]
    np.testing.assert_array_equal(ones[0].covariance, ones[1].covariance)
    np.testing.assert_array_equal(ones[0].weights, ones[1].weights)


@over_types
@pytest.mark.parametrize(
    ("n", "d", "k"), [(1, 1, 1), (3, 17, 2), (257, 2, 5), (1021, 16, 3), (2049, 35, 1)]
)
def test_moments_of_a_fit_are_weighted_sums(dtype, n, d, k):
    rng = np.random.default_rng([n, d, k])
    x = scale_mixture_starts.pad_columns(rng.standard_normal((n, d)), dtype)
    weights = rng.random((k, n)).astype(dtype)
    partial = np.full((k, MOMENT_PARTS, *x.shape[1:] * 2), np.nan)
    kernel("mixture_moments", like=x)(x, weights, partial)

    def weighted_sum(x):
        return np.einsum("kn,ni,nj->kij", *(each.astype(np.float64) for each in (weights, x, x)))

    exact = weighted_sum(x)
    # Two products, and sums of at most MOMENT_ROWS terms in the working precision.
    tolerance = (MOMENT_ROWS + 2) * np.finfo(dtype).eps * weighted_sum(np.abs(x))
    assert_within(partial.sum(axis=1), exact, tolerance)


def test_chunks_of_a_fit_miss_no_row(monkeypatch):
    x = crossed(np.random.default_rng(19), 1000)
    whole = fastcl.MixtureOfScaleMixtures.fit(x, 3, 4, n_iter=3, rng=0)
    monkeypatch.setattr(scale_mixtures, "CHUNK_ROWS", 300)
    parts = fastcl.MixtureOfScaleMixtures.fit(x, 3, 4, n_iter=3, rng=0)
    # Sums of 1000 rows in another order, over three steps that each amplify earlier rounding.
    np.testing.assert_allclose(parts.covariances, whole.covariances, rtol=0, atol=1e5 * DOUBLE)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=0, atol=1e5 * DOUBLE)


def test_fit_with_points_at_the_origin_and_more_components_than_points_is_finite():
    x = np.random.default_rng(17).standard_normal((40, 3))
    x[::4] = 0
    fitted = fastcl.MixtureOfScaleMixtures.fit(x, 50, 3, n_iter=3, rng=0)
    assert np.isfinite(fitted.covariances).all()
    assert np.isfinite(fitted.log_density(x)).all()


# ---- a single covariance -------------------------------------------------------------------------


def test_fit_of_heavy_tails_beats_one_gaussian_on_fresh_points():
    def student(n, rng, degrees=3, dim=4):
        root = np.linalg.cholesky(np.diag([1.0, 2.0, 0.5, 1.0]) + 0.3)
        normals = rng.standard_normal((n, dim)) @ root.T
        return normals / np.sqrt(rng.chisquare(degrees, (n, 1)) / degrees)

    rng = np.random.default_rng(11)
    x, fresh = student(5000, rng), student(5000, rng)
    fitted = fastcl.GaussianScaleMixture.fit(x)
    gaussian = fastcl.Gaussian(np.zeros(4), np.cov(x.T, bias=True))
    # The true density, Student's t with three degrees of freedom in four dimensions, is about half
    # a nat per point better than the best Gaussian.
    mean, error = likelihood_gain(fitted, gaussian, fresh)
    assert mean - N_ERRORS * error > 0.2


def test_fit_recovers_a_known_scale_mixture():
    true = fastcl.GaussianScaleMixture(COVARIANCE, [0.3, 1.5], [0.7, 0.3])
    x, fresh = true.sample(10_000, rng=12), true.sample(10_000, rng=13)
    fitted = fastcl.GaussianScaleMixture.fit(x)
    # No density does better on fresh points than the true one. The fit has a dozen parameters, one
    # per scale, which cost 1 / (2 n) nat each. Its scales are a factor of 1.6 apart, so at most 1.3
    # from a true one, which costs less than (log 1.3)^2 / 4 = 0.02 nat.
    loss = (true.log_density(fresh) - fitted.log_density(fresh)).mean()
    assert -0.005 < loss < 0.02
    # The two scales are a factor of five apart, so the fitted scales below their geometric mean
    # carry the weight of the smaller one.
    sizes = (np.linalg.det(fitted.term_covariances) / np.linalg.det(COVARIANCE)) ** 0.25
    assert abs(fitted.term_weights[sizes < np.sqrt(0.3 * 1.5)].sum() - 0.7) < 0.03
    # The covariance is a maximum-likelihood estimate, here up to a factor: its entries have errors
    # of a few over sqrt(n).
    factor = np.sqrt(np.linalg.det(COVARIANCE) / np.linalg.det(fitted.covariance))
    tolerance = 5 * np.abs(COVARIANCE).max() / np.sqrt(len(x))
    np.testing.assert_allclose(factor * fitted.covariance, COVARIANCE, atol=tolerance)


def test_fit_of_one_gaussian_is_that_gaussian():
    true = fastcl.Gaussian([0.0, 0.0], COVARIANCE)
    fresh = true.sample(10_000, rng=15)
    fitted = fastcl.GaussianScaleMixture.fit(true.sample(10_000, rng=14))
    assert (true.log_density(fresh) - fitted.log_density(fresh)).mean() < 0.01


def test_fit_of_a_single_scale_is_the_gaussian_of_the_second_moments():
    x = fastcl.Gaussian([0.0, 0.0], COVARIANCE).sample(2000, rng=16)
    gaussian = fastcl.Gaussian([0.0, 0.0], x.T @ x / len(x))
    fitted = fastcl.GaussianScaleMixture.fit(x, n_scales=1)
    # No centred Gaussian is more likely; a scale that is 5 % off costs d (log 1.05)^2 = 0.005 nat.
    loss = (gaussian.log_density(x) - fitted.log_density(x)).mean()
    assert -1e-12 < loss < 0.005


@pytest.mark.slow
def test_fit_drops_scales_that_no_point_has():
    x = fastcl.Gaussian([0.0, 0.0], COVARIANCE).sample(2000, rng=16)
    fitted = fastcl.GaussianScaleMixture.fit(x, n_scales=20, n_iter=2000)
    assert fitted.scales.size < 20
    np.testing.assert_allclose(fitted.weights.sum(), 1, rtol=20 * DOUBLE)


@pytest.mark.parametrize("units", [(1.0, 1e-9), (1e6, 1e-6)])
def test_columns_in_very_different_units_are_fitted_as_in_their_own(rng, units):
    x = rng.standard_t(4, (4000, 2)) @ [[1.0, 0.5], [0.0, 1.0]]
    own = fastcl.GaussianScaleMixture.fit(x)
    other = fastcl.GaussianScaleMixture.fit(x * units)
    np.testing.assert_allclose(
        other.log_density(x * units) + np.log(units).sum(), own.log_density(x), atol=0.02
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [fastcl.GaussianScaleMixture, fastcl.MixtureOfScaleMixtures])
def test_points_far_from_zero_are_refused(rng, dtype, kind):
    x = rng.standard_normal((500, 2)).astype(dtype)
    x[:, 1] += 1e5
    with pytest.raises(ValueError, match="x is not centred: column 1 has mean 1e"):
        kind.fit(x)


def test_components_start_from_points_of_all_the_file(rng, monkeypatch):
    monkeypatch.setattr(scale_mixture_starts, "MAX_CANDIDATES", 500)
    monkeypatch.setattr(scale_mixture_starts, "N_NEIGHBOURS", 50)
    x = crossed(rng, 4000)
    x = x[np.argsort(np.abs(x[:, 0]) > np.abs(x[:, 1]), kind="stable")]  # one arm, then the other
    first = scale_mixture_starts.first_covariances(x, x.T @ x / len(x), 10, rng)
    assert 0 < (first[:, 0, 0] > first[:, 1, 1]).sum() < 10
