"""How kernels that stage groups of rows (groups.cuh) divide their work."""

from __future__ import annotations

from ..cuda import THREADS, shared_bytes

ROWS = 256  # rows staged at once, at most
GROUP = 4  # rows that a thread takes at once
STAGED_BYTES = 32 << 10  # bytes staged at once, about: several blocks fit on a multiprocessor

CONSTANTS = {"harmonics": {"GROUP": GROUP}, "quantised": {"GROUP": GROUP}}


def staged_rows(row_bytes: int, dim: int) -> int:
    """Rows staged at once; ValueError if a single group in this dimension does not fit."""
    if GROUP * row_bytes > shared_bytes():
        raise ValueError(
            f"no CUDA kernel for these frequencies in dimension {dim}: pass NumPy arrays"
        )
    return min(ROWS, max(GROUP, STAGED_BYTES // row_bytes // GROUP * GROUP))


def sum_threads(block_width: int) -> int:
    """Threads per CUDA block of a sum; several CUDA blocks may share a block of frequencies."""
    return next(threads for threads in (THREADS, 128, 64) if block_width % threads == 0)
