"""The objective and its stochastic gradients against quadrature."""

from functools import cache

import numba
import numpy as np
import pytest
from bounds import assert_within
from problems import (
    exact,
    gaussian_line,
    line,
    midpoints,
    objective,
    plane,
    scale_mixture_plane,
    threads,
    variance_term,
)

import fastcl
from fastcl.learning.objective import METHODS, SketchMatching
from fastcl.priors import mlp

BOXES = [line, plane]
REFERENCES = [gaussian_line, scale_mixture_plane]
RANDOM = {"naive": fastcl.naive_gradient, "unbiased": fastcl.unbiased_gradient}
# So few that the bias of the naive gradient, which falls as 1 / N_POINTS, is far above its standard
# error.
N_POINTS = 8
N_DRAWS = 4000
# A mean of 4000 draws is close to normal: one coordinate exceeds 5 standard errors with probability
# 6e-7, and any of the at most 90 of a test with probability 5e-5. The error of the quadrature, of
# order step^2, is a hundredth of a standard error.
N_ERRORS = 5


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


@cache
def draws(make, method):
    """(values (N_DRAWS,), gradients (N_DRAWS, P)) at successive draws of one generator."""
    problem, rng = make(), np.random.default_rng(0)
    matching = SketchMatching(problem.sketch, problem.domain, problem.prior.dtype)
    pairs = [matching.gradient(problem.prior, method, N_POINTS, rng) for _ in range(N_DRAWS)]
    return np.array([pair.value for pair in pairs]), np.array([pair.gradient for pair in pairs])


def mean_and_error(sample):
    # A coordinate that a dead unit keeps at zero has no spread, only the rounding of the oracle.
    return sample.mean(axis=0), sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) + 1e-12


def grid_of(problem, k):
    """(nodes, weights) of the discretised objective."""
    nodes, cell = midpoints(problem.domain.low, problem.domain.high, k)
    return nodes, np.full(len(nodes), cell)


# ---- the grid: exact for its points -------------------------------------------------------------


