"""A program that uses fastcl in every way in which programs share work out, one after another.

It prints a line for each way that gave the same bits. The program runs loops of its own on Numba's
threads, so that fastcl works beside the threading layer that NUMBA_THREADING_LAYER asks for.
"""

import multiprocessing
import threading

import numba
import numpy as np

import fastcl
from fastcl.kernels import threads

if __name__ in ("__main__", "__mp_main__"):  # not where pytest imports it to look for doctests
    threads.MIN_COST = 0  # even the smallest call is shared
    fastcl.set_num_threads(4)
RNG = np.random.default_rng(0)
X, OMEGA = RNG.standard_normal((3000, 3)), RNG.standard_normal((500, 3))
PRIOR = fastcl.MLPPrior(3, (8, 16), rng=0)
BOX = fastcl.Box([-4] * 3, [4] * 3)


@numba.njit(parallel=True)
def own_loop(x):
    for i in numba.prange(x.size):
        x[i] += i


def work(_=None):
    sums = fastcl.feature_sum(X, OMEGA, method="direct")
    return sums.tobytes() + PRIOR.energy_grad(X).tobytes()


def learn(_=None):
    prior = fastcl.MLPPrior(3, (8, 16), rng=0)
    sketch = fastcl.sketch(X, OMEGA[:50], method="direct")
    fastcl.learn(prior, sketch, BOX, n_points=500, n_iter=20, rng=0)
    return prior.theta.tobytes()


def in_processes(start):
    with multiprocessing.get_context(start).Pool(2) as pool:
        return pool.map(work, range(4))


def in_threads(count, function):
    found = []
    callers = [threading.Thread(target=lambda: found.append(function())) for _ in range(count)]
    [caller.start() for caller in callers]
    [caller.join() for caller in callers]
    return found


def by_joblib(backend):
    import joblib

    return joblib.Parallel(2, backend=backend)(joblib.delayed(work)() for _ in range(4))


def by_dask(_):
    import dask

    return dask.compute(*[dask.delayed(work)() for _ in range(4)], scheduler="threads")


WAYS = {
    "fork": in_processes,
    "spawn": in_processes,
    "forkserver": in_processes,
    "threads": lambda _: in_threads(4, work),
    "loky": by_joblib,
    "multiprocessing": by_joblib,
    "dask": by_dask,
}


def main():
    before = in_processes("fork")
    expected = work()
    assert set(before) == {expected}
    print("fork before", flush=True)
    own_loop(np.zeros(1000))
    print("layer", numba.threading_layer(), flush=True)
    for way, run in WAYS.items():
        assert set(run(way)) == {expected}, way
        own_loop(np.zeros(1000))
        print(way, flush=True)
    assert set(in_threads(2, learn)) == {learn()}
    print("learn", flush=True)


if __name__ == "__main__":
    main()
