"""Networks that learn the energy of maximum entropy along its chains."""

import shutil
from itertools import pairwise

import numpy as np
import pytest

import fastcl
from fastcl import files
from fastcl.learning import energy_matching
from fastcl.learning.energy_matching import EnergyMatching
from fastcl.learning.loop import learn_network
from fastcl.measures.counter_rng import Stream

DIM = 4
NORMAL = fastcl.Gaussian(np.zeros(DIM), np.eye(DIM))
WIDTHS = (32, 32)


def clusters(n, rng):
    """Points near the corners (1, 1, ..) and (-1, -1, ..), of unit variance in every coordinate."""
    sides = rng.choice([-0.8, 0.8], (n, 1))
    return sides + 0.6 * rng.standard_normal((n, DIM))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = clusters(50_000, rng)
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(200, DIM, 0.8, rng=0))
    return sketch, clusters(4000, rng)


def network(reference=NORMAL, dtype=np.float32):
    prior = fastcl.MLPPrior(DIM, WIDTHS, rng=0, reference=reference, dtype=dtype)
    prior.initialise_on(reference, rng=0)
    return prior


def learn(prior, sketch, n_iter=600, **settings):
    optimizer = fastcl.Adam(5e-3, schedule=fastcl.Cosine(n_iter))
    settings = {"method": "chains", "n_points": 1000, "rng": 0, "optimizer": optimizer} | settings
    return fastcl.learn(prior, sketch, n_iter=n_iter, **settings)


def gain(prior, held):
    """Nats per point over the reference."""
    return float((prior.log_density(held) - NORMAL.log_density(held)).mean())


def test_the_gradient_is_that_of_the_variance_of_the_difference(problem):
    prior = network(dtype=np.float64)
    prior.theta += 0.1 * np.random.default_rng(1).standard_normal(prior.theta.size)
    matching = EnergyMatching(problem[0], NORMAL, np.float64, 200)
    value, gradient, log_scale = matching.gradient(prior, "chains", 200, Stream(0))
    x, density = matching.walk.points, matching.walk.density
    np.testing.assert_allclose(matching.walk.here[0], density.energy(x), rtol=1e-12)

    def variance(theta):
        before = prior.theta.copy()
        prior.theta[:] = theta
        result = (prior.energy(x) - density.energy(x)).var()
        prior.theta[:] = before
        return result

    assert value == pytest.approx(variance(prior.theta), rel=1e-10)
    assert log_scale == prior.log_scale
    assert gradient[-1] == 0
    direction = np.random.default_rng(2).standard_normal(prior.theta.size)
    step = 1e-6
    change = variance(prior.theta + step * direction) - variance(prior.theta - step * direction)
    assert gradient @ direction == pytest.approx(change / (2 * step), rel=1e-5)


def test_chains_move_between_gradients(problem, monkeypatch):
    monkeypatch.setattr(energy_matching, "GRADIENTS", 2)
    prior = network()
    matching = EnergyMatching(problem[0], NORMAL, np.float32, 100)
    points = []
    for step in range(5):
        matching.gradient(prior, "chains", 100, Stream(0, step))
        points.append(matching.walk.points)
    moved = [not np.array_equal(one, other) for one, other in pairwise(points)]
    assert moved == [False, True, False, True]


def test_a_network_learns_what_maximum_entropy_knows(problem):
    sketch, held = problem
    density = fastcl.max_entropy(sketch, NORMAL, n_iter=200, rng=0)
    best = gain(density, held) - fastcl.log_normaliser(density)
    prior = network()
    result = learn(prior, sketch)
    assert abs(fastcl.log_normaliser(prior, rng=5)) < 0.05
    found = gain(prior, held)
    assert best > 0.5
    assert found > best - 0.1
    values = result.history["value"]
    assert values[-20:].mean() < 0.1 * values[:20].mean()
    uniform = network()
    learn(uniform, sketch, method="unbiased")
    assert found > gain(uniform, held)


