"""A memory map larger than memory should be asked for, sketched in one pass: points a second, peak memory, kill -9 half-way.

Three processes of their own read the same file: one in one go; one that is killed without a word once half of the points are in
its checkpoint; and one that goes on from there. The sums of the last have to be those of the first, bit for bit.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import machine

import numpy as np  # isort: skip

import fastcl

BLOCK = 1 << 20  # rows written at a time
EVERY = 10_000_000  # points between two checkpoints
MEASURE = """
import hashlib, sys, time
import numpy as np, fastcl

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

path, m, checkpoint, every = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
x = np.load(path, mmap_mode="r")
omega = fastcl.draw_frequencies(m, x.shape[1], 1.0, rng=0)
fastcl.sketch(np.array(x[:1000]), omega)  # compiles
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the largest size so far
before, start = status("VmRSS"), time.perf_counter()
sk = fastcl.sketch(x, omega, checkpoint=checkpoint, checkpoint_every=every)
seconds = time.perf_counter() - start
print(seconds, status("VmHWM") - before, sk.count, hashlib.sha256(sk.values.tobytes()).hexdigest())
"""


def write_points(path, n, dim):
    """A .npy file of n normal points, (n, dim) float32."""
    x, rng = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim)), np.random.default_rng(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        x[start:stop] = rng.standard_normal((stop - start, dim), dtype=np.float32)
    x.flush()


def start_pass(*arguments):
    """A process that sketches the file, from its checkpoint where there is one."""
    return subprocess.Popen(
        [sys.executable, "-c", MEASURE, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def end_pass(child):
    """(seconds, MiB above the start, points, hash of the values) that a process printed."""
    output, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"a pass ended with status {child.returncode}")
    seconds, extra, count, digest = output.split()
    return float(seconds), float(extra), int(count), digest


def kill_half_way(child, checkpoint, n):
    """SIGKILL once half of the points are in the checkpoint; how many are."""
    while child.poll() is None:
        if checkpoint.exists() and (count := fastcl.Sketch.load(checkpoint).count) >= n // 2:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            return max(count, fastcl.Sketch.load(checkpoint).count)
        time.sleep(0.1)
    raise RuntimeError("the pass ended before it could be killed")


def check_sums(x, m):
    """The first rows of the file against NumPy in float64, at a few frequencies."""
    rows, omega = np.array(x[:20_000]), fastcl.draw_frequencies(m, x.shape[1], 1.0, rng=0)
    exact = np.exp(-1j * (rows.astype(np.float64) @ omega[:8].T)).mean(axis=0)
    error = np.abs(fastcl.sketch(rows, omega).values[:8] - exact).max()
    if error > 1e-6:
        raise RuntimeError(f"the sketch is off by {error:.1e}")
    return error


def in_memory(x, m):
    """Points a second of the same sums where the points are in memory already."""
    rows, omega = np.array(x[:4_000_000]), fastcl.draw_frequencies(m, x.shape[1], 1.0, rng=0)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        fastcl.sketch(rows, omega)
        times.append(time.perf_counter() - start)
    return len(rows) / np.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--gb", type=float, default=8.0, help="size of the file in 10^9 bytes (%(default)s)"
    )
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("-m", type=int, default=2000)
    parser.add_argument(
        "--folder", help="where the file is written, and removed afterwards (the system's)"
    )
    options = parser.parse_args()
    print(machine())
    n = int(options.gb * 1e9) // (4 * options.dim)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, whole, halved = (Path(folder) / name for name in ("x.npy", "whole.npz", "halved.npz"))
        write_points(path, n, options.dim)
        x = np.load(path, mmap_mode="r")
        error, size = check_sums(x, options.m), path.stat().st_size / 1e9
        print(f"{n:,} points, d = {options.dim}, m = {options.m}, {size:.2f} GB; error {error:.1e}")
        rate = in_memory(x, options.m)
        seconds, extra, count, digest = end_pass(start_pass(path, options.m, whole, EVERY))
        child = start_pass(path, options.m, halved, max(1, min(EVERY, n // 16)))
        killed = kill_half_way(child, halved, n)
        again, again_extra, again_count, again_digest = end_pass(
            start_pass(path, options.m, halved, EVERY)
        )
        print(
            f"{'pass':24}{'points':>13}{'s':>8}{'points/s':>12}{'of memory':>11}{'MiB above start':>17}"
        )
        print(f"{'in memory':24}{min(n, 4_000_000):>13,}{'':>8}{rate:>12,.0f}")
        for name, points, took, peak in (
            ("unbroken", n, seconds, extra),
            ("after kill -9", n - killed, again, again_extra),
        ):
            print(
                f"{name:24}{points:>13,}{took:>8.1f}{points / took:>12,.0f}{points / took / rate:>11.2f}{peak:>17.1f}"
            )
        print(
            f"killed with {killed:,} points in the checkpoint; counted in the end: {count:,} and {again_count:,} of {n:,}"
        )
        print(f"sums of both: {'the same bits' if digest == again_digest else 'DIFFERENT'}")
        if not (count == again_count == n and digest == again_digest):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
