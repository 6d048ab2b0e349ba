"""The maximum-entropy density against quadrature, its coefficients against known ones, and the choice of frequencies."""

from types import SimpleNamespace

import numpy as np
import pytest
from problems import features, midpoints, threads

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


# ---- the density -------------------------------------------------------------------------------------------------


def test_the_energy_is_written_out():
    prior, x = some_prior(), some_points()
    expected = -(features(x, prior.omega).conj() @ prior.c).real
    np.testing.assert_allclose(
        prior.energy(x), expected, rtol=0, atol=100 * EPS * np.abs(prior.c).sum()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 3, 31, 257])
def test_the_energy_is_minus_the_adjoint_of_the_features(m, dtype):
    prior, x = some_prior(m), some_points().astype(dtype)
    energy = prior.energy(x)
    assert energy.dtype == dtype
    np.testing.assert_array_equal(energy, fastcl.feature_adjoint(x, prior.omega, -prior.c))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 3, 31, 257])
def test_energy_and_grad_against_central_differences(m, dtype):
    prior, x = some_prior(m), some_points()
    energy, gradient = prior.energy_and_grad(x.astype(dtype))
    assert (energy.dtype, gradient.dtype) == (dtype, dtype)
    # The same sum in another order: a few eps of sum |c|, for phases of a few turns.
    np.testing.assert_allclose(
        energy,
        prior.energy(x.astype(dtype)),
        rtol=0,
        atol=100 * np.finfo(dtype).eps * np.abs(prior.c).sum(),
    )
    np.testing.assert_array_equal(gradient, prior.energy_grad(x.astype(dtype)))
    h = 1e-5
    steps = [h * direction for direction in np.eye(2)]
    expected = np.stack(
        [(prior.energy(x + step) - prior.energy(x - step)) / (2 * h) for step in steps], axis=1
    )
    # Third derivatives are at most sum |c| |omega|^3, the energy is rounded to EPS sum |c| (1 + phase).
    size, radii = np.abs(prior.c), np.linalg.norm(prior.omega, axis=1)
    atol = h**2 / 6 * (size @ radii**3) + 100 * EPS / h * size.sum()
    atol += 100 * np.finfo(dtype).eps * (size * radii).sum()
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "reference", [PLANE, SCALES, MIXTURE], ids=lambda reference: type(reference).__name__
)
def test_the_log_density_is_the_reference_times_the_tilt(reference):
    prior, x = some_prior(reference=reference), some_points()
    np.testing.assert_array_equal(prior.log_density(x), reference.log_density(x) - prior.energy(x))


def test_points_are_left_alone_and_may_be_lists():
    prior, x = some_prior(), some_points()
    given = x.copy()
    prior.energy_and_grad(x)
    np.testing.assert_array_equal(x, given)
    np.testing.assert_array_equal(prior.energy(x.tolist()), prior.energy(x))
    np.testing.assert_array_equal(prior.energy(x[::2]), prior.energy(x)[::2])


@pytest.mark.parametrize(
    "reference", [PLANE, SCALES, MIXTURE], ids=lambda reference: type(reference).__name__
)
def test_a_saved_prior_is_the_same_to_the_bit(tmp_path, reference):
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
def test_a_prior_without_a_part_is_damaged(lost):
    arrays = some_prior().to_arrays()
    del arrays[lost]
    with pytest.raises(ValueError, match="missing"):
        fastcl.MaxEntropyPrior.from_arrays(arrays)


