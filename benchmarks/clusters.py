"""One process of two threads against dask with two worker processes of one thread each, on one memory map.

Both read the same .npy file: the first in one pass, the workers block by block, each mapping the file itself, so that no point is
sent anywhere. With --kill one of the workers is killed half-way, and the bits have to be those of the unbroken run.
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from timing import in_turn, machine

import numpy as np  # isort: skip

import fastcl

BLOCK = 100_000  # rows of a block


def read_block(path, block_id):
    """Rows of the file, mapped where the task runs."""
    start = BLOCK * block_id[0]
    return np.load(path, mmap_mode="r")[start : start + BLOCK]


def open_blocks(path, x):
    """The file as a dask array whose graph holds its path alone."""
    import dask.array as da

    rows = tuple(min(BLOCK, len(x) - start) for start in range(0, len(x), BLOCK))
    meta = np.empty((0, 0), x.dtype)
    return da.map_blocks(
        read_block, str(path), chunks=(rows, (x.shape[1],)), dtype=x.dtype, meta=meta
    )


def write_points(path, n, dim):
    """A .npy file of n normal points, (n, dim) float32."""
    x, rng = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim)), np.random.default_rng(0)
    for start in range(0, n, BLOCK):
        rows = x[start : start + BLOCK]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32)
    x.flush()


def check_agreement(whole, parts, alone, n):
    """RuntimeError where the cluster has other bits than one process with its blocks, or is far from the sketch of the map."""
    if not np.array_equal(parts.values, alone.values):
        raise RuntimeError("the cluster has other bits than one process")
    if not whole.count == parts.count == n:
        raise RuntimeError("points are missing")
    difference = np.abs(whole.values - parts.values).max()
    if difference > 1e-6:  # float32, in sums of 256 points
        raise RuntimeError(f"the sketches differ by {difference:.1e}")
    return difference


def kill_half_way(pid, seconds):
    """A thread that kills the process in the middle of a run of so many seconds."""
    thread = threading.Timer(seconds / 2, os.kill, (pid, signal.SIGKILL))
    thread.start()
    return thread


def main():
    import dask
    from distributed import Client, LocalCluster

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=4_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("-m", type=int, default=2000)
    parser.add_argument(
        "--kill",
        action="store_true",
        help="kill a worker half-way through another run, and compare the bits",
    )
    options = parser.parse_args()
    print(machine())
    omega = fastcl.draw_frequencies(options.m, options.dim, 1.0, rng=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        write_points(path, options.n, options.dim)
        x = np.load(path, mmap_mode="r")
        blocks = open_blocks(path, x)
        with dask.config.set(scheduler="synchronous"):
            alone = fastcl.sketch(blocks, omega)
        start = time.perf_counter()
        settings = {"host": "127.0.0.1", "dashboard_address": None, "local_directory": folder}
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, **settings) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(2)
            started = time.perf_counter() - start
            start = time.perf_counter()
            parts = fastcl.sketch(blocks, omega)
            first = time.perf_counter() - start
            difference = check_agreement(fastcl.sketch(x, omega), parts, alone, options.n)
            print(f"{options.n:,} points, d = {options.dim}, m = {options.m}, {blocks.npartitions} blocks; largest difference"
                  f" {difference:.1e}; cluster and one process: the same bits")  # fmt: skip
            names = "one process, two threads", "two workers of one thread"
            one, two = in_turn({
                names[0]: lambda: fastcl.sketch(x, omega),
                names[1]: lambda: fastcl.sketch(blocks, omega),
            }).values()  # fmt: skip
            print(f"{'':28}{'s':>8}{'ns/pair':>10}{'ratio':>8}")
            for name, seconds in zip(names, (one, two), strict=True):
                print(
                    f"{name:28}{seconds:>8.3f}{1e9 * seconds / (options.n * options.m):>10.3f}{seconds / one:>8.2f}"
                )
            print(
                f"start of the cluster {started:.2f} s; its first sketch, with imports and compiled code read, {first:.2f} s"
            )
            if options.kill:
                victim = next(iter(client.run(os.getpid).values()))
                killer, start = kill_half_way(victim, two), time.perf_counter()
                survived = fastcl.sketch(blocks, omega)
                seconds = time.perf_counter() - start
                killer.join()
                same = np.array_equal(survived.values, alone.values) and survived.count == options.n
                cut = seconds > two / 2
                print(f"a worker killed after {two / 2:.2f} s: {seconds:.2f} s in all, {'the same bits' if same else 'DIFFERENT'}"
                      + ("" if cut else " (but it was done by then)"))  # fmt: skip
                if not same or not cut:
                    raise SystemExit(1)


if __name__ == "__main__":
    main()
