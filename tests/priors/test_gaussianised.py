"""A prior seen through `gaussianise`: density, gradients, samples, files and denoising."""

import numpy as np
import pytest
from problems import midpoints, threads
from round_trips import through_arrays

import fastcl
from fastcl import files
from fastcl.measures.mixtures import standard_normal

EPS = np.finfo(float).eps
N_ERRORS = 5  # standard errors
LINE = fastcl.GaussianScaleMixture([[0.6]], [0.3, 1.2], [0.5, 0.5])
PLANE = fastcl.GaussianScaleMixture([[0.5, 0.2], [0.2, 0.3]], [0.4, 1.0, 1.6], [0.5, 0.3, 0.2])


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def max_entropy(dim):
    """A maximum-entropy prior N(0, I) exp(h) with h a sum of three cosines."""
    omega = np.array([[1.0, 0.4], [-0.6, 1.3], [2.0, 1.0]])[:, :dim]
    return fastcl.MaxEntropyPrior(omega, [0.6 - 0.3j, 0.5j, -0.3], standard_normal(dim))


def network(dim, dtype=np.float64):
    prior = fastcl.MLPPrior(dim, (8, 6), rng=3, reference=standard_normal(dim), dtype=dtype)
    prior.theta += 0.3 * np.random.default_rng(4).standard_normal(prior.theta.size).astype(dtype)
    return prior


INNER = {"max entropy": max_entropy, "network": network}
OUTER = {1: LINE, 2: PLANE}


def make(name, dim):
    return fastcl.GaussianisedPrior(INNER[name](dim), OUTER[dim])


def quadrature(dim):
    """(nodes, volume of a cell) to ten of the largest standard deviations on each side."""
    if dim == 1:
        return midpoints([-10.0], [10.0], 8000)
    return midpoints([-9.0, -9.0], [9.0, 9.0], 500)


def inner_mass(prior, dim):
    """The integral of N(0, I) exp(a - R) by quadrature."""
    nodes, cell = midpoints([-8.0] * dim, [8.0] * dim, 4000 if dim == 1 else 400)
    return np.exp(prior.log_density(nodes).astype(float)).sum() * cell


# ---- the density ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", INNER)
def test_mass_is_that_of_the_inner_prior(name, dim):
    # T maps the reference to N(0, I), so the change of variables preserves the mass.
    prior, (nodes, cell) = make(name, dim), quadrature(dim)
    mass = np.exp(prior.log_density(nodes)).sum() * cell
    # The table of radii is interpolated; in the plane, cells are 0.036 and the narrowest scale is
    # 0.14 wide.
    assert mass == pytest.approx(inner_mass(prior.prior, dim), rel=2e-3)


@pytest.mark.parametrize("name", INNER)
def test_density_follows_the_change_of_variables(name):
    prior = make(name, 1)
    x = np.linspace(-3, 3, 41)[:, None] + 0.01
    h = 1e-4
    slope = (LINE.gaussianise(x + h) - LINE.gaussianise(x - h))[:, 0] / (2 * h)
    expected = prior.prior.log_density(LINE.gaussianise(x)) + np.log(slope)
    # The slope is that of an interpolant.
    np.testing.assert_allclose(prior.log_density(x), expected, atol=5e-3)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", INNER)
def test_energy_and_grad_against_central_differences(name, dim):
    prior = make(name, dim)
    x = 1.2 * np.random.default_rng(0).standard_normal((40, dim)) + 0.05
    x[0] = 15.0  # far out
    energy, gradient = prior.energy_and_grad(x)
    # A network computes its energy in one way, a maximum-entropy prior in two: its sums in another
    # order differ by a few eps of sum |c|, for phases of a few turns.
    atol = 0 if name == "network" else 100 * EPS * np.abs(prior.prior.c).sum()
    np.testing.assert_allclose(energy, prior.energy(x), rtol=0, atol=atol)
    np.testing.assert_array_equal(gradient, prior.energy_grad(x))
    h = 1e-6
    differences = [prior.energy(x + step) - prior.energy(x - step) for step in h * np.eye(dim)]
    expected = np.stack(differences, axis=1) / (2 * h)
    # Third derivatives of at most a few thousand between the scales; rounding of the energy.
    tolerance = 1e4 * h**2 + 1e3 * EPS * np.abs(energy).max() / h
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dim", [1, 2])
def test_gradient_at_the_origin_is_finite(dim):
    # Flat patches of a photograph have whitened coordinates of exactly zero.
    energy, gradient = make("max entropy", dim).energy_and_grad(np.zeros((3, dim)))
    assert np.isfinite(energy).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", INNER)
