"""Noise taken out of a sketch: moments, errors, files, merges, and what is refused."""

import numpy as np
import pytest
from bounds import assert_within
from laplace import Laplace

import fastcl
from fastcl.learning.objective import SketchMatching
from fastcl.priors.metric import WhitenedMetric

N = 200_000
COVARIANCE = np.array([[0.09, 0.03], [0.03, 0.04]])
BOX = fastcl.Box([-0.5, -0.2], [0.5, 0.4])
NORMAL = fastcl.Gaussian([0.0, 0.0], np.eye(2))


CORNERS = np.array([[1.0, 1.0], [-1.0, 0.5], [0.0, -1.0]])
CLEAN = fastcl.GaussianMixture(np.ones(3), CORNERS, [0.01 * np.eye(2)] * 3)


def gaussian(factor):
    return lambda n, rng: rng.standard_normal((n, 2)) @ np.asarray(factor)


NOISES = {
    "number": (0.3, gaussian(0.3 * np.eye(2))),
    "coordinates": ([0.4, 0.0], gaussian(np.diag([0.4, 0.0]))),
    "covariance": (COVARIANCE, gaussian(np.linalg.cholesky(COVARIANCE).T)),
    "uniform": (BOX, lambda n, rng: rng.uniform(BOX.low, BOX.high, (n, 2))),
    "Laplace": (Laplace(2), lambda n, rng: rng.laplace(size=(n, 2))),
    "with a mean": (
        fastcl.Gaussian([0.2, -0.1], COVARIANCE),
        lambda n, rng: np.array([0.2, -0.1]) + gaussian(np.linalg.cholesky(COVARIANCE).T)(n, rng),
    ),
}


def quantised(bits, seed=0):
    """Settings of `sketch` for features of so many bits, or plain ones."""
    return {} if bits is None else {"bits": bits, "rng": seed}


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=2, scale=0.7, rng=3)


@pytest.mark.parametrize("name", NOISES)
def test_moments_are_those_of_the_clean_distribution_within_their_errors(rng, omega, name):
    noise, draw = NOISES[name]
    exact = CLEAN.sketch(omega)
    noisy = fastcl.sketch(CLEAN.sample(N, rng) + draw(N, rng), omega)
    found = noisy.deconvolve(noise, max_error=0.2)
    # Of 40 complex errors, 4 standard errors are exceeded with probability 1e-5.
    assert_within(found.values, exact, 4 * found.errors)
    # Moments of few clusters are correlated, and the errors are bounds.
    assert 0.1 < (np.abs(found.values - exact) ** 2 / found.errors**2).mean() < 1.6
    assert (np.abs(noisy.values - exact) > 10 * found.errors).any()
    assert found.count == noisy.count
    np.testing.assert_array_equal(found.total, noisy.total)


@pytest.mark.parametrize("bits", [None, 1, 2, 8])
def test_errors_are_the_spread_of_the_moments(bits):
    omega, noise, values = fastcl.draw_frequencies(30, dim=2, scale=0.7, rng=3), 0.5, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = CLEAN.sample(500, rng) + noise * rng.standard_normal((500, 2))
        noisy = fastcl.sketch(x, omega, **quantised(bits, 7))  # one dither for all
        sketch = noisy.deconvolve(noise, max_error=100)
        values.append(sketch.values)
    ratios = np.var(values, axis=0) / sketch.errors**2
    if bits is None:  # the bounds, times what is known of the moments of the noisy points
        squares = np.abs(np.mean(values, axis=0) * sketch.noise.moments(omega)) ** 2
        exact = (ratios / (1 - squares)).mean()
        assert exact == pytest.approx(1, abs=0.15)  # variances of 200 draws, which go together
    # Variances of 200 draws have relative errors of up to 0.1; the errors are bounds.
    assert 0.4 < ratios.mean() < 1.1
    assert (ratios < 1.6).all()


