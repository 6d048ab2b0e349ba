"""Maximum entropy: the density, its coefficients against known ones, adapted frequencies."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from problems import features, midpoints, threads
from round_trips import through_arrays

import fastcl
from fastcl.learning import adaptive

EPS = np.finfo(float).eps
N_ERRORS = 5  # standard errors
NORMAL = fastcl.Gaussian([0.0], [[1.0]])
PLANE = fastcl.Gaussian([0.3, -0.5], [[0.5, 0.2], [0.2, 0.3]])
SCALES = fastcl.GaussianScaleMixture([[0.5, 0.2], [0.2, 0.3]], [0.5, 1.5], [0.6, 0.4])
MIXTURE = fastcl.GaussianMixture(
    [2.0, 1.0], [[-0.8, 0.3], [0.6, -0.2]], [[[0.5, 0.2], [0.2, 0.3]], [[0.1, 0.0], [0.0, 0.4]]]
)


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def some_prior(m=7, reference=PLANE, seed=0):
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(m) + 1j * rng.standard_normal(m)
    return fastcl.MaxEntropyPrior(2 * rng.standard_normal((m, reference.dim)), c, reference)


def some_points(n=20, dim=2):
    return np.random.default_rng(1).standard_normal((n, dim))


over_references = pytest.mark.parametrize(
    "reference", [PLANE, SCALES, MIXTURE], ids=lambda reference: type(reference).__name__
)


# ---- the density ---------------------------------------------------------------------------------


def test_energy_is_the_sum_over_the_frequencies():
    prior, x = some_prior(), some_points()
    expected = -(features(x, prior.omega).conj() @ prior.c).real
    tolerance = 100 * EPS * np.abs(prior.c).sum()
    np.testing.assert_allclose(prior.energy(x), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 3, 31, 257])
def test_energy_is_minus_the_adjoint_of_the_features(m, dtype):
    prior, x = some_prior(m), some_points().astype(dtype)
    energy = prior.energy(x)
    assert energy.dtype == dtype
    np.testing.assert_array_equal(energy, fastcl.feature_adjoint(x, prior.omega, -prior.c))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 3, 31, 257])
def test_energy_and_grad_against_central_differences(m, dtype):
    prior, x = some_prior(m), some_points()
    eps = np.finfo(dtype).eps
    sizes = np.abs(prior.c)
    radii = np.linalg.norm(prior.omega, axis=1)
    rounded = x.astype(dtype)
    energy, gradient = prior.energy_and_grad(rounded)
    assert energy.dtype == dtype
    assert gradient.dtype == dtype
    # The same sum in another order: a few eps of sum |c|, for phases of a few turns.
    tolerance = 100 * eps * sizes.sum()
    np.testing.assert_allclose(energy, prior.energy(rounded), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(gradient, prior.energy_grad(rounded))
    h = 1e-5
    differences = [prior.energy(x + step) - prior.energy(x - step) for step in h * np.eye(2)]
    expected = np.stack(differences, axis=1) / (2 * h)
    # Third derivatives are at most sum |c| |omega|^3; the energy has a rounding error of
    # EPS sum |c| (1 + phase).
    tolerance = h**2 / 6 * (sizes @ radii**3) + 100 * EPS / h * sizes.sum()
    tolerance += 100 * eps * (sizes @ radii)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


@over_references
def test_log_density_is_that_of_the_reference_minus_the_energy(reference):
    prior, x = some_prior(reference=reference), some_points()
    np.testing.assert_array_equal(prior.log_density(x), reference.log_density(x) - prior.energy(x))


def test_points_are_not_changed_and_may_be_lists_or_views():
    prior, x = some_prior(), some_points()
    before = x.copy()
    prior.energy_and_grad(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(prior.energy(x.tolist()), prior.energy(x))
    np.testing.assert_array_equal(prior.energy(x[::2]), prior.energy(x)[::2])


@over_references
def test_a_saved_prior_has_bitwise_identical_coefficients_and_energies(tmp_path, reference):
    prior, x = some_prior(reference=reference), some_points()
    prior.save(tmp_path / "p.npz")
    loaded = fastcl.load_prior(tmp_path / "p.npz")
    assert type(loaded) is fastcl.MaxEntropyPrior
    assert type(loaded.reference) in (type(reference), fastcl.GaussianMixture)
    np.testing.assert_array_equal(loaded.omega, prior.omega)
    np.testing.assert_array_equal(loaded.c, prior.c)
    np.testing.assert_array_equal(loaded.energy(x), prior.energy(x))
    np.testing.assert_allclose(loaded.log_density(x), prior.log_density(x), rtol=1e-13)


@pytest.mark.parametrize("lost", ["omega", "c", "reference.kind", "reference.means"])
def test_a_prior_with_a_missing_part_is_refused(lost):
    message = "kind is missing" if lost == "reference.kind" else "missing"
    with pytest.raises(ValueError, match=message):
        through_arrays(some_prior(), lost)


@pytest.mark.parametrize(
    ("omega", "c", "reference", "error", "message"),
    [
        ([[1.0]], [1.0, 2.0], NORMAL, ValueError, "^c must hold 1 finite"),
        ([[1.0]], [], NORMAL, (ValueError, TypeError), "^c "),
        ([[1.0]], [[1.0]], NORMAL, ValueError, "^c must hold"),
        ([[1.0]], [np.nan], NORMAL, ValueError, "^c must hold"),
        ([[1.0]], [1j * np.inf], NORMAL, ValueError, "^c must hold"),
        ([[1.0]], ["a"], NORMAL, TypeError, "^c must hold numbers"),
        ([[np.nan]], [1.0], NORMAL, ValueError, "^omega holds NaN"),
        ([1.0], [1.0], NORMAL, ValueError, "^omega must be 2-D"),
        ([[1.0]], [1.0], PLANE, ValueError, "^reference .*dimension 1"),
        ([[1.0]], [1.0], None, TypeError, "^reference "),
        ([[1.0]], [1.0], fastcl.Box([0.0], [1.0]), TypeError, "^reference "),
    ],
)
def test_bad_parts_of_a_prior_are_named(omega, c, reference, error, message):
    with pytest.raises(error, match=message):
        fastcl.MaxEntropyPrior(omega, c, reference)


@pytest.mark.parametrize("method", ["energy", "energy_grad", "energy_and_grad", "log_density"])
@pytest.mark.parametrize(
    "x", [np.zeros((3, 1)), np.zeros(3), np.full((3, 2), np.nan), np.zeros((0, 2))]
)
def test_bad_points_are_named(method, x):
    with pytest.raises(ValueError, match=r"^x "):
        getattr(some_prior(), method)(x)


# ---- learning ------------------------------------------------------------------------------------

NODES, CELL = midpoints([-7.0], [7.0], 4000)
OMEGA = np.array([[0.7], [1.5], [2.4], [3.1]])


def probabilities(prior):
    """Probabilities (4000,) of the nodes under a prior on the line."""
    log_density = prior.log_density(NODES).astype(float)
    weights = np.exp(log_density - log_density.max())
    return weights / weights.sum()


@pytest.fixture(scope="module")
def known():
    """A known density q exp(A* c), points drawn from it, their sketch, priors learned from it."""
    truth = fastcl.MaxEntropyPrior(OMEGA, [0.4 - 0.3j, -0.5, 0.3j, 0.2 + 0.2j], NORMAL)
    rng = np.random.default_rng(0)
    nodes = NODES[rng.choice(len(NODES), 50_000, p=probabilities(truth))]
    x = nodes + CELL * (rng.random((50_000, 1)) - 0.5)
    sk = fastcl.sketch(x, OMEGA)
    with threads(1):
        learned = [
            fastcl.max_entropy(sk, NORMAL, n_points=4096, n_iter=300, rng=seed) for seed in (1, 2)
        ]
    return SimpleNamespace(truth=truth, x=x, sketch=sk, learned=learned)


# c is a mean over 150 steps of 4096 points each, which decorrelate in some ten steps.
EFFECTIVE_POINTS = 60_000


def test_density_has_the_moments_of_the_sketch(known):
    for prior in known.learned:
        moments = probabilities(prior) @ features(NODES, OMEGA)
        assert np.abs(moments - known.sketch.values).max() < N_ERRORS / np.sqrt(EFFECTIVE_POINTS)
    # The reference is far from having them.
    assert np.abs(NORMAL.sketch(OMEGA) - known.sketch.values).max() > 0.1


def test_coefficients_are_those_of_the_density_of_the_data(known):
    # Fisher information: the covariance of the features, with the errors of data and of chains.
    conjugates = features(NODES, OMEGA).conj()
    parts = np.concatenate([conjugates.real, -conjugates.imag], axis=1)
    weights = probabilities(known.truth)
    centred = parts - weights @ parts
    information = centred.T * weights @ centred
    covariance = np.linalg.inv(information) * (1 / len(known.x) + 1 / EFFECTIVE_POINTS)
    for prior in known.learned:
        difference = prior.c - known.truth.c
        error = np.concatenate([difference.real, difference.imag])
        # Chi-squared with 8 degrees of freedom: exceeded with probability 5e-10.
        assert error @ np.linalg.solve(covariance, error) < 60


def test_likelihood_is_nearly_that_of_the_true_density(known):
    def nats_per_point(prior):
        log_normaliser = np.log(np.exp(prior.log_density(NODES).astype(float)).sum() * CELL)
        return prior.log_density(known.x).mean() - log_normaliser

    expected = nats_per_point(known.truth)
    for prior in known.learned:
        found = nats_per_point(prior)
        # Half a chi-squared of 8, over the number of points, is 1e-4.
        assert abs(found - expected) < 0.002
        assert found > NORMAL.log_density(known.x).mean() + 0.05


def test_seeds_agree_as_the_problem_is_convex(known):
    one, other = map(probabilities, known.learned)
    assert np.abs(one - other).sum() < 0.03
    assert (one != other).any()


def test_data_from_the_reference_give_hardly_any_energy():
    sk = fastcl.sketch(NORMAL.sample(200_000, rng=0), OMEGA)
    prior = fastcl.max_entropy(sk, NORMAL, n_points=4096, n_iter=100, rng=0)
    flat = fastcl.MaxEntropyPrior(OMEGA, np.zeros(4), NORMAL)
    assert np.abs(probabilities(prior) - probabilities(flat)).sum() < 0.05


@over_references
def test_moments_are_matched_over_every_reference(reference):
    rng = np.random.default_rng(0)
    x = reference.sample(20_000, rng)
    # Most of the points on the left are removed.
    x = x[rng.random(len(x)) < 1 / (1 + np.exp(-3 * x[:, 0]))]
    omega = 1.5 * rng.standard_normal((10, 2))
    sk = fastcl.sketch(x, omega)
    prior = fastcl.max_entropy(sk, reference, n_points=2048, n_iter=150, rng=0)
    nodes, cell = midpoints([-7.0, -7.0], [7.0, 7.0], 300)
    weights = np.exp(prior.log_density(nodes)) * cell
    moments = (weights / weights.sum()) @ features(nodes, omega)
    assert np.abs(moments - sk.values).max() < 0.04
    assert np.abs(reference.sketch(omega) - sk.values).max() > 5 * 0.04


def small_sketch(dim=1):
    rng = np.random.default_rng(0)
    return fastcl.sketch(rng.uniform(-1, 1, (500, dim)), 2 * rng.standard_normal((5, dim)))


def test_learning_follows_the_seed_on_any_number_of_threads(on_threads):
    def c(rng):
        return fastcl.max_entropy(small_sketch(), NORMAL, n_points=700, n_iter=10, rng=rng).c

    one, two = on_threads(lambda: c(3))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, c(np.random.default_rng(3)))
    assert (one != c(4)).any()


def test_learning_does_not_change_the_sketch():
    sk, before = small_sketch(), small_sketch()
    fastcl.max_entropy(sk, NORMAL, n_points=100, n_iter=5, rng=0)
    np.testing.assert_array_equal(sk.values, before.values)
    assert sk.count == before.count


def test_an_interruption_returns_what_was_learned(monkeypatch):
    steps = []

    def advance(self, prior):
        steps.append(1)
        if len(steps) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr("fastcl.priors.chains.Chains.advance", advance)
    prior = fastcl.max_entropy(small_sketch(), NORMAL, n_points=100, n_iter=1000, rng=0)
    assert len(steps) == 8
    assert np.abs(prior.c).max() > 0


def test_coefficients_that_are_not_finite_are_an_error(monkeypatch):
    monkeypatch.setattr(
        "fastcl.priors.metric.WhitenedMetric.apply", lambda self, residual: residual * np.nan
    )
    with pytest.raises(FloatingPointError, match="smaller step_size or a larger ridge"):
        fastcl.max_entropy(small_sketch(), NORMAL, n_points=100, n_iter=5, rng=0)


def test_candidates_are_scored_on_points_of_all_the_file(rng, monkeypatch):
    x = np.sort(rng.standard_normal((4000, 1)), axis=0)
    scores, means = adaptive._scores, []

    def noted(x, *rest):
        means.append(x.mean())
        return scores(x, *rest)

    monkeypatch.setattr(adaptive, "_scores", noted)
    effort = replace(TINY, scored=300)
    fastcl.adapt_frequencies(x, 4, NORMAL, rng=0, effort=effort)
    assert np.abs(means).max() < N_ERRORS / np.sqrt(300)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sketch": None}, TypeError, "^sketch must be"),
        ({"sketch": np.ones(5, complex)}, TypeError, "^sketch must be"),
        ({"sketch": fastcl.Sketch([[1.0]])}, ValueError, "sketch is empty"),
        ({"reference": None}, TypeError, "^reference must be"),
        ({"reference": fastcl.Box([0.0], [1.0])}, TypeError, "^reference must be"),
        ({"reference": PLANE}, ValueError, "^reference has dimension 2"),
        ({"ridge": 0}, ValueError, "^ridge"),
        ({"ridge": np.nan}, ValueError, "^ridge"),
        ({"ridge": "1"}, TypeError, "^ridge"),
        ({"step_size": 0}, ValueError, "^step_size"),
        ({"step_size": np.inf}, ValueError, "^step_size"),
        ({"n_points": 0}, ValueError, "^n_points"),
        ({"n_points": 2.5}, TypeError, "^n_points"),
        ({"n_iter": 0}, ValueError, "^n_iter"),
        ({"rng": "0"}, TypeError, "^rng"),
        ({"rng": -1}, ValueError, "^rng"),
    ],
)
def test_bad_arguments_of_max_entropy_are_named(change, error, message):
    arguments = {"sketch": small_sketch(), "reference": NORMAL, "n_points": 50, "n_iter": 2}
    with pytest.raises(error, match=message):
        fastcl.max_entropy(**arguments | change)


# ---- adapted frequencies -------------------------------------------------------------------------

STANDARD = {dim: fastcl.Gaussian(np.zeros(dim), np.eye(dim)) for dim in (1, 2, 12)}


QUICK = adaptive.SearchEffort(
    chains=2000, scored=3000, batch=1000, ascent_steps=15, fit_steps=8, refine_steps=20
)
# For tests of shapes and seeds, which need no good frequencies.
TINY = replace(QUICK, chains=300, batch=200, ascent_steps=2, fit_steps=2, refine_steps=2)


def clusters(n, seed):
    """Standard normal points (n, 12) but for two clusters along one oblique direction."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 12))
    direction = np.array([1.0, -1.0, 0.5, *np.zeros(9)])
    direction /= np.linalg.norm(direction)
    centres = 0.95 * rng.choice([-1, 1], n)
    along = centres + np.sqrt(1 - 0.95**2) * rng.standard_normal(n)  # of variance 1
    return x + np.outer(along - x @ direction, direction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 2, 12])
