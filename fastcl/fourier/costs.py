"""What the direct kernels and finufft cost on this machine: measured once, when first needed, and kept in a file."""

import functools
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import numba
import numpy as np
import scipy

from .. import files

# Seconds on one thread for `nufft.features`, by dimension, of one AMD EPYC (Zen 4).  Transforms are cut into pieces by
# these, so that pieces, and with them the bits of a result, do not follow the machine.
NOMINAL = {
    1: np.array([4e-4, 2e-9, 7e-8, 1e-8, 1e-8, 6e-8, 1e-9, 2e-9]),
    2: np.array([5e-4, 8e-10, 3e-7, 1e-9, 2e-10, 4e-8, 6e-10, 2e-10]),
    3: np.array([5e-4, 8e-10, 5e-7, 5e-10, 2e-10, 2e-8, 5e-10, 2e-10]),
}
REPEATS = 5  # the least time counts: whatever else runs on the machine can only add to it


def cache_folder():
    """The folder of this user for files that can be made again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastcl"


def machine_key():
    """What the measurements depend on: machine, CPUs, versions."""
    from .. import __version__
    from .nufft import import_finufft

    finufft = getattr(import_finufft(), "__version__", "")
    names = (
        platform.node(),
        platform.machine(),
        platform.processor(),
        numba.core.config.CPU_NAME or llvm_cpu(),
    )
    return [*names, os.cpu_count(), numba.__version__, finufft, __version__]


def llvm_cpu():
    """The processor as LLVM calls it."""
    from llvmlite import binding

    return binding.get_host_cpu_name()


def cache_path():
    """The file of this machine and these versions."""
    digest = hashlib.sha256(json.dumps(machine_key()).encode()).hexdigest()[:16]
    return cache_folder() / f"costs-{digest}.json"


def is_price_list(prices, size):
    """Whether `prices` can be what was measured: `size` finite numbers, none negative, not all zero."""
    numbers = isinstance(prices, list) and all(type(price) in (int, float) for price in prices)
    return (
        numbers and len(prices) == size and all(0 <= price < 1 for price in prices) and any(prices)
    )


def read_prices(name, size):
    """The prices kept under `name`; None where there are none, or the file is not what was written."""
    try:
        content = json.loads(cache_path().read_bytes())
        prices = content["prices"].get(name) if content["key"] == machine_key() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError):
        return None
    return np.array(prices) if is_price_list(prices, size) else None


def write_prices(name, prices):
    """Keep the prices under `name`, beside those that are there; nothing where the folder cannot be written."""
    try:
        path = cache_path()
        try:
            content = json.loads(path.read_bytes())
            kept = dict(content["prices"]) if content["key"] == machine_key() else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            kept = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            content = {
                "key": machine_key(),
                "prices": kept | {name: [float(price) for price in prices]},
            }
            file.write(json.dumps(content).encode())
    except (OSError, RuntimeError):  # no home, a read-only disk, no space: measured again next time
        pass


def prices(name, size, measure):
    """The prices called `name`, from the file or else from `measure()`."""
    known = read_prices(name, size)
    if known is None:
        known = measure()
        write_prices(name, known)
    return known


def least_seconds(call):
    """The least of REPEATS times, after one warm-up."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@functools.cache
def direct_prices(name, dtype, dim):
    """(seconds a call, seconds a pair on one thread) of the direct kernel "sum" or "adjoint"."""
    return prices(
        f"direct {name} {dtype} {dim}", 2, functools.partial(measure_direct, name, dtype, dim)
    )


@functools.cache
def nufft_prices(dim):
    """Seconds on one thread a unit of `nufft.features`."""
    return prices(f"nufft {dim}", len(NOMINAL[dim]), functools.partial(measure_nufft, dim))


def measure_direct(name, dtype, dim):
    """What `direct_prices` gives, measured."""
    from .features import feature_adjoint, feature_sum

    rng, threads = np.random.default_rng(0), numba.get_num_threads()
    times, pairs = [], []
    numba.set_num_threads(1)
    try:
        for n, m in ((256, 16), (16_384, 1024)):
            x, omega, c = (
                rng.standard_normal((n, dim)).astype(dtype),
                rng.standard_normal((m, dim)),
                np.ones(m),
            )
            if name == "sum":
                times.append(least_seconds(lambda: feature_sum(x, omega, method="direct")))  # noqa: B023  (called at once)
            else:
                times.append(least_seconds(lambda: feature_adjoint(x, omega, c, method="direct")))  # noqa: B023
            pairs.append(n * m)
    finally:
        numba.set_num_threads(threads)
    a_pair = max(times[1] - times[0], 0.0) / (pairs[1] - pairs[0])
    return np.array([times[0], a_pair])


def measure_nufft(dim):
    """What `nufft_prices` gives, measured: times over sizes, grids and accuracies, and prices that explain them."""
    from .nufft import Plan, candidate_grids, features, run_plan

    rng, many = np.random.default_rng(0), (40_000, 20_000, 8000)[dim - 1]
    rows, times = [], []
    for accuracy in (1e-6, 1e-12):
        for extent in ((10.0, 1e5), (10.0, 300.0), (4.0, 30.0))[dim - 1]:
            grid = list(candidate_grids(np.full(dim, extent), accuracy))[
                2 if accuracy > 1e-9 else 1
            ]
            for n_sources, n_targets in ((16, 16), (many, 16), (16, many)):
                sources, targets = (
                    rng.uniform(-1, 1, (dim, n_sources)),
                    extent * rng.uniform(-1, 1, (dim, n_targets)),
                )
                strengths, out = (
                    np.ones(n_sources, np.complex128),
                    np.empty(n_targets, np.complex128),
                )
                sources[:, 0], targets[:, 0] = 1, extent
                sources[:, 1], targets[:, 1] = -1, -extent
                plan = Plan(grid, 1, True)
                times.append(
                    least_seconds(lambda: run_plan(plan, sources, strengths, targets, 1, out, 1))  # noqa: B023
                )  # noqa: B023, RUF100
                rows.append(features(dim, n_sources, n_targets, grid))
    times = np.array(times)
    scaled = np.array(rows) / times[:, None]  # relative errors count
    largest = scaled.max(axis=0)
    return scipy.optimize.nnls(scaled / largest, np.ones(len(times)))[0] / largest