def test_a_sketch_without_noise_has_weights_of_one(rng, omega):
    sketch = fastcl.sketch(CLEAN.sample(1000, rng), omega)
    assert sketch.noise is None
    np.testing.assert_array_equal(sketch.weights, 1)
    np.testing.assert_allclose(sketch.errors, 1 / np.sqrt(1000), rtol=1e-12)


def test_weights_fall_where_noise_magnifies_errors(rng, omega):
    sketch = fastcl.sketch(CLEAN.sample(10_000, rng), omega)
    weights = sketch.deconvolve(0.6, max_error=100).weights
    assert ((weights > 0) & (weights <= 1)).all()
    radii = np.linalg.norm(omega, axis=1)
    assert weights[np.argmin(radii)] > 0.9 > 0.1 > weights[np.argmax(radii)]


def test_lost_frequencies_are_an_error_or_are_left_out(rng):
    radii = np.array([1.0, 2.0, 20.0, 30.0])
    omega = radii[:, None] * np.array([[1.0, 0.0]])
    sketch = fastcl.sketch(CLEAN.sample(10_000, rng), omega)
    message = (
        r"noise hides 50% of the frequencies: with 10000 points it would add more than 0.05 to the "
        r"standard errors of their moments, and it would take .* points to resolve them all"
    )
    with pytest.raises(ValueError, match=message):
        sketch.deconvolve(0.3)
    kept = sketch.deconvolve(0.3, drop=True)
    np.testing.assert_array_equal(kept.omega, omega[:2])
    np.testing.assert_array_equal(kept.total, sketch.total[:2])
    assert kept.errors.max() <= np.hypot(0.05, 0.01)
    kept.update(CLEAN.sample(100, rng))
    assert kept.count == 10_100
    with pytest.raises(ValueError, match="noise hides 100%"):
        sketch.deconvolve(50.0, drop=True)  # divisors that vanish in float64


@pytest.mark.parametrize("structure", ["harmonic", "hadamard", "seeded", None])
@pytest.mark.parametrize("bits", [None, 2])
def test_what_is_left_of_any_sketch_is_a_sketch(rng, structure, bits):
    omega = fastcl.draw_frequencies(200, 2, 0.05, rng=0, structure=structure)
    x = CLEAN.sample(2000, rng)
    sketch = fastcl.sketch(x, omega, **quantised(bits))
    kept = sketch.deconvolve(0.1, drop=True)
    assert 10 < len(kept.omega) < 190
    expected = kept.values
    kept.update(x)
    assert_within(kept.values, expected, 1e-12)
    if bits is None:
        again = fastcl.sketch(x, kept.omega).deconvolve(0.1)
        assert_within(again.values, expected, 1e-9)


@pytest.mark.parametrize("name", [name for name in NOISES if name != "Laplace"])
def test_noise_survives_files_and_merges(rng, omega, tmp_path, name):
    sketch = fastcl.sketch(CLEAN.sample(5000, rng), omega)
    sketch.domain = fastcl.Box([-2, -2], [2, 2])
    found = sketch.deconvolve(NOISES[name][0], max_error=10)
    found.save(tmp_path / "s.npz")
    loaded = fastcl.load(tmp_path / "s.npz")
    assert loaded.noise == found.noise
    assert repr(loaded) == repr(found)
    assert "noise=" in repr(found)
    assert loaded.domain is not None
    np.testing.assert_array_equal(loaded.values, found.values)
    both = found + loaded
    assert_within(both.values, found.values, 1e-12)
    with pytest.raises(ValueError, match="from which different noise was removed"):
        found + sketch
    with pytest.raises(ValueError, match="from which different noise was removed"):
        found + sketch.deconvolve(0.01)


def test_more_noisy_points_may_follow(rng, omega):
    x = CLEAN.sample(2000, rng)
    sketch = fastcl.sketch(x[:500], omega).deconvolve(0.3, max_error=10).update(x[500:])
    whole = fastcl.sketch(x, omega).deconvolve(0.3, max_error=10)
    assert_within(sketch.values, whole.values, 1e-9)


