"""CUDA kernels on the CPU: `host.h` lets g++ build the `.cu` files, `cupy` stands in for CuPy.

`cupy` is what the tests use, made of `kernels`, `arrays` and `streams`.
"""

from .arrays import DeviceArray, Memory
from .cupy import module
from .kernels import COMPILER, HostKernel, build
from .streams import Graph, Stream

__all__ = [
    "COMPILER",
    "DeviceArray",
    "Graph",
    "HostKernel",
    "Memory",
    "Stream",
    "build",
    "module",
]
