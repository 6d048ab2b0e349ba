"""Mixtures of scale mixtures against plain mixtures of the same terms; files and bad input."""

import numpy as np
import pytest
from bounds import assert_within
from problems import COVARIANCE, crossed, make_scale_mixture
from round_trips import through_arrays

import fastcl
from fastcl.kernels.launchers import mixtures as launchers
from fastcl.kernels.mixtures import LANES

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
DOUBLE = EPS[np.float64]

# (n, d, K, J): sizes around blocks of 64 rows and around d padded to a multiple of 16.
SIZES = [
    (1, 1, 1, 1),
    (3, 2, 3, 4),
    (63, 3, 2, 1),
    (64, 8, 1, 5),
    (65, 35, 3, 3),
    (257, 17, 2, 4),
    (257, 2, 5, 7),
    (65, 16, 2, 3),
]
over_sizes = pytest.mark.parametrize(("n", "d", "k", "j"), SIZES)
over_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def full_cuda_blocks(monkeypatch):
    """CUDA blocks with as many rows as for large inputs."""
    monkeypatch.setattr(launchers, "MIN_BLOCKS", 0)


def make_mixture(d, k=3, j=4):
    """k covariances of condition 100 with random axes, j scales from 0.3 to 3, random weights."""
    rng = np.random.default_rng([d, k, j])
    axes = np.linalg.qr(rng.standard_normal((k, d, d)))[0]
    variances = rng.permuted(np.tile(np.geomspace(0.1, 10, d), (k, 1)), axis=1)
    covariances = axes * variances[:, None, :] @ axes.swapaxes(1, 2)
    covariances = (covariances + covariances.swapaxes(1, 2)) / 2
    scales = np.geomspace(0.3, 3, j) if j > 1 else np.array([0.7])
    return fastcl.MixtureOfScaleMixtures(covariances, scales, rng.uniform(0.1, 1, (k, j)))


def expanded(mixture):
    """The GaussianMixture of the same terms, component by component, scale by scale."""
    weights, covariances = [], []
    for k, j in np.ndindex(mixture.weights.shape):
        weights.append(mixture.weights[k, j])
        covariances.append(mixture.scales[j] ** 2 * mixture.covariances[k])
    return fastcl.GaussianMixture(weights, np.zeros((len(weights), mixture.dim)), covariances)


def some_points(mixture, n, dtype=np.float64):
    """Points of the mixture plus noise, every fifth of them four times as far out."""
    x = mixture.sample(n, rng=1) + 0.3 * np.random.default_rng(2).standard_normal((n, mixture.dim))
    x[::5] *= 4
    return x.astype(dtype)


def noise_of(d):
    return np.linspace(0.4, 0.9, d)


# ---- against the plain mixture -------------------------------------------------------------------


def log_terms_error(mixture, x, eps=DOUBLE):
    """Bound (n,) on the error of the logarithm of any term, in arithmetic with this eps.

    Coordinates are whitened by a matrix of condition sqrt(100), so d + 1 roundings are amplified by
    10 relative to the whitened length, and doubled by squaring. The sum of d squares, padded to a
    multiple of 16, adds d + 16 roundings; constants and the logarithm of the sum add a few more.
    """
    squares = np.einsum("ni,kij,nj->nk", x, np.linalg.inv(mixture.covariances), x)
    squares = squares.max(axis=1) / mixture.scales.min() ** 2
    return eps * ((2 * 10 + 1) * (mixture.dim + 16) * squares + 100 * mixture.dim)


@over_sizes
def test_log_density_is_that_of_the_plain_mixture(backend, n, d, k, j):
    mixture = make_mixture(d, k, j)
    x = some_points(mixture, n)
    found = backend.host(mixture.log_density(backend.array(x)))
    expected = expanded(mixture).log_density(x)
    assert_within(found, expected, log_terms_error(mixture, x))
    assert np.abs(log_terms_error(mixture, x)).max() < 1e-6  # a looser bound would test nothing


@over_sizes
def test_energy_parts_are_those_of_the_plain_mixture(backend, n, d, k, j):
    mixture = make_mixture(d, k, j)
    x = some_points(mixture, n)
    points = backend.array(x)
    found = [backend.host(part) for part in mixture.energy_parts(points)]
    expected = expanded(mixture).energy_parts(x)
    error = log_terms_error(mixture, x)
    # An error e of the logarithms is a relative error of about 2 e of the responsibilities;
    # precisions have condition 100, and sums d terms.
    relative = 2 * error + 100 * (d + 16) * DOUBLE
    precision = np.linalg.norm(np.linalg.inv(mixture.covariances), 2, axis=(1, 2)).max()
    precision /= mixture.scales.min() ** 2
    length = np.linalg.norm(x, axis=1)
    assert_within(found[0], expected[0], error)
    assert_within(found[1], expected[1], (relative * precision * length)[:, None])
    assert_within(found[2], expected[2], (relative * precision)[:, None])
    np.testing.assert_array_equal(found[1], -backend.host(mixture.log_density_grad(points)))


