"""How fast CL-SGD converges, on a spiral and two Gaussians in [-1, 1]^2: python benchmarks/convergence.py

1. Plain SGD with constant and with diminishing steps, on a small network: the least norm so far of the exact gradient (by
   quadrature, root mean square over the seeds of the noise), and its slope in log-log coordinates over the second half of
   log k. With steps that fall like k^-1/2 the theory of non-convex SGD that arXiv 2310.03085 applies has k^-1/4 up to
   logarithms; with a constant step, a floor in proportion to the root of the step.
2. Grid, naive, unbiased, normalised and tracked gradients, the last two also whitened, for the same seconds of Adam.
"""

import numpy as np
from experiments import (
    BOX,
    SIGMA,
    check_unbiased,
    gaussian_problem,
    judge,
    learn_for,
    new_prior,
    parse_options,
    spiral_problem,
)

import fastcl
from fastcl.cli.demo import signal_to_noise
from fastcl.plots import new_figure, save_figure

METHODS = (
    "grid",
    "naive",
    "unbiased",
    "normalised",
    "normalised, whitened",
    "tracked",
    "tracked, whitened",
)
WIDTHS = (32, 64)  # of the network whose gradient norms are followed
M_SMALL, M = 200, 500
N_SMALL, N = 500, 2000  # points a step
POINTS_PER_AXIS = 20  # of the grid that is learned on
MIN_NATS = -1  # where the bars of the picture are cut
RATE = -0.25  # of the norm, with diminishing steps
SCHEDULES = {
    "constant 1e-3": lambda: fastcl.SGD(1e-3),
    "constant 1e-4": lambda: fastcl.SGD(1e-4),
    "diminishing": lambda: fastcl.SGD(1e-3, schedule=fastcl.Diminishing(offset=100, power=0.5)),
}


def least_norms(problem, make_optimizer, looks, seeds):
    """The least norm of the exact gradient up to each of the iterations `looks`."""
    squares = np.zeros(len(looks))
    for seed in range(seeds):
        norms = {}

        def look(k, prior, value, norms=norms):
            if k + 1 in looks:
                gradient = fastcl.grid_gradient(prior, problem.sketch, BOX, 100)[1]
                norms[k + 1] = float(np.linalg.norm(gradient.astype(np.float64)))

        prior = new_prior(widths=WIDTHS)
        fastcl.learn(
            prior, problem.sketch, BOX, "unbiased", N_SMALL, int(looks[-1]), make_optimizer(), rng=seed, callback=look
        )  # fmt: skip
        squares += np.square([norms[k] for k in looks])
    return np.minimum.accumulate(np.sqrt(squares / seeds))


def slope(looks, norms):
    """Of a line through the points, both axes logarithmic, over the second half."""
    half = len(looks) // 2
    return np.polyfit(np.log(looks[half:]), np.log(norms[half:]), 1)[0]


def follow_norms(panel, problem, n_iter, seeds):
    """First part, on one problem."""
    check_unbiased(new_prior(widths=WIDTHS), problem.sketch)
    looks = np.unique(np.geomspace(1, n_iter, 40).round().astype(int))
    print(f"\n{problem.name}: {n_iter} steps of SGD, {N_SMALL} points each, {seeds} seeds")
    print(f"  {'step':15}{'least norm':>11}{'slope':>8}{'theory':>8}")
    for name, make_optimizer in SCHEDULES.items():
        norms = least_norms(problem, make_optimizer, looks, seeds)
        theory = f"{RATE:.2f}" if name == "diminishing" else "floor"
        print(f"  {name:15}{norms[-1]:>11.3f}{slope(looks, norms):>8.2f}{theory:>8}", flush=True)
        panel.loglog(looks, norms, ".-", markersize=4, label=name)
    panel.loglog(
        looks, norms[-1] * (looks / looks[-1]) ** RATE, "k--", linewidth=1, label="slope -1/4"
    )
    panel.set(title=problem.name, xlabel="iterations k", ylabel="least norm of the exact gradient")
    panel.legend(fontsize=8)


def compare_methods(panel, problem, methods, seconds):
    """Second part, on one problem."""
    noisy = signal_to_noise(problem.held_out, problem.noisy)
    print(
        f"\n{problem.name}: {seconds} s of Adam, {N} points a step, grid {POINTS_PER_AXIS} x {POINTS_PER_AXIS}"
    )
    print(f"  noise of deviation {SIGMA}: noisy points have {noisy:.1f} dB")
    print(
        f"  {'method':22}{'seconds':>8}{'steps':>7}{'G':>8}{'nats':>8}{'MAP dB':>9}{'mean dB':>9}"
    )
    for method in methods:
        prior = new_prior()
        settings = {
            "method": method.partition(",")[0],
            "n_points": N,
            "points_per_axis": POINTS_PER_AXIS,
        }
        settings["metric"] = "whitened" if "whitened" in method else "identity"
        history = learn_for(seconds, prior, problem.sketch, BOX, **settings)
        row = judge(prior, problem)
        print(
            f"  {method:22}{history['seconds'][-1]:>8.1f}{len(history['seconds']):>7}{row['G']:>8.2f}{row['nats']:>8.3f}"
            f"{row['map']:>9.2f}{row['mean']:>9.2f}",
            flush=True,
        )
        panel.barh(method, row["nats"])
    panel.axvline(0, color="black", linewidth=0.5)
    panel.set_xlim(left=max(MIN_NATS, panel.get_xlim()[0]))
    panel.set(title=f"{problem.name}, {seconds} s each", xlabel="held-out nats a point")


def main():
    options = parse_options(__doc__, METHODS)
    n_iter, seeds, seconds = (200, 1, 0.5) if options.quick else (20_000, 2, 15)
    figure, axes = new_figure(2, 2, 4.5, 3.5)
    problems = (spiral_problem, gaussian_problem)
    for panel, problem in zip(axes[0], problems, strict=True):
        follow_norms(panel, problem(options.quick, M_SMALL), n_iter, seeds)
    for panel, problem in zip(axes[1], problems, strict=True):
        compare_methods(panel, problem(options.quick, M), options.methods, seconds)
    save_figure(figure, options.out / "convergence.png")


if __name__ == "__main__":
    main()
