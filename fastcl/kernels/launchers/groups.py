"""How the kernels that stage groups of rows, with groups.cuh, share out their work."""

from __future__ import annotations

from ..cuda import THREADS, shared_bytes

ROWS = 256  # most rows that are staged at once
GROUP = 4  # rows that a thread takes at once
STAGED_BYTES = 32 << 10  # staged at once, about: a multiprocessor has room for several blocks

CONSTANTS = {"harmonics": {"GROUP": GROUP}, "quantised": {"GROUP": GROUP}}


def staged_rows(row_bytes: int, dim: int) -> int:
    """Rows that are staged at once; ValueError if not even a group of this dimension fits."""
    if GROUP * row_bytes > shared_bytes():
        raise ValueError(
            f"no CUDA kernel for these frequencies in dimension {dim}: pass NumPy arrays"
        )
    return min(ROWS, max(GROUP, STAGED_BYTES // row_bytes // GROUP * GROUP))


def sum_threads(block_width: int) -> int:
    """Threads of a CUDA block of a sum, several of which may share a block of frequencies."""
    return next(threads for threads in (THREADS, 128, 64) if block_width % threads == 0)
