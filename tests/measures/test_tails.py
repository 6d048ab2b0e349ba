"""Mixtures of scale mixtures with a tail, against the same with whole covariance matrices."""

import numpy as np
import pytest
from round_trips import through_arrays
from scipy.stats import multivariate_normal

import fastcl
from fastcl.kernels.launchers import mixtures as launchers

RNG = np.random.default_rng(0)
SIZES = pytest.mark.parametrize(
    ("d", "t", "k", "j"), [(1, 1, 1, 1), (3, 2, 2, 3), (5, 17, 4, 2), (16, 16, 3, 10)]
)


def make(d, t, k, j):
    roots = RNG.standard_normal((k, d, d))
    covariances = roots @ roots.swapaxes(1, 2) + 0.3 * np.eye(d)
    tails = RNG.uniform(0.1, 3, (k, t))
    return fastcl.MixtureOfScaleMixtures(
        covariances, np.geomspace(0.5, 3, j), RNG.uniform(0.1, 1, (k, j)), tails
    )


def with_whole_covariances(mixture):
    d, dim = mixture.head_dim, mixture.dim
    whole = np.zeros((len(mixture.covariances), dim, dim))
    whole[:, :d, :d] = mixture.covariances
    whole[:, range(d, dim), range(d, dim)] = mixture.tails
    return fastcl.MixtureOfScaleMixtures(whole, mixture.scales, mixture.weights)


@SIZES
@pytest.mark.parametrize("n", [1, 65, 200])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-3)])
def test_everything_is_that_of_whole_covariances(backend, n, d, t, k, j, dtype, tolerance):
    mixture = make(d, t, k, j)
    whole = with_whole_covariances(mixture)
    x = mixture.sample(n, rng=1, dtype=dtype)
    noise = np.linspace(0.3, 2, d + t)
    points = backend.array(x)
    x = x.astype(np.float64)
    found = (
        mixture.posterior_mean(points, noise),
        mixture.log_density(points),
        *mixture.energy_parts(points),
    )
    expected = (whole.posterior_mean(x, noise), whole.log_density(x), *whole.energy_parts(x))
    for one, other in zip(found, expected, strict=True):
        scale = 1 + np.abs(other).max()
        np.testing.assert_allclose(backend.host(one), other, rtol=0, atol=tolerance * scale)


def test_blocks_of_all_sizes_give_the_same_bits(backend, monkeypatch):
    if backend.name == "numba":
        pytest.skip("blocks of one size")
    mixture, noise = make(5, 17, 4, 3), np.full(22, 0.5)
    y = backend.array(mixture.sample(130, rng=1))
    results = []
    for rows in launchers.ROWS[np.dtype(np.float64)]:
        monkeypatch.setitem(launchers.ROWS, np.dtype(np.float64), (rows,))
        results.append(backend.host(mixture.posterior_mean(y, noise)))
    np.testing.assert_array_equal(results[0], results[1])


def test_noise_far_below_the_tail_leaves_points_as_they_are():
    mixture = make(3, 2, 2, 3)
    y = mixture.sample(20, rng=1)
    np.testing.assert_allclose(mixture.posterior_mean(y, 1e-10), y, rtol=1e-9)


@SIZES
def test_samples_and_sketches_are_those_of_whole_covariances(d, t, k, j):
    mixture = make(d, t, k, j)
    whole = with_whole_covariances(mixture)
    np.testing.assert_array_equal(mixture.sample(50, rng=2), whole.sample(50, rng=2))
    omega = RNG.standard_normal((20, d + t)) / 5
    np.testing.assert_array_equal(mixture.sketch(omega), whole.sketch(omega))


def test_a_covariance_of_the_noise_counts_by_its_diagonal_along_the_tail():
    mixture = make(3, 2, 2, 3)
    root = RNG.standard_normal((5, 5))
    noise = root @ root.T + 0.2 * np.eye(5)
    y = mixture.sample(40, rng=1)
    by_blocks = noise.copy()
    by_blocks[:3, 3:] = by_blocks[3:, :3] = by_blocks[3, 4] = by_blocks[4, 3] = 0
    expected = np.zeros_like(y)
    for row, point in enumerate(y):  # Bayes' rule, term by term
        terms = mixture.term_covariances
        densities = [
            weight * multivariate_normal(cov=term + by_blocks).pdf(point)
            for weight, term in zip(mixture.term_weights, terms, strict=True)
        ]
        means = [term @ np.linalg.solve(term + by_blocks, point) for term in terms]
        expected[row] = np.average(means, axis=0, weights=densities)
    np.testing.assert_allclose(mixture.posterior_mean(y, noise), expected, rtol=1e-9, atol=1e-10)


def test_completed_points_follow_the_mixture():
    mixture, n = make(2, 3, 3, 2), 100_000
    x = mixture.sample(n, rng=1)
    completed = mixture.complete(x[:, :2], rng=2)
    np.testing.assert_array_equal(completed[:, :2], x[:, :2])
    # The squares of the tail, times any function of the head, have the same mean.
    for weight in (np.ones(n), np.linalg.norm(x[:, :2], axis=1)):
        found, expected = (weight[:, None] * points[:, 2:] ** 2 for points in (completed, x))
        error = np.sqrt((found.var(axis=0) + expected.var(axis=0)) / n)
        np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected.mean(axis=0)), 5 * error)


