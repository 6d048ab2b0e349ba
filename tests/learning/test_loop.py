"""The loop: it learns, and it leaves good parameters behind when it is interrupted or diverges."""

import inspect
import sys
from contextlib import nullcontext

import numpy as np
import pytest
from problems import exact, gaussian_line, line, midpoints, plane, scale_mixture_plane, threads
from runs import METHODS, N_ITER, assert_same_run, learn, stop_at

import fastcl
from fastcl.learning.loop import nearest_grid
from fastcl.learning.objective import MASS_PARTS, MASS_ROWS


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


# ---- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [line, plane])
@pytest.mark.parametrize("method", METHODS)
def test_objective_falls_on_a_box(make, method):
    problem = make(np.float32)
    before = exact(problem)[0]
    result = learn(
        problem,
        method=method,
        n_points=128,
        n_iter=200,
        optimizer=fastcl.Adam(1e-2),
    )
    assert result.prior is problem.prior
    # With these seeds G falls to a fifth or less; with a wrong sign or a dead gradient it does not.
    assert exact(problem)[0] < 0.5 * before


@pytest.mark.parametrize("make", [gaussian_line, scale_mixture_plane])
@pytest.mark.parametrize("method", ["naive", "unbiased"])
def test_objective_falls_with_a_reference_that_need_not_be_passed(make, method):
    problem = make(np.float32)
    before = exact(problem)[0]
    learn(
        problem, domain=None, method=method, n_points=128, n_iter=200, optimizer=fastcl.Adam(1e-2)
    )
    assert exact(problem)[0] < 0.5 * before


@pytest.mark.parametrize("method", METHODS)
def test_fixed_log_scale_stays_and_a_learned_one_moves(method):
    problem = line(np.float32)
    start = problem.prior.log_scale
    learn(problem, method=method, log_scale="fixed")
    assert problem.prior.log_scale == start
    learn(problem, method=method, log_scale="learned")
    assert problem.prior.log_scale != start


def test_history_holds_every_step():
    problem, calls = line(np.float32), []
    history = learn(problem, callback=lambda *call: calls.append(call)).history
    assert set(history) == {"iteration", "value", "gradient_norm", "seconds"}
    assert all(
        isinstance(column, np.ndarray) and column.shape == (N_ITER,) for column in history.values()
    )
    np.testing.assert_array_equal(history["iteration"], np.arange(N_ITER))
    assert [iteration for iteration, _, _ in calls] == list(range(N_ITER))
    assert all(prior is problem.prior for _, prior, _ in calls)
    np.testing.assert_array_equal(history["value"], [value for _, _, value in calls])
    assert (np.diff(history["seconds"]) >= 0).all()


def test_history_of_the_grid_is_that_of_its_gradients():
    problem = line()
    value, gradient = fastcl.grid_gradient(
        problem.prior, problem.sketch, problem.domain, points_per_axis=9
    )
    history = learn(problem, method="grid", log_scale="learned", n_points=9).history
    assert history["value"][0] == value
    np.testing.assert_allclose(
        history["gradient_norm"][0],
        np.linalg.norm(gradient),
        rtol=gradient.size * np.finfo(float).eps,
    )


def test_a_step_is_one_update_of_the_optimizer():
    problem, other = line(), line()
    settings = {"method": "grid", "log_scale": "learned", "n_points": 9, "n_iter": 3}
    learn(problem, optimizer=fastcl.Adam(1e-2), **settings)
    optimizer = fastcl.Adam(1e-2)
    for _ in range(3):
        optimizer.update(
            other.prior.theta,
            fastcl.grid_gradient(other.prior, other.sketch, other.domain, points_per_axis=9)[1],
        )
    np.testing.assert_array_equal(problem.prior.theta, other.prior.theta)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_gives_bitwise_identical_results(method):
    assert_same_run(learn(method=method), learn(method=method))


def test_another_seed_draws_other_points():
    assert (learn(rng=5).history["value"] != learn(rng=6).history["value"]).all()


def test_every_step_draws_its_own_points():
    # A step too small to move float32 parameters: only the points can change the value.
    values = learn(optimizer=fastcl.SGD(1e-30)).history["value"]
    assert len(np.unique(values)) == N_ITER


def test_a_generator_gives_a_new_seed_every_time():
    rng = np.random.default_rng(1)
    first, second = learn(rng=rng), learn(rng=rng)
    assert (first.history["value"] != second.history["value"]).any()
    assert_same_run(learn(rng=np.random.default_rng(1)), first)


