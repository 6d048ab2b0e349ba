"""Mixtures of scale mixtures: densities and posteriors against the plain mixture of the same terms, files, bad input."""

import numpy as np
import pytest
from problems import COVARIANCE, crossed, make_scale_mixture
from round_trips import through_arrays

import fastcl
from fastcl.kernels.launchers import mixtures as launchers
from fastcl.measures import scale_mixtures

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
DOUBLE = EPS[np.float64]

# Rows come by blocks of 64, columns padded to a multiple of 16: sizes on either side of both. (rows, dimension, K, J)
TABLE = [
    (1, 1, 1, 1),
    (3, 2, 3, 4),
    (63, 3, 2, 1),
    (64, 8, 1, 5),
    (65, 35, 3, 3),
    (257, 17, 2, 4),
    (257, 2, 5, 7),
    (65, 16, 2, 3),
]
over_table = pytest.mark.parametrize(("n", "d", "k", "j"), TABLE)
over_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def blocks_as_for_many_rows(monkeypatch):
    """CUDA blocks of as many rows as where there are many of them."""
    monkeypatch.setattr(launchers, "FEWEST", 0)


def make_mixture(d, k=3, j=4):
    """k shapes of condition 100 in random directions, j scales from 0.3 to 3, random weights."""
    rng = np.random.default_rng([d, k, j])
    axes = np.linalg.qr(rng.standard_normal((k, d, d)))[0]
    shapes = (
        axes
        * rng.permuted(np.tile(np.geomspace(0.1, 10, d), (k, 1)), axis=1)[:, None, :]
        @ axes.swapaxes(1, 2)
    )
    scales = np.geomspace(0.3, 3, j) if j > 1 else np.array([0.7])
    return fastcl.MixtureOfScaleMixtures(
        (shapes + shapes.swapaxes(1, 2)) / 2, scales, rng.uniform(0.1, 1, (k, j))
    )


def expanded(mixture):
    """The plain mixture of the same terms, expanded here: component by component, scale by scale."""
    terms = [(w, s**2 * c) for c, row in zip(mixture.covariances, mixture.weights, strict=True)
             for w, s in zip(row, mixture.scales, strict=True)]  # fmt: skip
    weights, covariances = zip(*terms, strict=True)
    return fastcl.GaussianMixture(weights, np.zeros((len(terms), mixture.dim)), covariances)


def some_points(mixture, n, dtype=np.float64):
    """Points of the law with noise, every fifth four times as far out."""
    x = mixture.sample(n, rng=1) + 0.3 * np.random.default_rng(2).standard_normal((n, mixture.dim))
    x[::5] *= 4
    return x.astype(dtype)


def noise_of(d):
    return np.linspace(0.4, 0.9, d)


# ---- against the plain mixture -----------------------------------------------------------------------------------


def log_terms_error(mixture, x, eps=DOUBLE):
    """(n,): bound on the error of any term's logarithm, in float64 or another type.

    Whitened by a matrix of condition sqrt(100), coordinates err by d + 1 roundings times 10 of |x|_W, which their
    squares double; a sum of d of them, padded to 16, adds d + 16, and constants and logarithms of the sum some more.
    """
    squares = (
        np.einsum("ni,kij,nj->nk", x, np.linalg.inv(mixture.covariances), x).max(axis=1)
        / mixture.scales.min() ** 2
    )
    return eps * ((2 * 10 + 1) * (mixture.dim + 16) * squares + 100 * mixture.dim)


@over_table
def test_log_density_is_that_of_the_terms(backend, n, d, k, j):
    mixture = make_mixture(d, k, j)
    x = some_points(mixture, n)
    found, expected = (
        backend.host(mixture.log_density(backend.array(x))),
        expanded(mixture).log_density(x),
    )
    assert (np.abs(found - expected) <= log_terms_error(mixture, x)).all()
    assert np.abs(log_terms_error(mixture, x)).max() < 1e-6  # the bound says something


@over_table
def test_energy_parts_are_those_of_the_terms(backend, n, d, k, j):
    mixture = make_mixture(d, k, j)
    x = some_points(mixture, n)
    found = [backend.host(part) for part in mixture.energy_parts(backend.array(x))]
    expected = expanded(mixture).energy_parts(x)
    error = log_terms_error(mixture, x)
    # Shares err by twice what their logarithms do; precisions of condition 100, sums of d.
    precision = (
        np.linalg.norm(np.linalg.inv(mixture.covariances), 2, axis=(1, 2)).max()
        / mixture.scales.min() ** 2
    )
    size = np.linalg.norm(x, axis=1)
    share = 2 * error + 100 * (d + 16) * DOUBLE
    assert (np.abs(found[0] - expected[0]) <= error).all()
    assert (np.abs(found[1] - expected[1]) <= (share * precision * size)[:, None]).all()
    assert (np.abs(found[2] - expected[2]) <= (share * precision)[:, None]).all()
    np.testing.assert_array_equal(
        found[1], -backend.host(mixture.log_density_grad(backend.array(x)))
    )


