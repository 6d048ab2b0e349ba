"""Launchers of mixtures.cu."""

import numpy as np

from ..cuda import DOUBLE, FLOAT, TYPES, expressions, launch, shared_bytes

GROUPS, COLUMNS = 8, 4  # as in mixtures.cu
ROWS = {FLOAT: (8, 4, 1), DOUBLE: (4, 1)}  # of a thread: as many as fit into shared memory
THREADS = 256  # most of a block
SHARED = 64 << 10  # bytes of a block where there is a choice
FEWEST = 4 * 132  # blocks below which they are made smaller

VARIANTS = [
    name for kernel in ("mixture_responsibilities", "mixture_means") for dtype in ROWS
    for name in expressions(kernel, (TYPES[dtype],), ROWS[dtype])
]  # fmt: skip


def _launch(name, arrays, vectors):
    """Launch a kernel whose block keeps so many numbers a row: the row itself, `vectors` times its coordinates, the terms."""
    x, precisions = arrays[0], arrays[2]
    (n, dim), (components, scales, padded) = x.shape, precisions.shape
    tiles = -(-dim // COLUMNS)
    row_bytes = (dim + vectors * tiles * COLUMNS + scales + 3) * x.dtype.itemsize
    if GROUPS * row_bytes > shared_bytes():
        raise ValueError(
            f"no CUDA kernel for {scales} scales in dimension {dim}: pass NumPy arrays"
        )
    choices = [GROUPS * rows for rows in ROWS[x.dtype]]
    fitting = [rows for rows in choices if rows * row_bytes <= SHARED and n >= rows * FEWEST]
    rows = (fitting or choices[-1:])[0]
    rounds = -(-GROUPS * tiles // THREADS)
    launch("mixtures", name, (TYPES[x.dtype], rows // GROUPS), -(-n // rows), 32 * -(-GROUPS * tiles // (32 * rounds)),
           (*arrays, np.int64(n), *map(np.int32, (dim, components, scales, padded))), rows * row_bytes)  # fmt: skip


def mixture_responsibilities(x, bases, precisions, constants, responsibilities, log_density):
    """Twin of `mixtures.mixture_responsibilities`."""
    _launch(
        "mixture_responsibilities",
        (x, bases, precisions, constants, responsibilities, log_density),
        1,
    )


def mixture_means(x, bases, precisions, constants, gains, inverses, out):
    """Twin of `mixtures.mixture_means`."""
    _launch("mixture_means", (x, bases, precisions, constants, gains, inverses, out), 2)
