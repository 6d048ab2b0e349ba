"""CUDA kernels on the CPU: `host.h` lets g++ build the `.cu` files, `cupy` stands in for the parts of CuPy in use."""

from .cupy import COMPILER, DeviceArray, HostKernel, Memory, build, module

__all__ = ["COMPILER", "DeviceArray", "HostKernel", "Memory", "build", "module"]
