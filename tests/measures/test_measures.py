"""Boxes and mixtures: samples, densities, sketches and posteriors.

They are compared with SciPy, quadrature and Monte Carlo.
"""

import numpy as np
import pytest
from bounds import assert_within
from problems import COVARIANCE, features, midpoints
from round_trips import through_arrays
from scipy import stats
from scipy.special import logsumexp, roots_legendre

import fastcl
from fastcl import files
from fastcl.measures import mixtures

EPS = np.finfo(float).eps
# Standard errors: a normal mean is farther off with probability 6e-7, one of a hundred with 6e-5.
N_ERRORS = 5
NODES, WEIGHTS = roots_legendre(400)

BOXES = {"box 1": fastcl.Box([-1.0], [2.0]), "box 2": fastcl.Box([-1.0, 0.5], [1.0, 1.25])}
MIXTURES = {
    "gaussian 1": fastcl.Gaussian([0.3], [[0.6]]),
    "gaussian 2": fastcl.Gaussian([0.3, -0.5], COVARIANCE),
    "mixture 1": fastcl.GaussianMixture([1.0, 3.0], [[-1.0], [0.8]], [[[0.2]], [[0.5]]]),
    "mixture 2": fastcl.GaussianMixture(
        [2.0, 1.0], [[-0.8, 0.3], [0.6, -0.2]], [COVARIANCE, np.diag([0.1, 0.4])]
    ),
    "scales 1": fastcl.GaussianScaleMixture([[0.7]], [0.3, 1.2], [0.4, 0.6]),
    "scales 2": fastcl.GaussianScaleMixture(COVARIANCE, [0.4, 1.0, 1.6], [0.5, 0.3, 0.2]),
}
DOMAINS = BOXES | MIXTURES
ON_LINE = [name for name in DOMAINS if name.endswith("1")]


def log_density(domain, x):
    """The log-density by SciPy, component by component."""
    if isinstance(domain, fastcl.Box):
        return stats.uniform.logpdf(x, domain.low, domain.high - domain.low).sum(axis=1)
    return logsumexp(log_terms(domain, x), axis=0)


def log_terms(mixture, x, noise_covariance=0):
    """Logarithms (K, n) of the weighted densities of the components, each with noise added."""
    return [
        np.log(weight)
        + stats.multivariate_normal(mean, covariance + noise_covariance).logpdf(x).reshape(-1)
        for weight, mean, covariance in zip(
            mixture.term_weights, mixture.term_means, mixture.term_covariances, strict=True
        )
    ]


def moments(domain):
    """(mean, covariance) in closed form."""
    if isinstance(domain, fastcl.Box):
        return (domain.low + domain.high) / 2, np.diag((domain.high - domain.low) ** 2 / 12)
    mean = domain.term_weights @ domain.term_means
    second = domain.term_covariances + domain.term_means[:, :, None] * domain.term_means[:, None, :]
    return mean, np.einsum("k,kij->ij", domain.term_weights, second) - np.outer(mean, mean)


def some_points(domain, n=50):
    """Points around the domain, twice as spread out: some are far out."""
    mean, covariance = moments(domain)
    normals = np.random.default_rng(0).standard_normal((n, domain.dim))
    return mean + 2 * normals @ np.linalg.cholesky(covariance).T


# ---- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DOMAINS)
def test_sample_has_the_moments_of_the_domain(name, dtype):
    domain, n = DOMAINS[name], 20000
    x = domain.sample(n, rng=1, dtype=dtype)
    assert x.shape == (n, domain.dim)
    assert x.dtype == dtype
    mean, covariance = moments(domain)
    centred = x.astype(np.float64) - mean
    products = (centred[:, :, None] * centred[:, None, :]).reshape(n, -1)
    for sample, expected in [(centred, 0), (products, covariance.ravel())]:
        error = sample.std(axis=0) / np.sqrt(n)
        assert_within(sample.mean(axis=0), expected, N_ERRORS * error)
        assert (error < 0.05).all()  # a looser bound would test nothing


