"""The methods of learning on one sketch: seconds and memory of a step, and G reached against time."""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np

from .. import files
from ..data.datasets import make_spiral, two_gaussians
from ..fourier.frequencies import draw_frequencies
from ..learning.objective import METHODS, SketchMatching
from ..learning.optimizers import Adam
from ..measures.base import ReferenceMeasure
from ..measures.box import Box
from ..priors.mlp import MLPPrior
from ..sketching.sketch import sketch
from ..validation import as_count, as_positive

GRID_LIMIT = 3_000_000  # points of the largest grid worth a step: its activations take some GiB
MAX_DIM = 20  # of the example
POINTS_PER_AXIS = 20  # of the grid, as in the public code before arXiv 2310.03085.


def example_sketch(dim):
    """The sketch of 20,000 points in [-1, 1]^dim: a spiral for dim = 2, two Gaussians otherwise."""
    dim = as_count(dim, "dim")
    if dim > MAX_DIM:
        raise ValueError(
            f"dim must be at most {MAX_DIM}, got {dim}: uniform points of a box do not find the data"
        )
    x = make_spiral(20_000, rng=0) if dim == 2 else two_gaussians(dim).sample(20_000, rng=0)
    result = sketch(
        x.astype(np.float32), draw_frequencies(500, dim, scale=0.03 if dim == 2 else 0.1, rng=0)
    )
    result.domain = Box(-np.ones(dim), np.ones(dim))
    return result


def run(sk, seconds=10.0, n_points=4096, report=print):
    """Time every method on one sketch with its domain; returns a dict of plain numbers and lists.

    `seconds` is the learning time of every method, the evaluation of G between steps not counted.
    """
    seconds, n_points = as_positive(seconds, "seconds"), as_count(n_points, "n_points")
    if sk.domain is None:
        raise ValueError("the sketch has no domain: make it with `fastcl sketch`")
    results = {"dim": sk.dim, "m": len(sk.omega), "n_points": n_points, "methods": {}}
    report(
        f"{'method':10}{'points':>10}{'ms a step':>12}{'MiB a step':>12}{'steps':>8}{'G at the end':>14}"
    )
    for method in METHODS:
        points = POINTS_PER_AXIS**sk.dim if method == "grid" else n_points
        if method == "grid" and (isinstance(sk.domain, ReferenceMeasure) or points > GRID_LIMIT):
            reason = (
                "needs a box"
                if isinstance(sk.domain, ReferenceMeasure)
                else f"{points:.1e} points do not fit"
            )
            results["methods"][method] = {"points": points, "left_out": reason}
            report(f"{method:10}{points:>10.3g}  left out: {reason}")
            continue
        row = _run_method(sk, method, POINTS_PER_AXIS if method == "grid" else n_points, seconds)
        results["methods"][method] = {"points": points, **row}
        report(
            f"{method:10}{points:>10}{1e3 * row['step_seconds']:>12.2f}{row['step_mib']:>12.1f}"
            f"{row['steps']:>8}{row['value'][-1]:>14.3f}"
        )
    return results


def _run_method(sk, method, points, seconds):
    reference = sk.domain if isinstance(sk.domain, ReferenceMeasure) else None
    prior = MLPPrior(sk.dim, rng=0, reference=reference)
    prior.initialise_on(sk.domain, rng=0)
    objective, optimizer = SketchMatching(sk, sk.domain, prior.dtype), Adam(1e-3)
    objective.gradient(prior, method, points, np.random.default_rng(0))  # compiles
    step_mib = _peak_mib(sk, method, points)
    evaluator = SketchMatching(sk, sk.domain, prior.dtype)
    times, steps, curve = [], [], {"seconds": [0.0], "value": [_evaluate(evaluator, prior)]}
    next_look = seconds / 20
    while sum(times) < seconds:
        start = time.perf_counter()
        rng = np.random.default_rng(len(steps) + 1)
        optimizer.update(prior.theta, objective.gradient(prior, method, points, rng).gradient)
        times.append(time.perf_counter() - start)
        steps.append(len(steps))
        if sum(times) >= next_look:
            curve["seconds"].append(sum(times))
            curve["value"].append(_evaluate(evaluator, prior))
            next_look += seconds / 20
    return {
        "step_seconds": float(np.median(times)),
        "step_mib": step_mib,
        "steps": len(steps),
        **curve,
    }


def _peak_mib(sk, method, points):
    """Largest memory that NumPy holds at once for one step of a new prior, in MiB; kernels add some 100 KiB a thread."""
    tracemalloc.start()
    try:
        prior = MLPPrior(
            sk.dim, rng=0, reference=sk.domain if isinstance(sk.domain, ReferenceMeasure) else None
        )
        SketchMatching(sk, sk.domain, prior.dtype).gradient(
            prior, method, points, np.random.default_rng(0)
        )
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _evaluate(objective, prior):
    """G on a fine grid in up to two dimensions, the mean of unbiased estimates at 200,000 fixed points beyond."""
    if isinstance(objective.domain, Box) and prior.dim <= 2:
        return objective.gradient(prior, "grid", 256, None)[0]
    values = [
        objective.gradient(prior, "unbiased", 20_000, np.random.default_rng(k))[0]
        for k in range(10)
    ]
    return float(np.mean(values))


def write(results, folder):
    """Write the numbers as bench.json and the curves as bench.png into a folder."""
    from ..plots.figures import new_figure, save_figure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "bench.json") as file:
        file.write(json.dumps(results, indent=1).encode())
    figure, axes = new_figure(1, 1, 5, 3.5)
    for method, row in results["methods"].items():
        if "value" in row:
            axes[0, 0].plot(row["seconds"], row["value"], ".-", label=method)
    axes[0, 0].set(
        xlabel="seconds of learning", ylabel="G", yscale="symlog" if results["dim"] > 2 else "log"
    )
    axes[0, 0].set_title(
        f"d = {results['dim']}, m = {results['m']}, {results['n_points']} points a step"
    )
    axes[0, 0].legend()
    save_figure(figure, folder / "bench.png")
