import functools
import os
import subprocess
import sys
from pathlib import Path

# Results must not depend on the number of threads: let every machine run two, before Numba counts the cores.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

import commands
import cuda_host
import numba
import numpy as np
import pytest

from fastcl import backend as backends
from fastcl.kernels import cuda

TESTS = Path(__file__).parent


class Backend:
    """Where a test runs: "numba", "cuda-host" (the CUDA kernels built for the CPU) or "cuda" (a device)."""

    def __init__(self, name, module=None):
        self.name, self.module = name, module

    def array(self, array):
        """A NumPy array as an array of the backend; anything else as it is."""
        return (
            array
            if self.module is None or not isinstance(array, np.ndarray)
            else self.module.asarray(array)
        )

    def host(self, array):
        """An array of the backend as a NumPy array."""
        assert isinstance(array, np.ndarray if self.module is None else self.module.ndarray)
        return array if self.module is None else array.get()


def has_device():
    """Whether CuPy and a device are there."""
    try:
        return backends.cupy().cuda.is_available()
    except ImportError:
        return False


BACKENDS = ["numba", "cuda-host", *(["cuda"] if has_device() else [])]


def open_backend(name, monkeypatch):
    """The `Backend` of that name, for as long as the generator lives."""
    if name == "numba":
        yield Backend(name)
        return
    if name == "cuda-host":
        if cuda_host.COMPILER is None:
            pytest.skip("g++ is missing: the CUDA kernels cannot be built for the CPU")
        monkeypatch.setattr(cuda, "cupy", lambda: cuda_host.module)
    cuda.function.cache_clear()
    yield Backend(name, backends.cupy())
    cuda.function.cache_clear()


def pytest_collection_modifyitems(items):
    """What looks back on the launches of all other tests comes last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Every backend present, for a test of what all of them do."""
    yield from open_backend(request.param, monkeypatch)


@pytest.fixture(params=BACKENDS[1:])
def device(request, monkeypatch):
    """Every backend present but that of the host."""
    yield from open_backend(request.param, monkeypatch)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder in which every command has been run, for tests that leave its files alone."""
    folder = tmp_path_factory.mktemp("cli")
    commands.fill(folder)
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def on_threads():
    """A function that gives what `call()` returns on one thread and on two."""
    default = numba.get_num_threads()

    def run(call):
        results = []
        for count in (1, 2):
            numba.set_num_threads(count)
            results.append(call())
        return results

    yield run
    numba.set_num_threads(default)


@pytest.fixture
def run_tests(tmp_path):
    """A function that runs the named tests in a process with other settings in its environment, from an empty kernel cache."""

    def run(*tests, **settings):
        environment = {**os.environ, **settings, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        done = subprocess.run(
            command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{len(tests)} passed" in done.stdout

    return run


@pytest.fixture
def run_with_bounds_checks(run_tests):
    """A function that runs the named tests with compiled code that checks every index.

    An index error inside a parallel loop is not raised: it ends the block, and the result is then wrong.
    """
    return functools.partial(run_tests, NUMBA_BOUNDSCHECK="1")
