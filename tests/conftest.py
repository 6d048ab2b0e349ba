"""Fixtures that all tests share, and the order and the markers of the tests."""

import os

# Results must not depend on the number of threads: run two at least. Numba reads this once.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

import background
import commands
import numpy as np
import pytest
from backends import BACKENDS, open_backend

import fastcl
from fastcl.kernels import threads


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
def on_threads(monkeypatch):
    """A function of `call` that returns the results of call() on one thread and on two."""
    monkeypatch.setattr(threads, "MIN_COST", 0)  # even the smallest call is shared
    default = fastcl.get_num_threads()

    def run(call):
        results = []
        for count in (1, 2):
            fastcl.set_num_threads(count)
            results.append(call())
        return results

    yield run
    fastcl.set_num_threads(default)
