"""What privacy and few bits cost, on the spiral: python benchmarks/release.py

Priors are learned from released and from quantised sketches: 100,000 points in 500 moments, 1500
unbiased steps of 1000 points (normalised steps vary more with the seed than with the noise). For
every epsilon (Laplace noise, and Gaussian noise with delta 1e-6) and every number of bits it prints
the root mean square error of the moments, nats per held-out point, and the signal-to-noise ratio of
denoised points, each the mean over seeds of the noise or the dither. Then the time of quantised
sums next to plain ones, in turn, their levels checked against float64 first.
"""

from timing import in_turn, machine  # isort: skip

from pathlib import Path

import numpy as np
from command import new_parser
from experiments import BOX, METHODS, judge, new_prior, spiral_problem

import fastcl
from fastcl.data.datasets import make_spiral
from fastcl.plots import new_figure, save_figure

N = 100_000  # points
M = 500  # frequencies
SCALE = 0.03
DELTA = 1e-6
EPSILONS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
BITS = (1, 2, 3, 4, 8)
STEPS = 1500
STEPS_QUICK = 30
SPEED = ((2, 100_000, 2000), (16, 100_000, 2000))  # d, n, m
SPEED_QUICK = ((2, 2_000, 200),)
CHECKED = 1000  # points whose levels are checked


def sketches(sketch, x, quick):
    """(curve, place on it, function of a seed that gives a sketch) of all that is tried."""
    yield "plain", None, lambda seed: sketch
    for epsilon in EPSILONS[::3] if quick else EPSILONS:

        def laplace(seed, epsilon=epsilon):
            return fastcl.release(sketch, epsilon, rng=seed)

        def gaussian(seed, epsilon=epsilon):
            return fastcl.release(sketch, epsilon, DELTA, "gaussian", rng=seed)

        yield "Laplace", epsilon, laplace
        yield "Gaussian", epsilon, gaussian
    for bits in BITS[:1] if quick else BITS:

        def quantised(seed, bits=bits):
            return fastcl.sketch(x, sketch.omega, bits=bits, rng=seed)

        yield "bits", bits, quantised


def measure(problem, make, seeds, n_iter):
    """Means over the seeds: error of the moments, nats, dB of the posterior mean."""
    rows = []
    for seed in seeds:
        given = make(seed)
        prior = new_prior()
        error = np.sqrt(np.mean(np.abs(given.values - problem.sketch.values) ** 2))
        fastcl.learn(
            prior,
            given,
            BOX,
            n_points=1000,
            n_iter=n_iter,
            optimizer=fastcl.Adam(2e-3, schedule=fastcl.Cosine(n_iter)),
            rng=seed,
            **METHODS["unbiased"],
        )
        figures = judge(prior, problem, ("mean",))
        rows.append((error, figures["nats"], figures["mean"]))
    return np.mean(rows, axis=0)


def differing_levels(sketch, x):
    """Share of the levels of the points x that differ from those of float64, at least."""
    half = 2 ** (sketch.bits - 1)
    phases = x.astype(np.float64) @ sketch.omega.T + sketch.dither
    real, imag = (
        (2 * np.clip(np.floor(half * function(phases)), -half, half - 1) + 1).sum(axis=0)
        for function in (np.cos, np.sin)
    )
    difference = sketch.update(x).total - (real - 1j * imag)
    return (np.abs(difference.real) + np.abs(difference.imag)).sum() / 2 / (2 * phases.size)


def speed(sizes):
    columns = "".join(f"{bits:>7} bit" for bits in BITS)
    print(f"{'d':>3}{'plain':>8}{columns}   ns/pair, float32")
    for dim, n, m in sizes:
        x = np.random.default_rng(dim).standard_normal((n, dim)).astype(np.float32)
        omega = fastcl.draw_frequencies(m, dim, np.sqrt(dim), rng=0)

        def plain(x=x, omega=omega):
            return fastcl.sketch(x, omega, method="direct")

        rivals = {0: plain}
        for bits in BITS:
            dither = 2 * np.pi * np.random.default_rng(bits).random(m)
            empty = fastcl.Sketch(omega, bits=bits, dither=dither)
            if not differing_levels(empty, x[:CHECKED]) < 1e-4:
                raise RuntimeError(f"levels of {bits} bits are not those of float64")

            def quantised(x=x, omega=omega, bits=bits):
                return fastcl.sketch(x, omega, bits=bits, rng=0)

            rivals[bits] = quantised
        times = in_turn(rivals, 11)
        costs = {bits: seconds * 1e9 / n / m for bits, seconds in times.items()}
        columns = "".join(f"{costs[bits]:>11.3f}" for bits in BITS)
        print(f"{dim:>3}{costs[0]:>8.3f}{columns}")


def draw(rows, path):
    """The two curves."""
    figure, axes = new_figure(1, 2, width=4.2)
    plain = next(figures for curve, _, figures in rows if curve == "plain")
    for panel, names, label in (
        (axes[0, 0], ("Laplace", "Gaussian"), "epsilon"),
        (axes[0, 1], ("bits",), "bits per feature"),
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
    seeds = range(1 if options.quick else options.seeds)
    steps = STEPS_QUICK if options.quick else STEPS
    rows = []
    print(f"{'sketch':12}{'':>8}{'error':>10}{'nats':>10}{'mean dB':>10}")
    for curve, place, make in sketches(problem.sketch, x, options.quick):
        error, nats, mean = measure(problem, make, seeds, steps)
        rows.append((curve, place, (error, nats, mean)))
        label = "" if place is None else place
        print(f"{curve:12}{label:>8}{error:>10.4f}{nats:>10.3f}{mean:>10.2f}", flush=True)
    if options.out is not None:
        draw(rows, options.out)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--out", type=Path, help="a PNG file for the two curves")
    parser.add_argument("--seeds", type=int, default=3, help="runs that are averaged (%(default)s)")
    parser.add_argument("--only", choices=("speed", "curves"))
    options = parser.parse_args()
    print(machine())
    if options.only in (None, "speed"):
        speed(SPEED_QUICK if options.quick else SPEED)
    if options.only in (None, "curves"):
        curves(options)


if __name__ == "__main__":
    main()