@pytest.mark.parametrize("make", BOXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_grid_value_and_gradient_are_those_of_the_discretised_objective(make, dtype):
    problem, k = make(dtype), 19
    value, gradient = fastcl.grid_gradient(
        problem.prior, problem.sketch, problem.domain, points_per_axis=k
    )
    omega, target = problem.sketch.omega, problem.sketch.values
    nodes, weights = grid_of(problem, k)
    expected, expected_gradient, magnitude = objective(problem.prior, omega, target, nodes, weights)
    # Sums over a layer, over the points and over the frequencies follow each other. Each loses at
    # most eps times its length of the sum of the magnitudes. Phases of up to four turns add
    # 2 pi 4 = 25.
    eps = np.finfo(dtype).eps * (len(nodes) + len(omega) + sum(problem.prior.sizes) + 25)
    assert gradient.dtype == dtype
    assert_within(gradient, expected_gradient, eps * magnitude)
    # |dG| <= 2 ||r||_1 times the error of one entry of S mu, which is at most eps times the sum of
    # the magnitudes: together, eps times the magnitude of the derivative by a.
    assert abs(value - expected) <= eps * magnitude[-1]


@pytest.mark.parametrize("make", BOXES)
def test_grid_gradient_is_the_directional_derivative(make):
    problem = make()
    prior, step = problem.prior, 1e-5
    value, gradient = fastcl.grid_gradient(
        prior, problem.sketch, problem.domain, points_per_axis=15
    )
    theta = prior.theta.copy()
    direction = np.random.default_rng(1).standard_normal(theta.size)
    direction /= np.linalg.norm(direction)
    sides = []
    for sign in (1, -1):
        prior.theta[:] = theta + sign * step * direction
        sides.append(
            fastcl.grid_gradient(prior, problem.sketch, problem.domain, points_per_axis=15)[0]
        )
    # The rounding of G, a sum of some hundred terms, over the step; and step^2 times a third
    # derivative of some hundred G.
    tolerance = 100 * value * (np.finfo(float).eps / step + step**2)
    assert abs((sides[0] - sides[1]) / (2 * step) - gradient @ direction) <= tolerance
    assert np.linalg.norm(gradient) > 1e4 * tolerance


def test_grid_converges_to_the_integral():
    problem = line()
    value, gradient = fastcl.grid_gradient(
        problem.prior, problem.sketch, problem.domain, points_per_axis=1000
    )
    expected, expected_gradient = exact(problem)
    # Midpoints err as the square of the step, 6e-6 here, times second derivatives of some tens.
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    np.testing.assert_allclose(
        gradient, expected_gradient, atol=1e-3 * np.linalg.norm(expected_gradient)
    )


# ---- random points: the mean over many draws ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("make", BOXES + REFERENCES)
def test_unbiased_gradient_and_value_have_the_mean_of_the_integral(make):
    values, gradients = draws(make, "unbiased")
    for sample, expected in zip((values, gradients), exact(make()), strict=True):
        mean, error = mean_and_error(sample)
        assert_within(mean, expected, N_ERRORS * error)


@pytest.mark.slow
@pytest.mark.parametrize("make", BOXES + REFERENCES)
def test_naive_gradient_and_value_have_the_predicted_bias(make):
    problem = make()
    for sample, expected, bias in zip(
        draws(make, "naive"), exact(problem), variance_term(problem, N_POINTS), strict=True
    ):
        mean, error = mean_and_error(sample)
        assert_within(mean - expected, bias, N_ERRORS * error)
        # The same bound refuses the naive mean as a mean of G, so it would also refuse such a bias
        # of the unbiased gradient.
        assert (np.abs(mean - expected) > 2 * N_ERRORS * error).any()


@pytest.mark.slow
def test_bias_of_the_naive_gradient_is_absent_where_points_are_independent():
    # In standard errors, along the predicted bias: the direction in which the methods must differ.
    problem = plane()
    expected, bias = exact(problem)[1], variance_term(problem, N_POINTS)[1]
    scores = {}
    for method in RANDOM:
        mean, error = mean_and_error(draws(plane, method)[1] @ bias)
        scores[method] = abs(mean - expected @ bias) / error
    assert scores["unbiased"] < N_ERRORS < 20 < scores["naive"]


@pytest.mark.parametrize("method", RANDOM)
def test_public_function_draws_what_the_shared_objective_draws(method):
    problem = line()
    value, gradient = RANDOM[method](
        problem.prior, problem.sketch, problem.domain, N_POINTS, rng=np.random.default_rng(0)
    )
    values, gradients = draws(line, method)
    assert value == values[0]
    np.testing.assert_array_equal(gradient, gradients[0])


def in_pairs(problem, x, log_scale):
    """(value, derivatives of G with respect to the energies) by loops over pairs of points."""
    sketch, domain, n = problem.sketch, problem.domain, len(x)
    over_box = isinstance(domain, fastcl.Box)
    c, offset = (domain.volume, 0.0) if over_box else (1.0, 1.0)
    base = np.zeros_like(sketch.values) if over_box else domain.sketch(sketch.omega)
    energy, constant, weights = problem.prior.energy(x), base - sketch.values, sketch.weights
    features = np.exp(-1j * x @ np.asarray(sketch.omega).T)
    mu, met = np.exp(problem.prior.log_scale - energy), np.ones((n, n)) - np.eye(n)
    if log_scale == "normalised":
        side = np.arange(n) < n // 2
        met = side[:, None] != side
        for half in (side, ~side):
            mu[half] = np.exp(-energy[half]) / (c * np.exp(-energy[half]).mean())
    met = met / met.sum(axis=1, keepdims=True)
    value, pull = 0, np.zeros(n)
    for j in range(n):
        for k in range(n):
            one, other = (constant + c * (mu[i] - offset) * features[i] for i in (j, k))
            value += met[j, k] / n * (weights * np.conj(one) * other).sum().real
            pull[j] += met[j, k] * (weights * np.conj(other) * features[j]).sum().real
    if log_scale == "normalised":
        for half in (side, ~side):
            pull[half] -= c * (mu[half] * pull[half]).mean()
    shares = c / n * mu
    if log_scale == "normalised":
        shares = np.where(side, 1 / side.sum(), 1 / (~side).sum()) * c * mu / 2
    return value, -2 * shares * pull


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("log_scale", ["normalised", "learned", "fixed"])
@pytest.mark.parametrize("make", [*BOXES, *REFERENCES])
def test_the_unbiased_gradient_is_a_sum_over_pairs_of_points(make, log_scale, noise):
    problem = make()
    if noise is not None:
        problem.sketch = problem.sketch.deconvolve(noise, max_error=1e9)
        assert problem.sketch.weights.min() < 0.9
    rng = np.random.default_rng(5)
    matching = SketchMatching(problem.sketch, problem.domain, problem.prior.dtype)
    found = matching.gradient(problem.prior, "unbiased", 7, np.random.default_rng(5), log_scale)
    x = matching._sample(7, rng)
    value, grad_energy = in_pairs(problem, x, log_scale)
    gradient = problem.prior.backward(grad_energy, problem.prior.forward(x)[1])
    np.testing.assert_allclose(found.value, value, rtol=1e-9)
    np.testing.assert_allclose(found.gradient[:-1], gradient[:-1], rtol=1e-8, atol=1e-10)
    if log_scale == "learned":
        np.testing.assert_allclose(found.gradient[-1], -grad_energy.sum(), rtol=1e-8)


@pytest.mark.parametrize("method", ["naive", "grid"])
def test_weights_of_moments_make_the_objective_a_weighted_sum_of_squares(method):
    problem = plane()
    sketch = problem.sketch = problem.sketch.deconvolve(0.2, max_error=1e9)
    assert sketch.weights.min() < 0.9
    matching = SketchMatching(sketch, problem.domain, np.float64)
    x = matching._draw(method, 9, np.random.default_rng(3))
    found = matching.gradient(problem.prior, method, 9, np.random.default_rng(3))
    mu = np.exp(problem.prior.log_scale - problem.prior.energy(x))
    moments = problem.domain.volume / len(x) * fastcl.feature_sum(x, sketch.omega, mu)
    expected = (sketch.weights * np.abs(moments - sketch.values) ** 2).sum()
    assert found.value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("log_scale", "least"), [("normalised", 4), ("learned", 2)])
