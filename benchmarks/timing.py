"""The timer of all benchmarks: rivals take turns in one process, and medians are compared.

Import it before NumPy. By default the threads of NumPy's OpenBLAS spin for 2^28 cycles, a tenth of
a second, after a product, and whoever runs in that time finds the cores taken: fastcl on
4000 x 500 pairs was seen two to six times slower.
"""

import math
import os
import platform
import time

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # 2^20 cycles, less than a millisecond

import numpy as np

WAKING = 0.5  # seconds; in longer calls, sleeping cores do not matter
PAUSE = 0.05  # seconds between rivals, whose thread pools spin for a while too


def seconds(function, calls=1):
    """Seconds per call, the mean of `calls` in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def in_turn(rivals, repeats=5, least=0.0):
    """Median seconds of every function of a dict; they take turns, after one warm-up call each.

    One turn is as many calls as take about `least` seconds, so that a short call is not measured by
    its start alone.
    """
    for function in rivals.values():
        function()
    once = {name: seconds(function) for name, function in rivals.items()}
    calls = {name: max(1, math.ceil(least / once[name])) for name in rivals}
    times = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, function in rivals.items():
            time.sleep(PAUSE)
            if once[name] < WAKING:
                function()  # cores that slept through the pause take milliseconds to come back
            times[name].append(seconds(function, calls[name]))
    return {name: float(np.median(values)) for name, values in times.items()}


def machine():
    """One line: processor, number of cores, versions."""
    with open("/proc/cpuinfo") as file:
        model = next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")),
            platform.processor(),
        )
    import numba

    import fastcl

    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Numba {numba.__version__}, fastcl {fastcl.__version__}"
    )
    return f"{model}, {os.cpu_count()} cores; {versions}"
