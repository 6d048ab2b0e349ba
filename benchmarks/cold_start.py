"""What import, first calls and steady calls cost in new processes: python benchmarks/cold_start.py

Every figure is a median over processes. The cache of compiled kernels is a temporary folder (NUMBA_CACHE_DIR), empty for the
first process of a repeat and filled for the second. The files themselves are in the memory of the system by then. The probe is
one small loop, compiled serial and parallel: what a cached kernel of each kind costs to load, and what a second one. The first
of a process, of either kind, also pays for what Numba sets up once; fastcl's import has paid part of that before its first call.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
from timing import machine

IMPORT_AIM, CACHED_AIM = 0.4, 1.0  # seconds

IMPORTS = """
import json, time
start = time.perf_counter()
import numba
middle = time.perf_counter()
import fastcl
print(json.dumps({"import numba": middle - start, "import fastcl beyond it": time.perf_counter() - middle}))
"""
PREPARE = """
import json, sys, time
import numpy as np, fastcl
from fastcl.learning.objective import SketchMatching
rng = np.random.default_rng(0)
x, omega = rng.standard_normal((4000, 2), dtype=np.float32), rng.standard_normal((500, 2))
sketch = fastcl.Sketch.from_arrays({"omega": omega, "total": np.ones(500, complex), "count": 1})  # without a kernel
prior, box = fastcl.MLPPrior(2, rng=0), fastcl.Box([-1, -1], [1, 1])
def step():
    if not step.made:
        step.made = SketchMatching(sketch, box, prior.dtype), fastcl.Adam(1e-3)
    step.made[1].update(prior.theta, step.made[0].gradient(prior, "normalised", 400, rng, "normalised")[1])
step.made = None
tasks = {
    "feature_sum": lambda: fastcl.feature_sum(x, omega),
    "feature_adjoint": lambda: fastcl.feature_adjoint(x, omega, np.ones(500)),
    "learning step": step,
}
"""
CALLS = """
task, times = tasks[sys.argv[1]], []
for _ in range(21):
    start = time.perf_counter()
    task()
    times.append(time.perf_counter() - start)
print(json.dumps({"first": times[0], "steady": sorted(times[1:])[10]}))
"""
PROFILE = """
import cProfile, pstats
profile = cProfile.Profile()
profile.runcall(tasks[sys.argv[1]])
pstats.Stats(profile).sort_stats("cumulative").print_stats(25)
"""
PROBE = """
import numba
import numpy as np

@numba.njit(cache=True)
def serial(x):
    for i in range(x.size):
        x[i] = 2 * x[i] + 1

@numba.njit(cache=True)
def serial_again(x):
    for i in range(x.size):
        x[i] = 3 * x[i] + 1

@numba.njit(cache=True, parallel=True)
def parallel(x):
    for i in numba.prange(x.size):
        x[i] = 2 * x[i] + 1

@numba.njit(cache=True, parallel=True)
def parallel_again(x):
    for i in numba.prange(x.size):
        x[i] = 3 * x[i] + 1
"""
LOAD = """
import json, sys, time
import numpy as np
import probe
x, times = np.ones(1000), {}
for name in sys.argv[1:]:
    start = time.perf_counter()
    getattr(probe, name)(x)
    times[name] = time.perf_counter() - start
print(json.dumps(times))
"""


def run(code, *arguments, cache=None, path=None, flags=()):
    """Standard output and standard error of a new process."""
    environment = dict(os.environ)
    if cache:
        environment["NUMBA_CACHE_DIR"] = cache
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [path, environment.get("PYTHONPATH")])
        )
    child = subprocess.run(
        [sys.executable, *flags, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return child.stdout, child.stderr


def medians(rows):
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


def report_imports(repeats):
    run(IMPORTS)  # brings the files into memory
    times = medians([json.loads(run(IMPORTS)[0]) for _ in range(repeats)])
    for name, value in times.items():
        print(f"{name:40}{value:>9.3f} s{f'   aim {IMPORT_AIM}' if 'beyond' in name else ''}")
    # -X importtime: "import time: self [us] | cumulative | name", the name indented by its depth
    lines = re.findall(
        r"^import time:\s+(\d+) \|\s+(\d+) \| (.*)$",
        run("import numba; import fastcl", flags=("-X", "importtime"))[1],
        re.M,
    )
    last = max(i for i, (_, _, name) in enumerate(lines) if name.strip() == "numba")
    slowest = sorted(lines[last + 1 :], key=lambda line: -int(line[1]))[:12]
    print("  slowest after numba, with what they import, ms: ", end="")
    print(
        ", ".join(f"{name.strip()} {int(cumulative) / 1e3:.0f}" for _, cumulative, name in slowest),
        flush=True,
    )


def report_calls(repeats, tasks):
    print(
        f"{'':40}{'empty cache':>13}{'filled cache':>14}{'steady':>12}   aim of the filled one {CACHED_AIM} s"
    )
    for task in tasks:
        empty, filled = [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as cache:
                empty.append(json.loads(run(PREPARE + CALLS, task, cache=cache)[0]))
                filled.append(json.loads(run(PREPARE + CALLS, task, cache=cache)[0]))
        empty, filled = medians(empty), medians(filled)
        print(
            f"{task:40}{empty['first']:>11.2f} s{filled['first']:>12.3f} s{1e3 * filled['steady']:>9.3f} ms",
            flush=True,
        )


def report_profile(task):
    with tempfile.TemporaryDirectory() as cache:
        run(PREPARE + CALLS, task, cache=cache)
        print(run(PREPARE + PROFILE, task, cache=cache)[0])


def report_probe(repeats):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "probe.py"), "w") as file:
            file.write(PROBE)
        for names in (
            ("serial", "serial_again"),
            ("parallel", "parallel_again"),
            ("serial", "parallel", "parallel_again"),
        ):
            load = (LOAD, *names)
            run(*load, cache=folder, path=folder)  # compiles
            times = medians(
                [json.loads(run(*load, cache=folder, path=folder)[0]) for _ in range(repeats)]
            )
            print(
                "  cached, ms: "
                + ", then ".join(f"{name} {1e3 * value:.1f}" for name, value in times.items()),
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    tasks = ("feature_sum", "feature_adjoint", "learning step")
    parser.add_argument(
        "--task", choices=tasks, action="append", help="of the first calls; by default all"
    )
    parser.add_argument(
        "--profile", choices=tasks, help="only a profile of this first call with a filled cache"
    )
    options = parser.parse_args()
    print(machine())
    if options.profile:
        report_profile(options.profile)
        return
    report_imports(options.repeats)
    report_probe(options.repeats)
    report_calls(options.repeats, options.task or tasks)


if __name__ == "__main__":
    main()
