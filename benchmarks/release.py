"""What privacy and few bits cost: a prior of the spiral learned from released and from quantised sketches.

100,000 points in 500 moments; unbiased gradients, 1500 steps of 1000 points, for those of a normalised density vary more with the
seed than with the noise. For every epsilon (Laplace noise, and Gaussian noise with delta 1e-6) and every number of bits: the
root mean square error of the moments, nats on held-out points, and the signal-to-noise ratio of denoised points, mean over seeds
of the noise or the dither. And the time of quantised sums beside plain ones, in turn, their levels checked against float64 first.
"""

from timing import in_turn, machine  # isort: skip

import argparse
from pathlib import Path

import numpy as np
from experiments import BOX, judge, new_prior, spiral_problem

import fastcl
from fastcl.data.datasets import make_spiral
from fastcl.plots import new_figure, save_figure

N, M, SCALE, DELTA = 100_000, 500, 0.03, 1e-6
EPSILONS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
BITS = (1, 2, 3, 4, 8)
SPEED = ((2, 100_000, 2000), (16, 100_000, 2000))  # d, n, m
CHECKED = 1000  # points


def sketches(sketch, x, quick):
    """(curve, place on it, function of a seed that gives a sketch) of all that is tried."""
    yield "plain", None, lambda seed: sketch
    for epsilon in EPSILONS[::3] if quick else EPSILONS:
        yield (
            "Laplace",
            epsilon,
            lambda seed, epsilon=epsilon: fastcl.release(sketch, epsilon, rng=seed),
        )
        yield (
            "Gaussian",
            epsilon,
            lambda seed, epsilon=epsilon: fastcl.release(
                sketch, epsilon, DELTA, "gaussian", rng=seed
            ),
        )
    for bits in BITS[:1] if quick else BITS:
        yield (
            "bits",
            bits,
            lambda seed, bits=bits: fastcl.sketch(x, sketch.omega, bits=bits, rng=seed),
        )


def measure(problem, make, seeds, n_iter):
    """Means over the seeds: error of the moments, nats, dB of the posterior mean."""
    rows = []
    for seed in seeds:
        given, prior = make(seed), new_prior()
        error = np.sqrt(np.mean(np.abs(given.values - problem.sketch.values) ** 2))
        optimizer = fastcl.Adam(2e-3, schedule=fastcl.Cosine(n_iter))
        fastcl.learn(
            prior,
            given,
            BOX,
            "unbiased",
            n_points=1000,
            n_iter=n_iter,
            optimizer=optimizer,
            rng=seed,
        )
        figures = judge(prior, problem, ("mean",))
        rows.append((error, figures["nats"], figures["mean"]))
    return np.mean(rows, axis=0)


def other_levels(sketch, x):
    """Share of the levels of the points x that differ from those of float64, at least."""
    half = 2 ** (sketch.bits - 1)
    phases = x.astype(np.float64) @ sketch.omega.T + sketch.dither
    real, imag = (
        (2 * np.clip(np.floor(half * wave(phases)), -half, half - 1) + 1).sum(axis=0)
        for wave in (np.cos, np.sin)
    )
    difference = sketch.update(x)._total - (real - 1j * imag)
    return (np.abs(difference.real) + np.abs(difference.imag)).sum() / 2 / (2 * phases.size)


def speed():
    print(
        f"{'d':>3}{'plain':>8}"
        + "".join(f"{bits:>7} bit" for bits in BITS)
        + "   ns a pair, float32"
    )
    for dim, n, m in SPEED:
        x = np.random.default_rng(dim).standard_normal((n, dim)).astype(np.float32)
        omega = fastcl.draw_frequencies(m, dim, np.sqrt(dim), rng=0)
        rivals = {0: lambda: fastcl.sketch(x, omega, method="direct")}  # noqa: B023  (called before the loop goes on)
        for bits in BITS:
            empty = fastcl.Sketch(
                omega, bits=bits, dither=2 * np.pi * np.random.default_rng(bits).random(m)
            )
            if not other_levels(empty, x[:CHECKED]) < 1e-4:
                raise RuntimeError(f"levels of {bits} bits are not those of float64")
            rivals[bits] = lambda bits=bits: fastcl.sketch(x, omega, bits=bits, rng=0)  # noqa: B023
        times = in_turn(rivals, 11)
        print(
            f"{dim:>3}{times[0] * 1e9 / n / m:>8.3f}"
            + "".join(f"{times[bits] * 1e9 / n / m:>11.3f}" for bits in BITS)
        )


def draw(rows, path):
    """The two curves."""
    figure, axes = new_figure(1, 2, width=4.2)
    plain = next(figures for curve, _, figures in rows if curve == "plain")
    for panel, names, label in (
        (axes[0, 0], ("Laplace", "Gaussian"), "epsilon"),
        (axes[0, 1], ("bits",), "bits of a feature"),
    ):
        for name, style in zip(names, ("o-", "s--"), strict=False):
            curve = [(place, figures[2]) for given, place, figures in rows if given == name]
            panel.plot(*np.transpose(curve), style, label=name)
        panel.axhline(plain[2], color="grey", linestyle=":", label="plain sketch")
        panel.set(
            xlabel=label,
            ylabel="denoised points, dB",
            xscale="log" if label == "epsilon" else "linear",
        )
        panel.legend()
    axes[0, 1].sharey(axes[0, 0])  # or noise would look like a curve
    save_figure(figure, path)


def curves(options):
    problem = spiral_problem(options.quick, M, N, SCALE)
    x = make_spiral(N, rng=np.random.default_rng(0)).astype(np.float32)
    if not np.array_equal(fastcl.sketch([x], problem.sketch.omega).values, problem.sketch.values):
        raise RuntimeError("the points of the sketches are not the same")
    rows = []
    print(f"{'sketch':12}{'':>8}{'error':>10}{'nats':>10}{'mean dB':>10}")
    for curve, place, make in sketches(problem.sketch, x, options.quick):
        figures = measure(
            problem,
            make,
            range(1 if options.quick else options.seeds),
            30 if options.quick else 1500,
        )
        rows.append((curve, place, figures))
        print(
            f"{curve:12}{'' if place is None else place:>8}{figures[0]:>10.4f}{figures[1]:>10.3f}{figures[2]:>10.2f}",
            flush=True,
        )
    if options.out is not None:
        draw(rows, options.out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a PNG file for the two curves")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few seconds only: shows that the script runs, and nothing else",
    )
    parser.add_argument("--only", choices=("speed", "curves"))
    options = parser.parse_args()
    print(machine())
    if options.only in (None, "speed") and not options.quick:
        speed()
    if options.only in (None, "curves"):
        curves(options)


if __name__ == "__main__":
    main()