@over_sizes
@over_types
def test_responsibilities_are_those_of_the_plain_mixture(backend, dtype, n, d, k, j):
    mixture = make_mixture(d, k, j)
    x = some_points(mixture, n, dtype)
    results = mixture._responsibilities(backend.array(x))
    responsibilities, log_density = map(backend.host, results)
    assert responsibilities.shape == (n, k, j)
    assert responsibilities.dtype == dtype
    assert log_density.dtype == dtype
    x = x.astype(np.float64)
    plain = expanded(mixture)
    terms = plain._log_terms(x, *plain._own_factors(x))
    # The logarithms of the terms are rounded to the working type as well, like the coordinates
    # and the factors.
    error = log_terms_error(mixture, x, EPS[dtype]) + EPS[dtype] * np.abs(terms).max(axis=0)
    assert_within(log_density, plain.log_density(x), error)
    exact = np.exp(terms - plain.log_density(x)).T
    relative = np.expm1(2 * error)[:, None] + (k * j + 8) * EPS[dtype]
    bound = relative * exact + np.finfo(dtype).tiny
    assert_within(responsibilities.reshape(n, -1), exact, bound)
    # A looser bound would test nothing.
    assert np.median(error) < (0.5 if dtype == np.float32 else 1e-9)


def posterior_bound(mixture, y, noise, eps):
    """Bound (n, d) on the rounding error of the posterior mean, as the kernel computes it.

    A coordinate in the basis of a component has an error of d + 1 roundings of the sum of its
    magnitudes. The logarithm of a responsibility inherits that times the slope of its square, plus
    padded + 3 roundings of the square, one of its constant, and those of the sum over K J terms. An
    error in a responsibility shifts the mean towards the mean of its term. The rest are products of
    sums of magnitudes: over J scales, p coordinates and K components.
    """
    k, j = mixture.weights.shape
    d = mixture.dim
    padded = d + -d % LANES
    logs, errors, means = [], [], []
    magnitudes = np.zeros(y.shape)
    values, vectors = np.linalg.eigh(mixture.covariances / (noise[:, None] * noise))
    for c in range(k):
        basis = vectors[c] / noise[:, None]
        inverse = vectors[c].T * noise
        coordinates = y @ basis
        sums = np.abs(y) @ np.abs(basis)
        largest = np.zeros(d)
        for s in range(j):
            variance = mixture.scales[s] ** 2 * values[c]
            precision = 1 / (1 + variance)
            gain = variance / (1 + variance)
            constant = np.log(mixture.weights[c, s]) + np.log(precision).sum() / 2
            square = (precision * coordinates**2).sum(axis=1) / 2
            logs.append(constant - square)
            slope = (precision * np.abs(coordinates) * sums).sum(axis=1)
            roundings = (d + 1) * slope + (padded + 3) * square + abs(constant)
            errors.append(eps * (roundings + k * j + 4 * np.abs(logs[-1])))
            means.append((coordinates * gain) @ inverse)
            largest = np.maximum(largest, gain)
        magnitudes += (sums * largest) @ np.abs(inverse)
    logs, errors, means = np.array(logs), np.array(errors), np.array(means)
    responsibilities = np.exp(logs - logs.max(axis=0))
    responsibilities /= responsibilities.sum(axis=0)
    mean = (responsibilities[:, :, None] * means).sum(axis=0)
    common = (responsibilities * errors).sum(axis=0)
    shifts = (responsibilities * (errors + common))[:, :, None] * np.abs(means - mean)
    return shifts.sum(axis=0) + eps * (2 * d + 1 + j + padded * k + 3) * magnitudes


