"""Direct kernels, finufft and the choice between them, d = 1, 2, 3: python benchmarks/nufft.py

The points are float32 and Gaussian, the frequencies three times as wide, the accuracy the default
of float32 (1e-6). For every size: the seconds of the three methods (medians, in turn), which one
"auto" chose, its time relative to the better of the two, and the largest error against float64 on a
subsample of frequencies or points, relative to the sum of the amplitudes of the coefficients.
Needs finufft: pip install "fastcl[nufft]"
"""

import time

import numpy as np
from command import new_parser, require
from timing import in_turn, machine

import fastcl
from fastcl.fourier.methods import METHODS

SIZES = (
    (4_000, 500),
    (4_000, 10_000),
    (20_000, 2_000),
    (100_000, 500),
    (100_000, 2_000),
    (1_000_000, 500),
    (1_000_000, 10_000),
)  # points, frequencies
SIZES_QUICK = ((4_000, 500), (20_000, 2_000))
SUBSAMPLE = 50  # frequencies, or points, at which the error is measured
ROWS = 100_000  # points per part of the exact sum
REPEATS = ((0.5, 1), (0.05, 5), (0.0, 15))  # calls that take so many seconds: so many turns
LINE = "{:8}{:>3}{:>9}{:>7}{:>10}{:>10}{:>10}{:>8}{:>7}{:>10}{:>10}"
HEADING = (
    "map",
    "d",
    "n",
    "m",
    "direct s",
    "nufft s",
    "auto s",
    "choice",
    "ratio",
    "error",
    "direct",
)


def exact_exponentials(x, omega):
    return np.exp(-1j * (x.astype(np.float64) @ omega.T))


def problems(dim, n, m):
    """(name, function of the method, function that gives the largest error of a result)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, dim)).astype(np.float32)
    omega = 3 * rng.standard_normal((m, dim))
    weights = rng.random(n).astype(np.float32)
    c = (rng.standard_normal(m) + 1j * rng.standard_normal(m)).astype(np.complex64)

    def compute_sum(method):
        return fastcl.feature_sum(x, omega, weights, method=method)

    def compute_adjoint(method):
        return fastcl.feature_adjoint(x, omega, c, method=method)

    def error_of_sum(result):
        exact = 0
        for start in range(0, n, ROWS):
            rows = slice(start, start + ROWS)
            features = exact_exponentials(x[rows], omega[:SUBSAMPLE])
            exact = exact + weights[rows].astype(np.float64) @ features
        return np.abs(result[:SUBSAMPLE] - exact).max() / weights.sum(dtype=np.float64)

    def error_of_adjoint(result):
        features = exact_exponentials(x[:SUBSAMPLE], omega)
        exact = (features.conj() @ c.astype(np.complex128)).real
        return np.abs(result[:SUBSAMPLE] - exact).max() / np.abs(c).sum(dtype=np.float64)

    yield "sum", compute_sum, error_of_sum
    yield "adjoint", compute_adjoint, error_of_adjoint


def measure(run, error):
    """(method -> seconds, method -> error, what "auto" chose) of one map."""
    results = {method: run(method) for method in METHODS}
    start = time.perf_counter()
    run("direct")
    seconds = time.perf_counter() - start
    repeats = next(count for least, count in REPEATS if seconds >= least)
    errors = {method: error(result) for method, result in results.items()}
    assert errors["nufft"] < 1e-6, errors
    choice = "nufft" if np.array_equal(results["auto"], results["nufft"]) else "direct"
    assert np.array_equal(results["auto"], results[choice])
    rivals = {method: lambda method=method: run(method) for method in METHODS}
    return in_turn(rivals, repeats, 0.02), errors, choice


def main():
    parser = new_parser(__doc__)
    parser.add_argument(
        "dims", nargs="*", type=int, default=[1, 2, 3], metavar="DIM", help="1, 2 or 3; all"
    )
    options = parser.parse_args()
    finufft = require("finufft", 'pip install "fastcl[nufft]"')
    print(machine(), f"finufft {finufft.__version__}", sep="; ")
    print(LINE.format(*HEADING), flush=True)
    worst = 0
    for dim in options.dims:
        for n, m in SIZES_QUICK if options.quick else SIZES:
            for name, run, error in problems(dim, n, m):
                times, errors, choice = measure(run, error)
                ratio = times["auto"] / min(times["direct"], times["nufft"])
                worst = max(worst, ratio)
                seconds = [f"{times[method]:.5f}" for method in ("direct", "nufft", "auto")]
                figures = (f"{ratio:.2f}", f"{errors['nufft']:.0e}", f"{errors['direct']:.0e}")
                print(LINE.format(name, dim, n, m, *seconds, choice, *figures), flush=True)
    print(f"auto takes at most {worst:.2f} times as long as the better of the two")


if __name__ == "__main__":
    main()