@pytest.mark.parametrize("name", ON_LINE)
def test_sample_on_a_line_has_the_distribution_function_of_the_domain(name):
    # Two moments do not show which component a point came from; Kolmogorov-Smirnov does.
    domain, n = DOMAINS[name], 20000
    x = np.sort(domain.sample(n, rng=2)[:, 0])
    if isinstance(domain, fastcl.Box):
        cdf = stats.uniform.cdf(x, domain.low[0], domain.volume)
    else:
        stds = np.sqrt(domain.term_covariances[:, 0, 0])
        cdf = stats.norm.cdf(x[:, None], domain.term_means[:, 0], stds) @ domain.term_weights
    # P(sqrt(n) D > 2.5) = 2 exp(-2 2.5^2) = 7e-6
    assert np.abs(cdf - (np.arange(n) + 0.5) / n).max() * np.sqrt(n) < 2.5


@pytest.mark.parametrize("name", DOMAINS)
def test_sample_follows_the_seed(name):
    domain = DOMAINS[name]
    x = domain.sample(10, rng=3)
    np.testing.assert_array_equal(x, domain.sample(10, rng=np.random.default_rng(3)))
    assert (x != domain.sample(10, rng=4)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sample_of_a_box_stays_in_the_box(dtype):
    box = fastcl.Box([-0.1, 100.0], [0.1, 100.1])
    x = box.sample(20000, rng=5, dtype=dtype)
    assert (x >= box.low.astype(dtype)).all()
    assert (x <= box.high.astype(dtype)).all()


# ---- the sketch in closed form -------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
def test_sketch_is_the_mean_of_the_features_of_a_sample(name):
    domain, n = DOMAINS[name], 20000
    omega = np.random.default_rng(6).standard_normal((20, domain.dim)) * 1.5
    sample = features(domain.sample(n, rng=7), omega)
    difference = domain.sketch(omega) - sample.mean(axis=0)
    assert_within(difference.real, 0, N_ERRORS * sample.real.std(axis=0) / np.sqrt(n))
    assert_within(difference.imag, 0, N_ERRORS * sample.imag.std(axis=0) / np.sqrt(n))


@pytest.mark.parametrize("name", ON_LINE)
def test_sketch_on_a_line_is_the_integral_of_the_density(name):
    domain = DOMAINS[name]
    omega = np.array([[0.0], [0.3], [-1.0], [4.0], [9.0]])
    if isinstance(domain, fastcl.Box):
        low, high = domain.low[0], domain.high[0]
    else:
        low, high = -12.0, 12.0  # beyond, every density here is below 1e-18
    x = (low + high) / 2 + (high - low) / 2 * NODES[:, None]
    density = np.exp(log_density(domain, x)) * WEIGHTS * (high - low) / 2
    # Gauss's rule has converged. What remains is the rounding of 400 terms that sum to at most 1,
    # with phases up to 100 radians.
    np.testing.assert_allclose(domain.sketch(omega), density @ features(x, omega), atol=500 * EPS)


@pytest.mark.parametrize("name", DOMAINS)
def test_sketch_is_one_at_zero(name):
    domain = DOMAINS[name]
    np.testing.assert_allclose(domain.sketch(np.zeros((1, domain.dim))), 1, atol=4 * EPS)


# ---- densities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
def test_density_integrates_to_one(name):
    domain = DOMAINS[name]
    if isinstance(domain, fastcl.Box):
        # The box and its neighbours, in whole cells: the density is constant in every cell.
        side = domain.high - domain.low
        low, high = domain.low - side, domain.high + side
        tolerance = 1e4 * EPS
    else:
        # For a smooth density midpoints converge faster than any power of their spacing: here
        # 24 / 300, a third of a standard deviation.
        low, high = np.full(domain.dim, -12.0), np.full(domain.dim, 12.0)
        tolerance = 1e-8
    x, cell = midpoints(low, high, 300)
    np.testing.assert_allclose(np.exp(domain.log_density(x)).sum() * cell, 1, rtol=tolerance)


@pytest.mark.parametrize("name", DOMAINS)
def test_log_density_agrees_with_scipy(name):
    domain = DOMAINS[name]
    x = some_points(domain)
    # Terms of magnitude up to 100, from a few operations on matrices of condition below 10.
    tolerance = 1000 * 10 * EPS
    np.testing.assert_allclose(
        domain.log_density(x), log_density(domain, x), rtol=0, atol=tolerance
    )


def test_log_density_of_a_box_is_minus_infinity_outside_and_finite_on_the_edge():
    box = BOXES["box 2"]
    corners = [[-1.0, 0.5], [1.0, 1.25]]
    outside = [[0.0, 0.49], [1.01, 1.0]]
    np.testing.assert_array_equal(box.log_density(corners), -np.log(1.5))
    np.testing.assert_array_equal(box.log_density(outside), -np.inf)


def test_log_density_far_out_does_not_underflow():
    domain = MIXTURES["mixture 2"]
    x = np.array([[1e3, -1e3]])
    assert np.isfinite(domain.log_density(x)).all()
    # Far out a single component counts.
    gradient = domain.log_density_grad(x)
    precisions = np.linalg.inv(domain.term_covariances)
    terms = zip(domain.term_means, precisions, strict=True)
    errors = [np.abs(gradient + (x - mean) @ precision).max() for mean, precision in terms]
    assert min(errors) <= 1e-12 * np.abs(gradient).max()


@pytest.mark.parametrize("name", MIXTURES)
def test_log_density_gradient_is_the_central_difference(name):
    domain, step = MIXTURES[name], 1e-5
    x = some_points(domain)
    gradient = domain.log_density_grad(x)
    for k, shift in enumerate(step * np.eye(domain.dim)):
        difference = (domain.log_density(x + shift) - domain.log_density(x - shift)) / (2 * step)
        # Third derivatives of at most a few hundred, and the rounding of values up to 100.
        tolerance = 300 * step**2 + 300 * EPS / step
        np.testing.assert_allclose(gradient[:, k], difference, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", MIXTURES)
def test_energy_parts_are_minus_the_log_density_and_its_gradient(name):
    domain = MIXTURES[name]
    x = some_points(domain)
    energy, gradient, curvature = domain.energy_parts(x)
    np.testing.assert_allclose(energy, -domain.log_density(x), rtol=4 * EPS)
    np.testing.assert_allclose(gradient, -domain.log_density_grad(x), rtol=4 * EPS)
    assert curvature.shape == x.shape


@pytest.mark.parametrize("name", MIXTURES)
def test_curvature_majorises_the_energy_along_the_axes(name):
    domain = MIXTURES[name]
    x = some_points(domain)
    energy, gradient, curvature = domain.energy_parts(x)
    for k, axis in enumerate(np.eye(domain.dim)):
        for step in [-5.0, -1.0, -0.1, 0.1, 1.0, 5.0]:
            linear = step * gradient[:, k]
            quadratic = step**2 / 2 * curvature[:, k]
            rounding = 100 * EPS * (np.abs(energy) + np.abs(linear) + 2 * quadratic)
            bound = energy + linear + quadratic + rounding
            assert (-domain.log_density(x + step * axis) <= bound).all()


@pytest.mark.parametrize("name", ["gaussian 1", "gaussian 2"])
def test_curvature_of_one_gaussian_is_the_diagonal_of_its_precision(name):
    domain = MIXTURES[name]
    expected = np.diag(np.linalg.inv(domain.term_covariances[0]))
    curvature = domain.energy_parts(some_points(domain))[2]
    assert curvature.shape == (50, domain.dim)
    np.testing.assert_allclose(curvature, np.tile(expected, (50, 1)), rtol=20 * EPS)


@pytest.mark.parametrize("name", DOMAINS)
def test_results_have_the_type_of_the_points(name):
    domain = DOMAINS[name]
    for dtype in (np.float32, np.float64):
        assert domain.log_density(some_points(domain).astype(dtype)).dtype == dtype


@pytest.mark.parametrize("name", MIXTURES)
def test_every_row_counts_across_chunks(name, monkeypatch):
    domain = MIXTURES[name]
    x, noise = some_points(domain), np.full(domain.dim, 0.3)
    whole = domain.log_density(x), domain.posterior_mean(x, noise), *domain.energy_parts(x)
    monkeypatch.setattr(mixtures, "CHUNK_ROWS", 7)
    parts = domain.log_density(x), domain.posterior_mean(x, noise), *domain.energy_parts(x)
    for one, other in zip(whole, parts, strict=True):
        # BLAS may compute a product of fewer rows in another way: equal up to rounding.
        np.testing.assert_allclose(one, other, rtol=0, atol=100 * EPS * np.abs(one).max())


# ---- posteriors ----------------------------------------------------------------------------------


def noise_of(domain):
    return np.array([0.4, 0.7])[: domain.dim]


@pytest.mark.parametrize("name", MIXTURES)
def test_posterior_mean_agrees_with_quadrature(name):
    domain = MIXTURES[name]
    noise = noise_of(domain)
    y = some_points(domain, 10)
    x, _ = midpoints(np.full(domain.dim, -10.0), np.full(domain.dim, 10.0), 400)
    log_prior = log_density(domain, x)
    for row, mean in zip(y, domain.posterior_mean(y, noise), strict=True):
        log_weights = log_prior - (((x - row) / noise) ** 2).sum(axis=1) / 2
        weights = np.exp(log_weights - log_weights.max())
        # A smooth integrand and several midpoints per standard deviation: converged up to the
        # rounding of points of size 10.
        np.testing.assert_allclose(mean, weights @ x / weights.sum(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
def test_posterior_mean_agrees_with_importance_sampling(dim):
    rng = np.random.default_rng(8)
    roots = rng.standard_normal((3, dim, dim)) / 2
    covariances = roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(dim)
    domain = fastcl.GaussianMixture([1.0, 2.0, 3.0], rng.standard_normal((3, dim)), covariances)
    noise = np.linspace(0.6, 1.0, dim)
    y = domain.sample(4, rng=18)
    x = domain.sample(100_000, rng=9)
    for row, mean in zip(y, domain.posterior_mean(y, noise), strict=True):
        weights = np.exp(-(((x - row) / noise) ** 2).sum(axis=1) / 2)
        weights /= weights.sum()
        estimate = weights @ x
        # Standard error of a ratio of means, to first order.
        error = np.sqrt(weights**2 @ (x - estimate) ** 2)
        assert_within(estimate, mean, N_ERRORS * error)
        assert (error < 0.03).all()


@pytest.mark.parametrize("name", MIXTURES)
def test_posterior_follows_the_conjugate_formulas(name):
    domain = MIXTURES[name]
    noise = noise_of(domain)
    y = some_points(domain, 6)
    responsibilities, means, roots = domain.posterior(y, noise)
    np.testing.assert_allclose(responsibilities.sum(axis=0), 1, rtol=10 * EPS)
    evidence = log_terms(domain, y, np.diag(noise**2))
    expected = evidence - logsumexp(evidence, axis=0)
    np.testing.assert_allclose(np.log(responsibilities), expected, atol=1000 * 10 * EPS)
    for k in range(len(domain.term_weights)):
        # Matrices of condition below 100, inverted twice.
        precision = np.linalg.inv(domain.term_covariances[k])
        noise_precision = np.diag(noise**-2)
        covariance = np.linalg.inv(precision + noise_precision)
        mean = (domain.term_means[k] @ precision + y @ noise_precision) @ covariance
        np.testing.assert_allclose(roots[k] @ roots[k].T, covariance, atol=1e3 * EPS)
        np.testing.assert_allclose(means[k], mean, atol=1e4 * EPS)


def test_posterior_mean_is_the_data_without_noise_and_the_prior_mean_without_data():
    domain = MIXTURES["mixture 2"]
    y = domain.sample(20, rng=10)
    # To first order y moves by noise^2 times the gradient of the log-density, here below 100.
    without_noise = domain.posterior_mean(y, np.full(2, 1e-5))
    np.testing.assert_allclose(without_noise, y, atol=1e-8)
    without_data = domain.posterior_mean(y, np.full(2, 1e5))
    np.testing.assert_allclose(without_data, np.tile(moments(domain)[0], (20, 1)), atol=1e-8)


# ---- the grid ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("k", [1, 2, 7])
def test_grid_is_the_centres_of_equal_cells(name, k):
    box = BOXES[name]
    grid = box.grid(k)
    assert grid.shape == (k**box.dim, box.dim)
    for axis in range(box.dim):
        low, high = box.low[axis], box.high[axis]
        centres = np.unique(grid[:, axis])
        step = (high - low) / k  # not / (k - 1): points are centres of cells
        np.testing.assert_allclose(centres[0] - low, step / 2, rtol=0, atol=4 * EPS)
        np.testing.assert_allclose(high - centres[-1], step / 2, rtol=0, atol=4 * EPS)
        np.testing.assert_allclose(np.diff(centres), step, rtol=0, atol=8 * EPS)
    assert len(np.unique(grid, axis=0)) == len(grid)
    assert box.grid(k, dtype=np.float32).dtype == np.float32


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
def test_domain_made_from_its_arrays_is_the_same(name):
    domain = DOMAINS[name]
    copy = through_arrays(domain)
    assert type(copy) is type(domain)
    x = some_points(domain)
    omega = some_points(domain)
    # Weights are normalised once more, which may change their last bit.
    np.testing.assert_allclose(copy.log_density(x), domain.log_density(x), rtol=0, atol=1000 * EPS)
    np.testing.assert_allclose(copy.sketch(omega), domain.sketch(omega), rtol=0, atol=10 * EPS)
    sample = domain.sample(10, rng=0)
    np.testing.assert_allclose(copy.sample(10, rng=0), sample, rtol=0, atol=10 * EPS)


def test_a_gaussian_made_from_its_arrays_is_a_gaussian():
    # Not the equal mixture of one component: chains use Hamiltonian steps for a Gaussian alone.
    copy = through_arrays(fastcl.Gaussian([1.0, 2.0], np.eye(2)))
    assert type(copy) is fastcl.Gaussian
    np.testing.assert_array_equal(copy.means, [[1.0, 2.0]])


@pytest.mark.parametrize("lost", ["kind", "low", "weights", "covariances"])
def test_arrays_that_make_no_domain_are_refused(lost):
    domain = BOXES["box 1"] if lost == "low" else MIXTURES["mixture 2"]
    with pytest.raises(ValueError, match="kind is missing" if lost == "kind" else f"^.*: .*{lost}"):
        through_arrays(domain, lost)


def test_unknown_kind_of_domain_is_refused():
    with pytest.raises(ValueError, match="unknown kind 'sphere'"):
        files.restore("sphere", {})


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "error", "name"),
    [
        ([], [], ValueError, "low"),
        ([0.0, 1.0], [1.0, 1.0], ValueError, "low"),
        ([0.0], [1.0, 2.0], ValueError, "high"),
        ([0.0], [np.inf], ValueError, "high"),
        ([np.nan], [1.0], ValueError, "low"),
        (0.0, 1.0, ValueError, "low"),
        (["a"], [1.0], TypeError, "low"),
    ],
)
def test_bad_corner_is_named(low, high, error, name):
    with pytest.raises(error, match=name):
        fastcl.Box(low, high)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "error", "name"),
    [
        ([0.0], [[0.0]], [[[1.0]]], ValueError, "weights"),
        ([1.0, 1.0], [[0.0]], [[[1.0]]], ValueError, "weights"),
        ([np.nan], [[0.0]], [[[1.0]]], ValueError, "weights"),
        ([1.0], [0.0], [[[1.0]]], ValueError, "means"),
        ([1.0], [[np.inf]], [[[1.0]]], ValueError, "means"),
        ([1.0], [["a"]], [[[1.0]]], TypeError, "means"),
        ([1.0], [[0.0]], [[1.0]], ValueError, "covariances"),
        ([1.0], [[0.0]], [[[-1.0]]], ValueError, "covariances"),
        ([1.0], [[0.0]], [[[np.nan]]], ValueError, "covariances"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], ValueError, "covariances"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.1, 1.0]]], ValueError, "covariances"),
    ],
)
def test_bad_mixture_is_named(weights, means, covariances, error, name):
    with pytest.raises(error, match=name):
        fastcl.GaussianMixture(weights, means, covariances)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: fastcl.Gaussian([[0.0]], [[1.0]]), "mean"),
        (lambda: fastcl.Gaussian([0.0, 0.0], [[1.0]]), "covariance"),
        (lambda: fastcl.Gaussian([0.0], 1.0), "covariance"),
        (lambda: fastcl.GaussianScaleMixture([[1.0, 0.0]], [1.0], [1.0]), "covariance"),
        (lambda: fastcl.GaussianScaleMixture([[1.0]], [0.0], [1.0]), "scales"),
        (lambda: fastcl.GaussianScaleMixture([[1.0]], [1.0, 2.0], [1.0]), "weights"),
        (lambda: fastcl.GaussianScaleMixture([[1.0]], [1.0], [-1.0]), "weights"),
        (lambda: fastcl.GaussianScaleMixture.fit(np.ones(5)), "x"),
        (lambda: fastcl.GaussianScaleMixture.fit(np.ones((5, 2)), n_scales=0), "n_scales"),
        (lambda: fastcl.GaussianScaleMixture.fit(np.zeros((5, 2))), "x spans fewer"),
    ],
)
def test_bad_gaussian_is_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()