@over_sizes
@over_types
def test_posterior_mean_is_that_of_the_plain_mixture(backend, dtype, n, d, k, j):
    mixture, noise = make_mixture(d, k, j), noise_of(d)
    y = some_points(mixture, n, dtype)
    found = backend.host(mixture.posterior_mean(backend.array(y), noise))
    assert found.shape == y.shape
    assert found.dtype == dtype
    y = y.astype(np.float64)
    expected = expanded(mixture).posterior_mean(y, noise)
    bound = posterior_bound(mixture, y, noise, EPS[dtype])
    # The plain mixture has float64 errors too, with matrices of condition up to 100 (0.9 / 0.4)^2.
    bound += 1000 * d * DOUBLE * np.linalg.norm(y, axis=1)[:, None]
    assert_within(found, expected, bound)
    assert np.median(bound) < (2e-2 if dtype == np.float32 else 1e-9)


def test_a_level_is_a_factor_of_the_noise():
    mixture, noise = make_mixture(3), noise_of(3)
    y = some_points(mixture, 65)
    for level in (0.2, 3.0):
        for given, scaled in (
            (noise, level * noise),
            (np.diag(noise**2), np.diag(noise**2) * level**2),
        ):
            found = mixture.posterior_mean(y, given, level)
            np.testing.assert_allclose(found, mixture.posterior_mean(y, scaled), rtol=1e-12)


@pytest.mark.parametrize("level", [0.0, -1.0, np.nan, np.inf, 1e200, 1e-200])
def test_bad_levels_are_named(level):
    with pytest.raises(ValueError, match="level"):
        make_mixture(3).posterior_mean(np.ones((2, 3)), noise_of(3), level)


def test_posterior_mean_is_zero_under_huge_noise_and_the_data_under_tiny_noise(backend):
    mixture = make_mixture(3)
    y = some_points(mixture, 65)
    huge, tiny = (
        backend.host(mixture.posterior_mean(backend.array(y), np.full(3, noise)))
        for noise in (1e6, 1e-6)
    )
    # The gains are s^2 c / (s^2 c + noise^2) with s^2 c from 0.009 to 90.
    np.testing.assert_allclose(huge, 0, atol=1e-10 * np.abs(y).max())
    np.testing.assert_allclose(tiny, y, atol=1e-9 * np.abs(y).max())


@over_types
def test_a_row_alone_has_the_result_it_has_in_a_block(dtype):
    mixture, noise = make_mixture(3), noise_of(3)
    y = some_points(mixture, 130, dtype)
    whole = mixture.posterior_mean(y, noise)
    for i in (0, 63, 64, 129):
        row = y[i : i + 1]
        # A row alone goes through another tile of the product: equal up to rounding.
        bound = 2 * posterior_bound(mixture, row.astype(np.float64), noise, EPS[dtype])
        assert_within(mixture.posterior_mean(row, noise), whole[i], bound)


@over_types
def test_results_are_bitwise_identical_for_every_size_of_cuda_block(backend, monkeypatch, dtype):
    if backend.name == "numba":
        pytest.skip("blocks of one size")
    mixture, noise = make_mixture(9), noise_of(9)
    y = backend.array(some_points(mixture, 130, dtype))

    def results(y):
        parts = mixture.posterior_mean(y, noise), *mixture._responsibilities(y)
        return [backend.host(part) for part in parts]

    first = None
    for rows in launchers.ROWS[np.dtype(dtype)]:
        monkeypatch.setitem(launchers.ROWS, np.dtype(dtype), (rows,))
        whole = results(y)
        first = first or whole
        for part, rest, expected in zip(whole, results(y[30:]), first, strict=True):
            np.testing.assert_array_equal(part, expected)
            np.testing.assert_array_equal(rest, expected[30:])


def test_dimensions_beyond_a_cuda_block_are_refused(backend, monkeypatch):
    if backend.name == "numba":
        pytest.skip("no limit")
    monkeypatch.setattr(launchers, "shared_bytes", lambda: 1000)
    mixture = make_mixture(8)
    message = "no CUDA kernel for 4 scales in dimension 8: pass NumPy arrays"
    with pytest.raises(ValueError, match=message):
        mixture.posterior_mean(backend.array(some_points(mixture, 3)), noise_of(8))


@over_types
def test_results_have_the_type_of_the_points(dtype):
    mixture = make_mixture(3)
    x = some_points(mixture, 65, dtype)
    for call in (mixture.log_density, mixture.log_density_grad):
        found = call(x)
        assert found.dtype == dtype
        # Computed in float64 and rounded once.
        np.testing.assert_allclose(found, call(x.astype(np.float64)), rtol=EPS[dtype])


def test_every_row_counts_across_chunks(monkeypatch):
    mixture = make_mixture(3)
    x = some_points(mixture, 65)
    whole = mixture.log_density(x), *mixture.energy_parts(x)
    monkeypatch.setattr("fastcl.measures.mixtures.CHUNK_ROWS", 7)
    parts = mixture.log_density(x), *mixture.energy_parts(x)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=100 * DOUBLE * np.abs(one).max())


