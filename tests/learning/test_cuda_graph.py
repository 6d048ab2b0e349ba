"""Learning on a device: captured steps agree with those of the host from the same seed."""

import gc
import importlib

import numpy as np
import pytest
from cuda_host import Graph, Stream

import fastcl
from fastcl.kernels.launchers import objective as glue
from fastcl.learning import cuda_graph, objective

N_POINTS, N_STEPS = 37, 8
METHODS = ["unbiased", "naive"]
OPTIMIZERS = {
    "adam": lambda: fastcl.Adam(3e-3, schedule=fastcl.Cosine(N_STEPS)),
    "heavy ball": lambda: fastcl.SGD(1e-3, momentum=0.8),
    "nesterov": lambda: fastcl.SGD(1e-3, momentum=0.8, nesterov=True),
}
BOX = fastcl.Box([-1, -1], [1, 2])


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    learn = importlib.import_module("fastcl.learning.loop")  # fastcl.learn is the function
    for module in (cuda_graph, learn):
        monkeypatch.setattr(module, "ROWS", 3)  # a run of 8 steps has three batches, the last short
    monkeypatch.setattr(glue, "WIDE", 64)  # every thread of a block may be one of the machine's
    monkeypatch.setattr(objective, "MASS_PARTS", 1)
    monkeypatch.setattr(objective, "MASS_ROWS", 64)


@pytest.fixture(scope="module")
def sketch():
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 2))
    return fastcl.sketch(x, fastcl.draw_frequencies(41, dim=2, scale=0.5, rng=0))


def make_prior(dtype=np.float64, place=lambda array: array):
    prior = fastcl.MLPPrior(2, (8, 17), rng=0, dtype=dtype)
    prior.initialise_on(BOX, rng=0)
    prior.theta = place(prior.theta)
    return prior


def run(sketch, place, optimizer="adam", dtype=np.float64, **settings):
    """(theta, history) of a run of N_STEPS, both on the host."""
    prior = make_prior(dtype, place)
    settings = {"n_points": N_POINTS, "n_iter": N_STEPS, "rng": 3} | settings
    result = fastcl.learn(prior, sketch, BOX, optimizer=OPTIMIZERS[optimizer](), **settings)
    assert result.prior is prior
    theta = prior.theta if isinstance(prior.theta, np.ndarray) else prior.theta.get()
    return theta, result.history


