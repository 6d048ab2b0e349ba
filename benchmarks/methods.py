"""The methods of learning, on a spiral and on two Gaussians: python benchmarks/methods.py

Prints G by quadrature on a 400 x 400 grid, the held-out log-likelihood of the normalised density
next to that of the true one (for the spiral, a kernel estimate from 200,000 points), and seconds.
"""

import time

import numpy as np
from command import new_parser
from experiments import METHODS, WIDTHS
from scipy.stats import gaussian_kde
from timing import machine

import fastcl
from fastcl.cli.demo import normalised_log_likelihood
from fastcl.data.datasets import make_spiral, two_gaussians

LOG_SCALES = ("learned", "normalised", "fixed")
GRID_POINTS = 400  # 20 x 20


def problems():
    """(name, training points, held-out points, scale, nats per point of the true density)."""
    train = make_spiral(20_000, rng=0)
    held_out = make_spiral(20_000, rng=1)
    kernel = gaussian_kde(make_spiral(200_000, rng=2).T, bw_method=0.02)
    yield "spiral", train, held_out, 0.03, float(np.log(kernel(held_out[:2000].T)).mean())
    mixture = two_gaussians()
    train = mixture.sample(20_000, rng=0)
    held_out = mixture.sample(20_000, rng=1)
    yield "two Gaussians", train, held_out, 0.1, float(mixture.log_density(held_out).mean())


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--iterations", type=int, default=3000, help="steps (%(default)s)")
    parser.add_argument("--points", type=int, default=4000, help="per step (%(default)s)")
    parser.add_argument(
        "--method", choices=METHODS, action="append", help="repeatable; by default all"
    )
    parser.add_argument(
        "--log-scale",
        choices=LOG_SCALES,
        action="append",
        help="repeatable; by default that of each method",
    )
    options = parser.parse_args()
    if options.quick:
        options.iterations, options.points = 20, 500
    box = fastcl.Box([-1, -1], [1, 1])
    print(machine())
    print(
        f"m = 500, {options.iterations} steps of Adam(2e-3) with a cosine schedule, "
        f"{options.points} points per step; grid 20 x 20"
    )
    for name, train, held_out, scale, truth in problems():
        omega = fastcl.draw_frequencies(500, 2, scale, rng=0)
        sketch = fastcl.sketch(train.astype(np.float32), omega)
        power = (abs(sketch.values) ** 2).sum()
        print(f"{name}: the true density has {truth:.3f} nats per point, ||z||^2 = {power:.1f}")
        print(f"  {'method':12}{'log-scale':>12}{'G':>8}{'nats':>8}{'seconds':>9}")
        for method in options.method or METHODS:
            for log_scale in options.log_scale or (METHODS[method]["log_scale"],):
                settings = METHODS[method] | {"log_scale": log_scale}
                prior = fastcl.MLPPrior(2, WIDTHS, rng=0)
                start = time.perf_counter()
                fastcl.learn(
                    prior,
                    sketch,
                    box,
                    n_points=GRID_POINTS if method == "grid" else options.points,
                    n_iter=options.iterations,
                    optimizer=fastcl.Adam(2e-3, schedule=fastcl.Cosine(options.iterations)),
                    rng=0,
                    **settings,
                )
                seconds = time.perf_counter() - start
                value = fastcl.grid_gradient(prior, sketch, box, 400)[0]
                nats = normalised_log_likelihood(prior, box, held_out)
                print(
                    f"  {method:12}{log_scale:>12}{value:>8.2f}{nats:>8.3f}{seconds:>9.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
