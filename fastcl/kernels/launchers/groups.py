"""How the kernels that stage groups of rows, with groups.cuh, share their work out."""

from ..cuda import THREADS, shared_bytes

ROWS, GROUP = 256, 4  # as in groups.cuh
STAGED = 32 << 10  # bytes in shared memory, about: several blocks of a multiprocessor have room


def staged_rows(row_bytes, dim):
    """Rows that are staged at once; ValueError where not even a group of this dimension fits."""
    if GROUP * row_bytes > shared_bytes():
        raise ValueError(
            f"no CUDA kernel for these frequencies in dimension {dim}: pass NumPy arrays"
        )
    return min(ROWS, max(GROUP, STAGED // row_bytes // GROUP * GROUP))


def sum_threads(lanes):
    """Threads of a block of a sum, which shares the lanes of a block of frequencies with others."""
    return next(threads for threads in (THREADS, 128, 64) if lanes % threads == 0)
