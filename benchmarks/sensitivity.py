"""Where learning a spiral from its sketch breaks: python benchmarks/sensitivity.py

One setting is varied at a time: the size m of the sketch, the scale of the frequencies (their radii
are of the order of 1 / scale; the noise of the spiral has standard deviation 0.02), the points per
step, and the compression ratio n d / (2 m), raised by sketching more points. The number of steps is
the same for all. `unexplained` is G divided by its value for a zero density, ||z||^2.
"""

import time

import numpy as np
from experiments import BOX, METHODS, judge, new_prior, parse_options, spiral_problem
from matplotlib.ticker import NullFormatter

import fastcl
from fastcl.data.datasets import make_spiral
from fastcl.plots import new_figure, save_figure

COMPARED = ("unbiased", "normalised")
BASE = {"m": 500, "scale": 0.03, "points": 1000, "n": 20_000}
VARIED = {
    "m": (50, 150, 500, 1500, 5000, 10_000),
    "scale": (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3),
    "points": (100, 300, 1000, 3000, 10_000, 30_000),
    "n": (200, 2000, 20_000, 1_000_000, 50_000_000),
}
VARIED_QUICK = {"m": (50, 500), "scale": (0.01, 0.1), "points": (100, 1000), "n": (200, 20_000)}
STEPS = 400
STEPS_QUICK = 20
LABELS = {
    "m": "size m of the sketch",
    "scale": "scale",
    "points": "points per step",
    "n": "compression ratio",
}


def ratio(settings):
    """Numbers in the data divided by numbers in the sketch."""
    return settings["n"] * 2 / (2 * settings["m"])


def run(settings, method, steps, quick):
    """Learn with one setting: a dict of figures."""
    start = time.perf_counter()
    problem = spiral_problem(quick, settings["m"], settings["n"], settings["scale"])
    sketched = time.perf_counter()
    prior = new_prior()
    fastcl.learn(
        prior,
        problem.sketch,
        BOX,
        n_points=settings["points"],
        n_iter=steps,
        optimizer=fastcl.Adam(2e-3, schedule=fastcl.Cosine(steps)),
        rng=0,
        **METHODS[method],
    )
    learned = time.perf_counter()
    row = judge(prior, problem, estimators=["mean"])
    power = (np.abs(problem.sketch.values) ** 2).sum()
    return {
        "G/m": row["G"] / settings["m"],
        "unexplained": row["G"] / power,
        "nats": row["nats"],
        "mean": row["mean"],
        "sketching": sketched - start,
        "learning": learned - sketched,
    }


def check_chunks():
    """Assert that points sketched chunk by chunk give the sketch of all of them."""
    omega = fastcl.draw_frequencies(100, 2, BASE["scale"], rng=0)
    x = make_spiral(10_000, rng=0).astype(np.float32)
    parts = fastcl.sketch(np.array_split(x, 7), omega).values
    error = np.abs(parts - fastcl.sketch(x, omega).values).max()
    assert error < 1e-6, error


def main():
    options = parse_options(__doc__, COMPARED)
    check_chunks()
    steps, varied = (STEPS_QUICK, VARIED_QUICK) if options.quick else (STEPS, VARIED)
    settings = ", ".join(f"{name} {value}" for name, value in BASE.items())
    print(f"spiral: {steps} steps of Adam; unless varied {settings}")
    run(BASE, options.methods[0], 1, True)  # compiles
    figure, axes = new_figure(2, len(varied), 3, 2.8)
    for column, (name, values) in enumerate(varied.items()):
        print(
            f"{name:>10}{'n d / 2 m':>11}  {'method':10}{'G / m':>10}{'unexplained':>13}"
            f"{'nats':>9}{'mean dB':>9}{'sketch s':>10}{'learn s':>9}"
        )
        for method in options.methods:
            rows = []
            for value in values:
                row = run(BASE | {name: value}, method, steps, options.quick)
                compression = ratio(BASE | {name: value})
                print(
                    f"{value:>10}{compression:>11.3g}  {method:10}"
                    f"{row['G/m']:>10.2e}{row['unexplained']:>13.3f}"
                    f"{row['nats']:>9.3f}{row['mean']:>9.2f}"
                    f"{row['sketching']:>10.1f}{row['learning']:>9.1f}",
                    flush=True,
                )
                rows.append(row | {"at": compression if name == "n" else value})
            places = [row["at"] for row in rows]
            for panel, figure_name in zip(axes[:, column], ("nats", "mean"), strict=True):
                panel.semilogx(places, [row[figure_name] for row in rows], ".-", label=method)
        axes[0, column].set(ylabel="nats per held-out point" if column == 0 else "")
        axes[1, column].set(xlabel=LABELS[name], ylabel="posterior mean, dB" if column == 0 else "")
    axes[0, 0].legend(fontsize=8)
    for panel in axes.flat:
        panel.xaxis.set_minor_formatter(NullFormatter())
    save_figure(figure, options.out / "sensitivity.png")


if __name__ == "__main__":
    main()
