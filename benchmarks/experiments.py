"""What the experiments share: their options, two planar problems, and how a density is judged.

It runs nothing by itself: see convergence.py, sensitivity.py, dimension.py and inertia.py, each
`python benchmarks/NAME.py`.
"""

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import new_parser
from timing import machine

import fastcl
from fastcl.cli.demo import WIDTHS, normalised_log_likelihood, signal_to_noise
from fastcl.data.datasets import make_spiral, two_gaussians

# The methods of arXiv 2310.03085, and the default of `learn`, as settings of `learn`.
METHODS = {
    "grid": {"method": "grid", "log_scale": "learned"},
    "naive": {"method": "naive", "log_scale": "learned"},
    "unbiased": {"method": "unbiased", "log_scale": "learned"},
    "normalised": {"method": "unbiased", "log_scale": "normalised"},
}
SIGMA = 0.15  # standard deviation of the noise on the points to denoise
CHUNK = 1_000_000  # points held in memory at a time
TRIAL = 0.1  # share of the seconds of a run that the trial takes, which times a step
BOX = fastcl.Box([-1, -1], [1, 1])


def parse_options(documentation, methods=(), photographs=False):
    """The options of one experiment; prints the machine and makes the folder for the picture.

    With `methods`, the option `--method` (repeatable) takes some of them instead of all. With
    `photographs`, their folder is an optional argument.
    """
    parser = new_parser(documentation)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fastcl-experiments"),
        help="folder for the picture (%(default)s)",
    )
    if photographs:
        parser.add_argument(
            "photographs",
            type=Path,
            nargs="?",
            help="folder of photographs; without it, only the spiral",
        )
    if methods:
        parser.add_argument(
            "--method", choices=methods, action="append", help="repeatable; by default all"
        )
    options = parser.parse_args()
    options.methods = getattr(options, "method", None) or methods
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    return options


@dataclass
class Problem:
    """A sketch of planar data in [-1, 1]^2, and held-out points to judge what it teaches."""

    name: str
    sketch: fastcl.Sketch
    held_out: np.ndarray  # clean, (n, 2)
    noisy: np.ndarray  # the same points with noise
    points_per_axis: int  # for quadrature

    @classmethod
    def make(cls, name, sketch, draw, quick):
        """A problem from its sketch and `draw(n, rng=seed)`, which gives points of the density."""
        held_out = draw(100 if quick else 2000, rng=1)
        highest = np.abs(sketch.omega).max()  # the quadrature must resolve its phase
        points_per_axis = 100 if quick else max(400, int(np.ceil(2 * highest / np.pi)))
        return cls(name, sketch, held_out, add_noise(held_out), points_per_axis)


def add_noise(x):
    """Points x (n, d) with Gaussian noise of standard deviation `SIGMA`."""
    return x + SIGMA * np.random.default_rng(2).standard_normal(x.shape)


def spiral_problem(quick, m=500, n=20_000, scale=0.03):
    """The spiral: n points, drawn and sketched chunk by chunk at m frequencies."""
    rng = np.random.default_rng(0)
    omega = fastcl.draw_frequencies(m, 2, scale, rng=0)
    chunks = (
        make_spiral(min(CHUNK, n - start), rng=rng).astype(np.float32)
        for start in range(0, n, CHUNK)
    )
    return Problem.make("spiral", fastcl.sketch(chunks, omega), make_spiral, quick)


def gaussian_problem(quick, m=500, n=20_000, scale=0.1):
    """The mixture of two Gaussians: n points at m frequencies."""
    mixture = two_gaussians()
    x = mixture.sample(n, rng=0).astype(np.float32)
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(m, 2, scale, rng=0))
    return Problem.make("two Gaussians", sketch, mixture.sample, quick)


def new_prior(dim=2, widths=WIDTHS):
    """The network that every run of an experiment starts from."""
    return fastcl.MLPPrior(dim, widths, rng=0)


def judge(prior, problem, estimators=("map", "mean")):
    """G by quadrature, nats per held-out point, and the signal-to-noise ratio after denoising."""
    quadrature = problem.points_per_axis
    figures = {
        "G": fastcl.grid_gradient(prior, problem.sketch, BOX, quadrature)[0],
        "nats": normalised_log_likelihood(prior, BOX, problem.held_out, quadrature),
    }
    for estimator in estimators:
        denoised = fastcl.denoise(prior, problem.noisy, SIGMA, estimator=estimator)
        figures[estimator] = signal_to_noise(problem.held_out, denoised)
    return figures


def steps_in(seconds, run):
    """How many steps of `run` take some seconds, by a short trial.

    `run(go_on)` takes steps and calls go_on() after each, until that returns False.
    """
    ends = [time.perf_counter()]

    def go_on():
        ends.append(time.perf_counter())
        return ends[-1] < ends[0] + TRIAL * seconds or len(ends) < 9

    run(go_on)
    return max(2, round(seconds / np.mean(np.diff(ends[3:]))))  # the first steps may compile


def learn_for(seconds, prior, sketch, box, step_size=2e-3, **settings):
    """Learn for some seconds of Adam, timed by a short trial; returns the history."""

    def run(go_on):
        fastcl.learn(
            copy.deepcopy(prior),
            sketch,
            box,
            n_iter=100_000,
            rng=0,
            callback=lambda *_: not go_on(),
            **settings,
        )

    n_iter = steps_in(seconds, run)
    optimizer = fastcl.Adam(step_size, schedule=fastcl.Cosine(n_iter))
    result = fastcl.learn(prior, sketch, box, n_iter=n_iter, optimizer=optimizer, rng=0, **settings)
    return result.history


def check_unbiased(prior, sketch, draws=400, n_points=1000):
    """Assert that stochastic gradients average to that of quadrature, within 5 standard errors."""
    gradients = [
        fastcl.unbiased_gradient(prior, sketch, BOX, n_points, rng=k)[1].astype(np.float64)
        for k in range(draws)
    ]
    exact = fastcl.grid_gradient(prior, sketch, BOX, 200)[1].astype(np.float64)
    norm = np.linalg.norm(exact)
    along = np.array(gradients) @ (exact / norm)
    error = abs(along.mean() - norm) / (along.std() / np.sqrt(draws))
    assert error < 5, error