@pytest.mark.parametrize("m", [1, 3, 8, 21])
def test_the_requested_number_of_frequencies_is_returned(m, dim, dtype):
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (600, dim)).astype(dtype)
    omega = fastcl.adapt_frequencies(x, m, STANDARD[dim], rng=0, effort=TINY)
    assert (omega.shape, omega.dtype) == ((m, dim), np.float64)
    assert np.isfinite(omega).all()
    assert len(np.unique(omega, axis=0)) == m


def differences(x, omega):
    """|sketch of x - sketch of the reference|, (m,)."""
    return np.abs(fastcl.sketch(x, omega).values - STANDARD[12].sketch(omega))


def test_adapted_frequencies_show_more_difference_than_random_ones():
    omega = fastcl.adapt_frequencies(clusters(5000, 0), 24, STANDARD[12], rng=0, effort=QUICK)
    directions = np.random.default_rng(1).standard_normal((24, 12))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    random_omega = directions * np.linalg.norm(omega, axis=1, keepdims=True)
    fresh = clusters(20_000, 2)
    # A moment of fresh points has an error of 1 / sqrt(20000) = 0.007, whatever the frequency.
    adapted = differences(fresh, omega)
    assert adapted.mean() > 2 * differences(fresh, random_omega).mean()
    assert adapted.max() > 0.3