def test_optimizer_of_an_earlier_run_is_reset():
    optimizer = fastcl.Adam(1e-2)
    assert_same_run(learn(optimizer=optimizer), learn(optimizer=optimizer))


# ---- the end of a run ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", [True, KeyboardInterrupt])
def test_stopped_run_returns_what_it_has(how):
    problem = line(np.float32)
    seen = []

    def callback(iteration, prior, value):
        seen.append(prior.theta.copy())
        return stop_at(11, how)(iteration, prior, value)

    result = learn(problem, callback=callback)
    assert isinstance(result, fastcl.LearnResult)
    assert [len(column) for column in result.history.values()] == [12] * 4
    np.testing.assert_array_equal(
        result.prior.theta[:-1], seen[-1][:-1]
    )  # the log-scale comes last and anew


@pytest.mark.parametrize("method", ["naive", "unbiased"])
def test_what_was_learned_has_mass_one(method):
    problem = line()
    learn(problem, method=method, n_points=50)
    nodes, cell = midpoints(problem.domain.low, problem.domain.high, 4000)
    density = np.exp(problem.prior.log_density(nodes))
    # The standard error of the mean over the points that normalise. The 50 points of a step would
    # miss it by some per cent.
    error = density.std() / density.mean() / np.sqrt(MASS_ROWS * MASS_PARTS)
    assert abs(np.log(density.sum() * cell)) <= 5 * error
    assert error < 0.01


@pytest.mark.parametrize("log_scale", ["learned", "normalised"])
@pytest.mark.parametrize("optimizer", [fastcl.SGD(1e30), fastcl.Adam(1e25)])
def test_divergence_raises_and_leaves_the_last_parameters_that_worked(optimizer, log_scale):
    problem = line(np.float32)
    with pytest.raises(FloatingPointError, match="smaller step"):
        learn(problem, optimizer=optimizer, log_scale=log_scale, n_iter=300)
    assert np.isfinite(problem.prior.theta).all()
    value, gradient = fastcl.grid_gradient(problem.prior, problem.sketch, problem.domain)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_overflow_of_the_density_is_divergence():
    problem = line(np.float32)
    problem.prior.log_scale = 200.0  # exp(200) is infinite in float32
    with pytest.raises(FloatingPointError, match="smaller step"):
        learn(problem, log_scale="learned")
    assert np.isfinite(problem.prior.theta).all()


def test_divergence_in_the_last_step_is_seen():
    problem = line(np.float32)
    problem.prior.log_scale = (
        5.0  # gradients of some thousand: 3e38 times that is infinite in float32
    )
    with pytest.raises(FloatingPointError, match="smaller step"):
        learn(problem, optimizer=fastcl.SGD(3e38), n_iter=1, log_scale="learned")
    assert np.isfinite(problem.prior.theta).all()


# ---- progress and bad input ---------------------------------------------------------------------


def test_progress_without_tqdm_is_silent(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert_same_run(learn(progress=True), learn())


def test_progress_does_not_change_the_result():
    pytest.importorskip("tqdm")
    assert_same_run(learn(progress=True), learn())


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        ({"method": "batch"}, ValueError, "method"),
        ({"log_scale": "free"}, ValueError, "log_scale"),
        ({"n_points": 0}, ValueError, "n_points"),
        ({"n_points": 1.5}, TypeError, "n_points"),
        ({"n_iter": 0}, ValueError, "n_iter"),
        ({"n_iter": 10.0}, TypeError, "n_iter"),
        ({"method": "grid", "n_points": 0}, ValueError, "n_points"),
        ({"method": "tracked"}, ValueError, "method"),
        ({"log_scale": "profiled"}, ValueError, "log_scale"),
        ({"rng": -1}, ValueError, "rng"),
        ({"rng": "seed"}, TypeError, "rng"),
        ({"domain": None}, ValueError, "domain"),
        ({"domain": fastcl.Box([0, 0], [1, 1])}, ValueError, "domain"),
        ({"domain": fastcl.Gaussian([0.0], [[1.0]])}, ValueError, "domain"),
        ({"sketch": np.ones(15)}, TypeError, "sketch"),
        ({"optimizer": "adam"}, TypeError, "optimizer"),
        ({"callback": "print"}, TypeError, "callback"),
    ],
)
def test_bad_input_is_named_before_any_step(settings, error, name):
    problem = line(np.float32)
    before = problem.prior.theta.copy()
    with pytest.raises(error, match=f"^{name} "):
        learn(problem, **settings)
    np.testing.assert_array_equal(problem.prior.theta, before)