def test_nothing_underflows_far_out(backend):
    mixture = make_mixture(3)
    x = np.array([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [1e-200, 0.0, 0.0]])
    plain = expanded(mixture)
    points = backend.array(x)
    log_density = backend.host(mixture.log_density(points))
    mean = backend.host(mixture.posterior_mean(points, noise_of(3)))
    np.testing.assert_allclose(log_density, plain.log_density(x), rtol=1e-12)
    np.testing.assert_allclose(mean, plain.posterior_mean(x, noise_of(3)), rtol=1e-10)


def test_memory_layout_of_points_does_not_change_a_bit():
    mixture, noise = make_mixture(3), noise_of(3)
    y = some_points(mixture, 63)
    mean, log_density = mixture.posterior_mean(y, noise), mixture.log_density(y)
    every_other_row = np.repeat(y, 2, axis=0)[::2]
    every_other_column = np.repeat(y, 2, axis=1)[:, ::2]
    for view in (np.asfortranarray(y), every_other_row, every_other_column):
        np.testing.assert_array_equal(mixture.posterior_mean(view, noise), mean)
        np.testing.assert_array_equal(mixture.log_density(view), log_density)


def test_term_of_weight_zero_hardly_counts():
    covariances, scales = [COVARIANCE, np.diag([3.0, 0.1])], [0.5, 1.0]
    with_zeros = fastcl.MixtureOfScaleMixtures(covariances, scales, [[1.0, 2.0], [0.0, 0.0]])
    without = fastcl.MixtureOfScaleMixtures(covariances[:1], scales, [[1.0, 2.0]])
    x = without.sample(65, rng=3)
    # It keeps 1e-12 of the weight, and here its density is at most a hundred times the others'.
    np.testing.assert_allclose(with_zeros.log_density(x), without.log_density(x), rtol=0, atol=1e-9)


# ---- reproducibility -----------------------------------------------------------------------------


@over_types
@pytest.mark.parametrize("d", [3, 35])
def test_number_of_threads_does_not_change_a_bit(on_threads, dtype, d):
    mixture = make_mixture(d)
    y = some_points(mixture, 1000, dtype)
    one, two = on_threads(
        lambda: (
            mixture.posterior_mean(y, noise_of(d)),
            *mixture.energy_parts(y),
            *mixture._statistics(y),
        )
    )
    for part, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(part, other)


# ---- files ---------------------------------------------------------------------------------------


MIXTURES = {"several covariances": make_mixture(3), "one covariance": make_scale_mixture(3)}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_made_from_its_arrays_is_the_same(name):
    mixture = MIXTURES[name]
    copy = through_arrays(mixture)
    assert type(copy) is type(mixture)
    np.testing.assert_array_equal(copy.covariances, mixture.covariances)
    np.testing.assert_array_equal(copy.scales, mixture.scales)
    np.testing.assert_array_equal(copy.weights, mixture.weights)
    np.testing.assert_array_equal(copy.sample(65, rng=0), mixture.sample(65, rng=0))


@pytest.mark.parametrize("name", MIXTURES)
def test_parameters_made_from_arrays_are_bitwise_identical(name):
    x = np.random.default_rng(0).standard_normal((20, 2))
    for seed in range(100):
        weights = np.random.default_rng(seed).random((3, 3))
        weights[:, :2] *= 10.0 ** -(seed % 20)  # down to what the least weight changes
        if name == "several covariances":
            mixture = fastcl.MixtureOfScaleMixtures(
                [np.eye(2), COVARIANCE, 2 * COVARIANCE], [0.5, 1.0, 2.0], weights
            )
        else:
            mixture = fastcl.GaussianScaleMixture(COVARIANCE, [0.5, 1.0, 2.0], weights[0])
        copy = through_arrays(mixture)
        for attribute in ("covariances", "scales", "weights", "term_weights"):
            np.testing.assert_array_equal(getattr(copy, attribute), getattr(mixture, attribute))
        np.testing.assert_array_equal(copy.log_density(x), mixture.log_density(x))


@pytest.mark.parametrize("lost", ["covariances", "scales", "weights"])
def test_arrays_that_make_no_mixture_are_refused(lost):
    with pytest.raises(ValueError, match=f"^.*: .*{lost}"):
        through_arrays(MIXTURES["several covariances"], lost)


# ---- bad input -----------------------------------------------------------------------------------