def test_the_unbiased_gradient_needs_points_on_which_the_density_can_change(log_scale, least):
    problem = line()
    message = f"n_points must be at least {least}, got {least - 1}"
    arguments = problem.prior, problem.sketch, problem.domain, least - 1
    with pytest.raises(ValueError, match=message):
        fastcl.unbiased_gradient(*arguments, log_scale=log_scale)
    settings = {"n_points": least - 1, "log_scale": log_scale}
    with pytest.raises(ValueError, match=message):
        fastcl.learn(problem.prior, problem.sketch, problem.domain, **settings)
    _, gradient = fastcl.unbiased_gradient(*arguments[:3], least, rng=0, log_scale=log_scale)
    assert np.linalg.norm(gradient) > 0


def test_one_point_with_all_the_mass_gives_finite_gradients():
    problem = line()
    problem.prior.theta[:-1] *= 100  # energies differ by thousands
    for log_scale in ("normalised", "learned"):
        value, gradient = fastcl.unbiased_gradient(
            problem.prior, problem.sketch, problem.domain, 10, rng=0, log_scale=log_scale
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


# ---- the log-scale ------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [fastcl.grid_gradient, *RANDOM.values()])
def test_fixed_log_scale_stays_and_has_no_gradient(call):
    problem = plane()
    settings = (
        {"points_per_axis": 9} if call is fastcl.grid_gradient else {"n_points": 100, "rng": 0}
    )
    before = problem.prior.theta.copy()
    learned = call(problem.prior, problem.sketch, problem.domain, **settings)
    fixed = call(problem.prior, problem.sketch, problem.domain, **settings, log_scale="fixed")
    np.testing.assert_array_equal(problem.prior.theta, before)
    assert learned[0] == fixed[0]
    assert learned[1][-1] != 0
    assert fixed[1][-1] == 0
    np.testing.assert_array_equal(learned[1][:-1], fixed[1][:-1])


@pytest.mark.parametrize("log_scale", ["normalised", "learned", "fixed"])
@pytest.mark.parametrize("call", [fastcl.grid_gradient, *RANDOM.values()])
def test_gradient_leaves_the_prior_as_it_is(call, log_scale):
    problem = plane()
    before = problem.prior.theta.copy()
    call(problem.prior, problem.sketch, problem.domain, log_scale=log_scale)
    np.testing.assert_array_equal(problem.prior.theta, before)


@pytest.mark.parametrize("make", BOXES)
def test_normalised_gradient_does_not_depend_on_the_log_scale(make):
    problem, results = make(), []
    for log_scale in (-3.0, 2.0):
        problem.prior.log_scale = log_scale
        results.append(
            fastcl.grid_gradient(problem.prior, problem.sketch, problem.domain, 9, "normalised")
        )
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


# ---- reproducibility ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", RANDOM)
def test_same_seed_gives_bitwise_identical_results_and_another_seed_does_not(method):
    problem = line()

    def call(rng):
        return RANDOM[method](problem.prior, problem.sketch, problem.domain, n_points=100, rng=rng)

    first, again, other = call(7), call(7), call(8)
    assert first[0] == again[0] != other[0]
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread is all there is")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["grid", *RANDOM])
def test_results_do_not_depend_on_the_number_of_threads(method, dtype):
    problem = plane(dtype)
    points = (
        55 if method == "grid" else 3001
    )  # a dozen blocks of 256 rows: work for more than one thread
    results = []
    for count in (1, 2):
        matching = SketchMatching(problem.sketch, problem.domain, dtype)
        with threads(count):
            results.append(
                matching.gradient(
                    problem.prior, method, points, np.random.default_rng(5), "normalised"
                )
            )
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_later_calls_neither_see_nor_change_earlier_ones():
    problem = line()
    matching = SketchMatching(problem.sketch, problem.domain, np.float64)
    first = matching.gradient(problem.prior, "grid", 9, None)[1]
    kept = first.copy()
    problem.prior.theta += 0.1
    value, gradient, _ = matching.gradient(problem.prior, "grid", 10, None)
    np.testing.assert_array_equal(first, kept)
    fresh = fastcl.grid_gradient(problem.prior, problem.sketch, problem.domain, points_per_axis=10)
    assert value == fresh[0]
    np.testing.assert_array_equal(gradient, fresh[1])


# ---- bad input ----------------------------------------------------------------------------------


def bad_calls():
    flat, wide, relative = line(), plane(), gaussian_line()
    prior, sketch, box = flat.prior, flat.sketch, flat.domain
    twin = fastcl.Gaussian(
        [0.2], [[0.25]]
    )  # equal to the prior's reference, but not the one it is defined by
    return {
        "prior of another type": ((None, sketch, box), {}, TypeError, "prior"),
        "sketch of another type": ((prior, sketch.values, box), {}, TypeError, "sketch"),
        "domain of another type": ((prior, sketch, (-1, 1)), {}, TypeError, "domain"),
        "domain of another dimension": ((prior, sketch, wide.domain), {}, ValueError, "domain"),
        "prior of another dimension": ((wide.prior, sketch, box), {}, ValueError, "prior"),
        "box for a prior with a reference": (
            (relative.prior, sketch, box),
            {},
            ValueError,
            "domain",
        ),
        "reference for a prior without": ((prior, sketch, twin), {}, ValueError, "domain"),
        "another reference": ((relative.prior, relative.sketch, twin), {}, ValueError, "domain"),
        "empty sketch": ((prior, fastcl.Sketch(sketch.omega), box), {}, ValueError, "the sketch"),
        "no points": ((prior, sketch, box), {"n_points": 0}, ValueError, "n_points"),
        "half a point": ((prior, sketch, box), {"n_points": 10.5}, TypeError, "n_points"),
        "unknown log_scale": ((prior, sketch, box), {"log_scale": "free"}, ValueError, "log_scale"),
        "negative seed": ((prior, sketch, box), {"rng": -1}, ValueError, "rng"),
        "seed of another type": ((prior, sketch, box), {"rng": "seed"}, TypeError, "rng"),
    }


@pytest.mark.parametrize("call", RANDOM.values())
@pytest.mark.parametrize("case", bad_calls())
def test_bad_input_is_named(call, case):
    arguments, settings, error, name = bad_calls()[case]
    with pytest.raises(error, match=f"^{name} "):
        call(*arguments, **settings)


def test_grid_refuses_a_reference_and_a_bad_number_of_points():
    flat, relative = line(), gaussian_line()
    with pytest.raises(ValueError, match="Box for the grid"):
        fastcl.grid_gradient(relative.prior, relative.sketch, relative.domain)
    with pytest.raises(ValueError, match="points_per_axis"):
        fastcl.grid_gradient(flat.prior, flat.sketch, flat.domain, points_per_axis=0)
    with pytest.raises(TypeError, match="points_per_axis"):
        fastcl.grid_gradient(flat.prior, flat.sketch, flat.domain, points_per_axis=4.0)


def test_unknown_method_is_named():
    problem = line()
    with pytest.raises(ValueError, match="method"):
        SketchMatching(problem.sketch, problem.domain, np.float64).gradient(
            problem.prior, "batch", 10, None
        )


@pytest.mark.parametrize("call", [fastcl.grid_gradient, *RANDOM.values()])
def test_box_too_wide_for_the_phases_is_refused(call):
    problem = line(np.float32)
    with pytest.raises(ValueError, match="lose all their digits"):
        call(problem.prior, problem.sketch, fastcl.Box([-1e7], [1e7]))


# ---- normalised ---------------------------------------------------------------------------------


def matching_of(problem):
    return SketchMatching(problem.sketch, problem.domain, problem.prior.dtype)


@pytest.mark.parametrize("make", BOXES)
def test_normalised_gradient_is_the_directional_derivative_at_unit_mass(make):
    problem, rng = make(), np.random.default_rng(1)
    direction = rng.standard_normal(problem.prior.theta.size)
    direction[-1] = 0
    theta = problem.prior.theta.copy()

    def value(step):
        problem.prior.theta[:] = theta + step * direction
        return matching_of(problem).gradient(problem.prior, "grid", 9, None, "normalised")

    _, gradient, log_scale = value(0.0)
    nodes, weights = grid_of(problem, 9)
    assert abs((weights * np.exp(log_scale - problem.prior.energy(nodes))).sum() - 1) < 1e-12
    h = 1e-5  # truncation, of order h^2, and rounding, of order 1e-16 / h, are both about 1e-10
    difference = (value(h)[0] - value(-h)[0]) / (2 * h)
    assert abs(gradient @ direction - difference) < 1e-7 * (abs(gradient) @ abs(direction))


def test_an_empty_density_has_the_value_of_the_sketch_and_starting_near_the_box_cures_it():
    x = 128 + 60 * np.random.default_rng(0).uniform(-1, 1, (500, 2))
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(30, 2, 20.0, rng=0))
    box = fastcl.Box([64, 64], [256, 256])
    prior, power = fastcl.MLPPrior(2, (32, 64), rng=0), np.sum(np.abs(sketch.values) ** 2)
    value, gradient = fastcl.unbiased_gradient(prior, sketch, box, rng=0)
    assert value == pytest.approx(power, rel=1e-6)
    assert np.linalg.norm(gradient) < 1e-6 * power
    prior.initialise_on(box, rng=0)
    assert np.linalg.norm(fastcl.unbiased_gradient(prior, sketch, box, rng=0)[1]) > 1e-3 * power


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_leaves_no_large_buffers_with_the_prior(monkeypatch, method):
    problem = line(np.float32)
    points = {"points_per_axis": 5000} if method == "grid" else {"n_points": 5000, "rng": 0}
    gradient = getattr(fastcl, f"{method}_gradient")
    gradient(problem.prior, problem.sketch, problem.domain, **points)
    kept = sum(array.nbytes for array in problem.prior.scratch())
    assert 0 < kept < mlp.MAX_SCRATCH
    monkeypatch.setattr(mlp, "MAX_SCRATCH", kept - 1)
    gradient(problem.prior, problem.sketch, problem.domain, **points)
    assert problem.prior.scratch() == []