def test_results_have_the_type_of_the_points(name, dtype):
    inner = max_entropy(2) if name == "max entropy" else network(2, dtype)
    prior = fastcl.GaussianisedPrior(inner, PLANE)
    x = np.random.default_rng(0).standard_normal((9, 2)).astype(dtype)
    before = x.copy()
    energy, gradient = prior.energy_and_grad(x)
    for result in (energy, gradient, prior.log_density(x)):
        assert result.dtype == dtype
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(energy, prior.energy(x.astype(float)), atol=1e-4)


def test_log_scale_is_that_of_the_inner_prior():
    inner = network(2)
    prior = fastcl.GaussianisedPrior(inner, PLANE)
    before = prior.log_density([[0.3, 0.4]])
    inner.log_scale += 2.5
    np.testing.assert_allclose(prior.log_density([[0.3, 0.4]]) - before, 2.5)
    assert prior.log_scale == inner.log_scale


@pytest.mark.parametrize("name", INNER)
def test_log_normaliser_agrees_with_quadrature(name):
    prior = make(name, 1)
    values = [fastcl.log_normaliser(prior, n_points=1024, rng=seed) for seed in range(5)]
    assert abs(np.mean(values) - np.log(inner_mass(prior.prior, 1))) < 0.03 + 3 * np.std(values)


# ---- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", INNER)
def test_samples_follow_the_density(name, dim):
    prior, n = make(name, dim), 6000
    points = prior.sample(n, rng=0, dtype=np.float64)
    assert points.shape == (n, dim)
    nodes, cell = quadrature(dim)
    probabilities = np.exp(prior.log_density(nodes)) * cell
    probabilities /= probabilities.sum()
    for f in (
        lambda x: x,
        lambda x: x**2,
        np.abs,
        lambda x: np.cos(3 * x),
        lambda x: x * x[:, ::-1],
    ):
        expected = probabilities @ f(nodes)
        # One point per chain: they are independent.
        error = f(points).std(axis=0) / np.sqrt(n)
        assert (np.abs(f(points).mean(axis=0) - expected) < N_ERRORS * error + 0.002).all()


def test_samples_follow_the_seed():
    prior = make("max entropy", 2)
    one, other, third = (prior.sample(100, rng=seed) for seed in (3, 3, 4))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", INNER)