def test_prior_of_another_type_is_named():
    problem = line()
    with pytest.raises(TypeError, match="prior"):
        fastcl.learn(problem.prior.theta, problem.sketch, problem.domain)


def test_grid_with_a_reference_is_refused():
    with pytest.raises(ValueError, match="Box for the grid"):
        learn(gaussian_line(np.float32), method="grid")


# ---- the defaults -------------------------------------------------------------------------------


def test_default_is_unbiased_and_normalised():
    assert_same_run(learn(), learn(method="unbiased", log_scale="normalised"))
    assert learn().prior.log_scale != learn(log_scale="fixed").prior.log_scale


def test_learn_takes_twelve_arguments_and_its_options_by_keyword():
    parameters = inspect.signature(fastcl.learn).parameters
    names = "prior sketch domain method log_scale n_points n_iter optimizer rng progress checkpoint"
    assert list(parameters) == [*names.split(), "callback"]
    assert [p.kind for p in parameters.values()].count(inspect.Parameter.KEYWORD_ONLY) == 9


def test_unbiased_gradients_reach_the_moments():
    problem = line()
    start = fastcl.grid_gradient(problem.prior, problem.sketch, problem.domain, 400)[0]
    optimizer = fastcl.Adam(1e-2, schedule=fastcl.Cosine(600))
    learn(problem, n_iter=600, n_points=256, optimizer=optimizer)
    end = fastcl.grid_gradient(problem.prior, problem.sketch, problem.domain, 400)[0]
    assert end < 0.05 * start


@pytest.mark.parametrize(
    ("n_points", "dim", "k"),
    [
        (1, 1, 1),
        (9, 1, 9),
        (4096, 2, 64),
        (4096, 3, 16),
        (6, 2, 2),
        (7, 2, 3),
        (17, 3, 2),
        (18, 3, 3),
    ],
)
def test_the_grid_is_the_nearest_to_the_number_of_points(n_points, dim, k):
    assert nearest_grid(n_points, dim) == k


def test_a_grid_is_normalised_on_its_points():
    problem = line()
    learn(problem, method="grid", n_points=50)
    nodes, cell = midpoints(problem.domain.low, problem.domain.high, 50)
    # The sum of 50 numbers of float64, each of a few operations.
    assert abs(np.exp(problem.prior.log_density(nodes)).sum() * cell - 1) < 1e-13


def test_a_result_prints_no_history():
    prior = fastcl.MLPPrior(2, (4,), rng=0)
    omega = fastcl.draw_frequencies(5, dim=2, scale=1.0, rng=0)
    sk = fastcl.sketch(np.zeros((1, 2)), omega)
    result = fastcl.learn(prior, sk, fastcl.Box([-1, -1], [1, 1]), n_points=8, n_iter=3, rng=0)
    assert repr(result) == f"LearnResult({prior}, steps=3, interrupted=False)"


# ---- the fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("high", "holds"), [(1.0, True), (0.0, False)])
def test_a_box_that_does_not_hold_the_data_is_a_warning(rng, high, holds):
    x = rng.uniform(-0.9, 0.9, (2000, 1))
    sk = fastcl.sketch(x, fastcl.draw_frequencies(30, dim=1, scale=0.2, rng=0))
    box = fastcl.Box([-1.0], [high])
    prior = fastcl.MLPPrior(dim=1, widths=(16, 16), rng=0)
    prior.initialise_on(box, rng=0)
    expects = nullcontext() if holds else pytest.warns(RuntimeWarning, match="domain holds all")
    with expects:
        fastcl.learn(prior, sk, box, n_points=128, n_iter=1000, optimizer=fastcl.Adam(5e-3), rng=0)


@pytest.mark.parametrize(("offset", "is_far"), [(20.0, False), (-1000.0, True)])
def test_a_box_far_from_the_origin_is_a_warning(offset, is_far):
    x = offset + np.linspace(-0.4, 0.4, 100)[:, None]
    sk = fastcl.sketch(x, [[1.0], [2.0]])
    box = fastcl.Box([offset - 0.5], [offset + 0.5])
    prior = fastcl.MLPPrior(dim=1, widths=(8,), rng=0)
    expects = pytest.warns(RuntimeWarning, match="1000 sides from") if is_far else nullcontext()
    with expects:
        fastcl.learn(prior, sk, box, n_points=8, n_iter=1, rng=0)
