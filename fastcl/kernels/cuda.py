"""Compiles and launches the CUDA kernels: NVRTC compiles each variant on its first launch.

It does so through CuPy, which keeps the compiled kernels in a cache on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # a CuPy array
NULL = np.uint64(0)  # a null pointer, as an argument of a kernel

FOLDER = Path(__file__).parent

FLOAT: np.dtype = np.dtype(np.float32)
DOUBLE: np.dtype = np.dtype(np.float64)
TYPES = {FLOAT: "float", DOUBLE: "double"}

TURN = {FLOAT: float(np.float32(2 * np.pi)), DOUBLE: 1.0}  # one turn, in the unit of the phases
BLOCKS = 8 * 132  # CUDA blocks per launch, about: a few per multiprocessor of a large device
THREADS = 256  # threads per block, at most
WARP = 32  # threads per warp
ACCESS_BYTES = 16  # bytes in the widest access to memory

# Constants for every .cu file. Constants for a single file are in its launcher.
CONSTANTS = {
    "THREADS": THREADS,
    "WARP": WARP,
    "ACCESS_BYTES": ACCESS_BYTES,
    "TURN_FLOAT": f"{TURN[FLOAT]:.9g}f",
}


def by_type(name: str, values: Mapping[np.dtype, int]) -> dict[str, int]:
    """The constants NAME_FLOAT and NAME_DOUBLE, from values by dtype."""
    return {f"{name}_{TYPES[dtype].upper()}": value for dtype, value in values.items()}


def options(name: str) -> tuple[str, ...]:
    """Compiler options for `name`.cu: the constants that it shares with its launcher become -D.

    CuPy's cache looks kernels up by options as well as by source.
    """
    from .launchers import CONSTANTS as of_files  # which imports this module

    constants = CONSTANTS | of_files.get(name, {})
    defines = (f"-D{constant}={value}" for constant, value in constants.items())
    return "-std=c++17", f"-I{FOLDER}", *defines


def source(name: str) -> str:
    """The text of `name`.cu, with a #line directive so that compiler errors point at the file.

    It ends with a hash of the headers, because CuPy's cache does not notice changes in them.
    """
    path = FOLDER / f"{name}.cu"
    headers = b"".join(header.read_bytes() for header in sorted(FOLDER.glob("*.cuh")))
    return f'#line 1 "{path.name}"\n{path.read_text()}// {sha256(headers).hexdigest()}\n'


def expression(kernel: str, template: Iterable[object]) -> str:
    """The name expression of a kernel: ``expression("f", ("float", 2)) == "f<float, 2>"``."""
    arguments = ", ".join(map(str, template))
    return f"{kernel}<{arguments}>" if arguments else kernel


def expressions(kernel: str, *choices: Iterable[object]) -> list[str]:
    """The name expressions of a kernel for every combination of its template arguments."""
    return [expression(kernel, template) for template in product(*choices)]


@cache
def cupy() -> Any:
    """The module CuPy, imported nowhere else; ImportError in one line if it is missing."""
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
    """The compiled kernel with the name expression `kernel` in `name`.cu."""
    module = cupy().RawModule(code=source(name), options=options(name), name_expressions=(kernel,))
    return module.get_function(kernel)


@cache
def shared_bytes() -> int:
    """Largest dynamic shared memory per block; all devices are assumed to be alike."""
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

    Every block has `shared` bytes of dynamic shared memory.
    """
    compiled = function(name, expression(kernel, template))
    if shared > 48 << 10 and compiled.max_dynamic_shared_size_bytes < shared:
        compiled.max_dynamic_shared_size_bytes = shared
    compiled((grid,), (block,), tuple(arguments), shared_mem=shared)
