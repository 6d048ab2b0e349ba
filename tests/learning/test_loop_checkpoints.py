"""Checkpoints: an interrupted run resumes as if unbroken, and other files are refused and kept."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from problems import line, make_prior, threads
from runs import METHODS, N_ITER, assert_same_run, learn, stop_at

import fastcl
from fastcl import files
from fastcl.learning import loop

OPTIMIZERS = {
    "momentum": lambda: fastcl.SGD(1e-3, momentum=0.9),
    "diminishing": lambda: fastcl.SGD(
        1e-3, nesterov=True, momentum=0.5, schedule=fastcl.Diminishing(10)
    ),
    "adam": lambda: fastcl.Adam(1e-2),
}


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def assert_resumes(step, unbroken, **settings):
    """The run resumes at `step` and ends where the unbroken one does."""
    taken = []
    result = learn(callback=lambda iteration, *_: taken.append(iteration), **settings)
    assert taken == list(range(step, N_ITER))
    assert_same_run(result, unbroken)


# Steps to stop after, at random.
STOPS = sorted(np.random.default_rng(2).choice(N_ITER - 1, 3, replace=False).tolist())


@pytest.mark.parametrize("how", [True, KeyboardInterrupt])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_run_is_bitwise_identical_to_an_unbroken_run(
    tmp_path, monkeypatch, name, stop, how
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 7)
    unbroken = learn(optimizer=OPTIMIZERS[name]())
    settings = {"checkpoint": tmp_path / "run.npz"}
    first = learn(optimizer=OPTIMIZERS[name](), callback=stop_at(stop, how), **settings)
    assert len(first.history["value"]) == stop + 1
    assert_resumes(stop + 1, unbroken, optimizer=OPTIMIZERS[name](), **settings)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("log_scale", ["normalised", "learned", "fixed"])
def test_every_method_resumes(tmp_path, method, log_scale):
    settings = {"method": method, "log_scale": log_scale, "n_points": 9}
    unbroken = learn(**settings)
    settings["checkpoint"] = tmp_path / "run.npz"
    learn(callback=stop_at(8, True), **settings)
    assert_resumes(9, unbroken, **settings)


def test_run_interrupted_at_every_step_resumes(tmp_path):
    settings = {"checkpoint": tmp_path / "run.npz"}
    for _ in range(N_ITER - 1):
        learn(callback=lambda *_: True, **settings)
    assert_same_run(learn(**settings), learn())


def test_run_that_was_killed_resumes_from_the_last_periodic_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 7)
    unbroken = learn()
    left = tmp_path / "left.npz"

    def callback(iteration, prior, value):
        if iteration == 16:  # if the machine stops here, the disk holds the state after 14 steps
            shutil.copy(tmp_path / "run.npz", left)

    learn(checkpoint=tmp_path / "run.npz", callback=callback)
    assert_resumes(14, unbroken, checkpoint=left)


def test_error_in_a_callback_passes_through_and_the_run_resumes(tmp_path):
    checkpoint = tmp_path / "run.npz"
    with pytest.raises(RuntimeError):
        learn(checkpoint=checkpoint, callback=stop_at(9, RuntimeError))
    assert_resumes(10, learn(), checkpoint=checkpoint)


def test_finished_run_is_not_run_again(tmp_path):
    settings = {"checkpoint": tmp_path / "run.npz"}
    first, calls = learn(**settings), []
    again = learn(callback=lambda *call: calls.append(call), **settings)
    assert not calls
    assert_same_run(again, first)


def test_run_can_be_lengthened(tmp_path):
    checkpoint = tmp_path / "run.npz"
    learn(checkpoint=checkpoint, n_iter=12)
    assert_resumes(12, learn(), checkpoint=checkpoint)


def test_seed_that_was_not_given_is_kept_in_the_checkpoint(tmp_path):
    settings = {"checkpoint": tmp_path / "run.npz", "rng": None}
    learn(callback=stop_at(9, True), **settings)
    shutil.copy(tmp_path / "run.npz", tmp_path / "copy.npz")
    assert_same_run(learn(**settings), learn(**settings | {"checkpoint": tmp_path / "copy.npz"}))


def test_seconds_continue_from_those_of_the_first_run(tmp_path):
    settings = {"checkpoint": tmp_path / "run.npz"}
    learn(callback=stop_at(9, True), **settings)
    assert (np.diff(learn(**settings).history["seconds"]) >= 0).all()


REFERENCE = fastcl.Gaussian([0.2], [[0.3]])
OTHER_RUNS = {
    "seed": {"rng": 6},
    "method": {"method": "naive"},
    "points": {"n_points": 33},
    "log-scale": {"log_scale": "fixed"},
    "optimizer": {"optimizer": fastcl.SGD(1e-3)},
    "step": {"optimizer": fastcl.Adam(2e-3)},
    "beta": {"optimizer": fastcl.Adam(1e-3, beta1=0.5)},
    "schedule": {"optimizer": fastcl.Adam(1e-3, schedule=fastcl.Diminishing())},
    "domain": {"domain": fastcl.Box([-1.0], [1.4])},
    "precision": {"problem": line(np.float64)},
    "network": {"problem": replace(line(), prior=make_prior(1, (9,), np.float32))},
    "reference": {
        "problem": replace(
            line(), prior=make_prior(1, (8,), np.float32, REFERENCE), domain=REFERENCE
        )
    },
    "sketch": {"sketch": fastcl.sketch(np.linspace(-1, 1, 20)[:, None], line().sketch.omega)},
    "frequencies": {"sketch": fastcl.sketch(np.linspace(-1, 1, 20)[:, None], [[1.0], [2.0]])},
}


@pytest.mark.parametrize("what", OTHER_RUNS)
def test_checkpoint_of_another_run_is_refused(tmp_path, what):
    checkpoint = tmp_path / "run.npz"
    learn(checkpoint=checkpoint, n_iter=3, optimizer=fastcl.Adam(1e-3))
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        learn(
            checkpoint=checkpoint,
            **{"n_iter": 3, "optimizer": fastcl.Adam(1e-3)} | OTHER_RUNS[what],
        )
    assert checkpoint.read_bytes() == before


class Shifted(fastcl.Gaussian):
    """A measure without a kind, which is still identified by its numbers."""


@pytest.mark.parametrize("make", [fastcl.Gaussian, Shifted])
def test_checkpoint_of_another_reference_is_refused(tmp_path, make):
    def run(mean):
        q = make([mean], [[0.3]])
        prior = make_prior(1, (8,), np.float32, q)
        learn(replace(line(), prior=prior, domain=q), n_iter=3, checkpoint=tmp_path / "run.npz")

    run(0.2)
    run(0.2)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        run(0.3)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_truncated_checkpoint_is_refused_and_left_alone(tmp_path, kept):
    checkpoint, problem = tmp_path / "run.npz", line(np.float32)
    learn(checkpoint=checkpoint, n_iter=3)
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: int(kept * len(data))])
    before = problem.prior.theta.copy()
    with pytest.raises(ValueError, match="truncated"):
        learn(problem, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == data[: int(kept * len(data))]
    np.testing.assert_array_equal(problem.prior.theta, before)


def test_file_of_another_kind_is_not_overwritten(tmp_path):
    path, problem = tmp_path / "sketch.npz", line(np.float32)
    problem.sketch.save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="holds a sketch, expected a checkpoint"):
        learn(problem, checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("missing", ["theta", "seed", "z", "omega", "settings", "history.value"])
def test_incomplete_checkpoint_is_refused_before_anything_changes(tmp_path, missing):
    path, problem = tmp_path / "run.npz", line(np.float32)
    learn(checkpoint=path, n_iter=3)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != missing}
    np.savez(path, **arrays)
    before = problem.prior.theta.copy()
    with pytest.raises(ValueError, match="incomplete"):
        learn(problem, checkpoint=path)
    np.testing.assert_array_equal(problem.prior.theta, before)


@pytest.mark.parametrize("place", ["missing/run.npz", ".", "file/run.npz"])
def test_checkpoint_that_cannot_be_written_is_an_error_before_any_step(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    problem, calls = line(np.float32), []
    before = problem.prior.theta.copy()
    with pytest.raises(OSError, match="folder"):
        learn(problem, checkpoint=tmp_path / place, callback=lambda *call: calls.append(call))
    assert not calls
    np.testing.assert_array_equal(problem.prior.theta, before)


def test_read_only_folder_is_an_error_before_any_step(tmp_path, monkeypatch):
    def refuse(*arguments):  # the superuser may write to any folder
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    calls = []
    with pytest.raises(PermissionError, match="folder"):
        learn(checkpoint=tmp_path / "run.npz", callback=lambda *call: calls.append(call))
    assert not calls


def test_diverged_run_keeps_a_checkpoint_of_finite_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 1)
    checkpoint = tmp_path / "run.npz"
    with pytest.raises(FloatingPointError):
        learn(checkpoint=checkpoint, optimizer=fastcl.SGD(1e30))
    with np.load(checkpoint) as archive:
        assert all(np.isfinite(archive[name]).all() for name in ("theta", "optimizer.velocity"))


# Settings as version 0.1.0 wrote them; its default method was called "normalised".
OLD = (
    "['{method}', 32, '{log_scale}', '{metric}', 0.3, {average}, [1, 8, 1], 'float32', "
    "\"Adam({{'beta1': 0.9, 'beta2': 0.999, 'epsilon': 1e-08, 'step': 0.001}}, Constant({{}}))\", "
    "{{'kind': 'box', 'low': [-1.0], 'high': [1.5]}}, None, {seed}]"
)


def write_as_before(path, **settings):
    """A checkpoint of `learn` after 9 steps, as version 0.1.0 would have written it."""
    learn(checkpoint=path, callback=stop_at(8, True), **settings)
    kind, arrays = files.read_npz(path, "checkpoint")
    written = {"method": "unbiased", "metric": "identity", "average": 0.0, "seed": arrays["seed"]}
    arrays["mean"] = np.zeros(arrays["theta"].size)
    return lambda **what: files.write_npz(
        path, kind, arrays | {"settings": OLD.format(**written | settings | what)}
    )


@pytest.mark.parametrize(
    ("method", "log_scale"),
    [("normalised", "normalised"), ("unbiased", "normalised"), ("unbiased", "learned")],
)
def test_checkpoint_of_version_0_1_0_resumes(tmp_path, method, log_scale):
    path = tmp_path / "run.npz"
    write_as_before(path, log_scale=log_scale)(method=method)
    settings = {"log_scale": log_scale, "checkpoint": path}
    assert_resumes(9, learn(log_scale=log_scale), **settings)


@pytest.mark.parametrize(
    "what",
    [
        {"method": "tracked"},
        {"log_scale": "profiled"},
        {"metric": "whitened"},
        {"average": 0.5},
        {"method": "naive"},
        {"seed": 5},
    ],
)
def test_checkpoint_of_version_0_1_0_with_an_option_that_is_gone_is_refused(tmp_path, what):
    path = tmp_path / "run.npz"
    write_as_before(path, log_scale="normalised")(**what)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        learn(checkpoint=path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        (
            "optimizer.first",
            np.zeros(3),
        ),  # shorter than theta: the kernel would write beyond its end
        ("optimizer.second", np.full(25, "text")),
        ("optimizer.iteration", np.int64(-1)),
        ("history.seconds", np.full(3, b"1.0")),
        ("history.value", np.zeros(2)),
        ("iteration", np.float64(np.inf)),
        ("optimizer.iteration", np.float64(2.0**63)),
        ("iteration", np.array([3])),
        ("seed", np.int64(-1)),
        ("seed", np.float64(2.0**64)),
        ("theta", np.full(25, np.nan)),
        ("theta", np.full(25, 1j)),
    ],
)
def test_arrays_of_a_checkpoint_that_do_not_fit_are_refused(tmp_path, name, array):
    path, problem = tmp_path / "c.npz", line()
    settings = {"n_points": 16, "n_iter": 3, "rng": 0, "checkpoint": path}
    fastcl.learn(problem.prior, problem.sketch, problem.domain, **settings)
    kind, arrays = files.read_npz(path, "checkpoint")
    array = np.resize(array, arrays["theta"].size) if np.size(array) == 25 else array
    files.write_npz(path, kind, arrays | {name: array})
    with pytest.raises(ValueError, match="is damaged or incomplete"):
        fastcl.learn(line().prior, problem.sketch, problem.domain, **settings)