@pytest.mark.parametrize(
    ("omega", "c", "reference", "error", "message"),
    [
        ([[1.0]], [1.0, 2.0], NORMAL, ValueError, "^c must hold 1 finite"), ([[1.0]], [], NORMAL, (ValueError, TypeError), "^c "),
        ([[1.0]], [[1.0]], NORMAL, ValueError, "^c must hold"), ([[1.0]], [np.nan], NORMAL, ValueError, "^c must hold"),
        ([[1.0]], [1j * np.inf], NORMAL, ValueError, "^c must hold"), ([[1.0]], ["a"], NORMAL, TypeError, "^c must hold numbers"),
        ([[np.nan]], [1.0], NORMAL, ValueError, "^omega holds NaN"), ([1.0], [1.0], NORMAL, ValueError, "^omega must be 2-D"),
        ([[1.0]], [1.0], PLANE, ValueError, "^reference .*dimension 1"), ([[1.0]], [1.0], None, ValueError, "^reference "),
        ([[1.0]], [1.0], fastcl.Box([0.0], [1.0]), ValueError, "^reference "),
    ],
)  # fmt: skip
def test_bad_parts_of_a_prior_are_named(omega, c, reference, error, message):
    with pytest.raises(error, match=message):
        fastcl.MaxEntropyPrior(omega, c, reference)


@pytest.mark.parametrize("method", ["energy", "energy_grad", "energy_and_grad", "log_density"])
@pytest.mark.parametrize(
    "x", [np.zeros((3, 1)), np.zeros(2), np.full((3, 2), np.nan), np.zeros((0, 2))]
)
def test_bad_points_are_named(method, x):
    with pytest.raises(ValueError, match=r"^x "):
        getattr(some_prior(), method)(x)


# ---- learning ----------------------------------------------------------------------------------------------------

NODES, CELL = midpoints([-7.0], [7.0], 4000)
OMEGA = np.array([[0.7], [1.5], [2.4], [3.1]])


def law(prior):
    """Probabilities (4000,) of the nodes under a prior on the line."""
    log_density = prior.log_density(NODES).astype(float)
    weights = np.exp(log_density - log_density.max())
    return weights / weights.sum()


@pytest.fixture(scope="module")
def known():
    """Data drawn from q exp(A* c0) by quadrature, their sketch, and what is learned from it."""
    truth = fastcl.MaxEntropyPrior(OMEGA, [0.4 - 0.3j, -0.5, 0.3j, 0.2 + 0.2j], NORMAL)
    rng = np.random.default_rng(0)
    x = NODES[rng.choice(len(NODES), 50_000, p=law(truth))] + CELL * (rng.random((50_000, 1)) - 0.5)
    sk = fastcl.sketch(x, OMEGA)
    with threads(1):
        learned = [
            fastcl.max_entropy(sk, NORMAL, n_points=4096, n_iter=300, rng=seed) for seed in (1, 2)
        ]
    return SimpleNamespace(truth=truth, x=x, sketch=sk, learned=learned)


def test_the_density_has_the_moments_of_the_sketch(known):
    for prior in known.learned:
        moments = law(prior) @ features(NODES, OMEGA)
        # c is a mean over 150 steps, of 4096 points each that some ten steps decorrelate: 60 000 points in effect.
        assert np.abs(moments - known.sketch.values).max() < N_ERRORS / np.sqrt(60_000)
        assert (
            np.abs(NORMAL.sketch(OMEGA) - known.sketch.values).max() > 0.1
        )  # what there was to learn


def test_the_coefficients_are_those_that_drew_the_data(known):
    # Fisher information: the covariance of the features, over the data and over the chains.
    wave = features(NODES, OMEGA).conj()
    real = np.concatenate([wave.real, -wave.imag], axis=1)
    weights = law(known.truth)
    centred = real - weights @ real
    spread = np.linalg.inv(centred.T * weights @ centred) * (1 / len(known.x) + 1 / 60_000)
    for prior in known.learned:
        off = np.concatenate([(prior.c - known.truth.c).real, (prior.c - known.truth.c).imag])
        assert (
            off @ np.linalg.solve(spread, off) < 60
        )  # chi-squared with 8 degrees: exceeded with probability 5e-10