@over_table
@over_types
def test_responsibilities_are_those_of_the_terms(backend, dtype, n, d, k, j):
    mixture = make_mixture(d, k, j)
    x = some_points(mixture, n, dtype)
    responsibilities, log_density = (
        backend.host(part) for part in mixture._responsibilities(backend.array(x))
    )
    assert (responsibilities.shape, responsibilities.dtype, log_density.dtype) == (
        (n, k, j),
        dtype,
        dtype,
    )
    x = x.astype(np.float64)
    plain = expanded(mixture)
    terms = plain._log_terms(x, *plain._own_factors(x))
    # The logarithms of the terms are rounded too, and so are the coordinates and the factors of the working type.
    error = log_terms_error(mixture, x, EPS[dtype]) + EPS[dtype] * np.abs(terms).max(axis=0)
    assert (np.abs(log_density - plain.log_density(x)) <= error).all()
    exact = np.exp(terms - plain.log_density(x)).T
    bound = (
        exact * np.expm1(2 * error)[:, None]
        + (k * j + 8) * EPS[dtype] * exact
        + np.finfo(dtype).tiny
    )
    assert (np.abs(responsibilities.reshape(n, -1) - exact) <= bound).all()
    assert np.median(error) < (0.5 if dtype == np.float32 else 1e-9)  # the bound says something


def posterior_bound(mixture, y, noise, eps):
    """(n, d): how far rounding in the type of eps may move the posterior mean, by the way the kernel takes.

    Coordinates in the basis of a component err by d + 1 roundings of the sum of moduli M. The logarithm of a share errs
    by these times the slope of its square, by padded + 3 of the square, by those of its constant and of the sum of the
    K J responsibilities. A share that moves shifts the mean towards the mean of its term; the rest is products of sums of moduli:
    J scales, p coordinates, K components.
    """
    (k, j), d = mixture.weights.shape, mixture.dim
    padded = d + -d % scale_mixtures.LANES
    logs, errors, means, moduli = [], [], [], np.zeros(y.shape)
    values, vectors = np.linalg.eigh(mixture.covariances / (noise[:, None] * noise))
    for c in range(k):
        basis, inverse = vectors[c] / noise[:, None], vectors[c].T * noise
        coordinates, sums = y @ basis, np.abs(y) @ np.abs(basis)
        largest = np.zeros(d)
        for s in range(j):
            variance = mixture.scales[s] ** 2 * values[c]
            precision, gain = 1 / (1 + variance), variance / (1 + variance)
            constant = np.log(mixture.weights[c, s]) + np.log(precision).sum() / 2
            square = (precision * coordinates**2).sum(axis=1) / 2
            logs.append(constant - square)
            slope = (precision * np.abs(coordinates) * sums).sum(axis=1)
            errors.append(
                eps
                * (
                    (d + 1) * slope
                    + (padded + 3) * square
                    + abs(constant)
                    + k * j
                    + 4 * np.abs(logs[-1])
                )
            )
            means.append((coordinates * gain) @ inverse)
            largest = np.maximum(largest, gain)
        moduli += (sums * largest) @ np.abs(inverse)
    logs, errors, means = np.array(logs), np.array(errors), np.array(means)
    responsibilities = np.exp(logs - logs.max(axis=0))
    responsibilities /= responsibilities.sum(axis=0)
    mean = (responsibilities[:, :, None] * means).sum(axis=0)
    common = (responsibilities * errors).sum(axis=0)
    moved = (responsibilities * (errors + common))[:, :, None] * np.abs(means - mean)
    return moved.sum(axis=0) + eps * (2 * d + 1 + j + padded * k + 3) * moduli


@over_table
@over_types
def test_posterior_mean_is_that_of_the_terms(backend, dtype, n, d, k, j):
    mixture, noise = make_mixture(d, k, j), noise_of(d)
    y = some_points(mixture, n, dtype)
    found = backend.host(mixture.posterior_mean(backend.array(y), noise))
    assert (found.shape, found.dtype) == (y.shape, dtype)
    y = y.astype(np.float64)
    expected = expanded(mixture).posterior_mean(y, noise)
    # In float64 the plain mixture errs as well: by matrices of condition 100 times (0.9 / 0.4)^2, at most.
    bound = (
        posterior_bound(mixture, y, noise, EPS[dtype])
        + 1000 * d * DOUBLE * np.linalg.norm(y, axis=1)[:, None]
    )
    assert (np.abs(found - expected) <= bound).all()
    assert np.median(bound) < (2e-2 if dtype == np.float32 else 1e-9)