def assert_same(device, host, dtype):
    """Both sides add the same terms in different orders, and every step inherits earlier errors.

    There are at most N_POINTS terms per sum, so N_STEPS N_POINTS roundings. The factor 100 is for
    how much one step can enlarge the error it starts from, through the gradient of the network and
    Adam's division by small second moments.
    """
    tolerance = 100 * N_STEPS * N_POINTS * np.finfo(dtype).eps
    np.testing.assert_allclose(device[0], host[0], rtol=0, atol=tolerance * np.abs(host[0]).max())
    for name in ("value", "gradient_norm"):
        np.testing.assert_allclose(
            device[1][name], host[1][name], rtol=0, atol=tolerance * np.abs(host[1][name]).max()
        )
    assert np.array_equal(device[1]["iteration"], host[1]["iteration"])
    assert (np.diff(device[1]["seconds"]) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("log_scale", ["normalised", "learned"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_method_agrees_with_the_host(device, sketch, method, log_scale, dtype):
    runs = [
        run(sketch, place, dtype=dtype, method=method, log_scale=log_scale)
        for place in (device.array, lambda array: array)
    ]
    assert_same(*runs, dtype)


@pytest.mark.parametrize("optimizer", ["heavy ball", "nesterov"])
@pytest.mark.parametrize("log_scale", ["learned", "fixed"])
def test_every_optimizer_agrees_with_the_host(device, sketch, optimizer, log_scale):
    settings = {
        "method": "unbiased",
        "optimizer": optimizer,
        "log_scale": log_scale,
    }
    assert_same(
        *(run(sketch, place, **settings) for place in (device.array, lambda array: array)),
        np.float64,
    )


def test_the_grid_agrees_with_the_host(device, sketch):
    assert_same(
        *(run(sketch, place, method="grid") for place in (device.array, lambda array: array)),
        np.float64,
    )


def test_a_reference_measure_agrees_with_the_host(device, sketch):
    thetas = []
    for place in (device.array, lambda array: array):
        q = fastcl.Gaussian([0.0, 0.0], 0.1 * np.eye(2))
        prior = fastcl.MLPPrior(2, (8,), rng=0, reference=q, dtype=np.float64)
        prior.initialise_on(q, rng=0)
        prior.theta = place(prior.theta)
        fastcl.learn(prior, sketch, n_points=N_POINTS, n_iter=3, rng=0)
        thetas.append(prior.theta if isinstance(prior.theta, np.ndarray) else prior.theta.get())
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=0, atol=1e-9)


class Doubled(fastcl.MLPPrior):
    """Twice the energy of the network, by methods of its own."""

    def forward(self, x, keep=True):
        energy, state = super().forward(x, keep)
        return 2 * energy, state

    def backward(self, grad_energy, state, out=None):
        return super().backward(2 * grad_energy, state, out)


def test_an_energy_of_another_class_is_not_taken_for_that_of_the_network(device, sketch):
    thetas = []
    for place in (device.array, lambda array: array):
        prior = Doubled(2, (8,), rng=0, dtype=np.float64)
        prior.theta = place(prior.theta)
        fastcl.learn(prior, sketch, BOX, n_points=N_POINTS, n_iter=3, rng=0)
        thetas.append(prior.theta if isinstance(prior.theta, np.ndarray) else prior.theta.get())
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["grid_gradient", "naive_gradient", "unbiased_gradient"])
def test_a_single_gradient_agrees_with_the_host(device, sketch, name):
    settings = {} if name == "grid_gradient" else {"rng": 0, "n_points": N_POINTS}
    host = getattr(fastcl, name)(make_prior(), sketch, BOX, **settings)
    value, gradient = getattr(fastcl, name)(make_prior(place=device.array), sketch, BOX, **settings)
    assert abs(value - host[0]) <= 1e-11 * abs(host[0]) + 1e-12
    np.testing.assert_allclose(
        device.host(gradient), host[1], rtol=0, atol=1e-11 * np.abs(host[1]).max()
    )


def test_the_same_seed_gives_bitwise_identical_results(device, sketch):
    first, second = (run(sketch, device.array, dtype=np.float32)[0] for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_is_bitwise_identical_to_an_unbroken_one(device, sketch, tmp_path, method):
    settings = {"method": method, "dtype": np.float32}
    path = tmp_path / "run.npz"

    def stop(k, prior, value):
        return k == 5

    unbroken = run(sketch, device.array, **settings)[0]
    run(sketch, device.array, checkpoint=path, callback=stop, **settings)
    resumed, history = run(sketch, device.array, checkpoint=path, **settings)
    assert np.array_equal(resumed, unbroken)
    assert len(history["value"]) == N_STEPS


@pytest.mark.parametrize(
    ("log_scale", "step"), [(200.0, 1e-3), (5.0, 3e38)]
)  # an infinite density; infinite parameters
def test_divergence_is_reported_and_leaves_the_last_good_parameters(
    device, sketch, log_scale, step
):
    prior = make_prior(np.float32, device.array)
    prior.log_scale = log_scale
    before = device.host(prior.theta)
    with pytest.raises(FloatingPointError, match="diverged at step 0"):
        fastcl.learn(
            prior,
            sketch,
            BOX,
            log_scale="learned",
            n_points=N_POINTS,
            n_iter=5,
            optimizer=fastcl.SGD(step),
            rng=0,
        )
    assert np.array_equal(device.host(prior.theta), before)


def test_phases_that_would_lose_their_digits_are_refused_before_any_step(device):
    sk = fastcl.sketch(np.zeros((1, 2)), [[1e9, 0.0]])
    prior = make_prior(np.float32, device.array)
    before = device.host(prior.theta)
    with pytest.raises(ValueError, match="omega is too large"):
        fastcl.learn(prior, sk, BOX, n_points=N_POINTS, n_iter=2, rng=0)
    assert np.array_equal(device.host(prior.theta), before)


def test_an_interrupted_run_leaves_its_last_good_parameters(device, sketch, monkeypatch):
    if device.name != "cuda-host":
        pytest.skip("the stand-in interrupts while steps are on their way")
    prior = make_prior(np.float32, device.array)

    def interrupt(self, stream):
        launch(self, stream)
        raise KeyboardInterrupt

    launch = Graph.launch
    monkeypatch.setattr(Graph, "launch", interrupt)
    before = device.host(prior.theta)
    result = fastcl.learn(
        prior, sketch, BOX, log_scale="learned", n_points=N_POINTS, n_iter=9, rng=0
    )
    Stream.finish_all()
    assert result.interrupted
    assert np.array_equal(device.host(prior.theta), before)


def test_the_prior_is_whole_when_the_run_has_ended(device, sketch):
    prior = make_prior(np.float32, device.array)
    fastcl.learn(prior, sketch, BOX, log_scale="learned", n_points=N_POINTS, n_iter=3, rng=0)
    gc.collect()  # what the run alone held
    again = make_prior(np.float32, device.array)
    again.theta = prior.theta
    gradients = [
        device.host(fastcl.naive_gradient(p, sketch, BOX, n_points=N_POINTS, rng=1)[1])
        for p in (prior, again)
    ]
    assert np.array_equal(*gradients)


@pytest.mark.again("races", device="cuda-host")
def test_a_run_frees_the_memory_of_its_graph(device, sketch, monkeypatch):
    pools, make = [], device.module.cuda.MemoryPool
    monkeypatch.setattr(device.module.cuda, "MemoryPool", lambda: pools.append(make()) or pools[-1])
    held = []
    step = cuda_graph.CapturedSteps._take_step
    monkeypatch.setattr(
        cuda_graph.CapturedSteps,
        "_take_step",
        lambda self: (step(self), held.append(self.pool.total_bytes())),
    )
    fastcl.learn(
        make_prior(np.float32, device.array),
        sketch,
        BOX,
        n_points=N_POINTS,
        n_iter=3,
        rng=0,
    )
    gc.collect()
    assert max(held) > 0
    assert [pool.total_bytes() for pool in pools] == [0]


@pytest.mark.parametrize("log_scale", ["normalised", "learned"])
def test_a_point_with_most_of_the_mass_counts_as_on_the_host(device, sketch, log_scale):
    found = []
    for place in (device.array, lambda array: array):
        prior = fastcl.MLPPrior(2, (8,), rng=0, dtype=np.float64)
        prior.theta *= 5  # energies differ by hundreds
        prior.theta = place(prior.theta)
        settings = {"n_points": 10, "n_iter": 5, "rng": 0, "log_scale": log_scale}
        found.append(fastcl.learn(prior, sketch, BOX, **settings).history)
    for name in ("value", "gradient_norm"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-8)