def test_the_result_depends_on_the_seed_alone(problem, on_threads):
    one, two = on_threads(lambda: learn(network(), problem[0], 10).prior.theta)
    np.testing.assert_array_equal(one, two)
    other = learn(network(), problem[0], 10, rng=1).prior.theta
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", ["mixture", "scale mixture"])
def test_any_reference_measure_will_do(problem, kind):
    sketch, held = problem
    if kind == "mixture":
        reference = fastcl.GaussianMixture(
            [0.5, 0.5], [[0.5] * DIM, [-0.5] * DIM], [np.eye(DIM)] * 2
        )
    else:
        reference = fastcl.GaussianScaleMixture(np.eye(DIM), [0.7, 1.3], [0.5, 0.5])
    prior = network(reference)
    learn(prior, sketch, 400)
    assert gain(prior, held) > (reference.log_density(held) - NORMAL.log_density(held)).mean() + 0.2


def test_learning_a_network_of_a_reference_takes_chains(problem):
    settings = {"n_points": 100, "n_iter": 12, "rng": 0, "widths": (8,)}
    by_default = learn_network(problem[0], NORMAL, **settings)
    named = learn_network(problem[0], NORMAL, method="chains", **settings)
    np.testing.assert_array_equal(by_default.prior.theta, named.prior.theta)
    box = fastcl.Box([-4] * DIM, [4] * DIM)
    by_default = learn_network(problem[0], box, **settings)
    named = learn_network(problem[0], box, method="unbiased", **settings)
    np.testing.assert_array_equal(by_default.prior.theta, named.prior.theta)


