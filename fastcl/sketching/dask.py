"""The sketch of a dask array: partial sums of its blocks, wherever dask computes them, added in an order of their own.

A sketch is a sum over points, so blocks can be summed anywhere.  What one task returns follows from its block alone, and the sums
are added by a tree over the numbers of the blocks: schedulers, workers, retries and deaths of workers leave the bits alone.
"""

import contextlib
import copy
import threading

import numba
import numpy as np

from ..fourier.methods import MethodChoice
from ..validation import as_rows, work_dtype

BRANCHES = 8  # partial sums added by one task; the bits of the result follow it
_one_at_a_time = threading.Lock()


def add_dask(result, x, progress=False):
    """Add to the empty sketch `result` the rows of the dask array x (n, d), under the scheduler that dask would take.

    `progress` shows dask's own bar of the tasks after two seconds; of a distributed client, whose dashboard has one, nothing.

    Memory of a worker: for every task at a time one block, the sums of BRANCHES blocks, and what `feature_sum` needs; once for
    all of them the frequencies, as they are and in the layouts of the kernels.
    """
    dask = _import_dask()
    x = _check_blocks(x, result, dask.array.Array)
    empty = copy.copy(result)
    empty._nufft = _choose_method(result._nufft)
    empty._nufft.check(result.dim, work_dtype(x))
    # Every task runs its kernels on one thread, as dask runs several tasks at a time - but where it runs one after the other.
    alone = dask.base.get_scheduler(collections=[x]) is dask.local.get_sync
    empty = dask.delayed(empty, traverse=False)  # one key, which all tasks refer to
    parts = x.map_blocks(
        sum_of_block,
        empty,
        numba.get_num_threads() if alone else 1,
        dtype=np.complex128,
        meta=np.empty((0, 0), np.complex128),  # or dask would call the function to find out
        chunks=((1,) * x.numblocks[0], (1,)),
    )
    # Through an array, reading a block and summing it become one task: no worker reads blocks ahead of those that it sums.
    parts = list(parts.to_delayed().ravel())
    while len(parts) > 1:
        parts = [
            dask.delayed(add_sums)(parts[start : start + BRANCHES])
            for start in range(0, len(parts), BRANCHES)
        ]
    with dask.diagnostics.ProgressBar(minimum=2) if progress else contextlib.nullcontext():
        total, count = parts[0].compute()
    if count == 0:
        raise ValueError("x is empty: its blocks have no rows")
    result._ledger.begin()
    result._total, result.count = total, count


def sum_of_block(block, sketch, threads, block_id):
    """(sums (m,) complex128, rows) that one block of rows adds to the sketch, with its kernels on so many threads."""
    if len(block) == 0:
        return np.zeros(len(sketch.omega), np.complex128), 0
    before = numba.get_num_threads()
    numba.set_num_threads(threads)  # for the calling thread only
    try:
        block = as_rows(block, "x", sketch.dim)
        with _guard_threads():
            return sketch._sum(block, 0, len(block)), len(
                block
            )  # where the type is checked, which dask only believed to know
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{error} (block {block_id[0]} of x)") from None
    finally:
        numba.set_num_threads(before)


def add_sums(parts):
    """The sum of some (sums, rows), from the first to the last."""
    total, count = parts[0]
    for sums, rows in parts[1:]:
        total, count = total + sums, count + rows
    return total, count


def _guard_threads():
    """A context for kernels: a lock where Numba's threading layer aborts the process that calls it from two threads at once."""
    try:
        safe = numba.threading_layer() != "workqueue"
    except ValueError:  # chosen by the first kernel that runs
        safe = False
    return contextlib.nullcontext() if safe else _one_at_a_time


def _choose_method(nufft):
    """The method of the tasks: "auto" is "direct", because finufft may be missing on some workers."""
    return MethodChoice("direct", nufft.accuracy) if nufft.method == "auto" else nufft


def _check_blocks(x, result, array_type):
    """x in blocks of whole rows, after all checks that need no values."""
    if result._like is not None:
        raise TypeError(
            "omega is a CuPy array, which dask arrays cannot be sketched with: pass omega.get()"
        )
    if not isinstance(x, array_type):
        raise TypeError(f"x is a dask {type(x).__name__}, which is not read: pass a dask array")
    if x.ndim == 2 and np.isnan(x.shape[1]):
        raise ValueError("x has an unknown number of columns: call x.compute_chunk_sizes() first")
    shape = [
        1 if np.isnan(size) else size for size in x.shape
    ]  # rows may be unknown until they are computed
    as_rows(np.broadcast_to(np.zeros((), x.dtype), shape), "x", result.dim)
    return x.rechunk({1: -1}) if x.numblocks[1] > 1 else x


def _import_dask():
    """The package; ImportError in one line where it is missing."""
    try:
        import dask.array
        import dask.diagnostics
        import dask.local
    except ImportError as error:
        raise ImportError(f'dask arrays need dask ({error}): pip install "fastcl[dask]"') from None
    return dask