def test_posterior_mean_of_a_law_far_below_the_noise_is_zero_and_far_above_it_is_the_data(backend):
    mixture = make_mixture(3)
    y = some_points(mixture, 65)
    low, high = (
        backend.host(mixture.posterior_mean(backend.array(y), np.full(3, noise)))
        for noise in (1e6, 1e-6)
    )
    # The gains are s^2 c / (s^2 c + noise^2) with s^2 c from 0.009 to 90.
    np.testing.assert_allclose(low, 0, atol=1e-10 * np.abs(y).max())
    np.testing.assert_allclose(high, y, atol=1e-9 * np.abs(y).max())


@over_types
def test_rows_do_not_know_their_block(dtype):
    mixture, noise = make_mixture(3), noise_of(3)
    y = some_points(mixture, 130, dtype)
    whole = mixture.posterior_mean(y, noise)
    for i in (0, 63, 64, 129):
        # A row alone may be multiplied by another tile of the product: equal to rounding.
        bound = 2 * posterior_bound(mixture, y[i : i + 1].astype(np.float64), noise, EPS[dtype])
        assert (np.abs(mixture.posterior_mean(y[i : i + 1], noise) - whole[i]) <= bound).all()


@over_types
def test_rows_of_cuda_blocks_have_the_same_bits_in_any_of_them(backend, monkeypatch, dtype):
    if backend.name == "numba":
        pytest.skip("blocks of one size")
    mixture, noise = make_mixture(9), noise_of(9)
    y = backend.array(some_points(mixture, 130, dtype))
    results = []
    for rows in launchers.ROWS[np.dtype(dtype)]:
        monkeypatch.setitem(launchers.ROWS, np.dtype(dtype), (rows,))
        results.append(
            [
                backend.host(part)
                for part in (mixture.posterior_mean(y, noise), *mixture._responsibilities(y))
            ]
        )
        results.append(
            [
                backend.host(part)
                for part in (
                    mixture.posterior_mean(y[30:], noise),
                    *mixture._responsibilities(y[30:]),
                )
            ]
        )
    for whole, rest in zip(results[::2], results[1::2], strict=True):
        for part, of_rest, first in zip(whole, rest, results[0], strict=True):
            np.testing.assert_array_equal(part, first)
            np.testing.assert_array_equal(of_rest, first[30:])


def test_dimensions_beyond_a_cuda_block_are_refused(backend, monkeypatch):
    if backend.name == "numba":
        pytest.skip("no bound")
    monkeypatch.setattr(launchers, "shared_bytes", lambda: 1000)
    mixture = make_mixture(8)
    with pytest.raises(
        ValueError, match="no CUDA kernel for 4 scales in dimension 8: pass NumPy arrays"
    ):
        mixture.posterior_mean(backend.array(some_points(mixture, 3)), noise_of(8))


@over_types
def test_results_have_the_type_of_the_points(dtype):
    mixture = make_mixture(3)
    x = some_points(mixture, 65, dtype)
    for name in ("log_density", "log_density_grad"):
        found = getattr(mixture, name)(x)
        assert found.dtype == dtype
        # Computed in float64 and rounded once.
        np.testing.assert_allclose(
            found, getattr(mixture, name)(x.astype(np.float64)), rtol=EPS[dtype]
        )


def test_every_row_counts_across_chunks(monkeypatch):
    mixture = make_mixture(3)
    x = some_points(mixture, 65)
    whole = mixture.log_density(x), *mixture.energy_parts(x)
    monkeypatch.setattr("fastcl.measures.mixtures.CHUNK_ROWS", 7)
    parts = mixture.log_density(x), *mixture.energy_parts(x)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=100 * DOUBLE * np.abs(one).max())


def test_far_out_nothing_underflows(backend):
    mixture = make_mixture(3)
    x = np.array([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [1e-200, 0.0, 0.0]])
    plain, points = expanded(mixture), backend.array(x)
    log_density, mean = (
        backend.host(mixture.log_density(points)),
        backend.host(mixture.posterior_mean(points, noise_of(3))),
    )
    np.testing.assert_allclose(log_density, plain.log_density(x), rtol=1e-12)
    np.testing.assert_allclose(mean, plain.posterior_mean(x, noise_of(3)), rtol=1e-10)


def test_strided_points_are_read_in_order():
    mixture, noise = make_mixture(3), noise_of(3)
    y = some_points(mixture, 63)
    for view in (
        np.asfortranarray(y),
        np.repeat(y, 2, axis=0)[::2],
        np.repeat(y, 2, axis=1)[:, ::2],
    ):
        np.testing.assert_array_equal(
            mixture.posterior_mean(view, noise), mixture.posterior_mean(y, noise)
        )
        np.testing.assert_array_equal(mixture.log_density(view), mixture.log_density(y))