def test_ascent_increases_the_score_on_fresh_points():
    rng = np.random.default_rng(0)
    x = clusters(20_000, 0).astype(np.float32)
    points = STANDARD[12].sample(20_000, rng, np.float32)
    candidates = adaptive._draw(120, 12, rng)
    scores = adaptive._scores(x, points, candidates)
    omega = candidates[np.argsort(-scores)[:8]]  # the scores of the others are mostly noise
    effort = replace(QUICK, ascent_steps=30)
    bar = SimpleNamespace(update=lambda count: None)
    ascended = adaptive._ascend_scores(x, points, omega, effort, rng, bar)
    fresh = clusters(20_000, 3).astype(np.float32)
    fresh_points = STANDARD[12].sample(20_000, rng, np.float32)
    before, after = (adaptive._scores(fresh, fresh_points, other) for other in (omega, ascended))
    assert after.mean() > 1.5 * before.mean()


def test_gradient_of_moments_against_central_differences():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 3))
    omega = rng.standard_normal((4, 3))
    rho = rng.standard_normal(4) + 1j * rng.standard_normal(4)

    def value(omega):
        return (rho.conj() * features(x, omega).mean(axis=0)).real.sum()

    packed = adaptive.PackedOperator.pack(omega, np.dtype(np.float64))
    gradient = adaptive._moment_gradient(x, packed, rho)
    h = 1e-5
    for i, j in np.ndindex(omega.shape):
        step = np.zeros_like(omega)
        step[i, j] = h
        expected = (value(omega + step) - value(omega - step)) / (2 * h)
        # Third derivatives are at most |rho| |x|^3, a few hundred; rounding over h is 1e-10.
        assert gradient[i, j] == pytest.approx(expected, abs=1e-8)


