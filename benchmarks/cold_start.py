"""Import, first call and steady call in new processes: python benchmarks/cold_start.py

Every figure is a median over processes. The cache of compiled kernels is a temporary folder
(NUMBA_CACHE_DIR), empty for the first process of a repeat and filled for the second. By then the
files themselves are in the system's memory. The probe is two small loops; it shows what the first
and the second cached kernel of a process cost to load by Numba's own cache. The first one also pays
for what Numba sets up once; importing fastcl has paid part of that before its first call.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
from command import new_parser
from timing import machine

IMPORT_TARGET = 0.4  # seconds
CACHED_TARGET = 1.0  # seconds

IMPORTS = """
import json, time
start = time.perf_counter()
import numba
middle = time.perf_counter()
import fastcl
end = time.perf_counter()
print(json.dumps({"import numba": middle - start, "import fastcl after it": end - middle}))
"""
PREPARE = """
import json, sys, time
import numpy as np, fastcl
from fastcl.learning.objective import SketchMatching
rng = np.random.default_rng(0)
x, omega = rng.standard_normal((4000, 2), dtype=np.float32), rng.standard_normal((500, 2))
sketch = fastcl.Sketch.from_arrays(
    {"omega": omega, "total": np.ones(500, complex), "count": 1}  # without a kernel
)
prior, box = fastcl.MLPPrior(2, rng=0), fastcl.Box([-1, -1], [1, 1])
made = []
def step():
    if not made:
        made[:] = SketchMatching(sketch, box, prior.dtype), fastcl.Adam(1e-3)
    objective, optimizer = made
    gradient = objective.gradient(prior, "unbiased", 400, rng, "normalised")[1]
    optimizer.update(prior.theta, gradient)
def first_minute():
    sketch = fastcl.sketch(x, omega)
    prior.initialise_on(box, rng=0)
    fastcl.learn(prior, sketch, box, n_points=400, n_iter=1, rng=0)
tasks = {
    "first minute": first_minute,
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
def first(x):
    for i in range(x.size):
        x[i] = 2 * x[i] + 1

@numba.njit(cache=True)
def second(x):
    for i in range(x.size):
        x[i] = 3 * x[i] + 1
"""
PROBES = ("first", "second")
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
TASKS = ("feature_sum", "feature_adjoint", "learning step", "first minute")


def run(code, *arguments, cache=None, path=None, flags=()):
    """Standard output and standard error of a new process."""
    environment = dict(os.environ)
    if cache:
        environment["NUMBA_CACHE_DIR"] = cache
    if path:
        folders = filter(None, [path, environment.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join(folders)
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
        target = f"   target {IMPORT_TARGET}" if "fastcl" in name else ""
        print(f"{name:40}{value:>9.3f} s{target}")
    # -X importtime prints "import time: self [us] | cumulative | name", the name indented by depth
    lines = re.findall(
        r"^import time:\s+(\d+) \|\s+(\d+) \| (.*)$",
        run("import numba; import fastcl", flags=("-X", "importtime"))[1],
        re.M,
    )
    last = max(i for i, (_, _, name) in enumerate(lines) if name.strip() == "numba")
    slowest = sorted(lines[last + 1 :], key=lambda line: -int(line[1]))[:12]
    names = ", ".join(f"{name.strip()} {int(total) / 1e3:.0f}" for _, total, name in slowest)
    print(f"  slowest after numba, with what they import, ms: {names}", flush=True)


def report_calls(repeats, tasks):
    print(
        f"{'':40}{'empty cache':>13}{'filled cache':>14}{'steady':>12}"
        f"   target with a filled cache {CACHED_TARGET} s"
    )
    for task in tasks:
        empty, filled = [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as cache:
                empty.append(json.loads(run(PREPARE + CALLS, task, cache=cache)[0]))
                filled.append(json.loads(run(PREPARE + CALLS, task, cache=cache)[0]))
        first, cached = medians(empty)["first"], medians(filled)
        print(
            f"{task:40}{first:>11.2f} s{cached['first']:>12.3f} s{1e3 * cached['steady']:>9.3f} ms",
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
        run(LOAD, *PROBES, cache=folder, path=folder)  # compiles
        times = medians(
            [json.loads(run(LOAD, *PROBES, cache=folder, path=folder)[0]) for _ in range(repeats)]
        )
        loads = ", ".join(f"{name} {1e3 * value:.1f}" for name, value in times.items())
        print(f"  loops from Numba's cache, ms: {loads}", flush=True)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="processes (%(default)s)")
    parser.add_argument(
        "--task", choices=TASKS, action="append", help="first call to time; by default all"
    )
    parser.add_argument(
        "--profile", choices=TASKS, help="only a profile of this first call with a filled cache"
    )
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.task = 1, options.task or ["feature_sum"]
    print(machine())
    if options.profile:
        report_profile(options.profile)
        return
    report_imports(options.repeats)
    report_probe(options.repeats)
    report_calls(options.repeats, options.task or TASKS)


if __name__ == "__main__":
    main()
