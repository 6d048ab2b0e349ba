"""The sketch of a dask array: blocks are summed wherever dask computes them, then added.

A sketch is a sum over points, so blocks can be summed anywhere. The result of a task depends on its
block alone, and the sums are added along a fixed tree over the block numbers. The sketch is
therefore bitwise identical for any scheduler and any workers, even if tasks are retried or workers
die.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..fourier.methods import MethodChoice
from ..validation import as_rows, work_dtype

if TYPE_CHECKING:
    from .sketch import Sketch

Sums = tuple[NDArray[np.complex128], int]  # (sums (m,), the number of rows in them)
BRANCHES = 8  # sums that one task adds; the rounding of the result depends on it


def add_dask(sketch: Sketch, x: Any, progress: bool = False) -> None:
    """Add the rows of a dask array x (n, d) to `sketch`, with the scheduler that dask would use.

    `progress` shows dask's own progress bar after two seconds, but nothing for a distributed
    client, which has its dashboard. A worker holds, for each task that it is running, one block,
    the sums of BRANCHES blocks and what `feature_sum` needs; and once for all of its tasks the
    frequencies, as given and in the layouts of the kernels.
    """
    dask = _import_dask()
    x = _check_blocks(x, sketch.dim, dask)
    empty = _empty_for_tasks(sketch)
    MethodChoice(empty.method, empty.accuracy).check(sketch.dim, work_dtype(x))
    parts = x.map_blocks(
        sum_of_block,
        dask.delayed(empty, traverse=False),  # under one key, which all tasks refer to
        dtype=np.complex128,
        meta=np.empty((0, 0), np.complex128),  # otherwise dask would call the function to find out
        chunks=((1,) * x.numblocks[0], (1,)),
    )
    # With map_blocks, dask fuses reading a block and summing it into one task, so that no worker
    # reads blocks ahead of the one it sums.
    parts = list(parts.to_delayed().ravel())
    while len(parts) > 1:
        groups = [parts[start : start + BRANCHES] for start in range(0, len(parts), BRANCHES)]
        parts = [dask.delayed(add_in_order)(group) for group in groups]
    with dask.diagnostics.ProgressBar(minimum=2) if progress else contextlib.nullcontext():
        total, count = parts[0].compute()
    if count == 0:
        raise ValueError("x is empty: its blocks have no rows")
    sketch.add_sums(total, count)


def sum_of_block(block: Any, sketch: Sketch, block_id: tuple[int, ...]) -> Sums:
    """(sums (m,), rows) of one block."""
    if len(block) == 0:
        return np.zeros(len(sketch.omega), np.complex128), 0
    try:
        block = as_rows(block, "x", sketch.dim)  # dask knows only what type a block should have
        return sketch.sum_rows(block), len(block)
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{error} (block {block_id[0]} of x)") from None


def add_in_order(parts: list[Sums]) -> Sums:
    """The total (sums, rows) of `parts`, added from the first to the last."""
    total, count = parts[0]
    for sums, rows in parts[1:]:
        total = total + sums
        count = count + rows
    return total, count


def _empty_for_tasks(sketch: Sketch) -> Sketch:
    """An empty sketch like `sketch` for the workers, with "auto" turned into "direct".

    A worker may lack finufft: "auto" would then choose differently on different workers, and the
    result would depend on which worker summed which block.
    """
    return type(sketch)(
        sketch.omega,
        method="direct" if sketch.method == "auto" else sketch.method,
        accuracy=sketch.accuracy,
        bits=sketch.bits,
        dither=sketch.dither,
    )


def _check_blocks(x: Any, dim: int, dask: Any) -> Any:
    """x with every block holding whole rows, after all checks that need no values."""
    if not isinstance(x, dask.array.Array):
        raise TypeError(f"x is a dask {type(x).__name__}, but must be a dask array")
    if x.ndim == 2 and np.isnan(x.shape[1]):
        raise ValueError("x has an unknown number of columns: call x.compute_chunk_sizes() first")
    # The number of rows may be unknown until they are computed.
    shape = [1 if np.isnan(size) else size for size in x.shape]
    as_rows(np.broadcast_to(np.zeros((), x.dtype), shape), "x", dim)
    return x.rechunk({1: -1}) if x.numblocks[1] > 1 else x


def _import_dask() -> Any:
    """The package dask; ImportError in one line if it is missing."""
    try:
        import dask.array
        import dask.diagnostics
        import dask.local
    except ImportError as error:
        raise ImportError(f'dask arrays need dask ({error}): pip install "fastcl[dask]"') from None
    return dask