def test_candidates_have_radii_in_range_and_few_active_coordinates():
    for dim in (2, 12):
        omega = adaptive._draw(400, dim, np.random.default_rng(0))
        radii = np.linalg.norm(omega, axis=1)
        assert adaptive.RADII[0] <= radii.min() < 0.6
        assert 3.4 < radii.max() <= adaptive.RADII[1]
        active, counts = np.unique((omega != 0).sum(axis=1), return_counts=True)
        assert active.tolist() == ([2] if dim == 2 else [2, 3, 5, 12])
        assert (counts == 400 / len(active)).all()


def test_frequencies_follow_the_seed_on_any_number_of_threads(on_threads):
    x = clusters(1000, 0)

    def omega(rng):
        return fastcl.adapt_frequencies(x, 5, STANDARD[12], rng=rng, effort=TINY)

    one, two = on_threads(lambda: omega(3))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, omega(np.random.default_rng(3)))
    assert (one != omega(4)).any()


@pytest.mark.parametrize("n", [1, 2, 30])
def test_few_points_give_finite_frequencies_and_are_not_changed(n):
    x = np.random.default_rng(0).standard_normal((n, 2))
    before = x.copy()
    omega = fastcl.adapt_frequencies(x, 4, STANDARD[2], rng=0, effort=TINY)
    assert np.isfinite(omega).all()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((0, 2))}, ValueError, "^x is empty"),
        ({"x": np.zeros((5, 3))}, ValueError, "^x must have 2 columns"),
        ({"x": np.full((5, 2), np.nan)}, ValueError, "^x holds NaN"),
        ({"x": np.zeros(5)}, ValueError, "^x must be 2-D"),
        ({"x": np.zeros((5, 2), complex)}, TypeError, "^x must be real"),
        ({"x": "x"}, TypeError, "^x must hold numbers"),
        ({"m": 0}, ValueError, "^m "),
        ({"m": 2.0}, TypeError, "^m "),
        ({"rng": "0"}, TypeError, "^rng"),
        ({"reference": None}, TypeError, "^reference"),
        ({"reference": fastcl.Box([0, 0], [1, 1])}, TypeError, "^reference"),
    ],
)
def test_bad_arguments_of_adapt_frequencies_are_named(change, error, message):
    arguments = {
        "x": np.ones((5, 2)),
        "m": 3,
        "reference": STANDARD[2],
        "rng": 0,
        "effort": TINY,
    } | change
    with pytest.raises(error, match=message):
        fastcl.adapt_frequencies(**arguments)


def test_points_that_overflow_single_precision_are_refused():
    with pytest.raises(ValueError, match=r"^x holds NaN or infinity"):
        fastcl.adapt_frequencies(np.full((5, 2), 1e300), 3, STANDARD[2], rng=0)


@pytest.mark.parametrize(
    ("change", "error"), [({"chains": 0}, ValueError), ({"fit_steps": 2.5}, TypeError)]
)
def test_an_effort_of_less_than_one_step_is_refused(change, error):
    with pytest.raises(error, match=f"^{next(iter(change))} "):
        adaptive.SearchEffort(**change)
