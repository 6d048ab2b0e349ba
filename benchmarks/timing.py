"""The one timer of the benchmarks: rivals in turn in one process, medians, and the machine they ran on."""

import os
import platform
import time

import numpy as np

PAUSE = 0.1  # seconds between rivals: the threads of the last one spin for a while before they sleep


def in_turn(rivals, repeats=5):
    """Median seconds of every function of a dict, called in turn after one warm-up each."""
    times = {name: [] for name in rivals}
    for function in rivals.values():
        function()
    for _ in range(repeats):
        for name, function in rivals.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def machine():
    """One line: processor, cores, versions."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.processor())
    import numba

    import fastcl

    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}, fastcl {fastcl.__version__}"
    )
    return f"{model}, {os.cpu_count()} cores; {versions}"