def test_a_fit_finds_the_tails_of_shapes_that_the_head_tells_apart():
    covariances = [np.diag([9.0, 0.01]), np.diag([0.01, 9.0])]
    tails = [[4.0, 0.1], [0.2, 1.0]]
    true = fastcl.MixtureOfScaleMixtures(covariances, [1.0], np.ones((2, 1)), tails)
    x = true.sample(40_000, rng=0)
    found = fastcl.MixtureOfScaleMixtures.fit(x, 2, n_scales=1, rng=0, n_tail=2)
    order = np.argsort(-found.covariances[:, 0, 0])
    # Four percent of the points are near zero, where the head tells little.
    mixed = 0.04 * np.array(tails)[::-1]
    assert (np.abs(found.tails[order] - tails) < 0.05 * np.array(tails) + mixed).all()
    head = fastcl.MixtureOfScaleMixtures.fit(np.ascontiguousarray(x[:, :2]), 2, 1, rng=0)
    np.testing.assert_array_equal(found.covariances, head.covariances)


def tails_of_two_scales(noise):
    """(tails of two components, points, their scales), with noise on the last column.

    The head tells the scales apart. The second component has no points of its own.
    """
    scales, d = RNG.choice([0.1, 2.0], 20_000), 16
    x = scales[:, None] * RNG.standard_normal((20_000, d + 2)) * [*np.ones(d), 2, 3]
    x[:, -1] += noise * RNG.standard_normal(len(x))
    covariances = np.eye(d) * [[[1]], [[1e14]]]
    mixture = fastcl.MixtureOfScaleMixtures(covariances, [0.1, 2.0], np.ones((2, 2)))
    return mixture._tails_of(x), x[:, d:], scales


@pytest.mark.parametrize("noise", [0, 0.1])
def test_tails_are_those_of_greatest_likelihood(noise):
    (first, unused), x, scales = tails_of_two_scales(noise)
    expected = np.mean((x / scales[:, None]) ** 2, axis=0)
    np.testing.assert_allclose(first, expected, rtol=1e-3)
    np.testing.assert_allclose(unused, first, rtol=1e-3)


def test_noise_on_small_points_does_not_inflate_the_tail():
    (first, unused), x, scales = tails_of_two_scales(noise=3)
    likeliest = np.mean((x / scales[:, None]) ** 2, axis=0)
    energetic = np.mean(x**2, axis=0) / np.mean(scales**2)
    assert likeliest[1] > 30 * energetic[1]
    np.testing.assert_allclose(first, [likeliest[0], 4 * energetic[1]], rtol=1e-3)
    np.testing.assert_allclose(unused, first, rtol=1e-3)


def test_a_tail_does_not_change_with_the_number_of_threads(on_threads):
    mixture = make(16, 16, 3, 10)
    x = mixture.sample(3000, rng=0)
    one, two = on_threads(
        lambda: (
            mixture.posterior_mean(x, np.full(32, 0.5)),
            mixture.complete(x[:, :16], rng=1),
            fastcl.MixtureOfScaleMixtures.fit(x, 3, n_iter=2, rng=0, n_tail=16).tails,
        )
    )
    for part, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(part, other)


def test_files_keep_the_tail():
    mixture = make(3, 2, 2, 3)
    loaded = through_arrays(mixture)
    np.testing.assert_array_equal(loaded.tails, mixture.tails)
    np.testing.assert_array_equal(loaded.sample(5, rng=0), mixture.sample(5, rng=0))


@pytest.mark.parametrize(
    ("tails", "message"),
    [
        (np.ones(2), "tails must have shape"),
        (np.ones((3, 2)), "tails must have shape"),
        ([[1.0], [0.0]], "tails must be finite and above zero"),
        ([[1.0], [-1.0]], "tails must be finite and above zero"),
        ([[1.0], [np.inf]], "tails must be finite and above zero"),
    ],
)
def test_bad_tails_are_refused(tails, message):
    covariances = [np.eye(2), np.eye(2)]
    with pytest.raises(ValueError, match=message):
        fastcl.MixtureOfScaleMixtures(covariances, [1.0], np.ones((2, 1)), tails)


@pytest.mark.parametrize("n_tail", [2, 3])
def test_a_tail_of_all_columns_is_refused(n_tail):
    with pytest.raises(ValueError, match="n_tail must be below the number of columns, 2"):
        fastcl.MixtureOfScaleMixtures.fit(RNG.standard_normal((50, 2)), 1, n_tail=n_tail)


def test_a_tail_of_zeros_is_refused():
    x = np.pad(RNG.standard_normal((50, 2)), [(0, 0), (0, 1)])
    with pytest.raises(ValueError, match="x has columns of its tail that are zero"):
        fastcl.MixtureOfScaleMixtures.fit(x, 1, n_tail=1)


def test_a_mixture_without_a_tail_completes_points_to_themselves():
    x = RNG.standard_normal((20, 2))
    completed = fastcl.MixtureOfScaleMixtures([np.eye(2)], [1.0], [[1.0]]).complete(x, rng=0)
    np.testing.assert_array_equal(completed, x)


def test_a_tail_far_from_zero_is_refused():
    x = RNG.normal([0, 0, 30], 1, (500, 3))
    with pytest.raises(ValueError, match="x is not centred: column 2"):
        fastcl.MixtureOfScaleMixtures.fit(x, 1, n_tail=1)


def test_deviation_and_covariance_of_one_coordinate_are_told_apart():
    mixture = fastcl.MixtureOfScaleMixtures([[[1.0]]], [1.0], [[1.0]])
    y = np.ones((1, 1))
    for _ in range(2):
        np.testing.assert_allclose(mixture.posterior_mean(y, np.array([2.0])), [[1 / 5]])
        np.testing.assert_allclose(mixture.posterior_mean(y, np.array([[2.0]])), [[1 / 3]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_bad_covariances_of_the_noise_are_named(bad):
    noise = np.eye(22)
    noise[20, 20] = bad
    with pytest.raises(ValueError, match="noise must be finite, with variances above zero"):
        make(5, 17, 4, 2).posterior_mean(np.ones((3, 22)), noise)
