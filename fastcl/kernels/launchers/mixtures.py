"""Launchers of mixtures.cu."""

from __future__ import annotations

import numpy as np

from ..cuda import DOUBLE, FLOAT, THREADS, TYPES, WARP, Array, expressions, launch, shared_bytes

GROUPS = 8  # groups of rows per block
COLUMNS = 4  # columns in a thread's tile of a product
ROWS = {FLOAT: (8, 4, 1), DOUBLE: (4, 1)}  # rows per thread: the most that fit in shared memory
SHARED_BYTES = 64 << 10  # shared memory per block, unless one row per thread needs more
MIN_BLOCKS = 4 * 132  # with fewer blocks, each is made smaller

CONSTANTS = {"mixtures": {"GROUPS": GROUPS, "COLUMNS": COLUMNS}}
VARIANTS = {
    "mixtures": [
        name
        for kernel in ("mixture_responsibilities", "mixture_means")
        for dtype, rows in ROWS.items()
        for name in expressions(kernel, [TYPES[dtype]], rows)
    ]
}


def _launch(name: str, arrays: tuple[Array, ...], vectors: int) -> None:
    """Launch a kernel whose blocks keep each row, `vectors` vectors more, and its terms."""
    x, bases, precisions, tail_precisions = arrays[:4]
    (n, whole), (components, scales, padded) = x.shape, precisions.shape
    dim, padded_tail = bases.shape[1], tail_precisions.shape[2]
    tiles, tail_tiles = -(-dim // COLUMNS), -(-(whole - dim) // COLUMNS)
    columns = dim + vectors * (tiles + tail_tiles) * COLUMNS
    row_bytes = (columns + scales + 3) * x.dtype.itemsize
    if GROUPS * row_bytes > shared_bytes():
        raise ValueError(
            f"no CUDA kernel for {scales} scales in dimension {whole}: pass NumPy arrays"
        )
    choices = [GROUPS * rows for rows in ROWS[x.dtype]]
    fitting = [
        rows for rows in choices if rows * row_bytes <= SHARED_BYTES and n >= rows * MIN_BLOCKS
    ]
    rows = (fitting or choices[-1:])[0]
    rounds = -(-GROUPS * tiles // THREADS)
    threads = WARP * -(-GROUPS * tiles // (WARP * rounds))
    sizes = (dim, whole - dim, components, scales, padded, padded_tail)
    arguments = (*arrays, np.int64(n), *map(np.int32, sizes))
    template = (TYPES[x.dtype], rows // GROUPS)
    launch("mixtures", name, template, -(-n // rows), threads, arguments, rows * row_bytes)


def mixture_responsibilities(
    x: Array,
    bases: Array,
    precisions: Array,
    tail_precisions: Array,
    constants: Array,
    responsibilities: Array,
    log_density: Array,
) -> None:
    """Twin of `mixtures.mixture_responsibilities`."""
    arrays = (x, bases, precisions, tail_precisions, constants, responsibilities, log_density)
    _launch("mixture_responsibilities", arrays, 1)


def mixture_means(
    x: Array,
    bases: Array,
    precisions: Array,
    tail_precisions: Array,
    constants: Array,
    gains: Array,
    tail_gains: Array,
    inverses: Array,
    out: Array,
) -> None:
    """Twin of `mixtures.mixture_means`."""
    factors = (bases, precisions, tail_precisions, constants, gains, tail_gains, inverses)
    _launch("mixture_means", (x, *factors, out), 2)
