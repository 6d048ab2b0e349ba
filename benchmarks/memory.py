"""Peak memory of a sketch and of a learning step above their input: python benchmarks/memory.py

Measured as the growth of the peak resident size, each in a new process. Neither forms an array of
points x frequencies; the last column is what one would take.
"""

import subprocess
import sys

from command import new_parser
from timing import machine

SKETCHES = ((1_000_000, 16, 500), (1_000_000, 16, 4000), (4_000_000, 16, 4000))  # n, d, m
SKETCHES_QUICK = ((100_000, 16, 500),)
STEPS = ((4000, 2, 500), (4000, 2, 16_000), (64_000, 2, 500), (64_000, 2, 16_000))  # n, d, m
STEPS_QUICK = ((4000, 2, 500),)
WIDTHS = (64, 128, 256)

MEASURE = """
import resource, sys, time
import numpy as np, fastcl
from fastcl.learning.objective import SketchMatching

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

def report(function, limit=None, runs=5, most=10):
    # Times that many runs, but none after `most` seconds.
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before, times = status("VmRSS"), []
    if runs > 1:
        function()  # the first call also allocates
    while len(times) < runs and sum(times) < most:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    print(status("VmHWM") - before, np.median(times))

def make_step(dim, m, widths, method, points):
    omega = fastcl.draw_frequencies(m, dim, 0.1, rng=0)
    x = np.random.default_rng(0).uniform(-1, 1, (1000, dim)).astype(np.float32)
    sketch = fastcl.sketch(x, omega)
    prior, box = fastcl.MLPPrior(dim, widths, rng=0), fastcl.Box([-1] * dim, [1] * dim)
    objective = SketchMatching(sketch, box, prior.dtype)
    optimizer, rng = fastcl.Adam(1e-3), np.random.default_rng(0)

    def step():
        optimizer.update(prior.theta, objective.gradient(prior, method, points, rng)[1])

    # Another prior and box compile the kernels, and leave no buffers behind.
    other, other_box = fastcl.MLPPrior(dim, widths, rng=0), fastcl.Box([-1] * dim, [1] * dim)
    SketchMatching(sketch, other_box, other.dtype).gradient(other, method, 2, rng)
    return step

"""
SKETCH = """
n, d, m = map(int, sys.argv[1:])
x = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
omega = fastcl.draw_frequencies(m, d, 1.0, rng=0)
fastcl.sketch(x[:1000], omega[:300])  # compiles
report(lambda: fastcl.sketch(x, omega))
"""
STEP = """
method, (dim, m, points, limit) = sys.argv[1], map(int, sys.argv[2:6])
report(make_step(dim, m, tuple(map(int, sys.argv[6:])), method, points), limit)
"""


def in_child(task, *arguments):
    """(peak MiB above what was there, median seconds) of a task in a new process.

    MemoryError if the task met its limit.
    """
    command = [sys.executable, "-c", MEASURE + task, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True)
    if "MemoryError" in child.stderr:
        raise MemoryError(child.stderr.strip().splitlines()[-1])
    if child.returncode:
        raise RuntimeError(child.stderr)
    return tuple(map(float, child.stdout.split()))


def step_in_child(method, dim, m, points, widths, limit=0):
    """`in_child` for one learning step.

    `points` is a number per axis for the grid; `limit` is in bytes of address space, 0 for none.
    """
    return in_child(STEP, method, dim, m, points, limit, *widths)


def main():
    options = new_parser(__doc__).parse_args()
    print(machine())
    print(f"sketch{'n':>10}{'d':>5}{'m':>7}{'input MiB':>11}{'extra MiB':>11}{'n x m MiB':>11}")
    for n, d, m in SKETCHES_QUICK if options.quick else SKETCHES:
        extra, _ = in_child(SKETCH, n, d, m)
        given, product = 4 * n * d / 2**20, 4 * n * m / 2**20
        print(f"{n:>16}{d:>5}{m:>7}{given:>11.0f}{extra:>11.1f}{product:>11.0f}", flush=True)
    network = "-".join(map(str, WIDTHS))
    print(f"step, unbiased, {network}{'n':>7}{'d':>5}{'m':>7}{'extra MiB':>11}{'n x m MiB':>11}")
    for n, d, m in STEPS_QUICK if options.quick else STEPS:
        extra, _ = step_in_child("unbiased", d, m, n, WIDTHS)
        print(f"{n:>33}{d:>5}{m:>7}{extra:>11.1f}{4 * n * m / 2**20:>11.0f}", flush=True)


if __name__ == "__main__":
    main()