def test_an_interruption_returns_what_there_is(problem, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    prior = network()
    before = prior.theta.copy()
    monkeypatch.setattr(energy_matching, "max_entropy", interrupt)
    result = learn(prior, problem[0], 10)
    assert result.interrupted
    assert len(result.history["value"]) == 0
    np.testing.assert_array_equal(prior.theta[:-1], before[:-1])


def test_an_interruption_of_maximum_entropy_ends_the_run(problem, monkeypatch):
    advance, calls = fastcl.Chains.advance, []

    def interrupted(self, *args):
        calls.append(self)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return advance(self, *args)

    monkeypatch.setattr(fastcl.Chains, "advance", interrupted)
    result = learn(network(), problem[0], 10)
    assert result.interrupted
    assert len(calls) == 5


def test_a_log_scale_that_chains_do_not_take_chooses_another_method(problem):
    settings = {"n_points": 100, "n_iter": 3, "rng": 0, "widths": (8,), "log_scale": "learned"}
    unbiased = learn_network(problem[0], NORMAL, method="unbiased", **settings)
    by_default = learn_network(problem[0], NORMAL, **settings)
    np.testing.assert_array_equal(unbiased.prior.theta, by_default.prior.theta)


SCALE_MIXTURE = fastcl.GaussianScaleMixture(np.eye(DIM), [0.7, 1.3], [0.5, 0.5])


@pytest.mark.parametrize("reference", [NORMAL, SCALE_MIXTURE])
@pytest.mark.parametrize("stop", [0, 4, 6, 13])
def test_a_run_that_resumes_ends_where_an_unbroken_one_does(problem, tmp_path, stop, reference):
    settings = {"n_iter": 20, "n_points": 200, "rng": 3}
    unbroken = learn(network(reference), problem[0], **settings)
    settings["checkpoint"] = tmp_path / "c.npz"
    learn(network(reference), problem[0], callback=lambda k, *_: k == stop, **settings)
    taken = []
    resumed = learn(
        network(reference), problem[0], callback=lambda k, *_: taken.append(k), **settings
    )
    assert taken == list(range(stop + 1, 20))
    np.testing.assert_array_equal(resumed.prior.theta, unbroken.prior.theta)
    np.testing.assert_array_equal(resumed.history["value"], unbroken.history["value"])


@pytest.mark.parametrize("moment", range(11))
def test_a_run_interrupted_anywhere_in_a_step_resumes(problem, tmp_path, monkeypatch, moment):
    # After the first step there are five, with a forward pass each, and two moves of the chains,
    # with three energies each.
    monkeypatch.setattr(energy_matching, "GRADIENTS", 2)
    settings = {"n_iter": 6, "n_points": 50, "rng": 0}
    unbroken = learn(network(), problem[0], **settings)
    settings["checkpoint"] = tmp_path / "c.npz"
    learn(network(), problem[0], callback=lambda k, *_: k == 0, **settings)
    calls = []

    def interrupting(function):
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            calls.append(function)
            if len(calls) == moment + 1:
                raise KeyboardInterrupt
            return result

        return call

    owners = {fastcl.MLPPrior: "forward", fastcl.MaxEntropyPrior: "energy_and_grad"}
    with monkeypatch.context() as patch:
        for owner, name in owners.items():
            patch.setattr(owner, name, interrupting(getattr(owner, name)))
        first = learn(network(), problem[0], **settings)
    assert first.interrupted
    taken = []
    resumed = learn(network(), problem[0], callback=lambda k, *_: taken.append(k), **settings)
    assert taken == list(range(len(first.history["value"]), 6))
    assert taken[0] > 0
    np.testing.assert_array_equal(resumed.prior.theta, unbroken.prior.theta)


def test_a_seed_that_was_not_given_is_kept_with_the_chains(problem, tmp_path):
    settings = {"n_iter": 9, "n_points": 50, "rng": None, "checkpoint": tmp_path / "c.npz"}
    learn(network(), problem[0], callback=lambda k, *_: k == 3, **settings)
    shutil.copy(tmp_path / "c.npz", tmp_path / "copy.npz")
    one = learn(network(), problem[0], **settings).prior.theta
    settings["checkpoint"] = tmp_path / "copy.npz"
    np.testing.assert_array_equal(learn(network(), problem[0], **settings).prior.theta, one)


STATE = ["c", "points", "energies", "gradients", "step", "moves"]
DAMAGES = [(name, damage) for name in STATE for damage in ("missing", "shorter", "nan")]


@pytest.mark.parametrize(("name", "damage"), [*DAMAGES, ("step", "large"), ("moves", "large")])
def test_damaged_chains_are_refused(problem, tmp_path, name, damage):
    path = tmp_path / "c.npz"
    settings = {"n_iter": 6, "n_points": 50, "rng": 0, "checkpoint": path}
    learn(network(), problem[0], callback=lambda k, *_: k == 2, **settings)
    _, arrays = files.read_npz(path, "checkpoint")
    array = np.asarray(arrays.pop(f"objective.{name}"))
    if damage == "shorter":
        arrays[f"objective.{name}"] = array[:-1] if array.ndim else np.zeros(0)
    if damage == "large":
        arrays[f"objective.{name}"] = array + 100
    if damage == "nan":
        arrays[f"objective.{name}"] = np.full_like(array, np.nan, np.result_type(array, 0.5))
    files.write_npz(path, "checkpoint", arrays)
    prior = network()
    before = prior.theta.copy()
    with pytest.raises(ValueError, match="is damaged or incomplete"):
        learn(prior, problem[0], **settings)
    np.testing.assert_array_equal(prior.theta, before)


def test_noise_of_the_sketch_is_taken_out(problem):
    rng = np.random.default_rng(3)
    y = clusters(50_000, rng) + 0.5 * rng.standard_normal((50_000, DIM))
    noisy = fastcl.sketch(y, problem[0].omega)
    gains = []
    for sketch in (noisy.deconvolve(0.5, max_error=1), noisy):
        prior = network()
        learn(prior, sketch, 400)
        gains.append(gain(prior, problem[1]))
    assert gains[0] > gains[1] + 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log_scale": "learned"}, "log_scale must be 'normalised' for the method 'chains'"),
        ({"n_points": 1}, "n_points must be at least 2"),
        (
            {"domain": fastcl.Box([-1] * DIM, [1] * DIM)},
            "method 'chains' is for a prior with a ref",
        ),
        ({"domain": fastcl.Gaussian([0.0], [[1.0]])}, "domain has dimension 1, the sketch 4"),
        ({"domain": fastcl.Gaussian(np.ones(DIM), np.eye(DIM))}, "must be prior.reference itself"),
    ],
)
def test_what_chains_cannot_do_is_named(problem, settings, message):
    with pytest.raises(ValueError, match=message):
        learn(network(), problem[0], 2, **settings)


def test_chains_are_not_for_a_device(device, problem):
    prior = network()
    prior.theta = device.array(prior.theta)
    with pytest.raises(TypeError, match="method 'chains' works on NumPy arrays only"):
        learn(prior, problem[0], 2)