def test_a_second_deconvolution_and_a_distance_are_refused(rng, omega):
    sketch = fastcl.sketch(CLEAN.sample(500, rng), omega)
    found = sketch.deconvolve(0.1)
    with pytest.raises(ValueError, match="deconvolved already: its noise is Gaussian"):
        found.deconvolve(0.1)
    with pytest.raises(ValueError, match="b has noise removed"):
        fastcl.distance(sketch, found)
    with pytest.raises(ValueError, match="is empty"):
        fastcl.Sketch(omega).deconvolve(0.1)


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        (0.0, ValueError, "noise is zero"),
        ([0.0, 0.0], ValueError, "noise is zero"),
        (-0.1, ValueError, "noise must be zero or above"),
        (np.inf, ValueError, "noise must be zero or above, and finite"),
        ("0.1", TypeError, "noise must be a number"),
        ([0.1, -0.1], ValueError, "noise must not be negative"),
        (1e200, ValueError, "noise must be from"),
        ([1e200, 1.0], ValueError, "noise must be from"),
        (1e-300, ValueError, "noise must be from"),
        ([0.1, np.nan], ValueError, "noise holds NaN"),
        ([0.1], ValueError, r"noise must have shape \(2,\)"),
        (np.eye(3), ValueError, r"noise must be a number, one per coordinate \(2,\), or a cov"),
        ([[1.0, 0.5], [0.0, 1.0]], ValueError, "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], ValueError, "positive semidefinite"),
        (fastcl.Box([0], [1]), ValueError, "noise has dimension 1, the points 2"),
        (None, TypeError, "noise must be"),
        ([[1.0], [1.0, 2.0]], ValueError, "noise"),
    ],
)
def test_bad_noise_is_named(rng, omega, noise, error, message):
    sketch = fastcl.sketch(CLEAN.sample(100, rng), omega)
    with pytest.raises(error, match=message):
        sketch.deconvolve(noise)
    if noise is None:  # it has no noise by default
        return
    with pytest.raises(error, match=message):
        fastcl.draw_frequencies(10, 2, 0.1, noise=noise, n_points=100)


@pytest.mark.parametrize("noise", [0.05, [0.05, 0.01], COVARIANCE / 10, BOX])
@pytest.mark.parametrize("law", ["folded_gaussian", "gaussian", "adapted_radius"])
def test_frequencies_for_noisy_points_are_resolved(rng, noise, law):
    n = 20_000
    omega = fastcl.draw_frequencies(300, 2, 0.03, law, rng=0, noise=noise, n_points=n)
    assert omega.shape == (300, 2)
    sketch = fastcl.sketch(CLEAN.sample(n, rng), omega).deconvolve(noise)
    assert sketch.errors.max() > 0.02  # they go as far as they can
    free = fastcl.draw_frequencies(300, 2, 0.03, law, rng=0)
    with pytest.raises(ValueError, match="noise hides"):
        fastcl.sketch(CLEAN.sample(n, rng), free).deconvolve(noise)


def test_frequencies_need_the_number_of_points_and_no_structure():
    with pytest.raises(ValueError, match="noise and n_points must be given together"):
        fastcl.draw_frequencies(10, 2, 0.1, noise=0.1)
    with pytest.raises(ValueError, match="noise and n_points must be given together"):
        fastcl.draw_frequencies(10, 2, 0.1, n_points=100)
    with pytest.raises(ValueError, match="without a structure, not 'hadamard'"):
        fastcl.draw_frequencies(10, 2, 0.1, structure="hadamard", noise=0.1, n_points=100)
    with pytest.raises(ValueError, match="hides nearly all frequencies of scale 1e-06"):
        fastcl.draw_frequencies(10, 2, 1e-6, rng=0, noise=1.0, n_points=1000)


