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
    x, precisions = arrays[0], arrays[2]
    (n, dim), (components, scales, padded) = x.shape, precisions.shape
    tiles = -(-dim // COLUMNS)
    row_bytes = (dim + vectors * tiles * COLUMNS + scales + 3) * x.dtype.itemsize
    if GROUPS * row_bytes > shared_bytes():
        raise ValueError(
            f"no CUDA kernel for {scales} scales in dimension {dim}: pass NumPy arrays"
        )
    choices = [GROUPS * rows for rows in ROWS[x.dtype]]
    fitting = [
        rows for rows in choices if rows * row_bytes <= SHARED_BYTES and n >= rows * MIN_BLOCKS
    ]
    rows = (fitting or choices[-1:])[0]
    rounds = -(-GROUPS * tiles // THREADS)
    threads = WARP * -(-GROUPS * tiles // (WARP * rounds))
    arguments = (*arrays, np.int64(n), *map(np.int32, (dim, components, scales, padded)))
    template = (TYPES[x.dtype], rows // GROUPS)
    launch("mixtures", name, template, -(-n // rows), threads, arguments, rows * row_bytes)


def mixture_responsibilities(
    x: Array,
    bases: Array,
    precisions: Array,
    constants: Array,
    responsibilities: Array,
    log_density: Array,
) -> None:
    """Twin of `mixtures.mixture_responsibilities`."""
    arrays = (x, bases, precisions, constants, responsibilities, log_density)
    _launch("mixture_responsibilities", arrays, 1)


def mixture_means(
    x: Array,
    bases: Array,
    precisions: Array,
    constants: Array,
    gains: Array,
    inverses: Array,
    out: Array,
) -> None:
    """Twin of `mixtures.mixture_means`."""
    _launch("mixture_means", (x, bases, precisions, constants, gains, inverses, out), 2)
