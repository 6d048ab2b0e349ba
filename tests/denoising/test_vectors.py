"""Denoised vectors against closed forms, quadrature, and the best point of a grid."""

import importlib
from itertools import pairwise

import numpy as np
import pytest
from bounds import assert_within
from problems import COVARIANCE, gaussian_line, line, midpoints, plane, scale_mixture_plane

import fastcl
from fastcl.denoising.vectors import map_estimate, normal_points

denoise_module = importlib.import_module(
    "fastcl.denoising.vectors"
)  # fastcl.denoise is the function
EPS = np.finfo(float).eps
N_ERRORS = 5  # standard errors, of plain Monte Carlo: the low-discrepancy points do no worse
few_points = pytest.mark.filterwarnings("ignore:the posterior means of:RuntimeWarning")
GAUSSIANS = {
    "line": fastcl.Gaussian([0.3], [[0.6]]),
    "plane": fastcl.Gaussian([0.3, -0.5], COVARIANCE),
}
NOISES = {"one": 0.5, "each": [0.4, 0.7]}

# Densities whose posteriors are not Gaussian. The networks are drawn at random, some with a
# reference.
PRIORS = {
    "mixture on a line": fastcl.GaussianMixture([1.0, 3.0], [[-1.0], [0.8]], [[[0.2]], [[0.5]]]),
    "mixture in a plane": fastcl.GaussianMixture(
        [2.0, 1.0], [[-0.8, 0.3], [0.6, -0.2]], [COVARIANCE, np.diag([0.1, 0.4])]
    ),
    "scales in a plane": fastcl.GaussianScaleMixture(COVARIANCE, [0.4, 1.0, 1.6], [0.5, 0.3, 0.2]),
    "network on a line": line().prior,
    "network in a plane": plane().prior,
    "network times a Gaussian": gaussian_line().prior,
    "network times scales": scale_mixture_plane().prior,
}


def noise_of(prior):
    return np.array([0.4, 0.7])[: prior.dim]


def noisy_rows(prior, n=6):
    return 0.8 * np.random.default_rng(0).standard_normal((n, prior.dim))


def misfit(x, y, noise):
    return (((x - y) / noise) ** 2).sum(axis=1) / 2


def objective(prior, x, y, noise, strength):
    """What MAP minimises, up to a constant."""
    return misfit(x, y, noise) - strength * prior.log_density(x)


def around(y, noise):
    """Nodes that cover eight standard deviations of the noise around one row y."""
    k = 4000 if y.size == 1 else 400
    return midpoints(y - 8 * noise, y + 8 * noise, k)[0]


# ---- one Gaussian: everything in closed form -----------------------------------------------------


def wiener(gaussian, y, noise, strength):
    """The centre of exp(-misfit) q^strength, a Gaussian: its mode and its mean."""
    precision, data = strength * np.linalg.inv(gaussian.covariances[0]), np.diag(noise**-2)
    return (y @ data + gaussian.means[0] @ precision) @ np.linalg.inv(precision + data)


