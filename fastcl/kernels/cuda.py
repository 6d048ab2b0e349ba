"""The CUDA kernels: compiled by NVRTC through CuPy, each variant when it is first launched, and kept in CuPy's cache."""

from functools import cache
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
OPTIONS = ("-std=c++17", f"-I{FOLDER}")

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
TYPES = {FLOAT: "float", DOUBLE: "double"}
TURN = {
    FLOAT: float(np.float32(2 * np.pi)),
    DOUBLE: 1.0,
}  # a turn in the unit of the phases: Turn of common.cuh
THREADS = 256  # most threads of a block, as the kernels say in their launch bounds
BLOCKS = 8 * 132  # of a launch, about: a few for every multiprocessor of a large device


def source(name):
    """The text of `name`.cu, such that the errors of a compiler point at the file.

    It ends with a hash of the headers: CuPy looks compiled kernels up by the text alone, and would not see a changed header.
    """
    path = FOLDER / f"{name}.cu"
    headers = b"".join(header.read_bytes() for header in sorted(FOLDER.glob("*.cuh")))
    return f'#line 1 "{path.name}"\n{path.read_text()}// {sha256(headers).hexdigest()}\n'


def expression(kernel, template):
    """The name expression of a kernel: ``expression("f", ("float", 2)) == "f<float, 2>"``."""
    return f"{kernel}<{', '.join(map(str, template))}>" if template else kernel


def expressions(kernel, *choices):
    """Its name expressions over every combination of the choices for its arguments."""
    return [expression(kernel, template) for template in product(*choices)]


@cache
def cupy():
    """The module CuPy, which nothing else imports; ImportError in one line where it is missing."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"CuPy is missing ({error}): pip install 'fastcl[cuda]', or 'fastcl[cuda12]' for CUDA 12"
        ) from None
    return cupy


@cache
def function(name, kernel):
    """The compiled kernel of a name expression in `name`.cu."""
    return (
        cupy()
        .RawModule(code=source(name), options=OPTIONS, name_expressions=(kernel,))
        .get_function(kernel)
    )


@cache
def shared_bytes():
    """Most dynamic shared memory that a block can ask for; the devices of a machine are taken to be alike."""
    runtime = cupy().cuda.runtime
    return runtime.deviceGetAttribute(
        runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, runtime.getDevice()
    )


def launch(name, kernel, template, grid, block, arguments, shared=0):
    """Launch ``kernel<template...>`` of `name`.cu on a grid of blocks, with `shared` bytes of dynamic shared memory a block."""
    compiled = function(name, expression(kernel, template))
    if shared > 48 << 10 and compiled.max_dynamic_shared_size_bytes < shared:
        compiled.max_dynamic_shared_size_bytes = shared
    compiled((grid,), (block,), arguments, shared_mem=shared)
