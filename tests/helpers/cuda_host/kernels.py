"""Kernels that g++ built and the CPU runs."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from fastcl.kernels import cuda
from fastcl.kernels.launchers import VARIANTS

from .arrays import DeviceArray, check_guards
from .streams import Stream

HOST = Path(__file__).parent
if "CUDA_HOST_KERNELS" in os.environ:  # other sources than those of the package
    cuda.FOLDER = Path(os.environ["CUDA_HOST_KERNELS"])
COMPILER = shutil.which("g++")
# What would fault on a device stops the process.
CHECKS = ["-fsanitize=alignment,bounds,shift,integer-divide-by-zero", "-fno-sanitize-recover=all"]
FLAGS = ["-std=c++20", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-w", *CHECKS]
SHARED_BYTES = 227 << 10  # most shared memory of a block, as on an H100


def build(name, more=()):
    """The shared library of one `.cu` file with every variant in `VARIANTS`, built if need be.

    `more` are further flags of the compiler. Returns its path.
    """
    wrappers = [f"HOST_KERNEL({i}, {expression})" for i, expression in enumerate(VARIANTS[name])]
    text = "\n".join(['#include "host.h"', cuda.source(name), *wrappers])
    headers = (HOST / "host.h").read_text()  # the source ends with a hash of the others
    flags = [*cuda.options(name), *FLAGS, *more]
    key = hashlib.sha256((text + headers + " ".join(flags)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"fastcl-cuda-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}-{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source, target = Path(scratch) / f"{name}.cpp", Path(scratch) / f"{name}.so"
            source.write_text(text)
            command = [COMPILER, *flags, f"-I{HOST}", str(source), "-o", str(target)]
            # A preloaded ThreadSanitizer would slow the compiler down.
            environment = {**os.environ, "LD_PRELOAD": ""}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            os.replace(target, path)
    return path


@cache
def library(name):
    """The library that `build` made, loaded."""
    return ctypes.CDLL(str(build(name, os.environ.get("CUDA_HOST_FLAGS", "").split())))


class HostKernel:
    """As `cupy.RawKernel`; counts the launches of all of them."""

    launches: ClassVar = {}
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, name, expression):
        self.name, self.expression = name, expression
        self.run = getattr(library(name), f"run_{VARIANTS[name].index(expression)}")

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        HostKernel.launches[self.expression] = HostKernel.launches.get(self.expression, 0) + 1
        grid, block = (tuple(map(int, size)) + (1,) * (3 - len(size)) for size in (grid, block))
        assert all(size > 0 for size in grid + block)
        assert np.prod(block) <= 1024
        assert shared_mem <= self.max_dynamic_shared_size_bytes <= SHARED_BYTES
        values, arrays = [], []
        for argument in arguments:
            if isinstance(argument, DeviceArray):
                assert argument._data.flags.c_contiguous
                values.append(ctypes.c_void_p(argument._data.ctypes.data))
                arrays.append(argument)
            elif isinstance(argument, np.ndarray) and argument.dtype.names:  # a struct, by value
                assert argument.size == 1
                values.append((ctypes.c_char * argument.nbytes).from_buffer_copy(argument))
            else:
                assert isinstance(argument, np.generic), f"{argument!r} has no fixed size"
                values.append(np.ctypeslib.as_ctypes(np.array(argument)))
        if Stream.capturing is not None:
            Stream.capturing.append(lambda: self._run(grid, block, shared_mem, values, arrays))
        else:
            Stream.current().issue()
            self._run(grid, block, shared_mem, values, arrays)

    def _run(self, grid, block, shared_mem, values, arrays):
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = (ctypes.c_int * len(values))(*(ctypes.sizeof(value) for value in values))
        shape = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        fits = self.run(*shape, ctypes.c_size_t(shared_mem), pointers, sizes, len(values))
        assert fits, f"the arguments do not fit the parameters of {self.expression}"
        for array in arrays:
            check_guards(array)


class RawModule:
    """As `cupy.RawModule`; the `#line` directive of the source names the file."""

    def __init__(self, code, options=(), name_expressions=()):
        self.name = code.split('"')[1].removesuffix(".cu")
        assert options == cuda.options(self.name)
        self.expressions = name_expressions

    def get_function(self, expression):
        assert expression in self.expressions
        return HostKernel(self.name, expression)
