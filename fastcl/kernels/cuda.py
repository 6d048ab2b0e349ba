"""The CUDA kernels: NVRTC compiles each variant through CuPy when it is first launched.

CuPy keeps the compiled kernels in its cache on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # one of CuPy's
NULL = np.uint64(0)  # a null pointer, as an argument of a kernel

FOLDER = Path(__file__).parent

FLOAT: np.dtype = np.dtype(np.float32)
DOUBLE: np.dtype = np.dtype(np.float64)
TYPES = {FLOAT: "float", DOUBLE: "double"}

TURN = {FLOAT: float(np.float32(2 * np.pi)), DOUBLE: 1.0}  # a turn in the unit of the phases
BLOCKS = 8 * 132  # CUDA blocks of a launch, about: a few for every multiprocessor of a large device
THREADS = 256  # most threads of a block
WARP = 32  # threads of a warp
ACCESS_BYTES = 16  # bytes of the widest access to memory

# Constants of every .cu file. Those of one file stand in the launcher of that file.
CONSTANTS = {
    "THREADS": THREADS,
    "WARP": WARP,
    "ACCESS_BYTES": ACCESS_BYTES,
    "TURN_FLOAT": f"{TURN[FLOAT]:.9g}f",
}


def by_type(name: str, values: Mapping[np.dtype, int]) -> dict[str, int]:
    """The constants NAME_FLOAT and NAME_DOUBLE of values by dtype."""
    return {f"{name}_{TYPES[dtype].upper()}": value for dtype, value in values.items()}


def options(name: str) -> tuple[str, ...]:
    """Options of the compiler for `name`.cu: the constants that it shares with its launcher as -D.

    CuPy's cache looks kernels up by their options as well as by their source.
    """
    from .launchers import CONSTANTS as of_files  # which imports this module

    constants = CONSTANTS | of_files.get(name, {})
    defines = (f"-D{constant}={value}" for constant, value in constants.items())
    return "-std=c++17", f"-I{FOLDER}", *defines


def source(name: str) -> str:
    """The text of `name`.cu, such that the errors of a compiler point at the file.

    It ends with a hash of the headers: CuPy's cache does not see when an included file changes.
    """
    path = FOLDER / f"{name}.cu"
    headers = b"".join(header.read_bytes() for header in sorted(FOLDER.glob("*.cuh")))
    return f'#line 1 "{path.name}"\n{path.read_text()}// {sha256(headers).hexdigest()}\n'


def expression(kernel: str, template: Iterable[object]) -> str:
    """The name expression of a kernel: ``expression("f", ("float", 2)) == "f<float, 2>"``."""
    arguments = ", ".join(map(str, template))
    return f"{kernel}<{arguments}>" if arguments else kernel


def expressions(kernel: str, *choices: Iterable[object]) -> list[str]:
    """Its name expressions over every combination of the choices for its arguments."""
    return [expression(kernel, template) for template in product(*choices)]


@cache
def cupy() -> Any:
    """The module CuPy, which nothing else imports; ImportError in one line if it is missing."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"CuPy is missing ({error}): pip install 'fastcl[cuda]', "
            "or 'fastcl[cuda12]' for CUDA 12"
        ) from None
    return cupy


@cache
def function(name: str, kernel: str) -> Any:
    """The compiled kernel of a name expression in `name`.cu."""
    module = cupy().RawModule(code=source(name), options=options(name), name_expressions=(kernel,))
    return module.get_function(kernel)


@cache
def shared_bytes() -> int:
    """Most dynamic shared memory of a block; the devices of a machine are taken to be alike."""
    runtime = cupy().cuda.runtime
    return runtime.deviceGetAttribute(
        runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, runtime.getDevice()
    )


def launch(
    name: str,
    kernel: str,
    template: Iterable[object],
    grid: int,
    block: int,
    arguments: Iterable[object],
    shared: int = 0,
) -> None:
    """Launch ``kernel<template...>`` of `name`.cu on `grid` blocks of `block` threads.

    A block has `shared` bytes of dynamic shared memory.
    """
    compiled = function(name, expression(kernel, template))
    if shared > 48 << 10 and compiled.max_dynamic_shared_size_bytes < shared:
        compiled.max_dynamic_shared_size_bytes = shared
    compiled((grid,), (block,), tuple(arguments), shared_mem=shared)
