"""Direct kernels, finufft and the choice between them, d = 1, 2, 3: python benchmarks/nufft.py [DIM ...]

float32 points of a Gaussian and frequencies three times as wide, the accuracy of float32 by default (1e-6). For every size
the seconds of the three methods (medians, in turn), what "auto" chose, its ratio to the better of the two, and the largest
error against float64 on a subsample of frequencies or points, relative to the sum of the moduli of the coefficients.
Needs finufft: pip install "fastcl[nufft]"
"""

import argparse
import time

import numpy as np
from timing import in_turn, machine

import fastcl
from fastcl.fourier.nufft import METHODS, import_finufft

SIZES = (
    (4_000, 500),
    (4_000, 10_000),
    (20_000, 2_000),
    (100_000, 500),
    (100_000, 2_000),
    (1_000_000, 500),
    (1_000_000, 10_000),
)
SUBSAMPLE = 50  # frequencies, or points, at which the error is measured
REPEATS = ((0.5, 1), (0.05, 5), (0.0, 15))  # calls from so many seconds on are timed so many times
LINE = "{:8}{:>3}{:>9}{:>7}{:>10}{:>10}{:>10}{:>8}{:>7}{:>10}{:>10}"


def exact_waves(x, omega):
    return np.exp(-1j * (x.astype(np.float64) @ omega.T))


def problems(dim, n, m):
    """(name, function of the method, function that gives the largest error of a result)."""
    rng = np.random.default_rng(0)
    x, omega = rng.standard_normal((n, dim)).astype(np.float32), 3 * rng.standard_normal((m, dim))
    weights, c = (
        rng.random(n).astype(np.float32),
        rng.standard_normal(m) + 1j * rng.standard_normal(m),
    )
    c = c.astype(np.complex64)

    def error_of_sum(result):
        exact = sum(
            weights[k : k + 100_000].astype(np.float64)
            @ exact_waves(x[k : k + 100_000], omega[:SUBSAMPLE])
            for k in range(0, n, 100_000)
        )
        return np.abs(result[:SUBSAMPLE] - exact).max() / weights.sum(dtype=np.float64)

    def error_of_adjoint(result):
        exact = (exact_waves(x[:SUBSAMPLE], omega).conj() @ c.astype(np.complex128)).real
        return np.abs(result[:SUBSAMPLE] - exact).max() / np.abs(c).sum(dtype=np.float64)

    yield "sum", lambda method: fastcl.feature_sum(x, omega, weights, method=method), error_of_sum
    yield (
        "adjoint",
        lambda method: fastcl.feature_adjoint(x, omega, c, method=method),
        error_of_adjoint,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dims", nargs="*", type=int, default=[1, 2, 3], metavar="DIM")
    print(machine(), f"finufft {import_finufft().__version__}", sep="; ")
    heading = (
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
    print(LINE.format(*heading), flush=True)
    worst = 0
    for dim in parser.parse_args().dims:
        for n, m in SIZES:
            for name, run, error in problems(dim, n, m):
                results = {
                    method: run(method) for method in METHODS
                }  # also measures what "auto" goes by
                start = time.perf_counter()
                run("direct")
                seconds = time.perf_counter() - start
                repeats = next(count for least, count in REPEATS if seconds >= least)
                errors = {method: error(result) for method, result in results.items()}
                assert errors["nufft"] < 1e-6, errors
                choice = "nufft" if np.array_equal(results["auto"], results["nufft"]) else "direct"
                assert np.array_equal(results["auto"], results[choice])
                times = in_turn(
                    {method: lambda method=method, run=run: run(method) for method in METHODS},
                    repeats,
                    0.02,
                )
                ratio = times["auto"] / min(times["direct"], times["nufft"])
                worst = max(worst, ratio)
                seconds = [f"{times[method]:.5f}" for method in ("direct", "nufft", "auto")]
                figures = (f"{ratio:.2f}", f"{errors['nufft']:.0e}", f"{errors['direct']:.0e}")
                print(LINE.format(name, dim, n, m, *seconds, choice, *figures), flush=True)
    print(f"auto is at most {worst:.2f} times the better of the two")


if __name__ == "__main__":
    main()