def test_the_likelihood_is_nearly_that_of_the_truth(known):
    def nats(prior):
        log_normaliser = np.log(np.exp(prior.log_density(NODES).astype(float)).sum() * CELL)
        return prior.log_density(known.x).mean() - log_normaliser

    base = NORMAL.log_density(known.x).mean()
    for prior in known.learned:
        assert (
            abs(nats(prior) - nats(known.truth)) < 0.002
        )  # half a chi-squared of 8 over the points is 1e-4
        assert nats(prior) > base + 0.05


def test_the_problem_is_convex_so_seeds_agree(known):
    one, other = map(law, known.learned)
    assert np.abs(one - other).sum() < 0.03
    assert (one != other).any()


def test_no_difference_from_the_reference_is_no_energy():
    sk = fastcl.sketch(NORMAL.sample(200_000, rng=0), OMEGA)
    prior = fastcl.max_entropy(sk, NORMAL, n_points=4096, n_iter=100, rng=0)
    assert np.abs(law(prior) - law(fastcl.MaxEntropyPrior(OMEGA, np.zeros(4), NORMAL))).sum() < 0.05


@pytest.mark.parametrize(
    "reference", [PLANE, SCALES, MIXTURE], ids=lambda reference: type(reference).__name__
)
def test_every_reference_is_moved_to_the_moments(reference):
    rng = np.random.default_rng(0)
    x = reference.sample(20_000, rng)
    x = x[rng.random(len(x)) < 1 / (1 + np.exp(-3 * x[:, 0]))]  # thinned: most of the left is gone
    omega = 1.5 * rng.standard_normal((10, 2))
    sk = fastcl.sketch(x, omega)
    prior = fastcl.max_entropy(sk, reference, n_points=2048, n_iter=150, rng=0)
    nodes, cell = midpoints([-7.0, -7.0], [7.0, 7.0], 300)
    weights = np.exp(prior.log_density(nodes)) * cell
    moments = (weights / weights.sum()) @ features(nodes, omega)
    assert (
        np.abs(moments - sk.values).max()
        < 0.04
        < np.abs(reference.sketch(omega) - sk.values).max() / 5
    )


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


def test_learning_leaves_the_sketch_alone():
    sk, other = small_sketch(), small_sketch()
    fastcl.max_entropy(sk, NORMAL, n_points=100, n_iter=5, rng=0)
    np.testing.assert_array_equal(sk.values, other.values)
    assert sk.count == other.count


def test_an_interruption_returns_what_was_learned(monkeypatch):
    moves = []

    def advance(self, prior):
        moves.append(1)
        if len(moves) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr("fastcl.priors.chains.Chains.advance", advance)
    prior = fastcl.max_entropy(small_sketch(), NORMAL, n_points=100, n_iter=1000, rng=0)
    assert len(moves) == 8
    assert np.abs(prior.c).max() > 0


def test_coefficients_that_are_not_finite_are_an_error(monkeypatch):
    monkeypatch.setattr(
        "fastcl.priors.metric.WhitenedMetric.apply", lambda self, residual: residual * np.nan
    )
    with pytest.raises(FloatingPointError, match="smaller step or a larger ridge"):
        fastcl.max_entropy(small_sketch(), NORMAL, n_points=100, n_iter=5, rng=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sketch": None}, TypeError, "^sketch must be"), ({"sketch": np.ones(5, complex)}, TypeError, "^sketch must be"),
        ({"sketch": fastcl.Sketch([[1.0]])}, ValueError, "sketch is empty"),
        ({"reference": None}, TypeError, "^reference must be"),
        ({"reference": fastcl.Box([0.0], [1.0])}, TypeError, "^reference must be"),
        ({"reference": PLANE}, ValueError, "^reference has dimension 2"),
        ({"ridge": 0}, ValueError, "^ridge"), ({"ridge": np.nan}, ValueError, "^ridge"), ({"ridge": "1"}, TypeError, "^ridge"),
        ({"step": 0}, ValueError, "^step"), ({"step": np.inf}, ValueError, "^step"), ({"n_points": 0}, ValueError, "^n_points"),
        ({"n_points": 2.5}, TypeError, "^n_points"), ({"n_iter": 0}, ValueError, "^n_iter"), ({"rng": "0"}, TypeError, "^rng"),
        ({"rng": -1}, ValueError, "^rng"),
    ],
)  # fmt: skip
def test_bad_arguments_of_learning_are_named(change, error, message):
    arguments = {
        "sketch": small_sketch(),
        "reference": NORMAL,
        "n_points": 50,
        "n_iter": 2,
    } | change
    with pytest.raises(error, match=message):
        fastcl.max_entropy(**arguments)


