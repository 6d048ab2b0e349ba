"""Fixtures that all tests share, and the order and the markers of the tests."""

import os

# Results must not depend on the number of threads, so every machine runs two. Numba reads this once.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

import background
import commands
import cuda_host
import numba
import numpy as np
import pytest

from fastcl import backend as backends
from fastcl.kernels import cuda


class Backend:
    """Where a test runs: "numba", "cuda-host" (CUDA kernels built for the CPU) or "cuda" (a GPU)."""

    def __init__(self, name, module=None):
        self.name, self.module = name, module

    def array(self, array):
        """A NumPy array as an array of the backend; anything else unchanged."""
        if self.module is None or not isinstance(array, np.ndarray):
            return array
        return self.module.asarray(array)

    def host(self, array):
        """An array of the backend as a NumPy array."""
        assert isinstance(array, np.ndarray if self.module is None else self.module.ndarray)
        return array if self.module is None else array.get()


def has_device():
    """Whether CuPy is installed and finds a GPU."""
    try:
        return backends.cupy().cuda.is_available()
    except ImportError:
        return False


BACKENDS = ["numba", "cuda-host", *(["cuda"] if has_device() else [])]


def open_backend(name, monkeypatch):
    """Yield the `Backend` of that name; it is in use until the generator goes on."""
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


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items):
    """Add the markers that depend on the case, and run last what waits for the others."""
    for item in items:
        case = item.callspec.params if hasattr(item, "callspec") else {}
        if not {"cuda-host", "cuda"}.isdisjoint(map(str, case.values())):
            item.add_marker("device")
        for mark in item.iter_markers("again"):
            if all(case[name] == value for name, value in mark.kwargs.items()):
                item.add_marker(mark.args[0])
    items.sort(key=lambda item: item.get_closest_marker("background") is not None)
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_collection_finish(session):
    for item in session.items:
        for mark in item.iter_markers("background"):
            background.start(mark.kwargs["job"])


def pytest_sessionfinish():
    background.stop()


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Each backend in turn."""
    yield from open_backend(request.param, monkeypatch)


@pytest.fixture(params=BACKENDS[1:])
def device(request, monkeypatch):
    """Each backend in turn that runs CUDA kernels."""
    yield from open_backend(request.param, monkeypatch)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder in which every command has been run, for tests that do not change its files."""
    folder = tmp_path_factory.mktemp("cli")
    commands.fill(folder)
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def on_threads():
    """A function of `call` that returns the results of call() on one thread and on two."""
    default = numba.get_num_threads()

    def run(call):
        results = []
        for count in (1, 2):
            numba.set_num_threads(count)
            results.append(call())
        return results

    yield run
    numba.set_num_threads(default)