def test_fit_of_points_without_full_rank_is_refused():
    # Like patches with their mean removed: singular, but only up to rounding.
    x = np.random.default_rng(17).standard_normal((500, 9))
    with pytest.raises(ValueError, match="x spans fewer"):
        fastcl.GaussianScaleMixture.fit(x - x.mean(axis=1, keepdims=True))


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("bad", [np.zeros((3, 4)), np.zeros(3), np.zeros((0, 1))])
@pytest.mark.parametrize(("method", "argument"), [("log_density", "x"), ("sketch", "omega")])
def test_points_of_a_wrong_shape_are_named(name, method, argument, bad):
    with pytest.raises(ValueError, match=f"^{argument} "):
        getattr(DOMAINS[name], method)(bad)


@pytest.mark.parametrize("name", ["box 1", "mixture 1"])
@pytest.mark.parametrize(("method", "argument"), [("log_density", "x"), ("sketch", "omega")])
def test_points_that_are_not_finite_are_named(name, method, argument):
    with pytest.raises(ValueError, match=f"^{argument} holds NaN"):
        getattr(DOMAINS[name], method)([[0.0], [np.nan]])


@pytest.mark.parametrize("k", [0, -1])
def test_grid_without_points_is_refused(k):
    with pytest.raises(ValueError, match="points_per_axis"):
        BOXES["box 1"].grid(k)


@pytest.mark.parametrize("domain", [BOXES["box 1"], MIXTURES["mixture 2"]], ids=repr)
def test_points_are_floats(domain):
    assert domain.sample(3, rng=0, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got int64"):
        domain.sample(3, rng=0, dtype=np.int64)
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got 'lots'"):
        domain.sample(3, rng=0, dtype="lots")


def test_noise_may_be_one_number():
    for domain in (
        MIXTURES["mixture 2"],
        fastcl.MixtureOfScaleMixtures([np.eye(2)], [0.5, 1.0], [[0.5, 0.5]]),
    ):
        y = np.ones((3, 2))
        found = domain.posterior_mean(y, 0.5)
        np.testing.assert_array_equal(found, domain.posterior_mean(y, np.full(2, 0.5)))