# ---- adapted frequencies -----------------------------------------------------------------------------------------

STANDARD = {dim: fastcl.Gaussian(np.zeros(dim), np.eye(dim)) for dim in (1, 2, 12)}


@pytest.fixture
def quick(monkeypatch):
    for name, value in {
        "CHAINS": 2000,
        "BATCH": 1000,
        "REFINE": 20,
        "ASCENT": 15,
        "SCORED": 3000,
        "FIT": 8,
    }.items():
        monkeypatch.setattr(adaptive, name, value)


@pytest.fixture
def tiny(quick, monkeypatch):
    """For tests of shapes and bits, which need no progress."""
    for name, value in {"CHAINS": 300, "BATCH": 200, "REFINE": 2, "ASCENT": 2, "FIT": 2}.items():
        monkeypatch.setattr(adaptive, name, value)


def hidden(n, seed):
    """Points in 12 dimensions that are standard normal but for two clusters along one oblique direction."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 12))
    direction = np.array([1.0, -1.0, 0.5, *np.zeros(9)])
    direction /= np.linalg.norm(direction)
    along = 0.95 * rng.choice([-1, 1], n) + np.sqrt(1 - 0.95**2) * rng.standard_normal(
        n
    )  # of variance 1
    return x + np.outer(along - x @ direction, direction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 2, 12])
@pytest.mark.parametrize("m", [1, 3, 8, 21])
def test_as_many_frequencies_as_were_asked_for(tiny, m, dim, dtype):
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (600, dim)).astype(dtype)
    omega = fastcl.adapt_frequencies(x, m, STANDARD[dim], rng=0)
    assert (omega.shape, omega.dtype) == ((m, dim), np.float64)
    assert np.isfinite(omega).all()
    assert len(np.unique(omega, axis=0)) == m


def differences(x, omega):
    return np.abs(fastcl.sketch(x, omega).values - STANDARD[12].sketch(omega))


def test_adapted_frequencies_tell_more_than_random_ones(quick):
    omega = fastcl.adapt_frequencies(hidden(5000, 0), 24, STANDARD[12], rng=0)
    directions = np.random.default_rng(1).standard_normal((24, 12))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    fresh = hidden(20_000, 2)
    adapted, drawn = (
        differences(fresh, other)
        for other in (omega, directions * np.linalg.norm(omega, axis=1, keepdims=True))
    )
    # A moment of fresh points is off by 1 / sqrt(20000) = 0.007, whatever the frequency.
    assert adapted.mean() > 2 * drawn.mean()
    assert adapted.max() > 0.3


def test_the_ascent_of_the_score_climbs_it(quick, monkeypatch):
    monkeypatch.setattr(adaptive, "ASCENT", 30)
    rng = np.random.default_rng(0)
    x, points = hidden(20_000, 0).astype(np.float32), STANDARD[12].sample(20_000, rng, np.float32)
    candidates = adaptive._draw(120, 12, rng)
    scores = adaptive._scores(x, points, candidates)
    omega = candidates[np.argsort(-scores)[:8]]  # of the others the scores are little but noise
    climbed = adaptive._climb_score(x, points, omega, rng)
    fresh, fresh_points = (
        hidden(20_000, 3).astype(np.float32),
        STANDARD[12].sample(20_000, rng, np.float32),
    )
    before, after = (adaptive._scores(fresh, fresh_points, other) for other in (omega, climbed))
    assert after.mean() > 1.5 * before.mean()


def test_the_gradient_of_moments_against_central_differences():
    rng = np.random.default_rng(0)
    x, omega, rho = (
        rng.standard_normal((50, 3)),
        rng.standard_normal((4, 3)),
        rng.standard_normal(4) + 1j * rng.standard_normal(4),
    )

    def value(omega):
        return (rho.conj() * features(x, omega).mean(axis=0)).real.sum()

    packed = adaptive.FeatureOperator.pack(omega, np.dtype(np.float64))
    gradient, h = adaptive._moment_gradient(x, packed, rho), 1e-5
    for i, j in np.ndindex(omega.shape):
        step = np.zeros_like(omega)
        step[i, j] = h
        # Third derivatives are at most |rho| |x|^3 of some hundred; the rounding of the value, over h, is 1e-10.
        assert gradient[i, j] == pytest.approx(
            (value(omega + step) - value(omega - step)) / (2 * h), abs=1e-8
        )


def test_candidates_have_radii_in_range_and_few_coordinates():
    for dim in (2, 12):
        omega = adaptive._draw(400, dim, np.random.default_rng(0))
        radii = np.linalg.norm(omega, axis=1)
        assert adaptive.RADII[0] <= radii.min() < 0.6
        assert 3.4 < radii.max() <= adaptive.RADII[1]
        active = np.unique((omega != 0).sum(axis=1), return_counts=True)
        assert active[0].tolist() == ([2] if dim == 2 else [2, 3, 5, 12])
        assert (active[1] == 400 / len(active[0])).all()


def test_frequencies_follow_the_seed_on_any_number_of_threads(tiny, on_threads):
    x = hidden(1000, 0)

    def omega(rng):
        return fastcl.adapt_frequencies(x, 5, STANDARD[12], rng=rng)

    one, two = on_threads(lambda: omega(3))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, omega(np.random.default_rng(3)))
    assert (one != omega(4)).any()


@pytest.mark.parametrize("n", [1, 2, 30])
def test_few_points_are_enough_to_go_through(tiny, n):
    x = np.random.default_rng(0).standard_normal((n, 2))
    given = x.copy()
    assert np.isfinite(fastcl.adapt_frequencies(x, 4, STANDARD[2], rng=0)).all()
    np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((0, 2))}, ValueError, "^x is empty"), ({"x": np.zeros((5, 3))}, ValueError, "^x must have 2 columns"),
        ({"x": np.full((5, 2), np.nan)}, ValueError, "^x holds NaN"), ({"x": np.zeros(5)}, ValueError, "^x must be 2-D"),
        ({"x": np.zeros((5, 2), complex)}, TypeError, "^x must be real"), ({"x": "x"}, TypeError, "^x must hold numbers"),
        ({"m": 0}, ValueError, "^m "), ({"m": 2.0}, TypeError, "^m "), ({"rng": "0"}, TypeError, "^rng"),
        ({"reference": None}, TypeError, "^reference"), ({"reference": fastcl.Box([0, 0], [1, 1])}, TypeError, "^reference"),
    ],
)  # fmt: skip
def test_bad_arguments_of_the_choice_are_named(tiny, change, error, message):
    arguments = {"x": np.ones((5, 2)), "m": 3, "reference": STANDARD[2], "rng": 0} | change
    with pytest.raises(error, match=message):
        fastcl.adapt_frequencies(**arguments)


def test_points_that_single_precision_does_not_hold_are_refused(tiny):
    with pytest.raises(ValueError, match=r"^x holds NaN or infinity"):
        fastcl.adapt_frequencies(np.full((5, 2), 1e300), 3, STANDARD[2], rng=0)
