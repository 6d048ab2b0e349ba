"""Sketches of dask arrays: the same bits under every scheduler, whatever dies on the way."""

import os
import subprocess
import sys

import naive
import numba
import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl.sketching.dask import sum_of_block

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
cloudpickle = pytest.importorskip("cloudpickle")

EPS = np.finfo(np.float64).eps
SCHEDULERS = ["synchronous", "threads", "processes"]


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=3, scale=0.7, rng=1)


@pytest.fixture
def x(rng):
    return rng.standard_normal((1003, 3))


def combine(blocks, omega):
    """What the tasks and their tree have to give, in one process and in obvious loops: sums and count."""
    parts = []
    for block in blocks:
        sketch = fastcl.Sketch(omega, method="direct")
        parts.append(
            (sketch.update(block).total, len(block))
            if len(block)
            else (np.zeros(len(omega), complex), 0)
        )
    while len(parts) > 1:
        groups = [parts[start : start + 8] for start in range(0, len(parts), 8)]
        parts = []
        for group in groups:
            total, count = group[0]
            for sums, rows in group[1:]:
                total, count = total + sums, count + rows
            parts.append((total, count))
    return parts[0]


def assert_same_bits(sketch, blocks, omega):
    total, count = combine(blocks, omega)
    assert sketch.count == count
    assert np.array_equal(sketch.values, total / count)


def in_blocks(x, rows):
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def sketch_synchronously(*arguments, **options):
    with dask.config.set(scheduler="synchronous"):
        return fastcl.sketch(*arguments, **options)


# ---- the same bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_gives_the_bits_of_one_process(x, omega, scheduler, dtype):
    x = x.astype(dtype)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sk = fastcl.sketch(
            da.from_array(x, chunks=(50, 3)), omega
        )  # 21 blocks: a tree of three levels
    assert_same_bits(sk, in_blocks(x, 50), omega)
    assert np.array_equal(sk.omega, omega)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_sketch_of_the_array(x, omega, dtype):
    """Two sums of the same rounded features: mean errors of either, and eps for each of the eight of a task and three levels."""
    x = x.astype(dtype)
    sk, whole = (
        sketch_synchronously(da.from_array(x, chunks=(50, 3)), omega),
        fastcl.sketch(x, omega),
    )
    bound = 2 * naive.feature_error(x, omega, np.finfo(dtype).eps).mean(axis=0) + 3 * 8 * EPS
    assert_within(sk.values, whole.values, bound)
    assert (sk.count, sk.dim) == (1003, 3)
    assert (sk + whole).count == sk.update(x).count == 2006  # it is a sketch like any other


def test_one_block_has_the_bits_of_the_array(x, omega):
    assert np.array_equal(
        sketch_synchronously(da.from_array(x, chunks=-1), omega).values,
        fastcl.sketch(x, omega).values,
    )


@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
@pytest.mark.parametrize(
    ("dim", "options"),
    [(3, {"structure": "harmonic", "harmonics": 4}), (100, {"structure": "hadamard"})],
)
def test_structured_frequencies_travel(rng, scheduler, dim, options):
    x, omega = (
        rng.standard_normal((300, dim)),
        fastcl.draw_frequencies(512, dim, 5.0, rng=1, **options),
    )
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sk = fastcl.sketch(da.from_array(x, chunks=(100, dim)), omega)
    assert_same_bits(sk, in_blocks(x, 100), omega)
    assert sk.omega == omega


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("bits", [1, 3])
def test_quantised_features_are_those_of_the_array_to_the_bit(x, omega, scheduler, bits):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sk = fastcl.sketch(da.from_array(x, chunks=(50, 3)), omega, bits=bits, rng=5)
    whole = fastcl.sketch(
        x, omega, bits=bits, rng=5
    )  # levels are whole numbers: the order of sums is no matter
    assert np.array_equal(sk.values, whole.values)
    assert (sk.count, sk.bits, sk.fingerprint) == (1003, bits, whole.fingerprint)
    assert np.array_equal((sk + whole).values, sk.values)


def test_finufft_is_taken_by_name_alone(monkeypatch, x):
    pytest.importorskip("finufft")
    omega, array = (
        fastcl.draw_frequencies(40, dim=3, scale=0.7, rng=1),
        da.from_array(x, chunks=(500, 3)),
    )
    direct = sketch_synchronously(array, omega, method="direct").values
    monkeypatch.setattr("fastcl.fourier.methods.MIN_PAIRS", 0)
    monkeypatch.setattr("fastcl.fourier.methods.is_cheaper", lambda *arguments: True)
    assert np.array_equal(sketch_synchronously(array, omega).values, direct)
    other = sketch_synchronously(array, omega, method="nufft").values
    assert (
        0 < np.abs(other - direct).max() < 2e-12
    )  # the accuracy of the sum, and of the direct one less


# ---- blocks of all kinds ----------------------------------------------------------------------------------------


