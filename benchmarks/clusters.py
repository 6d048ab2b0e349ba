"""One process of two threads against two dask workers of one thread: python benchmarks/clusters.py

Both read the same .npy file: one process in one pass, the workers block by block, each mapping the
file itself, so that no points are sent anywhere. With --kill, one of the workers is killed half-way
and the result must be bitwise identical to that of the unbroken run.
"""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from command import new_parser, require
from timing import in_turn, machine

import numpy as np  # isort: skip

import fastcl

BLOCK = 100_000  # rows per block
QUICK = {"n": 400_000, "dim": 4, "m": 200}
ONE = "one process, two threads"
TWO = "two workers of one thread"


def read_block(path, block_id):
    """Rows of the file, mapped where the task runs."""
    start = BLOCK * block_id[0]
    return np.load(path, mmap_mode="r")[start : start + BLOCK]


def open_blocks(path, x):
    """The file as a dask array whose graph holds nothing but its path."""
    import dask.array as da

    rows = tuple(min(BLOCK, len(x) - start) for start in range(0, len(x), BLOCK))
    meta = np.empty((0, 0), x.dtype)
    return da.map_blocks(
        read_block, str(path), chunks=(rows, (x.shape[1],)), dtype=x.dtype, meta=meta
    )


def write_points(path, n, dim):
    """A .npy file of n normal points, (n, dim) float32."""
    x = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    rng = np.random.default_rng(0)
    for start in range(0, n, BLOCK):
        rows = x[start : start + BLOCK]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32)
    x.flush()


def check_agreement(whole, parts, alone, n):
    """RuntimeError unless the cluster agrees bitwise with one process on its blocks.

    It must also be close to the sketch of the map; returns the largest difference from that.
    """
    if not np.array_equal(parts.values, alone.values):
        raise RuntimeError("the cluster and one process differ")
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


def survive(client, blocks, omega, alone, seconds):
    """Sketch again while a worker is killed half-way; whether the result is the same."""
    victim = next(iter(client.run(os.getpid).values()))
    killer = kill_half_way(victim, seconds)
    start = time.perf_counter()
    survived = fastcl.sketch(blocks, omega)
    took = time.perf_counter() - start
    killer.join()
    same = np.array_equal(survived.values, alone.values) and survived.count == alone.count
    in_time = took > seconds / 2
    print(
        f"a worker killed after {seconds / 2:.2f} s: {took:.2f} s in all, "
        f"{'bitwise identical' if same else 'DIFFERENT'}"
        + ("" if in_time else " (but the run was over by then)")
    )
    return same and in_time


def main():
    parser = new_parser(__doc__)
    parser.add_argument("-n", type=int, default=4_000_000, help="points (%(default)s)")
    parser.add_argument("--dim", type=int, default=16, help="dimension (%(default)s)")
    parser.add_argument("-m", type=int, default=2000, help="frequencies (%(default)s)")
    parser.add_argument(
        "--kill",
        action="store_true",
        help="kill a worker half-way through another run, and compare the results",
    )
    options = parser.parse_args()
    dask = require("dask")
    distributed = require("distributed")
    if options.quick:
        vars(options).update(QUICK)
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
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, **settings) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.wait_for_workers(2)
            started = time.perf_counter() - start
            start = time.perf_counter()
            parts = fastcl.sketch(blocks, omega)
            first = time.perf_counter() - start
            difference = check_agreement(fastcl.sketch(x, omega), parts, alone, options.n)
            print(
                f"{options.n:,} points, d = {options.dim}, m = {options.m}, "
                f"{blocks.npartitions} blocks; largest difference {difference:.1e}"
            )
            print("cluster and one process on the same blocks: bitwise identical")
            times = in_turn(
                {ONE: lambda: fastcl.sketch(x, omega), TWO: lambda: fastcl.sketch(blocks, omega)}
            )
            print(f"{'':28}{'s':>8}{'ns/pair':>10}{'ratio':>8}")
            for name, seconds in times.items():
                pair = 1e9 * seconds / (options.n * options.m)
                print(f"{name:28}{seconds:>8.3f}{pair:>10.3f}{seconds / times[ONE]:>8.2f}")
            print(f"start of the cluster: {started:.2f} s")
            print(f"its first sketch, with imports and reading compiled code: {first:.2f} s")
            if options.kill and not survive(client, blocks, omega, alone, times[TWO]):
                raise SystemExit(1)


if __name__ == "__main__":
    main()