@pytest.mark.parametrize("x", [[[0.3, 0.2]], [[1.0, 2.0]] * 5], ids=["one", "equal"])
def test_few_points_hide_what_their_moments_seem_to_say(x):
    sketch = fastcl.sketch(x, [[0.1, 0.0], [3.0, 0.0], [9.0, 1.0]])
    assert (sketch.deconvolve(1.0, max_error=1e30).weights < 0.1).all()
    with pytest.raises(ValueError, match="noise hides"):
        sketch.deconvolve(1.0)


def test_negligible_noise_hides_nothing_however_few_the_points(rng):
    omega = fastcl.draw_frequencies(60, 2, 0.3, rng=0, noise=1e-6, n_points=50)
    sketch = fastcl.sketch(CLEAN.sample(50, rng), omega).deconvolve(1e-6)
    np.testing.assert_allclose(sketch.weights, 1, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 3])
def test_frequencies_for_noisy_points_suit_quantised_features(rng, bits):
    omega = fastcl.draw_frequencies(300, 2, 0.1, rng=0, noise=0.3, n_points=5000)
    fastcl.sketch(CLEAN.sample(5000, rng), omega, **quantised(bits)).deconvolve(0.3)


def test_a_release_and_a_deconvolution_exclude_each_other(rng, omega):
    sketch = fastcl.sketch(CLEAN.sample(5000, rng), omega)
    with pytest.raises(ValueError, match="holds the noise of a release"):
        fastcl.release(sketch, epsilon=1.0, rng=0).deconvolve(0.3)
    with pytest.raises(ValueError, match="sketch has noise removed"):
        fastcl.release(sketch.deconvolve(0.3, max_error=10), epsilon=1.0, rng=0)


def test_noise_of_a_users_own_class_merges_with_itself(rng, omega):
    noise = Laplace(2)
    sketch = fastcl.sketch(CLEAN.sample(5000, rng), omega)
    one, other = (sketch.deconvolve(noise, max_error=10) for _ in range(2))
    assert (one + other).count == 10_000
    with pytest.raises(ValueError, match="from which different noise was removed"):
        one + sketch.deconvolve(Laplace(2), max_error=10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_covariances_are_taken_with_their_rounding(rng, omega, dtype):
    axes = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    covariance = (axes * 0.01) @ axes.T
    covariance[0, 1] += 1e-18
    flat = np.outer([1.0, 2.0], [1.0, 2.0]).astype(dtype) * dtype(0.01)
    sketch = fastcl.sketch(CLEAN.sample(5000, rng), omega)
    for given in (covariance, flat):
        assert np.isfinite(sketch.deconvolve(given, max_error=10).values).all()


def test_covariances_equal_the_coordinates_they_stand_for(rng, omega, tmp_path):
    sketch = fastcl.sketch(CLEAN.sample(5000, rng), omega)
    one, other = (sketch.deconvolve(n, max_error=10) for n in ([0.3, 0.1], np.diag([0.09, 0.01])))
    assert_within(one.values, other.values, 1e-12)
    one.save(tmp_path / "s.npz")
    assert fastcl.load(tmp_path / "s.npz").noise == one.noise


# ---- learning -----------------------------------------------------------------------------------


def test_decoders_find_clusters_that_noise_has_blurred(rng):
    noise, n = 0.4, 100_000
    y = CLEAN.sample(n, rng) + noise * rng.standard_normal((n, 2))
    omega = fastcl.draw_frequencies(100, 2, 0.3, "adapted_radius", 0, noise=noise, n_points=n)
    sketch = fastcl.sketch(y, omega).deconvolve(noise)
    box = {"low": [-2, -2], "high": [2, 2], "rng": 0}
    found, _ = fastcl.decode_kmeans(sketch, 3, **box)
    distances = np.linalg.norm(found[:, None] - CORNERS, axis=2)
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2]
    assert distances.min(axis=1).max() < 0.03
    mixture = fastcl.decode_mixture(sketch, 3, **box)
    stds = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    assert np.abs(stds - 0.1).max() < 0.05  # and not the 0.41 of the noisy points


