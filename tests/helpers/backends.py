"""The backends that tests run on."""

import cuda_host
import numpy as np
import pytest

from fastcl import backend
from fastcl.kernels import cuda


class Backend:
    """Where a test runs: "numba", "cuda" (a GPU) or "cuda-host" (CUDA kernels on the CPU)."""

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
        return backend.cupy().cuda.is_available()
    except ImportError:
        return False


BACKENDS = ["numba", "cuda-host", *(["cuda"] if has_device() else [])]


def open_backend(name, monkeypatch):
    """Yield the `Backend` of that name; it is in use until the generator resumes."""
    if name == "numba":
        yield Backend(name)
        return
    if name == "cuda-host":
        if cuda_host.COMPILER is None:
            pytest.skip("g++ is missing: the CUDA kernels cannot be built for the CPU")
        monkeypatch.setattr(cuda, "cupy", lambda: cuda_host.module)
    cuda.function.cache_clear()
    yield Backend(name, backend.cupy())
    cuda.function.cache_clear()