@pytest.mark.parametrize("strength", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("noise", NOISES)
def test_map_under_a_gaussian_is_wieners_estimate(noise, strength):
    gaussian = GAUSSIANS["plane"]
    y, sigma = gaussian.sample(20, rng=1), np.broadcast_to(NOISES[noise], 2)
    clean = fastcl.denoise(gaussian, y, NOISES[noise], strength, n_iter=300)
    # A step is taken only if it lowers the objective, a few units large, by more than its rounding
    # error: x is accurate to sqrt(EPS).
    np.testing.assert_allclose(
        clean, wiener(gaussian, y, sigma, strength), rtol=0, atol=4 * np.sqrt(EPS)
    )


@pytest.mark.parametrize("noise", NOISES)
def test_mean_under_a_gaussian_is_wieners_estimate(noise):
    gaussian = GAUSSIANS["plane"]
    y, sigma = gaussian.sample(20, rng=1), np.broadcast_to(NOISES[noise], 2)
    clean = fastcl.denoise(gaussian, y, NOISES[noise], estimator="mean")
    np.testing.assert_allclose(clean, wiener(gaussian, y, sigma, 1), rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("strength", [0.5, 2.0])
@pytest.mark.parametrize("dim", GAUSSIANS)
def test_mean_under_a_gaussian_of_another_strength_is_wieners_estimate(dim, strength):
    gaussian = GAUSSIANS[dim]
    y, noise = gaussian.sample(6, rng=2), noise_of(gaussian)
    clean = fastcl.denoise(gaussian, y, noise, strength, "mean", n_samples=4096)
    for row, estimate in zip(y, clean, strict=True):
        mean, error = posterior_by_quadrature(gaussian, row, noise, strength, 4096)
        # The quadrature itself is right.
        np.testing.assert_allclose(mean, wiener(gaussian, row, noise, strength), atol=1e-9)
        assert_within(estimate, mean, N_ERRORS * error)
        assert (N_ERRORS * error < 0.1).all()


@pytest.mark.parametrize("estimator", ["map", "mean"])
def test_little_noise_moves_nothing(estimator):
    # To first order a point moves by sigma^2 times the gradient of the log-density, below 100 here.
    y = noisy_rows(PRIORS["network in a plane"])
    for prior in (PRIORS["network in a plane"], GAUSSIANS["plane"]):
        np.testing.assert_allclose(
            fastcl.denoise(prior, y, 1e-5, estimator=estimator), y, atol=1e-8
        )


# ---- any density: quadrature and search ----------------------------------------------------------


def posterior_by_quadrature(prior, y, noise, strength, n_samples):
    """E[x | y] (d,) for one row y, and the standard error (d,) of plain importance sampling.

    With the proposal p and weights w of mean one, the error of the estimate sum w x / sum w is, to
    first order, the mean of w (x - E[x | y]). For a proposal of known mean c, the mean of x - c is
    subtracted from that.
    """
    x = around(y, noise)
    reference = prior if isinstance(prior, fastcl.ReferenceMeasure) else prior.reference
    log_proposal = -misfit(x, y, noise) + (0 if reference is None else reference.log_density(x))
    log_target = -misfit(x, y, noise) + strength * prior.log_density(x)
    proposal, target = (
        np.exp(log_proposal - log_proposal.max()),
        np.exp(log_target - log_target.max()),
    )
    proposal, target = proposal / proposal.sum(), target / target.sum()
    mean, centre = target @ x, proposal @ x
    error = (target / np.maximum(proposal, 1e-300))[:, None] * (x - mean)
    error -= 0 if reference is None else x - centre
    return mean, np.sqrt(proposal @ error**2 / n_samples)


@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("name", PRIORS)
def test_posterior_mean_is_the_quadrature(name, strength):
    prior = PRIORS[name]
    y, noise, n_samples = noisy_rows(prior), noise_of(prior), 4096
    clean = fastcl.denoise(prior, y, noise, strength, "mean", n_samples=n_samples)
    moved = 0.0
    for row, estimate in zip(y, clean, strict=True):
        mean, error = posterior_by_quadrature(prior, row, noise, strength, n_samples)
        # Midpoints of an integrand with kinks: 1/25 standard deviation apart in a plane, squared
        # over 12, times a shift below 1.
        assert_within(estimate, mean, N_ERRORS * error + 2e-4 * noise)
        moved = max(moved, (np.abs(mean - row) / (N_ERRORS * error + 2e-4 * noise)).max())
    assert moved > 3  # the bound is no wider than a third of what there is to see


def excess_over_grid(prior, y, noise, strength):
    """Objective of the MAP estimate of every row, less that of the lowest node around the row."""
    values = objective(
        prior, fastcl.denoise(prior, y, noise, strength, n_iter=400), y, noise, strength
    )
    return values - [objective(prior, around(row, noise), row, noise, strength).min() for row in y]


@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("name", [name for name in PRIORS if "network" not in name])
def test_map_of_a_smooth_density_is_below_every_node_of_a_grid(name, strength):
    prior = PRIORS[name]
    excess = excess_over_grid(prior, noisy_rows(prior), noise_of(prior), strength)
    assert (excess <= 1000 * EPS).all()
    # Some node is within half a spacing, 1/50 standard deviation of the noise, along each axis; the
    # objective has curvature below 10.
    assert (excess >= -2 * 10 / 50**2 / 2).all()


@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("name", [name for name in PRIORS if "network" in name])
def test_map_of_a_network_is_the_lowest_node_of_a_grid(name, strength):
    prior = PRIORS[name]
    excess = excess_over_grid(prior, noisy_rows(prior), noise_of(prior), strength)
    # A kink of the ReLU may stop a row or separate two valleys, for at most one row in six. 0.01 is
    # 1/10 standard deviation.
    assert (excess <= 0.01).sum() >= 5
    assert (excess >= -2 * 10 / 50**2 / 2).all()


@pytest.mark.parametrize("n_iter", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("name", PRIORS)
def test_map_never_increases_the_objective_of_a_row(name, n_iter):
    prior = PRIORS[name]
    # Far out the energies are steep and first steps overshoot.
    y, noise = 5 * noisy_rows(prior, 200), 3 * noise_of(prior)
    for start in (None, y + 2):
        before = objective(prior, y if start is None else start, y, noise, 2.0)
        after = objective(prior, map_estimate(prior, y, noise, 2.0, n_iter, start), y, noise, 2.0)
        assert (after <= before + 1000 * EPS * np.abs(before)).all()
        assert n_iter < 10 or (after < before).mean() > 0.9
    assert (start == y + 2).all()  # the start is the caller's


def test_more_steps_are_never_worse():
    prior = PRIORS["network in a plane"]
    y, noise = noisy_rows(prior, 50), noise_of(prior)
    values = [
        objective(prior, map_estimate(prior, y, noise, 1.0, k), y, noise, 1.0)
        for k in (1, 5, 20, 100)
    ]
    for fewer, more in pairwise(values):
        assert (more <= fewer + 1000 * EPS * np.abs(fewer)).all()


def test_low_discrepancy_points_have_the_moments_of_a_standard_normal():
    for n in (1000, 1024):
        points = normal_points(n, 3, 0)
        assert points.shape == (n, 3)
        np.testing.assert_allclose(points.mean(axis=0), 0, atol=10 * EPS)
        # The sample covariance of n independent points has standard error sqrt(2 / n).
        np.testing.assert_allclose(points.T @ points / n, np.eye(3), atol=N_ERRORS * np.sqrt(2 / n))


# ---- types, chunks, seeds ------------------------------------------------------------------------

ESTIMATORS = ["map", "mean"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", PRIORS)
def test_result_has_the_type_and_nearly_the_values_of_double_precision(name, estimator):
    prior = PRIORS[name]
    y, settings = (
        noisy_rows(prior).astype(np.float32),
        {"estimator": estimator, "n_samples": 64, "n_iter": 5},
    )
    exact = fastcl.denoise(prior, y.astype(np.float64), 0.5, **settings)
    rounded = fastcl.denoise(prior, y, 0.5, **settings)
    assert rounded.dtype == np.float32
    assert exact.dtype == np.float64
    # A few thousand roundings of numbers up to 10, at worst in one direction.
    np.testing.assert_allclose(rounded, exact, atol=1e4 * np.finfo(np.float32).eps)
    assert fastcl.denoise(prior, np.ones((2, prior.dim), int), 0.5, **settings).dtype == np.float64


@few_points
@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", PRIORS)
def test_rows_do_not_depend_on_the_chunk_they_are_in(monkeypatch, name, estimator, strength):
    prior = PRIORS[name]
    y, settings = (
        noisy_rows(prior, 11),
        {"strength": strength, "estimator": estimator, "n_samples": 64, "n_iter": 5},
    )
    whole = fastcl.denoise(prior, y, 0.5, **settings)
    for rows in (1, 3):
        values = rows * prior.dim * (8 if estimator == "map" else 64)
        monkeypatch.setattr(denoise_module, "CHUNK_VALUES", values)
        # Products of another number of rows may take another path in the BLAS.
        np.testing.assert_allclose(
            fastcl.denoise(prior, y, 0.5, **settings), whole, rtol=0, atol=1000 * EPS
        )


STANDARD = fastcl.Gaussian([0, 0], np.eye(2))
SCALES = fastcl.GaussianScaleMixture(COVARIANCE, [0.4, 1.0, 1.6], [0.5, 0.3, 0.2])
ON_DEVICES = {
    **PRIORS,
    "crossed scales": fastcl.MixtureOfScaleMixtures(
        [COVARIANCE, COVARIANCE[::-1, ::-1]], [0.4, 1.0], [[0.5, 0.3], [0.1, 0.1]]
    ),
    "Gaussian": GAUSSIANS["plane"],
    "network on a mixture": fastcl.MLPPrior(
        2, (8, 16), rng=0, reference=PRIORS["mixture in a plane"]
    ),
    "network on gaussianised scales": fastcl.GaussianisedPrior(
        fastcl.MLPPrior(2, (8, 16), rng=0, reference=STANDARD), SCALES
    ),
}


@few_points
@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ON_DEVICES)
def test_rows_on_a_device_are_denoised_there(backend, monkeypatch, name, estimator, strength):
    prior = ON_DEVICES[name]
    sigma, settings = (
        noise_of(prior),
        {"strength": strength, "estimator": estimator, "n_samples": 16, "n_iter": 5},
    )
    for dtype, rows in ((np.float32, 20), (np.float64, 4)):
        monkeypatch.setattr(denoise_module, "DEVICE_CHUNK_VALUES", rows * prior.dim * 16)
        y = noisy_rows(prior, 11).astype(dtype)
        found = backend.host(
            fastcl.denoise(prior, backend.array(y), backend.array(sigma), **settings)
        )
        assert found.dtype == dtype
        # A few thousand roundings of numbers up to 10, in the worst case all in one direction.
        expected = fastcl.denoise(prior, y, sigma, **settings)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["network in a plane", "network times scales"])
def test_result_follows_the_seed(name):
    prior = PRIORS[name]

    def mean(rng):
        return fastcl.denoise(
            prior, noisy_rows(prior), 0.5, estimator="mean", n_samples=64, rng=rng
        )

    np.testing.assert_array_equal(mean(3), mean(3))
    np.testing.assert_array_equal(mean(3), mean(np.random.default_rng(3)))
    assert (mean(3) != mean(4)).any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_input_is_left_alone(estimator):
    y = noisy_rows(PRIORS["network in a plane"])
    given = y.copy()
    fastcl.denoise(PRIORS["network in a plane"], y, 0.5, estimator=estimator, n_samples=8)
    np.testing.assert_array_equal(y, given)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("prior", {"prior": None}, TypeError),
        ("prior", {"prior": fastcl.Box([-1, -1], [1, 1])}, TypeError),
        ("y", {"y": np.zeros(2)}, ValueError),
        ("y", {"y": np.zeros((3, 3))}, ValueError),
        ("y", {"y": np.zeros((0, 2))}, ValueError),
        ("y", {"y": [[np.nan, 0.0]]}, ValueError),
        ("y", {"y": [["a", "b"]]}, TypeError),
        ("y", {"y": np.zeros((1, 2), complex)}, TypeError),
        ("sigma", {"sigma": 0.0}, ValueError),
        ("sigma", {"sigma": -1}, ValueError),
        ("sigma", {"sigma": np.nan}, ValueError),
        ("sigma", {"sigma": np.inf}, ValueError),
        ("sigma", {"sigma": "1"}, TypeError),
        ("sigma", {"sigma": None}, TypeError),
        ("sigma", {"sigma": [1.0, 0.0]}, ValueError),
        ("sigma", {"sigma": [1.0]}, ValueError),
        ("strength", {"strength": 0}, ValueError),
        ("strength", {"strength": np.nan}, ValueError),
        ("strength", {"strength": np.inf}, ValueError),
        ("strength", {"strength": "1"}, TypeError),
        ("strength", {"strength": None}, TypeError),
        ("estimator", {"estimator": "median"}, ValueError),
        ("n_iter", {"n_iter": 0}, ValueError),
        ("n_samples", {"n_samples": 0}, ValueError),
        ("n_samples", {"n_samples": 2.5}, TypeError),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_bad_arguments_are_named(estimator, name, arguments, error):
    good = {
        "prior": PRIORS["network in a plane"],
        "y": np.zeros((3, 2)),
        "sigma": 1.0,
        "estimator": estimator,
    }
    with pytest.raises(error, match=rf"(^|\W){name}\W"):
        fastcl.denoise(**good | arguments)


@pytest.mark.parametrize(("rng", "error"), [("0", TypeError), (-1, ValueError), (0.5, TypeError)])
def test_a_bad_seed_is_named(rng, error):
    with pytest.raises(error, match="rng"):
        fastcl.denoise(
            PRIORS["network in a plane"], np.zeros((3, 2)), 1.0, estimator="mean", rng=rng
        )


# ---- a prior far from y --------------------------------------------------------------------------


class Quartic(fastcl.Prior):
    dim = 1

    def energy_and_grad(self, x):
        return (x**4).sum(axis=1), 4 * x**3


class Exponential(fastcl.ReferenceMeasure):
    dim = 1

    def log_density(self, x):
        return np.where(x[:, 0] > 0, -x[:, 0], -np.inf)


@pytest.mark.parametrize(
    "prior", [Quartic(), Exponential()], ids=lambda prior: type(prior).__name__
)
def test_a_mean_that_rests_on_few_points_is_done_with_a_warning(prior):
    y = np.array([[-9.0], [0.5], [1.0]])
    with pytest.warns(RuntimeWarning, match="posterior means of 1 of 3 rows rest on fewer than 2"):
        clean = fastcl.denoise(prior, y, sigma=0.5, estimator="mean")
    assert np.isfinite(clean).all()
    np.testing.assert_array_equal(  # without a warning, which would be an error here
        fastcl.denoise(prior, y[1:], sigma=0.5, estimator="mean"), clean[1:]
    )


def test_a_row_at_whose_points_the_density_vanishes_stays():
    with pytest.warns(RuntimeWarning, match="posterior means of 1 of 1 rows"):
        clean = fastcl.denoise(Exponential(), [[-9.0]], sigma=0.5, estimator="mean")
    assert_within(clean, [[-9.0]], 10 * EPS)


def test_an_image_model_is_sent_to_denoise_image():
    transform = fastcl.PatchTransform.fit(np.random.default_rng(0).random((50, 4)))
    model = fastcl.SignalModel(transform, fastcl.Gaussian(np.zeros(3), np.eye(3)))
    with pytest.raises(TypeError, match="got SignalModel: use denoise_image"):
        fastcl.denoise(model, np.ones((2, 3)), 0.1)


def test_a_few_rows_far_from_the_prior_need_no_warning():
    y = np.concatenate([np.full((299, 1), 0.5), [[-9.0]]])
    assert np.isfinite(fastcl.denoise(Quartic(), y, sigma=0.5, estimator="mean")).all()
