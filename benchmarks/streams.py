"""A memory map sketched in one pass, and killed half-way with kill -9: python benchmarks/streams.py

Three processes read the same file: one in one go, one that is killed without warning once half of
the points are in its checkpoint, and one that resumes from there. The sums of the last must be
bitwise identical to those of the first. Printed: points per second and peak memory.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from command import new_parser
from timing import machine

import numpy as np  # isort: skip

import fastcl

BLOCK = 1 << 20  # rows written at a time
EVERY = 10_000_000  # points between two checkpoints
IN_MEMORY = 4_000_000  # points of the comparison in memory
QUICK_GB = 0.05
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
    file.write("5")  # forget the peak so far
before, start = status("VmRSS"), time.perf_counter()
sk = fastcl.sketch(x, omega, checkpoint=checkpoint, checkpoint_every=every)
seconds = time.perf_counter() - start
print(seconds, status("VmHWM") - before, sk.count, hashlib.sha256(sk.values.tobytes()).hexdigest())
"""


def write_points(path, n, dim):
    """A .npy file of n normal points, (n, dim) float32."""
    x = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    rng = np.random.default_rng(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        x[start:stop] = rng.standard_normal((stop - start, dim), dtype=np.float32)
    x.flush()


def start_pass(*arguments):
    """A process that sketches the file, from its checkpoint if there is one."""
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
    """SIGKILL once half of the points are in the checkpoint; returns how many are."""
    while child.poll() is None:
        if checkpoint.exists() and (count := fastcl.Sketch.load(checkpoint).count) >= n // 2:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            return max(count, fastcl.Sketch.load(checkpoint).count)
        time.sleep(0.01)
    raise RuntimeError("the pass ended before it could be killed")


def check_sums(x, m):
    """Compare the first rows of the file with NumPy in float64, at a few frequencies."""
    rows = np.array(x[:20_000])
    omega = fastcl.draw_frequencies(m, x.shape[1], 1.0, rng=0)
    exact = np.exp(-1j * (rows.astype(np.float64) @ omega[:8].T)).mean(axis=0)
    error = np.abs(fastcl.sketch(rows, omega).values[:8] - exact).max()
    if error > 1e-6:
        raise RuntimeError(f"the sketch is off by {error:.1e}")
    return error


def rate_in_memory(x, m):
    """Points per second of the same sums when the points are in memory already."""
    rows = np.array(x[:IN_MEMORY])
    omega = fastcl.draw_frequencies(m, x.shape[1], 1.0, rng=0)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        fastcl.sketch(rows, omega)
        times.append(time.perf_counter() - start)
    return len(rows) / np.median(times)


def compare_passes(path, folder, m, n, rate):
    """Run the three passes and print them; whether both results agree."""
    whole, halved = Path(folder) / "whole.npz", Path(folder) / "halved.npz"
    seconds, extra, count, digest = end_pass(start_pass(path, m, whole, EVERY))
    child = start_pass(path, m, halved, max(1, min(EVERY, n // 16)))
    killed = kill_half_way(child, halved, n)
    again, again_extra, again_count, again_digest = end_pass(start_pass(path, m, halved, EVERY))
    print(
        f"{'pass':16}{'points':>13}{'s':>8}{'points/s':>12}"
        f"{'relative to memory':>20}{'MiB above start':>17}"
    )
    print(f"{'in memory':16}{min(n, IN_MEMORY):>13,}{'':>8}{rate:>12,.0f}")
    for name, points, took, peak in (
        ("unbroken", n, seconds, extra),
        ("after kill -9", n - killed, again, again_extra),
    ):
        print(
            f"{name:16}{points:>13,}{took:>8.1f}{points / took:>12,.0f}"
            f"{points / took / rate:>20.2f}{peak:>17.1f}"
        )
    print(f"killed with {killed:,} points in the checkpoint")
    print(f"points counted in the end: {count:,} and {again_count:,} of {n:,}")
    print(f"sums of both: {'bitwise identical' if digest == again_digest else 'DIFFERENT'}")
    return count == again_count == n and digest == again_digest


def main():
    parser = new_parser(__doc__)
    parser.add_argument(
        "--gb", type=float, default=8.0, help="size of the file in 10^9 bytes (%(default)s)"
    )
    parser.add_argument("--dim", type=int, default=16, help="dimension (%(default)s)")
    parser.add_argument("-m", type=int, default=2000, help="frequencies (%(default)s)")
    parser.add_argument(
        "--folder", help="where the file is written, and removed afterwards (the system's)"
    )
    options = parser.parse_args()
    print(machine())
    n = int((QUICK_GB if options.quick else options.gb) * 1e9) // (4 * options.dim)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "x.npy"
        write_points(path, n, options.dim)
        x = np.load(path, mmap_mode="r")
        error = check_sums(x, options.m)
        size = path.stat().st_size / 1e9
        print(f"{n:,} points, d = {options.dim}, m = {options.m}, {size:.2f} GB; error {error:.1e}")
        rate = rate_in_memory(x, options.m)
        if not compare_passes(path, folder, options.m, n, rate):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
