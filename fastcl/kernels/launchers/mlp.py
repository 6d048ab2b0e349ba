"""Launchers of mlp.cu."""

from functools import cache

import numpy as np

from ..cuda import BLOCKS, DOUBLE, FLOAT, THREADS, TYPES, expressions, launch, shared_bytes

ROWS, CHUNK, SIDE = 32, 4096, 64  # as in product.cuh and mlp.cu
HALVES = {FLOAT: 2, DOUBLE: 1}  # of the shared memory of weight_gradients, as in mlp.cu
TRANSPOSED_SIDE = 32  # of the tiles of transpose_weights
MAX_PART_ROWS = 256  # rows whose gradients are added in the working precision
PARTS = 16  # that fill the device, together with the tiles of the matrices
MAX_SIZES = 255  # of struct Sizes
FITS = {True: "true", False: "false"}  # whether the rows of a block stay in shared memory

VARIANTS = [
    *expressions("energy_forward", TYPES.values(), FITS.values()),
    *expressions("energy_deltas", TYPES.values(), FITS.values()),
    *expressions("energy_grad", TYPES.values(), FITS.values()),
    *expressions("transpose_weights", TYPES.values()),
    *expressions("weight_gradients", TYPES.values()),
    *expressions("add_parts", TYPES.values()),
]


@cache
def _struct(sizes):
    if len(sizes) > MAX_SIZES:
        raise ValueError(
            f"networks on a device have at most {MAX_SIZES - 1} layers, got {len(sizes) - 1}"
        )
    struct = np.zeros((), [("layers", np.int32), ("widths", np.int32, MAX_SIZES)])
    struct["layers"] = len(sizes) - 1
    struct["widths"][: len(sizes)] = sizes
    return struct


def _sizes(sizes):
    """The layer sizes as `struct Sizes`, which goes by value."""
    return _struct(tuple(sizes.tolist()))


def _blocks(n):
    return -(-n // ROWS)


def _tiles(sizes, side):
    """Tiles of all matrices."""
    across = -(-sizes // side)
    return int((across[:-1] * across[1:]).sum())


def transpose_weights(theta, sizes, transposed):
    """Twin of `mlp.transpose_weights`."""
    launch("mlp", "transpose_weights", (TYPES[theta.dtype],), _tiles(sizes, TRANSPOSED_SIDE), THREADS,
           (theta, _sizes(sizes), transposed),
           theta.dtype.itemsize * TRANSPOSED_SIDE * (TRANSPOSED_SIDE + 1))  # fmt: skip


def rows_of_part(n):
    """Rows of every part but the last of n: whole blocks of rows, in as many parts as fill the device."""
    return min(MAX_PART_ROWS, ROWS * -(-n // (ROWS * PARTS)))


def activation_size(sizes, n):
    """Numbers that `energy_forward` keeps of n points: whole blocks of rows, the points among them."""
    return _blocks(n) * ROWS * int(sizes.sum())


def _shared(units, dtype):
    """(bytes of two chunks and of the rows of so many units in shared memory, whether a block can have them)."""
    needed = dtype.itemsize * (2 * CHUNK + ROWS * units)
    return needed, needed <= shared_bytes()


def energy_forward(theta, transposed, sizes, x, part_rows, activations, energy):
    """Twin of `mlp.energy_forward`; the layout of `activations` is that of mlp.cu."""
    n, dtype = len(x), x.dtype
    capacity, keep = int((sizes[:-1] + sizes[1:]).max()), activations.size > 0
    shared, fits = _shared(capacity, dtype)
    grid = min(_blocks(n), BLOCKS)
    if not (keep or fits):
        activations = np.empty(grid * ROWS * int(sizes.sum()), dtype, like=x)
    launch("mlp", "energy_forward", (TYPES[dtype], FITS[fits]), grid, THREADS,
           (theta, _sizes(sizes), x, activations, energy, np.int64(n), np.int64(sizes.sum()), np.int32(keep), np.int32(capacity)),
           shared if fits else dtype.itemsize * 2 * CHUNK)  # fmt: skip


def energy_backward(theta, transposed, sizes, x, activations, grad_energy, part_rows, partial):
    """Twin of `mlp.energy_backward`, in two kernels: the deltas of all layers, and the gradients of the weights."""
    n, dtype = len(x), x.dtype
    capacity = int((sizes[:-1] + sizes[1:]).max())
    shared, fits = _shared(capacity, dtype)
    deltas = np.empty(activation_size(sizes, n), dtype, like=x)
    launch("mlp", "energy_deltas", (TYPES[dtype], FITS[fits]), min(_blocks(n), BLOCKS), THREADS,
           (transposed, _sizes(sizes), activations, grad_energy, deltas, np.int64(n), np.int64(sizes.sum()), np.int32(capacity)),
           shared if fits else dtype.itemsize * 2 * CHUNK)  # fmt: skip
    parts, parameters = partial.shape
    tiles = _tiles(sizes, SIDE)
    launch("mlp", "weight_gradients", (TYPES[dtype],), parts * tiles, THREADS,
           (_sizes(sizes), activations, deltas, np.int64(part_rows), partial, np.int64(n), np.int64(sizes.sum()), np.int32(tiles),
            np.int64(parameters)),
           dtype.itemsize * HALVES[dtype] * 2 * SIDE * (ROWS + 16 // dtype.itemsize))  # fmt: skip


def energy_grad(theta, transposed, sizes, x, part_rows, energy, x_grad):
    """Twin of `mlp.energy_grad`."""
    n, dtype, units = len(x), x.dtype, int(sizes.sum())
    shared, fits = _shared(units, dtype)
    grid = min(_blocks(n), BLOCKS)
    scratch = (
        np.uint64(0) if fits else np.empty(grid * ROWS * units, dtype, like=x)
    )  # or a null pointer
    launch("mlp", "energy_grad", (TYPES[dtype], FITS[fits]), grid, THREADS,
           (theta, transposed, _sizes(sizes), x, energy, x_grad, scratch, np.int64(n), np.int64(units)),
           shared if fits else dtype.itemsize * 2 * CHUNK)  # fmt: skip


def add_parts(partial, total, out):
    """Twin of `mlp.add_parts`."""
    parts, parameters = partial.shape
    launch("mlp", "add_parts", (TYPES[partial.dtype],), -(-parameters // THREADS), THREADS,
           (partial, total, out, np.int64(parts), np.int64(parameters)))  # fmt: skip
