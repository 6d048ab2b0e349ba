"""The peak rate of float32 multiply-adds of all threads, from registers: python benchmarks/peak.py

It takes about a second.
"""

import time

from timing import PAUSE  # before NumPy

# isort: split
import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from fastcl.kernels.lanes import VECTOR_BYTES, Lanes

# Independent sums per thread: more than latency times throughput; with the factor they fit into
# 16 registers.
CHAINS = 12
COUNT = 4_000_000  # multiply-adds per chain: some 20 to 50 ms
REPEATS = 7


@intrinsic
def chain_multiply_adds(typingctx, factor, out, i, count):
    """out[i] = the sum of CHAINS chains of `count` multiply-adds by factor[0], in vectors."""

    def codegen(context, builder, signature, arguments):
        emit = Lanes(context, builder, signature.args[0].dtype)
        factor, out = (
            emit.array(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True)
        )
        factor = emit.load_everywhere(factor, emit.index(0))
        # The chains start at different values, or they would be computed once.
        starts = [emit.constant(float(k)) for k in range(CHAINS)]
        ends = emit.loop(
            emit.index(0),
            arguments[3],
            1,
            starts,
            lambda _, values: [emit.multiply_add(a, factor, factor) for a in values],
        )
        total = ends[0]
        for end in ends[1:]:
            total = builder.fadd(total, end)
        emit.store(total, out, arguments[2], emit.index(0))
        return context.get_dummy_value()

    return types.none(factor, out, types.intp, types.intp), codegen


@numba.njit(parallel=True)
def run_chains(factor, out, count):
    for i in numba.prange(out.shape[0]):
        chain_multiply_adds(factor, out, i, count)


def multiply_adds_per_second():
    """Multiply-adds per second on all threads together, the median of a few runs."""
    factor = np.full(1, 0.5, np.float32)
    out = np.empty((numba.get_num_threads(), VECTOR_BYTES // 4), np.float32)
    run_chains(factor, out, 10)  # compiles
    times = []
    time.sleep(PAUSE)
    for _ in range(REPEATS):
        start = time.perf_counter()
        run_chains(factor, out, COUNT)
        times.append(time.perf_counter() - start)
    assert np.allclose(out, CHAINS), out  # every chain tends to factor / (1 - factor) = 1
    return out.size * CHAINS * COUNT / float(np.median(times))


if __name__ == "__main__":
    rate = multiply_adds_per_second() / 1e9
    print(f"{rate:.1f} G float32 multiply-adds per second on {numba.get_num_threads()} threads")