def test_weights_enlarge_the_ridge_of_maximum_entropy(rng):
    noise, n = 0.5, 20_000
    x = np.where(rng.random((n, 1)) < 0.5, -1.0, 1.0) + 0.3 * rng.standard_normal((n, 1))
    y = x + noise * rng.standard_normal(x.shape)
    omega = np.linspace(0.2, 5, 30)[:, None]
    q = fastcl.Gaussian([0.0], [[1.1]])
    sketch = fastcl.sketch(y, omega)
    held = np.where(rng.random((4000, 1)) < 0.5, -1.0, 1.0) + 0.3 * rng.standard_normal((4000, 1))

    def gain(sketch):
        prior = fastcl.max_entropy(sketch, q, n_points=2000, n_iter=100, rng=0)
        gains = prior.log_density(held) - q.log_density(held)
        return gains.mean() - fastcl.log_normaliser(prior)

    best, clean_, as_it_is = (
        gain(each)
        for each in (
            sketch.deconvolve(noise, max_error=1),
            fastcl.sketch(x, omega),
            sketch,
        )
    )
    assert best > clean_ - 0.03
    assert best > as_it_is + 0.1


def test_a_ridge_per_frequency_is_added_to_the_variances(rng):
    omega, ridge = rng.standard_normal((6, 2)), rng.uniform(0.01, 1, 6)
    residual = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    one = WhitenedMetric(omega, NORMAL, 0.1, np.float64)
    same = WhitenedMetric(omega, NORMAL, np.full(6, 0.1), np.float64)
    np.testing.assert_allclose(same.apply(residual), one.apply(residual))
    metric = WhitenedMetric(omega, NORMAL, ridge, np.float64)
    plain = WhitenedMetric(omega, NORMAL, 1e-9, np.float64)
    inverse = np.array([metric.apply(row.astype(complex)) for row in np.eye(6)]).real
    covariance = np.linalg.inv(
        np.array([plain.apply(row.astype(complex)) for row in np.eye(6)]).real
    )
    np.testing.assert_allclose(
        np.linalg.inv(inverse), covariance + np.diag(ridge), rtol=0, atol=1e-7
    )


def test_steps_on_a_device_weigh_moments_too(device, rng):
    box = fastcl.Box([-2, -2], [2, 2])
    y = CLEAN.sample(5000, rng) + 0.4 * rng.standard_normal((5000, 2))
    sketch = fastcl.sketch(y, fastcl.draw_frequencies(50, 2, 0.5, rng=0)).deconvolve(
        0.4, max_error=10
    )
    assert sketch.weights.min() < 0.5
    for log_scale in ("normalised", "learned"):
        thetas = []
        for place in (lambda array: array, device.array):
            prior = fastcl.MLPPrior(2, (8,), rng=0, dtype=np.float64)
            prior.theta = place(prior.theta)
            fastcl.learn(prior, sketch, box, log_scale=log_scale, n_points=40, n_iter=4, rng=0)
            found = prior.theta
            thetas.append(found if isinstance(found, np.ndarray) else device.host(found))
        np.testing.assert_allclose(thetas[1], thetas[0], rtol=0, atol=1e-9)


def test_learning_takes_the_noise_out(rng):
    noise, n = 0.3, 100_000
    box = fastcl.Box([-2, -2], [2, 2])
    y = CLEAN.sample(n, rng) + noise * rng.standard_normal((n, 2))
    sketch = fastcl.sketch(y, fastcl.draw_frequencies(150, 2, 0.15, rng=0))
    held = CLEAN.sample(2000, rng)

    def nats(sketch):
        prior = fastcl.MLPPrior(2, (32, 32), rng=0)
        optimizer = fastcl.Adam(3e-3, schedule=fastcl.Cosine(400))
        fastcl.learn(prior, sketch, box, n_points=1000, n_iter=400, optimizer=optimizer, rng=0)
        return prior.log_density(held).mean()  # normalised by `learn`

    assert nats(sketch.deconvolve(noise, drop=True)) > nats(sketch) + 0.3
    assert isinstance(SketchMatching(sketch, box, np.float32).total_weight, float)
