"""Launchers of mlp.cu and mlp_weights.cu."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..cuda import (
    ACCESS_BYTES,
    BLOCKS,
    DOUBLE,
    FLOAT,
    NULL,
    THREADS,
    TYPES,
    Array,
    by_type,
    expressions,
    launch,
    shared_bytes,
)

ROWS = 32  # rows per block
CHUNK = 4096  # weights per buffer in shared memory; there are two buffers
GRADIENT_SIDE = 64  # side of a tile of a gradient
TRANSPOSED_SIDE = 32  # side of a tile of transpose_weights
HALVES = {FLOAT: 2, DOUBLE: 1}  # buffers in the shared memory of weight_gradients
MAX_PART_ROWS = 256  # rows whose gradients are added in the working precision
PARTS = 16  # parts that, times the tiles of the matrices, fill the device
MAX_SIZES = 255  # layer sizes of a network at most, input and output included
FITS = {True: "true", False: "false"}  # whether the rows of a block stay in shared memory

CONSTANTS = {
    "mlp": {"ROWS": ROWS, "MAX_SIZES": MAX_SIZES, "CHUNK": CHUNK},
    "mlp_weights": {
        "ROWS": ROWS,
        "MAX_SIZES": MAX_SIZES,
        "GRADIENT_SIDE": GRADIENT_SIDE,
        "TRANSPOSED_SIDE": TRANSPOSED_SIDE,
        **by_type("HALVES", HALVES),
    },
}
VARIANTS = {
    "mlp": [
        *expressions("energy_forward", TYPES.values(), FITS.values()),
        *expressions("energy_deltas", TYPES.values(), FITS.values()),
        *expressions("energy_grad", TYPES.values(), FITS.values()),
    ],
    "mlp_weights": [
        *expressions("transpose_weights", TYPES.values()),
        *expressions("weight_gradients", TYPES.values()),
        *expressions("add_parts", TYPES.values()),
    ],
}


@cache
def _struct(sizes: tuple[int, ...]) -> NDArray:
    if len(sizes) > MAX_SIZES:
        raise ValueError(
            f"networks on a device have at most {MAX_SIZES - 1} layers, got {len(sizes) - 1}"
        )
    struct = np.zeros((), [("layers", np.int32), ("widths", np.int32, MAX_SIZES)])
    struct["layers"] = len(sizes) - 1
    struct["widths"][: len(sizes)] = sizes
    return struct


def _sizes(sizes: NDArray) -> NDArray:
    """The layer sizes as a `struct Sizes`, which is passed by value."""
    return _struct(tuple(sizes.tolist()))


def _blocks(n: int) -> int:
    return -(-n // ROWS)


def _tiles(sizes: NDArray, side: int) -> int:
    """Number of tiles of all matrices together."""
    across = -(-sizes // side)
    return int((across[:-1] * across[1:]).sum())


def transpose_weights(theta: Array, sizes: NDArray, widest: int, transposed: Array) -> None:
    """Twin of `mlp.transpose_weights` for matrices of all widths, whatever `widest` is."""
    dtype, grid = theta.dtype, _tiles(sizes, TRANSPOSED_SIDE)
    arguments = (theta, _sizes(sizes), transposed)
    shared = dtype.itemsize * TRANSPOSED_SIDE * (TRANSPOSED_SIDE + 1)
    name = "transpose_weights"
    launch("mlp_weights", name, (TYPES[dtype],), grid, THREADS, arguments, shared)


def rows_of_part(n: int) -> int:
    """Rows per part of n, except the last: whole blocks, in enough parts to fill the device."""
    return min(MAX_PART_ROWS, ROWS * -(-n // (ROWS * PARTS)))


def activation_size(sizes: NDArray, n: int) -> int:
    """How many numbers `energy_forward` keeps for n points: in whole blocks, points included."""
    return _blocks(n) * ROWS * int(sizes.sum())


def _shared(units: int, dtype: np.dtype) -> tuple[int, bool]:
    """(bytes of shared memory, whether rows of `units` units fit in it next to two chunks)."""
    chunks = 2 * CHUNK * dtype.itemsize
    needed = chunks + ROWS * units * dtype.itemsize
    fits = needed <= shared_bytes()
    return (needed if fits else chunks), fits


def energy_forward(
    theta: Array,
    transposed: Array,
    sizes: NDArray,
    x: Array,
    part_rows: int,
    activations: Array,
    energy: Array,
) -> None:
    """Twin of `mlp.energy_forward`; the layout of `activations` is that of network.cuh."""
    n, dtype, units = len(x), x.dtype, int(sizes.sum())
    capacity, keep = int((sizes[:-1] + sizes[1:]).max()), activations.size > 0
    shared, fits = _shared(capacity, dtype)
    grid = min(_blocks(n), BLOCKS)
    if not (keep or fits):
        activations = np.empty(grid * ROWS * units, dtype, like=x)
    numbers = np.int64(n), np.int64(units), np.int32(keep), np.int32(capacity)
    arguments = (theta, _sizes(sizes), x, activations, energy, *numbers)
    template = (TYPES[dtype], FITS[fits])
    launch("mlp", "energy_forward", template, grid, THREADS, arguments, shared)


def energy_backward(
    theta: Array,
    transposed: Array,
    sizes: NDArray,
    x: Array,
    activations: Array,
    grad_energy: Array,
    part_rows: int,
    partial: Array,
) -> None:
    """Twin of `mlp.energy_backward` in two kernels: deltas of all layers, gradients of weights."""
    deltas = np.empty(activation_size(sizes, len(x)), x.dtype, like=x)
    _launch_deltas(transposed, sizes, activations, grad_energy, deltas)
    _launch_weight_gradients(sizes, activations, deltas, part_rows, partial, len(x))


def _launch_deltas(
    transposed: Array, sizes: NDArray, activations: Array, grad_energy: Array, deltas: Array
) -> None:
    n, dtype = len(grad_energy), deltas.dtype
    capacity = int((sizes[:-1] + sizes[1:]).max())
    shared, fits = _shared(capacity, dtype)
    numbers = np.int64(n), np.int64(sizes.sum()), np.int32(capacity)
    arguments = (transposed, _sizes(sizes), activations, grad_energy, deltas, *numbers)
    template, grid = (TYPES[dtype], FITS[fits]), min(_blocks(n), BLOCKS)
    launch("mlp", "energy_deltas", template, grid, THREADS, arguments, shared)


def _launch_weight_gradients(
    sizes: NDArray, activations: Array, deltas: Array, part_rows: int, partial: Array, n: int
) -> None:
    dtype, (parts, parameters) = deltas.dtype, partial.shape
    tiles = _tiles(sizes, GRADIENT_SIDE)
    numbers = np.int64(n), np.int64(sizes.sum()), np.int32(tiles), np.int64(parameters)
    arguments = (_sizes(sizes), activations, deltas, np.int64(part_rows), partial, *numbers)
    unit_bytes = ROWS * dtype.itemsize + ACCESS_BYTES  # see STRIDE of mlp_weights.cu
    shared = HALVES[dtype] * 2 * GRADIENT_SIDE * unit_bytes
    name = "weight_gradients"
    launch("mlp_weights", name, (TYPES[dtype],), parts * tiles, THREADS, arguments, shared)


def energy_grad(
    theta: Array,
    transposed: Array,
    sizes: NDArray,
    x: Array,
    part_rows: int,
    energy: Array,
    x_grad: Array,
) -> None:
    """Twin of `mlp.energy_grad`."""
    n, dtype, units = len(x), x.dtype, int(sizes.sum())
    shared, fits = _shared(units, dtype)
    grid = min(_blocks(n), BLOCKS)
    scratch = NULL if fits else np.empty(grid * ROWS * units, dtype, like=x)
    numbers = np.int64(n), np.int64(units)
    arguments = (theta, transposed, _sizes(sizes), x, energy, x_grad, scratch, *numbers)
    template = (TYPES[dtype], FITS[fits])
    launch("mlp", "energy_grad", template, grid, THREADS, arguments, shared)


def add_parts(partial: Array, total: Array, out: Array) -> None:
    """Twin of `mlp.add_parts`."""
    parts, parameters = partial.shape
    arguments = (partial, total, out, np.int64(parts), np.int64(parameters))
    grid = -(-parameters // THREADS)
    launch("mlp_weights", "add_parts", (TYPES[partial.dtype],), grid, THREADS, arguments)