def test_term_of_no_weight_hardly_counts():
    shapes, scales = [COVARIANCE, np.diag([3.0, 0.1])], [0.5, 1.0]
    with_zeros = fastcl.MixtureOfScaleMixtures(shapes, scales, [[1.0, 2.0], [0.0, 0.0]])
    without = fastcl.MixtureOfScaleMixtures(shapes[:1], scales, [[1.0, 2.0]])
    x = without.sample(65, rng=3)
    # Kept at 1e-12 of the weight, of a density that is at most a hundred times that of the others here.
    np.testing.assert_allclose(with_zeros.log_density(x), without.log_density(x), rtol=0, atol=1e-9)


# ---- bits --------------------------------------------------------------------------------------------------------


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


# ---- files -------------------------------------------------------------------------------------------------------


LAWS = {"crossed": make_mixture(3), "one shape": make_scale_mixture(3)}


@pytest.mark.parametrize("name", LAWS)
def test_law_survives_the_way_through_arrays(name):
    law, copy = LAWS[name], through_arrays(LAWS[name])
    assert type(copy) is type(law)
    np.testing.assert_array_equal(copy.covariances, law.covariances)
    np.testing.assert_array_equal(copy.scales, law.scales)
    # Weights may be normalised once more.
    np.testing.assert_allclose(copy.weights, law.weights, rtol=4 * DOUBLE)
    np.testing.assert_array_equal(copy.sample(65, rng=0), law.sample(65, rng=0))


@pytest.mark.parametrize("kind", ["crossed", "one shape"])
def test_law_keeps_its_bits_on_the_way_through_arrays(kind):
    for seed in range(20):
        weights = np.random.default_rng(seed).random((3, 3))
        if kind == "crossed":
            law = fastcl.MixtureOfScaleMixtures(
                [np.eye(2), COVARIANCE, 2 * COVARIANCE], [0.5, 1.0, 2.0], weights
            )
        else:
            law = fastcl.GaussianScaleMixture(COVARIANCE, [0.5, 1.0, 2.0], weights[0])
        copy = through_arrays(law)
        for attribute in ("covariances", "scales", "weights", "term_weights"):
            np.testing.assert_array_equal(getattr(copy, attribute), getattr(law, attribute))


@pytest.mark.parametrize("lost", ["covariances", "scales", "weights"])
def test_arrays_that_are_no_law_are_refused(lost):
    with pytest.raises(ValueError, match=f"not a .*{lost}"):
        through_arrays(LAWS["crossed"], lost)


# ---- bad input ---------------------------------------------------------------------------------------------------

TWO = np.array([COVARIANCE, np.eye(2)])
BAD_MIXTURES = {
    "one shape without its axis": (COVARIANCE, [1.0], [[1.0]], "covariances"),
    "shapes that are not square": (np.ones((2, 2, 3)), [1.0], np.ones((2, 1)), "covariances"),
    "no shapes": (np.ones((0, 2, 2)), [1.0], np.ones((0, 1)), "covariances"),
    "shape that is not positive": (-TWO, [1.0], np.ones((2, 1)), "covariances"),
    "shape that is not symmetric": (
        TWO + np.eye(2)[[1, 0]] * [0.1, 0],
        [1.0],
        np.ones((2, 1)),
        "covariances",
    ),
    "NaN in a shape": (TWO * np.nan, [1.0], np.ones((2, 1)), "covariances"),
    "scale zero": (TWO, [0.0, 1.0], np.ones((2, 2)), "scales"),
    "negative scale": (TWO, [1.0, -1.0], np.ones((2, 2)), "scales"),
    "NaN scale": (TWO, [np.nan], np.ones((2, 1)), "scales"),
    "matrix of scales": (TWO, [[1.0]], np.ones((2, 1)), "scales"),
    "weights of the wrong shape": (TWO, [1.0, 2.0], np.ones(4), "weights"),
    "weights the other way round": (TWO, [1.0, 2.0, 3.0], np.ones((3, 2)), "weights"),
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


@pytest.mark.parametrize("x", [np.ones((3, 3)), np.ones(2), [[np.nan, 0.0]], np.ones((0, 2))])
def test_bad_points_are_named(x):
    law = make_scale_mixture(2)
    for call in (law.log_density, law.energy_parts, law.gaussianise, lambda x: law.pull_back(x, x)):
        with pytest.raises(ValueError, match=r"^x "):
            call(x)
    with pytest.raises(ValueError, match=r"^y "):
        law.posterior_mean(x, np.ones(2))


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
