"""Files and results are whole after a full disk, a killed process or an interrupted run."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from problems import line, threads

import fastcl
from fastcl import files
from fastcl.learning import loop

ROOT = Path(__file__).parents[2]
OMEGA = np.ones((40, 2))
OLD, NEW = (fastcl.sketch(value * np.ones((3, 2)), OMEGA) for value in (1, 2))


class SmallDisk(io.FileIO):
    """A file on a disk that has room for `room` bytes."""

    room = 0

    def write(self, data):
        if len(data) > self.room - self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def assert_old_is_intact(path):
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert np.array_equal(fastcl.Sketch.load(path).values, OLD.values)


@pytest.mark.parametrize("buffer", [1, 100, 1 << 20])
def test_a_disk_that_is_full_after_any_number_of_bytes_leaves_the_old_file(
    tmp_path, monkeypatch, buffer
):
    path = tmp_path / "s.npz"
    OLD.save(path)
    size = path.stat().st_size
    monkeypatch.setattr(
        os, "fdopen", lambda handle, mode: io.BufferedWriter(SmallDisk(handle, "w"), buffer)
    )
    for room in [*range(0, size, 61), size - 1]:
        monkeypatch.setattr(SmallDisk, "room", room)
        with pytest.raises(OSError, match="No space left"):
            NEW.save(path)
        assert_old_is_intact(path)
    monkeypatch.setattr(SmallDisk, "room", size)
    NEW.save(path)
    assert np.array_equal(fastcl.Sketch.load(path).values, NEW.values)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "s.npz"
    OLD.save(path)

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="Input/output"):
            NEW.save(path)
    assert_old_is_intact(path)


@pytest.mark.parametrize("step", ["chmod", "fchmod", "chown", "fchown", "fsync"])
def test_a_file_system_that_lacks_a_call_is_written_all_the_same(tmp_path, monkeypatch, step):
    path = tmp_path / "s.npz"

    def refuse(*arguments):
        raise OSError(errno.EINVAL if step == "fsync" else errno.EPERM, "refused")

    monkeypatch.setattr(os, step, refuse)
    for sketch in (OLD, NEW):
        sketch.save(path)
        assert np.array_equal(fastcl.Sketch.load(path).values, sketch.values)
    assert [file.name for file in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize("error", [errno.EBUSY, errno.EPERM])
def test_a_file_that_cannot_be_renamed_over_is_written_in_place(tmp_path, monkeypatch, error):
    path = tmp_path / "s.npz"
    path.write_bytes(bytes(1_000_000))  # longer than what comes

    def refuse(*names):
        raise OSError(error, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        NEW.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["s.npz"]
    assert np.array_equal(fastcl.Sketch.load(path).values, NEW.values)


def test_what_cannot_even_be_written_in_place_is_kept_beside_it(tmp_path, monkeypatch):
    path, replace = tmp_path / "s.npz", os.replace
    OLD.save(path)

    def refuse(source, target):
        if str(target) == str(path):
            raise OSError(errno.EBUSY, "busy")
        replace(source, target)

    def full_disk(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        patch.setattr(shutil, "copyfileobj", full_disk)
        with pytest.raises(OSError, match=r"No space left on device.*s\.complete\.npz"):
            NEW.save(path)
    kept = fastcl.Sketch.load(tmp_path / "s.complete.npz")
    assert np.array_equal(kept.values, NEW.values)


def mounted_alone(path):
    """Mounts a file over itself; skips the test where that is not allowed."""
    done = subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True)
    if done.returncode:
        pytest.skip("no mounts here")


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mounts here")
def test_a_file_that_is_mounted_alone_is_written(tmp_path):
    path = tmp_path / "s.npz"
    OLD.save(path)
    mounted_alone(path)
    try:
        NEW.save(path)
        assert np.array_equal(fastcl.Sketch.load(path).values, NEW.values)
    finally:
        subprocess.run(["umount", str(path)], check=True)
    assert np.array_equal(fastcl.Sketch.load(path).values, NEW.values)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_have_the_permissions_of_their_folder_and_keep_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)  # belongs to the whole process: not to be touched
    path, plain = tmp_path / "s.npz", tmp_path / "plain"
    plain.write_bytes(b"")
    OLD.save(path)
    assert path.stat().st_mode == plain.stat().st_mode
    for mode in (0o600, 0o640, 0o666):
        path.chmod(mode)
        NEW.save(path)
        assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_read_only_file_is_refused_before_any_work(tmp_path):
    path = tmp_path / "s.npz"
    OLD.save(path)
    path.chmod(0o444)
    with pytest.raises(PermissionError, match=r"s\.npz' is read-only"):
        files.check_writable(path)
    with pytest.raises(PermissionError, match=r"s\.npz' is read-only"):
        NEW.save(path)
    assert_old_is_intact(path)


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / f"{'ä' * 125}.npz"
    NEW.save(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, calls = tmp_path / "s.npz", []
    for step in ("fsync", "replace"):
        do = getattr(os, step)
        monkeypatch.setattr(
            os, step, lambda *given, step=step, do=do: (calls.append(step), do(*given))
        )
    NEW.save(path)
    assert calls == ["fsync", "replace"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_process_killed_before_the_renaming_leaves_the_old_file(tmp_path):
    path = tmp_path / "s.npz"
    OLD.save(path)
    program = (
        "import os, signal, sys, numpy as np\nfrom fastcl import files\n"
        "os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_npz(sys.argv[1], 'sketch', {'total': np.zeros(9)})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, timeout=100)
    assert done.returncode == -signal.SIGKILL
    assert np.array_equal(fastcl.Sketch.load(path).values, OLD.values)
    (left,) = (file.name for file in tmp_path.iterdir() if file != path)
    assert left.startswith(".s.npz.")
    assert left.endswith(".part")  # hidden, and with a suffix that no command reads
    NEW.save(path)
    assert np.array_equal(fastcl.Sketch.load(path).values, NEW.values)


@pytest.mark.parametrize("method", ["unbiased", "naive"])
def test_ten_resumes_at_random_steps_give_the_bits_of_an_unbroken_run(
    tmp_path, monkeypatch, method
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 7)
    path, n_iter, rng = tmp_path / "c.npz", 30, np.random.default_rng(3)

    def learn(checkpoint=None, stop=None, how=None):
        def callback(iteration, prior, value):
            if iteration == stop and how == "interrupt":
                raise KeyboardInterrupt
            return iteration == stop

        problem = line()
        settings = {
            "method": method,
            "n_points": 32,
            "n_iter": n_iter,
            "rng": 0,
        }
        return fastcl.learn(
            problem.prior,
            problem.sketch,
            problem.domain,
            checkpoint=checkpoint,
            callback=callback,
            **settings,
        )

    with threads(1):
        whole = learn()
        for number, stop in enumerate(np.sort(rng.choice(n_iter - 1, 10, replace=False))):
            how = ("interrupt", "stop", "copy")[number % 3]
            kept = tmp_path / "kept.npz"
            if how == "copy" and path.exists():  # resume later from this older file
                shutil.copy(path, kept)
            part = learn(path, stop, how)
            assert len(part.history["value"]) == stop + 1
            if how == "copy" and kept.exists():
                shutil.copy(kept, path)
        resumed = learn(path)
    assert np.array_equal(resumed.prior.theta, whole.prior.theta)
    for name in ("iteration", "value", "gradient_norm"):
        assert np.array_equal(resumed.history[name], whole.history[name])