def test_a_saved_prior_is_bitwise_identical(tmp_path, name, dim):
    prior = make(name, dim)
    prior.save(tmp_path / "p.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["p.npz"]
    loaded = fastcl.load_prior(tmp_path / "p.npz")
    assert type(loaded) is fastcl.GaussianisedPrior
    assert type(loaded.prior) is type(prior.prior)
    x = np.random.default_rng(0).standard_normal((20, dim))
    np.testing.assert_array_equal(loaded.energy(x), prior.energy(x))
    np.testing.assert_array_equal(loaded.energy_grad(x), prior.energy_grad(x))
    np.testing.assert_array_equal(loaded.log_density(x), prior.log_density(x))


@pytest.mark.parametrize("name", INNER)
def test_every_array_is_needed(name):
    arrays = make(name, 2).to_arrays()
    for lost in arrays:
        # A network may have no reference, and older files do not name the kind of a prior.
        if not lost.startswith("inner.reference.") and lost != "inner.kind":
            with pytest.raises(ValueError, match=r"\w"):
                through_arrays(make(name, 2), lost)


def test_no_arrays_make_no_prior():
    with pytest.raises(ValueError, match=r"\w"):
        files.part_from("inner", {}, fastcl.Prior)


def test_a_prior_made_from_its_arrays_has_its_type():
    for thing in (max_entropy(2), network(2), make("network", 2), make("max entropy", 2), PLANE):
        assert type(through_arrays(thing)) is type(thing)


def test_priors_without_a_kind_as_in_version_2_of_files_are_identified_by_their_arrays():
    for thing in (max_entropy(2), network(2), make("network", 2), make("max entropy", 2)):
        assert type(through_arrays(thing, lost="kind")) is type(thing)


# ---- denoising -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy():
    """(a prior that differs much from its reference, clean points of it, noisy points)."""
    # Ripples about two apart.
    inner = fastcl.MaxEntropyPrior([[3.0, 0.0]], [3.0], standard_normal(2))
    prior = fastcl.GaussianisedPrior(inner, PLANE)
    with threads(1):
        clean = prior.sample(400, rng=0, dtype=np.float64)
    return prior, clean, clean + 0.15 * np.random.default_rng(1).standard_normal(clean.shape)


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_denoising_reduces_the_error(noisy, estimator):
    prior, clean, y = noisy
    denoised = fastcl.denoise(prior, y, 0.15, estimator=estimator, n_samples=64)
    assert ((denoised - clean) ** 2).mean() < ((y - clean) ** 2).mean()


def test_posterior_mean_beats_that_of_the_reference(noisy):
    prior, clean, y = noisy

    def squared_errors(density):
        denoised = fastcl.denoise(density, y, 0.15, estimator="mean", n_samples=128)
        return ((denoised - clean) ** 2).sum(axis=1)

    errors, reference_errors = squared_errors(prior), squared_errors(PLANE)
    gain = reference_errors - errors
    assert gain.mean() > N_ERRORS * gain.std() / np.sqrt(len(gain))
    assert errors.mean() < 0.9 * reference_errors.mean()


def test_posterior_mean_agrees_with_quadrature():
    prior = make("max entropy", 1)
    nodes, cell = quadrature(1)
    y = np.array([[-1.5], [-0.2], [0.1], [0.7], [2.5]])
    weights = np.exp(prior.log_density(nodes) - (y - nodes[:, 0]) ** 2 / (2 * 0.3**2)) * cell
    expected = (weights @ nodes) / weights.sum(axis=1, keepdims=True)
    found = fastcl.denoise(prior, y, 0.3, estimator="mean", n_samples=4096)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_point_at_the_origin_is_denoised():
    prior = make("max entropy", 2)
    found = fastcl.denoise(prior, np.zeros((2, 2)), 0.3, estimator="map", n_samples=8)
    assert np.isfinite(found).all()


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "reference", "error", "message"),
    [
        (max_entropy(2), LINE, ValueError, "^prior has dimension 2"),
        (max_entropy(1), PLANE, ValueError, "^prior has dimension 1"),
        (
            max_entropy(1),
            standard_normal(1),
            TypeError,
            "^reference must be a GaussianScaleMixture",
        ),
        (max_entropy(1), None, TypeError, "^reference must be"),
        (max_entropy(1), fastcl.Box([0.0], [1.0]), TypeError, "^reference must be"),
    ],
)
def test_bad_parts_are_named(prior, reference, error, message):
    with pytest.raises(error, match=message):
        fastcl.GaussianisedPrior(prior, reference)


@pytest.mark.parametrize(
    "inner",
    [standard_normal(1), fastcl.MLPPrior(1, (4,), rng=0)],
    ids=["a measure", "no reference"],
)
def test_an_inner_prior_must_be_a_prior_with_a_standard_normal_reference(inner):
    with pytest.raises((TypeError, ValueError), match=r"^prior "):
        fastcl.GaussianisedPrior(inner, LINE)


@pytest.mark.parametrize("method", ["energy", "energy_grad", "energy_and_grad", "log_density"])
@pytest.mark.parametrize(
    "x", [np.zeros((3, 1)), np.zeros(3), np.full((3, 2), np.nan), np.zeros((0, 2))]
)
def test_bad_points_are_named(method, x):
    with pytest.raises(ValueError, match=r"^x "):
        getattr(make("max entropy", 2), method)(x)
