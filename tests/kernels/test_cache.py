"""The cache of compiled kernels: never stale, never half written, and not needed."""

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest

import fastcl
from fastcl.kernels import cache

PACKAGE = Path(fastcl.__file__).parent
PROGRAM = """
import numpy as np, fastcl
x = np.linspace(-1, 1, 62).reshape(31, 2)
print(fastcl.feature_sum(x, x[:9], method="direct").tobytes().hex())
"""


def twice(x):
    return 2 * x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the cache, empty."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    cache.warn_once.cache_clear()
    return tmp_path


def hits(argument=1.0):
    """How many entries a new dispatcher finds for one call."""
    dispatcher = cache.cached_jit()(twice)
    assert dispatcher(argument) == 2 * argument
    return sum(dispatcher.stats.cache_hits.values())


def start(folder, package=PACKAGE):
    """A process that computes a sum with its cache in `folder`."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(package.parent)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        cwd=package.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def result(process):
    """The sum of a process of `start`."""
    out, error = process.communicate(timeout=200)
    assert (process.returncode, error) == (0, b"")
    return np.frombuffer(bytes.fromhex(out.decode()), complex)


def expected():
    x = np.linspace(-1, 1, 62).reshape(31, 2)
    return fastcl.feature_sum(x, x[:9], method="direct")


def test_an_entry_serves_the_types_that_it_was_compiled_for(folder):
    assert [hits(), hits(), hits(1), hits(1)] == [0, 1, 0, 1]
    assert len(list(folder.rglob("*.kernel"))) == 2
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("key", ["sources", "versions", "processor"])
def test_an_entry_is_not_used_by(folder, monkeypatch, key):
    assert [hits(), hits()] == [0, 1]
    with monkeypatch.context() as patch:
        if key == "processor":
            codegen = type(cache.cached_jit()(twice).targetctx.codegen())
            patch.setattr(codegen, "magic_tuple", lambda self: ("another",))
        elif key == "versions":
            patch.setattr(cache, "VERSIONS", ("another",))
        else:
            other = folder / "other"
            shutil.copytree(cache.FOLDER, other, ignore=shutil.ignore_patterns("__pycache__"))
            with open(other / "tile.py", "a") as file:
                file.write("# changed\n")
            patch.setattr(cache, "FOLDER", other)
        cache.sources_digest.cache_clear()
        assert hits() == 0
    cache.sources_digest.cache_clear()
    assert hits() == 1


@pytest.mark.parametrize("harm", ["empty", "cut", "bit", "other", "folder"])
def test_a_file_that_is_not_an_entry_is_compiled_again(folder, harm):
    assert [hits(), hits()] == [0, 1]
    (path,) = folder.rglob("*.kernel")
    content = path.read_bytes()
    if harm == "folder":
        path.unlink()
        path.mkdir()
        with pytest.warns(RuntimeWarning, match="compiled kernels cannot be kept"):
            assert hits() == 0
        return
    changed = bytes([content[1000] ^ 1])
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-1],
            "bit": content[:1000] + changed + content[1001:],
            "other": b"not a kernel",
        }[harm]
    )
    assert [hits(), hits()] == [0, 1]


@pytest.mark.parametrize("place", ["variable", "home"])
def test_without_a_place_kernels_are_compiled_and_one_warning_says_so(tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "folder")
    monkeypatch.setattr(numba.config, "CACHE_DIR", nowhere if place == "variable" else "")
    monkeypatch.setenv("XDG_CACHE_HOME", nowhere)
    monkeypatch.setenv("LOCALAPPDATA", nowhere)
    cache.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a folder") as caught:
        assert [hits(), hits(1)] == [0, 0]
    assert len(caught) == 1


def test_a_folder_that_cannot_be_written_is_read(folder, monkeypatch):
    assert [hits(), hits()] == [0, 1]

    def refuse(*names):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hits() == 1


@pytest.mark.slow
def test_a_change_of_one_file_compiles_the_kernels_of_all(tmp_path):
    package = tmp_path / "fastcl"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    np.testing.assert_array_equal(result(start(tmp_path, package)), expected())
    path = package / "kernels" / "lanes.py"
    text, add = path.read_text(), "return self.builder.fadd(self.multiply(a, b)"
    assert text.count(add) == 1
    path.write_text(text.replace(add, add.replace("fadd", "fsub")))
    assert np.abs(result(start(tmp_path, package)) - expected()).max() > 1


@pytest.mark.slow
def test_processes_may_fill_one_cache_at_once_and_be_killed(tmp_path):
    for delay in (0.8, 1.6, 2.4):
        killed, others = start(tmp_path), [start(tmp_path) for _ in range(2)]
        time.sleep(delay)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        for process in others:
            np.testing.assert_array_equal(result(process), expected())
        shutil.rmtree(tmp_path / os.listdir(tmp_path)[0])