def test_unknown_and_empty_blocks_are_read(x, omega):
    x[100:200, 0] = -50  # the third and the fourth block keep nothing
    array = da.from_array(x, chunks=(50, 3))
    kept = array[array[:, 0] > -10]
    assert np.isnan(kept.shape[0])
    assert_same_bits(
        sketch_synchronously(kept, omega),
        [block[block[:, 0] > -10] for block in in_blocks(x, 50)],
        omega,
    )
    assert_same_bits(
        sketch_synchronously(da.from_array(x, chunks=((0, 3, 0, 1000), 3)), omega),
        [x[:0], x[:3], x[:0], x[3:]],
        omega,
    )


def test_blocks_of_columns_are_joined(x, omega):
    array = da.from_array(x, chunks=(100, 2))
    assert_same_bits(sketch_synchronously(array, omega), in_blocks(x, 100), omega)
    assert_same_bits(
        sketch_synchronously(array[array[:, 0] > -9], omega), in_blocks(x, 100), omega
    )  # rows unknown


@pytest.mark.parametrize("change", [
    lambda block: (9 * block).astype(np.int16), lambda block: block > 0, lambda block: block.astype(np.float16),
    lambda block: block.astype(">f8"), np.asfortranarray, lambda block: (9 * block).astype(int).tolist(),
])  # fmt: skip
def test_blocks_are_whatever_an_array_can_be(x, omega, change):
    array = da.from_array(x, chunks=(300, 3)).map_blocks(change, dtype=float, meta=np.empty((0, 0)))
    assert_same_bits(
        sketch_synchronously(array, omega),
        [np.asarray(change(block)) for block in in_blocks(x, 300)],
        omega,
    )


# ---- what tasks hold --------------------------------------------------------------------------------------------


def test_the_frequencies_are_in_the_graph_once(x):
    omega, graphs = fastcl.draw_frequencies(5000, dim=3, scale=0.7, rng=1), []
    with dask.callbacks.Callback(start=lambda graph: graphs.append(dict(graph))):
        sketch_synchronously(da.ones((640, 3), chunks=(10, 3)), omega)
    assert len(graphs[0]) == 1 + 64 + 8 + 1  # reading a block and summing it are one task
    sizes = sorted(len(cloudpickle.dumps(task)) for task in graphs[0].values())
    assert sizes[-2] < omega.nbytes / 10 < omega.nbytes < sizes[-1]


def test_tasks_have_one_thread_and_give_it_back(monkeypatch, x, omega):
    seen, add, array = [], fastcl.Sketch.sum_rows, da.from_array(x, chunks=(200, 3))
    monkeypatch.setattr(
        fastcl.Sketch,
        "sum_rows",
        lambda *args: (seen.append(numba.get_num_threads()), add(*args))[1],
    )
    before = numba.get_num_threads()
    assert before > 1
    with dask.config.set(scheduler="threads"):
        fastcl.sketch(array, omega)
    assert seen == 6 * [1]
    sketch_synchronously(array, omega)  # one task after the other has all that the caller has
    assert seen[6:] == 6 * [before]
    bad = np.full((3, 3), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        sum_of_block(bad, fastcl.Sketch(omega), 1, (0, 0))
    assert numba.get_num_threads() == before


WORKQUEUE = """
import dask, dask.array, numba, numpy as np, fastcl
omega = fastcl.draw_frequencies(500, dim=3, scale=0.7, rng=1)
with dask.config.set(scheduler="threads", num_workers=4):
    sk = fastcl.sketch(dask.array.ones((40_000, 3), chunks=(1000, 3)), omega)
assert numba.threading_layer() == "workqueue"
print(sk.count)
"""


def test_threads_take_turns_where_the_layer_of_numba_would_abort():
    done = run_script(["-c", WORKQUEUE], NUMBA_THREADING_LAYER="workqueue")
    assert done.stdout.split() == ["40000"]


def run_script(arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# ---- what is refused, and what is shown -------------------------------------------------------------------------


def never(block):
    raise AssertionError("a block was computed")


def unread(shape, dtype=float):
    return da.ones(shape, chunks=3).map_blocks(
        never, dtype=dtype, meta=np.empty((0,) * len(shape), dtype)
    )


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (unread((10, 2)), ValueError, "x must have 3 columns, got 2"),
        (unread((10,)), ValueError, r"x must be 2-D .* pass x\[:, None\]"),
        (unread((10, 3, 3)), ValueError, "x must be 2-D"),
        (unread(()), ValueError, "x must be 2-D"),
        (unread((0, 3)), ValueError, "x is empty"),
        (unread((10, 3), complex), TypeError, "x must be real"),
        (unread((10, 3), object), TypeError, "x must hold numbers"),
        (unread((10, 3))[:, unread((3,)) > 0], ValueError, "x has an unknown number of columns"),
        (dask.delayed(never)(0), TypeError, "x is a dask Delayed"),
        ([unread((10, 3))], TypeError, "x is a dask array, which only fastcl.sketch reads"),
    ],
)
def test_bad_arrays_are_refused_before_anything_is_computed(omega, x, error, match):
    with pytest.raises(error, match=match):
        fastcl.sketch(x, omega)


