"""Passes that are interrupted anywhere and resumed, with every point counted once."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from passes import Interrupted, Sliced, Stop, read_images, stop_at, write_images
from pictures import do_little

import fastcl
from fastcl.cli import commands
from fastcl.cli.main import main
from fastcl.data import sources
from fastcl.sketching import sketch

ROWS = 1000


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=2, scale=0.7, rng=1)


@pytest.fixture
def x(rng):
    return rng.standard_normal((ROWS, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(sources, "GROUP_ROWS", 128)


# ---- interruptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
@pytest.mark.parametrize("every", [1, 300, 10_000])
def test_a_resumed_pass_is_bitwise_identical_to_an_unbroken_one(tmp_path, x, omega, every, error):
    path = tmp_path / "state.npz"
    given = {"checkpoint": path, "checkpoint_every": every}
    whole = fastcl.sketch(x, omega)
    for after, counted in ((500, 512), (800, 896)):
        with pytest.raises(error):
            fastcl.sketch(Interrupted(x, after, error), omega, **given)
        state = fastcl.Sketch.load(path)  # a sketch like any other, of the first points
        assert state.count == counted
        assert not state.pass_state.complete
        expected = fastcl.sketch(x[:counted], omega).values
        np.testing.assert_allclose(state.values, expected, rtol=1e-15)
    source = Sliced(x)
    sk = fastcl.sketch(source, omega, **given)
    assert source.read == ROWS - 896 + min(ROWS, sources.PROBES)
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, whole.values)


def test_an_interruption_says_what_was_kept(tmp_path, x, omega):
    source = Interrupted(x, 500, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt, match=r"first 512 points are kept in '.*state\.npz'"):
        fastcl.sketch(source, omega, checkpoint=tmp_path / "state.npz")


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("place", range(0, 9))
def test_an_interruption_before_or_after_any_part_loses_nothing(
    tmp_path, monkeypatch, x, omega, place, counted
):
    path = tmp_path / "state.npz"
    with monkeypatch.context() as patch:
        stop_at(patch, place, counted=counted)
        if place:
            with pytest.raises(KeyboardInterrupt):
                fastcl.sketch(x, omega, checkpoint=path)
    assert path.exists() == (place + counted > 1)
    sk = fastcl.sketch(x, omega, checkpoint=path)
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, fastcl.sketch(x, omega).values)


def add_interrupted(sk, sums, instruction):
    """Whether `add_sums` was interrupted, if KeyboardInterrupt comes at that instruction of it."""
    left = instruction

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code is not fastcl.Sketch.add_sums.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        sk.add_sums(sums, ROWS)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_no_interruption_separates_the_sums_from_their_count(monkeypatch, x, omega):
    """Ctrl-C may come between any two instructions: here at each one of `add_sums` in turn."""
    # Python itself does not interrupt the ends of a `with` block, where a lock would stay held.
    monkeypatch.setattr(sketch, "STATE_LOCK", threading.RLock())
    sums = fastcl.Sketch(omega).sum_rows(x)
    counts = set()
    instruction = 0
    stopped = True
    while stopped:
        sk = fastcl.Sketch(omega)
        stopped = add_interrupted(sk, sums, instruction)
        np.testing.assert_array_equal(sk.total, sums if sk.count else np.zeros_like(sums))
        counts.add(sk.count)
        instruction += 1
    assert counts == {0, ROWS}
    assert instruction > 30  # there were that many


SCRIPT = """
import sys, time, numpy as np, fastcl
from fastcl.data import sources
sources.GROUP_ROWS = 128
x, omega = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])

class Slow:
    shape, dtype = x.shape, x.dtype

    def __getitem__(self, index):
        if index.start >= 500 and index.stop - index.start > 1:
            print("half", flush=True)
            time.sleep(60)
        return x[index]

