"""Microseconds of small calls, alone and beside busy processes: python benchmarks/small_calls.py

The calls are those of a loop in somebody else's program: the sums and the adjoint of 100 points at
200 frequencies in three dimensions, and the energy of one point. NumPy is the rival; the answers
must agree up to rounding in float32. The first column is an idle machine. In the others one process
per core runs a loop of Python, or products of matrices by NumPy on all threads of its BLAS.
"""

import contextlib
import itertools
import subprocess
import sys
import time

from timing import machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser

import fastcl

N, M, DIM = 100, 200, 3
LOADS = {
    "alone": None,
    "beside Python": "while True: pass",
    "beside BLAS": "import numpy as np\na = np.ones((1500, 1500))\nwhile True: a @ a",
}
TOLERANCE = 1e-4  # relative to the sum of magnitudes


def make_calls():
    """Pairs of functions by name: fastcl's and NumPy's."""
    rng = np.random.default_rng(0)
    x, omega = rng.standard_normal((N, DIM), dtype=np.float32), rng.standard_normal((M, DIM))
    omega32, c = omega.astype(np.float32), rng.standard_normal((M, 2)) @ (1, 1j)
    operator, prior = fastcl.FeatureOperator(omega), fastcl.MLPPrior(2, rng=0)
    point, out = np.array([[0.3, -0.2]], np.float32), np.empty(M, complex)

    def energy():
        rows, start = point, 0
        for n_in, n_out in itertools.pairwise(prior.sizes):
            rows = np.maximum(rows, 0) if start else rows
            end = start + n_in * n_out
            rows = rows @ prior.theta[start:end].reshape(n_in, n_out)
            rows += prior.theta[end : end + n_out]
            start = end + n_out
        return (rows**2).sum(axis=1)

    def sums():
        return np.exp(-1j * (x @ omega32.T)).sum(axis=0)

    def adjoint():
        return (np.exp(1j * (x @ omega32.T)) @ c).real

    return {
        "FeatureOperator.sum": (lambda: operator.sum(x, out=out), sums),
        "FeatureOperator.adjoint": (lambda: operator.adjoint(x, c), adjoint),
        "feature_sum": (lambda: fastcl.feature_sum(x, omega), sums),
        "energy of one point": (lambda: prior.energy(point), energy),
    }


@contextlib.contextmanager
def load(program, processes):
    """Run a program in some processes."""
    started = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(processes)]
    try:
        time.sleep(2.0 if started else 0.0)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def microseconds(function, least):
    """Median over the single calls of `least` seconds, at least ten."""
    times, end = [], time.perf_counter() + least
    while len(times) < 10 or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="per figure (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="figures to take (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.repeats = 0.01, 1
    print(machine())
    calls = make_calls()
    for name, (own, rival) in calls.items():
        expected = rival()
        error = np.abs(own() - expected).max() / max(1.0, np.abs(expected).max())
        assert error < TOLERANCE, (name, error)
    found = {name: {} for name in calls}
    for title, program in LOADS.items():
        processes = 0 if program is None else fastcl.get_num_threads()
        with load(program, processes):
            for name, both in calls.items():
                rows = [
                    [microseconds(f, options.seconds) for f in both] for _ in range(options.repeats)
                ]
                found[name][title] = np.median(rows, axis=0)
    print(f"{'us, and ratio of NumPy to it':30}" + "".join(f"{title:>22}" for title in LOADS))
    for name, columns in found.items():
        cells = "".join(f"{own:>14.1f}{rival / own:>8.1f}" for own, rival in columns.values())
        print(f"{name:30}{cells}")


if __name__ == "__main__":
    main()
