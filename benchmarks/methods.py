"""The methods of learning beside each other on data of known law: the spiral, and two Gaussians.

Prints G by quadrature on a 400 x 400 grid, the held-out log-likelihood of the normalised density beside that of the
true law (for the spiral: of a kernel estimate from 200,000 points), and seconds.
"""

import argparse
import time

import numpy as np
from scipy.stats import gaussian_kde
from timing import machine

import fastcl
from fastcl.cli.demo import normalised_log_likelihood
from fastcl.data.datasets import make_spiral, two_gaussians
from fastcl.learning.objective import METHODS


def problems():
    train, held_out = make_spiral(20_000, rng=0), make_spiral(20_000, rng=1)
    kernel = gaussian_kde(make_spiral(200_000, rng=2).T, bw_method=0.02)
    yield "spiral", train, held_out, 0.03, float(np.log(kernel(held_out[:2000].T)).mean())
    law = two_gaussians()
    held_out = law.sample(20_000, rng=1)
    yield (
        "two Gaussians",
        law.sample(20_000, rng=0),
        held_out,
        0.1,
        float(law.log_density(held_out).mean()),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--log-scale", choices=("learned", "profiled", "fixed"), action="append")
    options = parser.parse_args()
    box = fastcl.Box([-1, -1], [1, 1])
    print(machine())
    print(
        f"m = 500, {options.iterations} steps of Adam(2e-3) with a cosine schedule, {options.points} points; grid 20 x 20"
    )
    for name, train, held_out, scale, truth in problems():
        sk = fastcl.sketch(train.astype(np.float32), fastcl.draw_frequencies(500, 2, scale, rng=0))
        print(
            f"{name}: the true law has {truth:.3f} nats a point, ||z||^2 = {(abs(sk.values) ** 2).sum():.1f}"
        )
        print(f"  {'method':10}{'log-scale':>10}{'G':>8}{'nats':>8}{'seconds':>9}")
        for method in options.method or METHODS:
            for log_scale in options.log_scale or (None,):
                prior = fastcl.MLPPrior(2, (64, 128, 256), rng=0)
                optimizer = fastcl.Adam(2e-3, schedule=fastcl.Cosine(options.iterations))
                start = time.perf_counter()
                fastcl.learn(
                    prior, sk, box, method, options.points, options.iterations, optimizer, rng=0, log_scale=log_scale
                )  # fmt: skip
                seconds = time.perf_counter() - start
                value = fastcl.grid_gradient(prior, sk, box, 400)[0]
                nats = normalised_log_likelihood(prior, box, held_out)
                print(
                    f"  {method:10}{log_scale or 'default':>10}{value:>8.2f}{nats:>8.3f}{seconds:>9.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
