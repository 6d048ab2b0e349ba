"""Does inertia help CL-SGD? SGD, heavy ball, Nesterov and Adam: python benchmarks/inertia.py

Unbiased gradients on a spiral, at the same points for all. Each optimiser has the best of three
step sizes, judged by G after a third of the steps; all step sizes follow half a cosine down to
zero.
"""

import numpy as np
from experiments import (
    BOX,
    METHODS,
    check_unbiased,
    judge,
    new_prior,
    parse_options,
    spiral_problem,
)

import fastcl
from fastcl.plots import new_figure, save_figure

OPTIMIZERS = {
    "SGD": (fastcl.SGD, {}, (1e-3, 3e-3, 1e-2)),
    "heavy ball": (fastcl.SGD, {"momentum": 0.9}, (1e-4, 3e-4, 1e-3)),
    "Nesterov": (fastcl.SGD, {"momentum": 0.9, "nesterov": True}, (1e-4, 3e-4, 1e-3)),
    "Adam": (fastcl.Adam, {}, (2e-3, 4e-3, 8e-3)),
}
N_POINTS = 1000
LOOKS = 30  # evaluations of G per run


def learn_spiral(problem, name, step_size, n_iter, stop):
    """(prior, looks (k,), G (k,)) after `stop` of n_iter steps; G is inf on divergence."""
    kind, settings, _ = OPTIMIZERS[name]
    prior = new_prior()
    curve = {}
    look_points = problem.points_per_axis // 2  # fine enough for a curve

    def look(k, prior, value):
        if (k + 1) % (n_iter // LOOKS) == 0:
            curve[k + 1] = fastcl.grid_gradient(prior, problem.sketch, BOX, look_points)[0]
        return k + 1 == stop

    try:
        fastcl.learn(
            prior,
            problem.sketch,
            BOX,
            n_points=N_POINTS,
            n_iter=n_iter,
            optimizer=kind(step_size, **settings, schedule=fastcl.Cosine(n_iter)),
            rng=0,
            callback=look,
            **METHODS["unbiased"],
        )
    except FloatingPointError:
        curve[stop] = np.inf
    return prior, list(curve), list(curve.values())


def main():
    options = parse_options(__doc__)
    n_iter = 30 if options.quick else 3000
    problem = spiral_problem(options.quick)
    check_unbiased(new_prior(), problem.sketch, draws=20 if options.quick else 200)
    print(f"spiral: {n_iter} steps, {N_POINTS} points each, m = {len(problem.sketch.omega)}")
    print(
        f"{'':12}{'G at a third, by step size':>42}{'best':>8}"
        f"{'G':>8}{'nats':>8}{'MAP dB':>9}{'mean dB':>9}"
    )
    figure, axes = new_figure(1, 1, 6, 4)
    for name, (_, _, step_sizes) in OPTIMIZERS.items():
        thirds = {
            step_size: learn_spiral(problem, name, step_size, n_iter, n_iter // 3)[2][-1]
            for step_size in step_sizes
        }
        best = min(thirds, key=thirds.get)
        prior, looks, values = learn_spiral(problem, name, best, n_iter, n_iter)
        row = judge(prior, problem)
        trials = "  ".join(f"{step_size:.0e}: {value:.2f}" for step_size, value in thirds.items())
        print(
            f"{name:12}{trials:>42}{best:>8.0e}"
            f"{row['G']:>8.2f}{row['nats']:>8.3f}{row['map']:>9.2f}{row['mean']:>9.2f}",
            flush=True,
        )
        axes[0, 0].semilogy(looks, values, ".-", label=f"{name}, step size {best:.0e}")
    axes[0, 0].set(
        xlabel="iterations", ylabel="G by quadrature", title=f"spiral, {N_POINTS} points per step"
    )
    axes[0, 0].legend()
    save_figure(figure, options.out / "inertia.png")


if __name__ == "__main__":
    main()
