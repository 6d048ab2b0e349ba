"""What the experiments share: their options, the two planar problems of known law, and the figures that judge a density.

It runs nothing by itself: see convergence.py, sensitivity.py, dimension.py and inertia.py, each `python benchmarks/NAME.py`.
"""

import argparse
import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from timing import machine

import fastcl
from fastcl.cli.demo import WIDTHS, normalised_log_likelihood, signal_to_noise
from fastcl.data.datasets import make_spiral, two_gaussians

SIGMA = 0.15  # standard deviation of the noise on the points that are denoised
CHUNK = 1_000_000  # points that are held at a time
TRIAL = 0.1  # of the seconds of a run, for the trial that tells how long a step takes
BOX = fastcl.Box([-1, -1], [1, 1])


def parse_options(documentation, methods=(), photographs=False):
    """The options of one experiment; prints the machine and makes the folder of the picture.

    Where there are methods, `--method` (repeatable) takes some of them instead of all; where photographs are used, their
    folder is an optional argument.
    """
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fastcl-experiments"),
        help="folder of the picture (%(default)s)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few seconds only: shows that the script runs, and nothing else",
    )
    if photographs:
        parser.add_argument(
            "photographs",
            type=Path,
            nargs="?",
            help="folder of photographs; the spiral alone without",
        )
    if methods:
        parser.add_argument(
            "--method", choices=methods, action="append", help="may be repeated; all by default"
        )
    options = parser.parse_args()
    options.methods = getattr(options, "method", None) or methods
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    return options


@dataclass
class Problem:
    """A sketch of planar data in [-1, 1]^2, with held-out points, clean and noisy, to judge what is learned from it."""

    name: str
    sketch: fastcl.Sketch
    held_out: np.ndarray
    noisy: np.ndarray
    points_per_axis: int  # of the quadrature

    @classmethod
    def make(cls, name, sketch, draw, quick):
        """The problem of a sketch and of `draw(n, rng=seed)`, which gives points of the law."""
        held_out = draw(100 if quick else 2000, rng=1)
        highest = np.abs(sketch.omega).max()  # the quadrature must follow its phase
        points_per_axis = 100 if quick else max(400, int(np.ceil(2 * highest / np.pi)))
        return cls(name, sketch, held_out, add_noise(held_out), points_per_axis)


def add_noise(x):
    """Points x (n, d) with Gaussian noise of deviation `SIGMA`."""
    return x + SIGMA * np.random.default_rng(2).standard_normal(x.shape)


def spiral_problem(quick, m=500, n=20_000, scale=0.03):
    """The spiral, n points drawn and sketched chunk by chunk in m frequencies."""
    rng, omega = np.random.default_rng(0), fastcl.draw_frequencies(m, 2, scale, rng=0)
    chunks = (
        make_spiral(min(CHUNK, n - start), rng=rng).astype(np.float32)
        for start in range(0, n, CHUNK)
    )
    return Problem.make("spiral", fastcl.sketch(chunks, omega), make_spiral, quick)


def gaussian_problem(quick, m=500, n=20_000, scale=0.1):
    """The mixture of two Gaussians, n points in m frequencies."""
    law = two_gaussians()
    sketch = fastcl.sketch(
        law.sample(n, rng=0).astype(np.float32), fastcl.draw_frequencies(m, 2, scale, rng=0)
    )
    return Problem.make("two Gaussians", sketch, law.sample, quick)


def new_prior(dim=2, widths=WIDTHS):
    """The network that every run of an experiment starts from."""
    return fastcl.MLPPrior(dim, widths, rng=0)


def judge(prior, problem, estimators=("map", "mean")):
    """G by quadrature, held-out nats a point, and the signal-to-noise ratio of the denoised points, in dB."""
    figures = {
        "G": fastcl.grid_gradient(prior, problem.sketch, BOX, problem.points_per_axis)[0],
        "nats": normalised_log_likelihood(prior, BOX, problem.held_out, problem.points_per_axis),
    }
    for estimator in estimators:
        denoised = fastcl.denoise(prior, problem.noisy, SIGMA, estimator=estimator)
        figures[estimator] = signal_to_noise(problem.held_out, denoised)
    return figures


def steps_in(seconds, run):
    """How many steps of `run(go_on)`, which calls go_on() after each step until it is false, take some seconds."""
    ends = [time.perf_counter()]

    def go_on():
        ends.append(time.perf_counter())
        return ends[-1] < ends[0] + TRIAL * seconds or len(ends) < 9

    run(go_on)
    return max(2, round(seconds / np.mean(np.diff(ends[3:]))))  # the first ones may compile


def learn_for(seconds, prior, sketch, box, step=2e-3, **settings):
    """Learn by as many steps of Adam as take some seconds, by a short trial; returns the history."""

    def run(go_on):
        fastcl.learn(
            copy.deepcopy(prior), sketch, box, n_iter=100_000, rng=0, callback=lambda *_: not go_on(), **settings
        )  # fmt: skip

    n_iter = steps_in(seconds, run)
    optimizer = fastcl.Adam(step, schedule=fastcl.Cosine(n_iter))
    return fastcl.learn(
        prior, sketch, box, n_iter=n_iter, optimizer=optimizer, rng=0, **settings
    ).history


def check_unbiased(prior, sketch, draws=400, n_points=1000):
    """Assert that stochastic gradients have the mean that quadrature gives, within five of their standard errors."""
    draw = [
        fastcl.unbiased_gradient(prior, sketch, BOX, n_points, rng=k)[1].astype(np.float64)
        for k in range(draws)
    ]
    exact = fastcl.grid_gradient(prior, sketch, BOX, 200)[1].astype(np.float64)
    direction = exact / np.linalg.norm(exact)
    along = np.array(draw) @ direction
    error = abs(along.mean() - np.linalg.norm(exact)) / (along.std() / np.sqrt(draws))
    assert error < 5, error