TWO = np.array([COVARIANCE, np.eye(2)])
ASYMMETRIC = TWO + np.array([[0.0, 0.0], [0.1, 0.0]])
BAD_MIXTURES = {
    "covariances without their first axis": (COVARIANCE, [1.0], [[1.0]], "covariances"),
    "covariances that are not square": (np.ones((2, 2, 3)), [1.0], np.ones((2, 1)), "covariances"),
    "no covariances": (np.ones((0, 2, 2)), [1.0], np.ones((0, 1)), "covariances"),
    "covariance that is not positive": (-TWO, [1.0], np.ones((2, 1)), "covariances"),
    "covariance that is not symmetric": (ASYMMETRIC, [1.0], np.ones((2, 1)), "covariances"),
    "NaN in a covariance": (TWO * np.nan, [1.0], np.ones((2, 1)), "covariances"),
    "scale zero": (TWO, [0.0, 1.0], np.ones((2, 2)), "scales"),
    "negative scale": (TWO, [1.0, -1.0], np.ones((2, 2)), "scales"),
    "NaN scale": (TWO, [np.nan], np.ones((2, 1)), "scales"),
    "matrix of scales": (TWO, [[1.0]], np.ones((2, 1)), "scales"),
    "weights of the wrong shape": (TWO, [1.0, 2.0], np.ones(4), "weights"),
    "transposed weights": (TWO, [1.0, 2.0, 3.0], np.ones((3, 2)), "weights"),
    "negative weight": (TWO, [1.0], [[2.0], [-1.0]], "weights"),
    "no weight": (TWO, [1.0], np.zeros((2, 1)), "weights"),
    "infinite weight": (TWO, [1.0], [[np.inf], [1.0]], "weights"),
}
BAD_SCALE_MIXTURES = {
    "covariance that is not square": (np.ones((2, 3)), [1.0], [1.0], "covariance"),
    "stack of covariances": (TWO, [1.0], [1.0], "covariance"),
    "covariance that is not positive": (-COVARIANCE, [1.0], [1.0], "covariance"),
    "scale zero": (COVARIANCE, [0.0], [1.0], "scales"),
    "weight zero": (COVARIANCE, [1.0, 2.0], [0.0, 1.0], "weights"),
    "negative weight": (COVARIANCE, [1.0, 2.0], [-1.0, 2.0], "weights"),
    "one weight too many": (COVARIANCE, [1.0], [1.0, 2.0], "weights"),
    "matrix of weights": (COVARIANCE, [1.0], [[1.0]], "weights"),
}


@pytest.mark.parametrize("case", BAD_MIXTURES)
def test_bad_mixture_is_named(case):
    *arguments, name = BAD_MIXTURES[case]
    with pytest.raises(ValueError, match=f"^{name}"):
        fastcl.MixtureOfScaleMixtures(*arguments)


@pytest.mark.parametrize("case", BAD_SCALE_MIXTURES)
def test_bad_scale_mixture_is_named(case):
    *arguments, name = BAD_SCALE_MIXTURES[case]
    with pytest.raises(ValueError, match=f"^{name}"):
        fastcl.GaussianScaleMixture(*arguments)


@pytest.mark.parametrize("x", [np.ones((3, 3)), np.ones(3), [[np.nan, 0.0]], np.ones((0, 2))])
def test_bad_points_are_named(x):
    mixture = make_scale_mixture(2)
    for call in (mixture.log_density, mixture.energy_parts, mixture.gaussianise):
        with pytest.raises(ValueError, match=r"^x "):
            call(x)
    with pytest.raises(ValueError, match=r"^x "):
        mixture.pull_back(x, x)
    with pytest.raises(ValueError, match=r"^y "):
        mixture.posterior_mean(x, np.ones(2))


def test_bad_settings_of_a_fit_are_named():
    x = crossed(np.random.default_rng(18), 50)
    fit = fastcl.MixtureOfScaleMixtures.fit
    for name in ("n_components", "n_scales", "n_iter"):
        with pytest.raises(ValueError, match=f"^{name} "):
            fit(x, **{name: 0})
        with pytest.raises(TypeError, match=f"^{name} "):
            fit(x, **{name: 1.5})
    with pytest.raises(TypeError, match=r"^rng "):
        fit(x, rng="seed")
    with pytest.raises(ValueError, match=r"^x spans fewer dimensions"):
        fit(np.repeat(x[:, :1], 2, axis=1))
    with pytest.raises(ValueError, match=r"^x holds NaN"):
        fit(x * np.nan)
