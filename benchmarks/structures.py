"""Structured frequencies beside free ones: nanoseconds a (point, frequency) pair, and what is learned at equal m.

Speed: the structure's kernels against the direct ones on the same frequencies as an array, in turn, checked against float64
first. Quality: the spiral of methods.py by the unbiased method, held-out nats and G, at its own frequencies and at 2000
others, which tell a density that only fits its own. For Hadamard blocks: the error of the Gaussian kernel estimated by the
mean of cos <omega, x - y>, beside that of independent frequencies.
"""

import argparse

import numpy as np
from timing import in_turn, machine

import fastcl
from fastcl.cli.demo import normalised_log_likelihood
from fastcl.data.datasets import make_spiral

SPEED = [
    ("harmonic", 2, 100_000, 2_000, {"harmonics": 4}),
    ("harmonic", 2, 100_000, 2_000, {"harmonics": 8}),
    *(("hadamard", dim, 10_000, 2_048, {}) for dim in (32, 64, 128, 192, 512)),
]
SPIRAL = [(None, {}), *(("harmonic", {"harmonics": k}) for k in (2, 4))]


def speed(dtype):
    print(
        f"{'structure':14}{'d':>5}{'map':>9}{'ns':>8}{'direct':>8}{'ratio':>7}{'error':>10}{'of direct':>10}"
    )
    rng = np.random.default_rng(0)
    for name, dim, n, m, options in SPEED:
        omega = fastcl.draw_frequencies(
            m, dim, np.sqrt(dim), "adapted_radius", rng=0, structure=name, **options
        )
        dense = np.array(omega)
        x, w = rng.standard_normal((n, dim)).astype(dtype), rng.random(n).astype(dtype)
        c = (rng.standard_normal(m) + 1j * rng.standard_normal(m)).astype(np.complex64)
        exact = x.astype(np.float64), w.astype(np.float64)
        maps = {
            "sum": (
                lambda o: fastcl.feature_sum(x, o, w, method="direct"),  # noqa: B023  (called before the loop goes on)
                fastcl.feature_sum(exact[0], dense, exact[1]),
                w.sum(),
            ),
            "adjoint": (
                lambda o: fastcl.feature_adjoint(x, o, c, method="direct"),  # noqa: B023
                fastcl.feature_adjoint(exact[0], dense, c),
                np.abs(c).sum(),
            ),
        }
        for label, (function, right, scale) in maps.items():
            errors = [np.abs(function(o) - right).max() / scale for o in (omega, dense)]
            assert max(errors) < 2e-6, errors
            times = in_turn(
                {"structure": lambda f=function: f(omega), "direct": lambda f=function: f(dense)},  # noqa: B023
                11,
            )  # noqa: B023, RUF100
            own, direct = (times[key] * 1e9 / (n * m) for key in ("structure", "direct"))
            title = f"{name} K={options['harmonics']}" if options else name
            print(
                f"{title:14}{dim:>5}{label:>9}{own:>8.3f}{direct:>8.3f}{direct / own:>7.2f}{errors[0]:>10.1e}{errors[1]:>10.1e}",
                flush=True,
            )


def spiral(seeds, iterations):
    train, held_out = make_spiral(20_000, rng=0).astype(np.float32), make_spiral(20_000, rng=1)
    box, others = (
        fastcl.Box([-1, -1], [1, 1]),
        fastcl.sketch(train, fastcl.draw_frequencies(2000, 2, 0.03, rng=10_000)),
    )
    print(
        f"spiral, m = 500 (K = 2, 4 divide it), {iterations} steps of 1000 points, {seeds} seeds: mean and standard error"
    )
    print(f"{'structure':14}{'G':>14}{'G elsewhere':>14}{'nats':>16}")
    for name, options in SPIRAL:
        rows = []
        for seed in range(seeds):
            sk = fastcl.sketch(
                train, fastcl.draw_frequencies(500, 2, 0.03, rng=seed, structure=name, **options)
            )
            prior = fastcl.MLPPrior(2, (64, 128, 256), rng=seed)
            optimizer = fastcl.Adam(2e-3, schedule=fastcl.Cosine(iterations))
            fastcl.learn(prior, sk, box, "unbiased", 1000, iterations, optimizer, rng=seed)
            own, other = (fastcl.grid_gradient(prior, s, box, 200)[0] for s in (sk, others))
            rows.append(
                (own, other / 4, normalised_log_likelihood(prior, box, held_out, 200))
            )  # others: 4 times as many
        mean, error = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(seeds)
        title = f"{name} K={options['harmonics']}" if options else str(name)
        print(
            f"{title:14}"
            + "".join(f"{a:>9.2f} ±{b:>4.2f}" for a, b in zip(mean, error, strict=True)),
            flush=True,
        )


def kernel_estimate(seeds, dim, m=1024):
    """Root of the mean squared error of the mean of cos <omega_l, x - y>, over pairs and draws of m frequencies."""
    rng = np.random.default_rng(0)
    differences = rng.standard_normal((200, dim))
    differences *= (rng.uniform(0.2, 3, 200) / np.linalg.norm(differences, axis=1))[
        :, None
    ]  # kernel from 0.98 down to 0.01
    exact = np.exp(-(differences**2).sum(axis=1) / 2)
    errors = {}
    for name in (None, "hadamard"):
        draws = (
            fastcl.draw_frequencies(m, dim, 1.0, "gaussian", rng=seed, structure=name)
            for seed in range(20 * seeds)
        )
        squares = [
            np.mean((fastcl.feature_adjoint(differences, omega, np.full(m, 1 / m)) - exact) ** 2)
            for omega in draws
        ]
        errors[name] = (
            np.sqrt(np.mean(squares)),
            np.std(squares) / np.sqrt(len(squares)) / np.mean(squares) / 2,
        )
    print(
        f"Gaussian kernel, m = {m}, d = {dim:3}: "
        + ", ".join(f"{k} {v:.5f} ±{100 * e:.1f}%" for k, (v, e) in errors.items())
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--only", choices=("speed", "spiral", "kernel"))
    options = parser.parse_args()
    print(machine())
    if options.only in (None, "speed"):
        speed(np.float32)
    if options.only in (None, "spiral"):
        spiral(options.seeds, options.iterations)
    if options.only in (None, "kernel"):
        for dim in (35, 64, 192):
            kernel_estimate(options.seeds, dim)


if __name__ == "__main__":
    main()