fastcl.sketch(Slow(), omega, checkpoint=sys.argv[3], checkpoint_every=100)
"""


def test_a_killed_pass_resumes(tmp_path, x, omega):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "omega.npy", omega)
    paths = [str(tmp_path / name) for name in ("x.npy", "omega.npy", "state.npz")]
    command = [sys.executable, "-c", SCRIPT, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        os.kill(child.pid, signal.SIGKILL)
    assert fastcl.Sketch.load(tmp_path / "state.npz").count == 512
    sk = fastcl.sketch(x, omega, checkpoint=tmp_path / "state.npz")
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, fastcl.sketch(x, omega).values)


# ---- chunks --------------------------------------------------------------------------------------


def test_chunks_resume_behind_those_that_were_counted(tmp_path, x, omega):
    path = tmp_path / "state.npz"

    def chunks(stop=None):
        for start in range(0, ROWS, 190):
            if start == stop:
                raise Stop
            yield x[start : start + 190]

    whole = fastcl.sketch(chunks(), omega)
    with pytest.raises(Stop):
        fastcl.sketch(chunks(570), omega, checkpoint=path, checkpoint_every=1)
    sk = fastcl.sketch(chunks(), omega, checkpoint=path)
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, whole.values)


def test_chunks_that_end_early_are_not_the_same_data(tmp_path, x, omega):
    path = tmp_path / "state.npz"

    def broken():
        yield x[:500]
        raise Stop

    with pytest.raises(Stop):
        fastcl.sketch(broken(), omega, checkpoint=path)
    with pytest.raises(ValueError, match="x ended 100 points short of"):
        fastcl.sketch([x[:400]], omega, checkpoint=path)
    assert fastcl.Sketch.load(path).count == 500


# ---- what a checkpoint is and is not -------------------------------------------------------------


def test_progress_counts_points_from_where_the_pass_resumes(tmp_path, monkeypatch, x, omega):
    bars = []

    class Bar:
        def __init__(self, show, total, title, unit, initial):
            self.given = (show, total, unit, initial)
            self.counts = []
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            self.counts.append(count)

    monkeypatch.setattr("fastcl.sketching.checkpoint.progress_bar", Bar)
    path = tmp_path / "state.npz"
    with pytest.raises(Stop):
        fastcl.sketch(Interrupted(x, 500, Stop), omega, progress=True, checkpoint=path)
    fastcl.sketch(x, omega, progress=True, checkpoint=path)
    fastcl.sketch(iter([x]), omega)
    assert [bar.given for bar in bars] == [
        (True, 1000, "point", 0),
        (True, 1000, "point", 512),
        (False, None, "point", 0),
    ]
    assert [sum(bar.counts) for bar in bars] == [512, 488, 1000]


def test_a_complete_pass_reads_nothing_again(tmp_path, x, omega):
    path = tmp_path / "state.npz"
    source = Sliced(x)
    first = fastcl.sketch(x, omega, checkpoint=path)
    again = fastcl.sketch(source, omega, checkpoint=path)
    assert source.read == min(ROWS, sources.PROBES)
    np.testing.assert_array_equal(again.values, first.values)
    assert again.pass_state.complete


def test_a_checkpoint_of_other_data_or_frequencies_is_refused_and_kept(tmp_path, x, omega):
    path = tmp_path / "state.npz"
    with pytest.raises(Stop):
        fastcl.sketch(Interrupted(x, 500, Stop), omega, checkpoint=path)
    before = path.read_bytes()
    for other in (x[:-1], x.astype(np.float64), x + 1, [x]):
        with pytest.raises(ValueError, match=r"state\.npz' belongs to other data"):
            fastcl.sketch(other, omega, checkpoint=path)
    with pytest.raises(ValueError, match=r"state\.npz' belongs to other frequencies"):
        fastcl.sketch(x, omega + 1, checkpoint=path)
    assert path.read_bytes() == before
    fastcl.sketch(x[:10], omega).save(path)
    with pytest.raises(ValueError, match="belongs to other data"):
        fastcl.sketch(x, omega, checkpoint=path)
    fastcl.Sketch.load(path).update(x).save(path)  # no longer the state of a pass
    with pytest.raises(ValueError, match="belongs to other data"):
        fastcl.sketch(x, omega, checkpoint=path)


def test_a_resumed_pass_keeps_the_method_of_the_call(tmp_path, x, omega):
    path = tmp_path / "state.npz"
    given = {"method": "direct", "accuracy": 1e-5, "checkpoint": path}
    fastcl.sketch(x, omega, **given)
    sk = fastcl.sketch(x, omega, **given)
    assert (sk.method, sk.accuracy) == ("direct", 1e-5)


@pytest.mark.parametrize("name", ["data", "complete", "seed"])
def test_a_damaged_state_of_a_pass_is_refused(tmp_path, x, omega, name):
    arrays = fastcl.sketch(x, omega, checkpoint=tmp_path / "state.npz").to_arrays()
    assert fastcl.Sketch.from_arrays(arrays).pass_state.complete
    member = f"partial.{name}"
    missing = {key: array for key, array in arrays.items() if key != member}
    strange = (np.nan, np.zeros((0, 3)), 1j, [True, False])
    for damaged in (missing, *(arrays | {member: value} for value in strange)):
        with pytest.raises(ValueError, match="state of its pass is damaged"):
            fastcl.Sketch.from_arrays(damaged)


def test_updates_and_merges_are_no_longer_a_pass(tmp_path, x, omega):
    sk = fastcl.sketch(x, omega, checkpoint=tmp_path / "state.npz")
    assert (sk + sk).pass_state is None
    assert sk.update(x).pass_state is None


# ---- images, and the command line ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["arrays", "folder"])
def test_a_pass_over_images_resumes_where_it_stopped(tmp_path, monkeypatch, kind):
    do_little(monkeypatch)
    monkeypatch.setattr("fastcl.data.patches.CHUNK_PATCHES", 100)  # several bands per image
    folder = write_images(tmp_path / "images")
    images = folder if kind == "folder" else read_images(folder)
    whole = fastcl.sketch_images(images, 3, 20, rng=0)
    path = tmp_path / "state.npz"
    given = {"patch": 3, "m": 20, "rng": 0, "checkpoint": path, "checkpoint_every": 1}
    stop_at(monkeypatch, 7, 12)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="patches are kept"):
            fastcl.sketch_images(images, **given)
    for other in ({"m": 21}, {"rng": 1}, {"images": read_images(folder)[:2]}):
        with pytest.raises(ValueError, match=r"other (signals|settings)"):
            fastcl.sketch_images(**{"images": images} | given | other)
    result = fastcl.sketch_images(images, **given)
    assert result.sketch.count == whole.sketch.count
    np.testing.assert_array_equal(result.sketch.values, whole.sketch.values)
    assert result.sketch.pass_state.complete


@pytest.mark.parametrize("dim", [2, 5])
def test_the_same_command_resumes_an_interrupted_sketch(tmp_path, monkeypatch, capsys, rng, dim):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", rng.standard_normal((ROWS, dim)))
    assert main(["sketch", "x.npy", "-o", "whole.npz", "-m", "20"]) == 0
    stop_at(monkeypatch, 4)
    capsys.readouterr()
    assert main(["sketch", "x.npy", "-o", "s.npz", "-m", "20"]) == 130
    assert "the first 384 points are kept in 's.partial.npz'" in capsys.readouterr().err
    assert not os.path.exists("s.npz")
    assert main(["sketch", "x.npy", "-o", "s.npz", "-m", "21"]) == 2
    assert "belongs to other frequencies" in capsys.readouterr().err
    assert main(["sketch", "x.npy", "-o", "s.npz", "-m", "20"]) == 0
    assert not os.path.exists("s.partial.npz")
    one, other = (fastcl.load(name).to_arrays() for name in ("whole.npz", "s.npz"))
    assert one.keys() == other.keys()
    for name in one.keys() - {"privacy.identities"}:  # which are random
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_command_resumes_once_bad_rows_are_mended(tmp_path, monkeypatch, x, bad):
    monkeypatch.setattr(commands, "SAMPLE_ROWS", 10)  # does not see the bad row
    data, out = tmp_path / "data.npy", tmp_path / "out.npz"
    command = ["sketch", str(data), "-o", str(out), "-m", "20", "--scale", "0.5"]
    np.save(data, x)
    assert main(command) == 0
    whole = fastcl.Sketch.load(out)
    out.unlink()
    broken = x.copy()
    broken[700, 1] = bad
    np.save(data, broken)
    assert main(command) == 2
    assert fastcl.Sketch.load(commands.partial_path(out)).count == 640
    np.save(data, x)
    assert main(command) == 0
    mended = fastcl.Sketch.load(out)
    np.testing.assert_array_equal(mended.values, whole.values)
    np.testing.assert_array_equal(mended.domain.low, whole.domain.low)
    np.testing.assert_array_equal(mended.domain.high, whole.domain.high)