def test_what_makes_no_sense_is_refused(tmp_path, omega, device):
    with pytest.raises(ValueError, match="checkpoint"):
        fastcl.sketch(unread((10, 3)), omega, checkpoint=tmp_path / "s.npz")
    with pytest.raises(TypeError, match="omega is a CuPy array"):
        fastcl.sketch(unread((10, 3)), device.array(omega))
    with pytest.raises(ValueError, match="accuracy must be at least"):
        fastcl.sketch(unread((10, 3), np.float32), omega, accuracy=1e-12)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_bad_block_is_an_error_of_one_line(x, omega, scheduler):
    x[555, 1] = np.nan
    with (
        dask.config.set(scheduler=scheduler, num_workers=2),
        pytest.raises(ValueError, match=r"^x holds NaN or infinity in row 55 \(block 5 of x\)$"),
    ):
        fastcl.sketch(da.from_array(x, chunks=(100, 3)), omega)


def test_blocks_that_are_not_what_was_said_are_refused(x, omega):
    array = da.from_array(x, chunks=(100, 3))
    wide = array.map_blocks(lambda block: np.ones((3, 4)), dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(ValueError, match="x must have 3 columns, got 4"):
        sketch_synchronously(wide, omega)
    with pytest.raises(ValueError, match="x is empty: its blocks have no rows"):
        sketch_synchronously(array[array[:, 0] > 100], omega)


def test_other_functions_say_what_to_do(x, omega):
    array = da.from_array(x)
    for call in (
        lambda: fastcl.feature_sum(array, omega),
        lambda: fastcl.Sketch(omega).update(array),
    ):
        with pytest.raises(
            TypeError,
            match=r"x is a dask array, which only fastcl.sketch reads: pass x.compute\(\)",
        ):
            call()


def test_progress_is_that_of_dask(monkeypatch, x, omega, capsys):
    bars, bar = [], pytest.importorskip("dask.diagnostics").ProgressBar
    monkeypatch.setattr(
        "dask.diagnostics.ProgressBar", lambda minimum: (bars.append(minimum), bar(minimum=0))[1]
    )
    sketch_synchronously(da.from_array(x), omega, progress=True)
    assert bars == [2]
    assert "100% Completed" in capsys.readouterr().out


# ---- a cluster, and the death of a worker -----------------------------------------------------------------------

CLUSTER = """
import os, signal, sys, threading, time
from pathlib import Path

import dask, dask.array as da, numpy as np
from distributed import Client, LocalCluster

import fastcl

FOLDER, BLOCKS = Path(sys.argv[1]), 40


def make_block(block_id):
    (FOLDER / f"{block_id[0]}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.05)
    return np.random.default_rng(block_id[0]).standard_normal((500, 3)).astype(np.float32)


def kill_half_way(pid, killed):
    while len(list(FOLDER.iterdir())) < BLOCKS // 2:
        time.sleep(0.01)
    killed.append(len(list(FOLDER.iterdir())))
    os.kill(pid, signal.SIGKILL)


def markers(pid):
    return [path for path in FOLDER.iterdir() if path.name.split("-")[1] == str(pid)]


if __name__ == "__main__":
    omega = fastcl.draw_frequencies(200, dim=3, scale=0.7, rng=1)
    x = da.map_blocks(make_block, chunks=((500,) * BLOCKS, (3,)), dtype=np.float32, meta=np.empty((0, 0), np.float32))
    with dask.config.set(scheduler="synchronous"):
        alone = fastcl.sketch(x, omega)
    for path in FOLDER.iterdir():
        path.unlink()
    options = {"host": "127.0.0.1", "dashboard_address": None, "local_directory": sys.argv[2]}
    with LocalCluster(n_workers=2, processes=True, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
        victim, other = client.run(os.getpid).values()
        killed = []
        killer = threading.Thread(target=kill_half_way, args=(victim, killed))
        killer.start()
        sk = fastcl.sketch(x, omega)
        killer.join()
        assert victim not in client.run(os.getpid).values(), "the worker lives"
        assert markers(victim), "the worker had done nothing"
        done = len(list(FOLDER.iterdir()))
        assert killed[0] < BLOCKS < done, f"{killed[0]} blocks at the kill, {done} with those computed again"
        assert sk.count == alone.count == 500 * BLOCKS
        assert np.array_equal(sk.values, alone.values), "other bits"
        bad = da.from_array(np.full((9, 3), np.nan), chunks=(3, 3))
        try:
            fastcl.sketch(bad, omega)
        except ValueError as error:
            print(error)
"""


def test_the_death_of_a_worker_leaves_the_bits_alone(tmp_path):
    """A worker of two is killed when half of the blocks have been started: its own are computed again, by others."""
    pytest.importorskip("distributed")
    script, folder = tmp_path / "script.py", tmp_path / "blocks"
    script.write_text(CLUSTER)
    folder.mkdir()
    done = run_script([str(script), str(folder), str(tmp_path / "workers")])
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("x holds NaN or infinity in row 0 (block ")
