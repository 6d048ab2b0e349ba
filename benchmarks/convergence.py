"""How fast CL-SGD converges, on a spiral and on two Gaussians: python benchmarks/convergence.py

1. Plain SGD with constant and with diminishing step sizes, on a small network: the smallest norm so
   far of the exact gradient (by quadrature, root mean square over the seeds of the noise), and its
   slope in log-log coordinates over the second half of log k. With step sizes that fall like
   k^-1/2, the theory of non-convex SGD that arXiv 2310.03085 applies predicts k^-1/4 up to
   logarithms; with a constant step size, a floor proportional to its square root.
2. Grid, naive, unbiased and normalised gradients, for the same seconds of Adam.
"""

import numpy as np
from experiments import (
    BOX,
    METHODS,
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

WIDTHS = (32, 64)  # of the network whose gradient norms are followed
M_SMALL = 200  # frequencies in the first part
N_SMALL = 500  # points per step in the first part
M = 500  # frequencies in the second part
N = 2000  # points per step in the second part
POINTS_PER_AXIS = 20  # of the grid that is learned on
MIN_NATS = -1  # where the bars of the picture are cut
RATE = -0.25  # slope of the norm that the theory predicts for diminishing step sizes
SCHEDULES = {
    "constant 1e-3": lambda: fastcl.SGD(1e-3),
    "constant 1e-4": lambda: fastcl.SGD(1e-4),
    "diminishing": lambda: fastcl.SGD(1e-3, schedule=fastcl.Diminishing(offset=100, power=0.5)),
}


def smallest_norms(problem, make_optimizer, looks, seeds):
    """The smallest norm of the exact gradient up to each of the iterations `looks`."""
    squares = np.zeros(len(looks))
    for seed in range(seeds):
        norms = {}

        def look(k, prior, value, norms=norms):
            if k + 1 in looks:
                gradient = fastcl.grid_gradient(prior, problem.sketch, BOX, 100)[1]
                norms[k + 1] = float(np.linalg.norm(gradient.astype(np.float64)))

        fastcl.learn(
            new_prior(widths=WIDTHS),
            problem.sketch,
            BOX,
            n_points=N_SMALL,
            n_iter=int(looks[-1]),
            optimizer=make_optimizer(),
            rng=seed,
            callback=look,
            **METHODS["unbiased"],
        )
        squares += np.square([norms[k] for k in looks])
    return np.minimum.accumulate(np.sqrt(squares / seeds))


def slope(looks, norms):
    """Slope of a line through the second half of the points, both axes logarithmic."""
    half = len(looks) // 2
    return np.polyfit(np.log(looks[half:]), np.log(norms[half:]), 1)[0]


def follow_norms(panel, problem, n_iter, seeds):
    """The first part, on one problem."""
    check_unbiased(new_prior(widths=WIDTHS), problem.sketch)
    looks = np.unique(np.geomspace(1, n_iter, 40).round().astype(int))
    print(f"\n{problem.name}: {n_iter} steps of SGD, {N_SMALL} points each, {seeds} seeds")
    print(f"  {'step size':15}{'smallest norm':>15}{'slope':>8}{'theory':>8}")
    for name, make_optimizer in SCHEDULES.items():
        norms = smallest_norms(problem, make_optimizer, looks, seeds)
        theory = f"{RATE:.2f}" if name == "diminishing" else "floor"
        print(f"  {name:15}{norms[-1]:>15.3f}{slope(looks, norms):>8.2f}{theory:>8}", flush=True)
        panel.loglog(looks, norms, ".-", markersize=4, label=name)
    line = norms[-1] * (looks / looks[-1]) ** RATE
    panel.loglog(looks, line, "k--", linewidth=1, label="slope -1/4")
    panel.set(title=problem.name, xlabel="iterations k", ylabel="smallest norm of exact gradient")
    panel.legend(fontsize=8)


def compare_methods(panel, problem, methods, seconds):
    """The second part, on one problem."""
    noisy = signal_to_noise(problem.held_out, problem.noisy)
    grid = f"grid {POINTS_PER_AXIS} x {POINTS_PER_AXIS}"
    print(f"\n{problem.name}: {seconds} s of Adam, {N} points per step, {grid}")
    print(f"  noise of standard deviation {SIGMA}: the noisy points have {noisy:.1f} dB")
    print(
        f"  {'method':12}{'seconds':>8}{'steps':>7}{'G':>8}{'nats':>8}{'MAP dB':>9}{'mean dB':>9}"
    )
    for method in methods:
        prior = new_prior()
        settings = METHODS[method] | {"n_points": POINTS_PER_AXIS**2 if method == "grid" else N}
        history = learn_for(seconds, prior, problem.sketch, BOX, **settings)
        row = judge(prior, problem)
        print(
            f"  {method:12}{history['seconds'][-1]:>8.1f}{len(history['seconds']):>7}"
            f"{row['G']:>8.2f}{row['nats']:>8.3f}{row['map']:>9.2f}{row['mean']:>9.2f}",
            flush=True,
        )
        panel.barh(method, row["nats"])
    panel.axvline(0, color="black", linewidth=0.5)
    panel.set_xlim(left=max(MIN_NATS, panel.get_xlim()[0]))
    panel.set(title=f"{problem.name}, {seconds} s each", xlabel="nats per held-out point")


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
