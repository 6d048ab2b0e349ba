"""`fastcl bench`: the methods of learning on one sketch, by time and memory per step, and by G."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.datasets import make_spiral, two_gaussians
from ..files import PathLike, replacing
from ..fourier.frequencies import draw_frequencies
from ..learning.objective import METHODS, SketchMatching
from ..learning.optimizers import Adam
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, Domain
from ..priors.mlp import MLPPrior
from ..progress import progress_bar
from ..sketching.data_set import sketch
from ..sketching.sketch import Sketch
from ..validation import as_count, as_positive

WIDTHS = (64, 128, 256)
MAX_GRID = 3_000_000  # points of a grid whose activations still fit into a few GiB
MAX_DIM = 20  # of the example
POINTS_PER_AXIS = 20  # of the grid, as in the public code that preceded arXiv 2310.03085
LOOKS = 20  # evaluations of G per method


def example_sketch(dim: int) -> Sketch:
    """The sketch of 20,000 points in [-1, 1]^dim: a spiral for dim = 2, otherwise two Gaussians."""
    dim = as_count(dim, "dim")
    if dim > MAX_DIM:
        raise ValueError(
            f"dim must be at most {MAX_DIM}, got {dim}: "
            "uniform points of a box do not find the data"
        )
    x = make_spiral(20_000, rng=0) if dim == 2 else two_gaussians(dim).sample(20_000, rng=0)
    scale = 0.03 if dim == 2 else 0.1
    result = sketch(x.astype(np.float32), draw_frequencies(500, dim, scale=scale, rng=0))
    result.domain = Box(-np.ones(dim), np.ones(dim))
    return result


def run(
    sk: Sketch,
    seconds: float = 10.0,
    n_points: int = 4096,
    widths: Sequence[int] = WIDTHS,
    report: Callable[[str], object] = print,
    progress: bool = False,
) -> dict[str, Any]:
    """Time every method on one sketch with its domain; returns a dict of plain numbers and lists.

    `seconds` is the learning time per method, without the evaluations of G between steps.
    """
    seconds = as_positive(seconds, "seconds")
    n_points = as_count(n_points, "n_points")
    _domain_of(sk)
    report(
        f"{'method':10}{'points':>10}{'ms/step':>12}{'MiB/step':>12}"
        f"{'steps':>8}{'G at the end':>14}"
    )
    methods: dict[str, Any] = {}
    for method in METHODS:
        points = POINTS_PER_AXIS**sk.dim if method == "grid" else n_points
        reason = _why_left_out(sk, points) if method == "grid" else None
        if reason is not None:
            methods[method] = {"points": points, "left_out": reason}
            report(f"{method:10}{points:>10.3g}  left out: {reason}")
            continue
        given = POINTS_PER_AXIS if method == "grid" else n_points
        with progress_bar(progress, LOOKS + 1, method, "evaluation of G") as bar:
            row = _run_method(sk, method, given, seconds, widths, bar)
        methods[method] = {"points": points, **row}
        report(
            f"{method:10}{points:>10}{1e3 * row['step_seconds']:>12.2f}{row['step_mib']:>12.1f}"
            f"{row['steps']:>8}{row['value'][-1]:>14.3f}"
        )
    return {"dim": sk.dim, "m": len(sk.omega), "n_points": n_points, "methods": methods}


def _domain_of(sk: Sketch) -> Domain:
    if sk.domain is None:
        raise ValueError("the sketch has no domain: make it with `fastcl sketch`")
    return sk.domain


def _why_left_out(sk: Sketch, points: int) -> str | None:
    """Why there is no grid of so many points for this sketch, or None if there is one."""
    if isinstance(sk.domain, ReferenceMeasure):
        return "needs a box"
    return f"{points:.1e} points do not fit" if points > MAX_GRID else None


def _run_method(
    sk: Sketch, method: str, points: int, seconds: float, widths: Sequence[int], bar: Any
) -> dict[str, Any]:
    prior = _new_prior(sk, widths)
    prior.initialise_on(_domain_of(sk), rng=0)
    objective = _new_objective(sk, prior)
    optimizer = Adam(1e-3)
    objective.gradient(prior, method, points, np.random.default_rng(0))  # compiles
    step_mib = _peak_mib(sk, method, points, widths)
    evaluator = _new_objective(sk, prior)
    times: list[float] = []
    at_seconds = [0.0]
    values = [_evaluate(evaluator, prior)]
    bar.update(1)
    while sum(times) < seconds:
        start = time.perf_counter()
        rng = np.random.default_rng(len(times) + 1)
        optimizer.update(prior.theta, objective.gradient(prior, method, points, rng).gradient)
        times.append(time.perf_counter() - start)
        if sum(times) >= seconds / LOOKS * len(values):
            at_seconds.append(sum(times))
            values.append(_evaluate(evaluator, prior))
            bar.update(1)
    return {
        "step_seconds": float(np.median(times)),
        "step_mib": step_mib,
        "steps": len(times),
        "seconds": at_seconds,
        "value": values,
    }


def _new_prior(sk: Sketch, widths: Sequence[int]) -> MLPPrior:
    reference = sk.domain if isinstance(sk.domain, ReferenceMeasure) else None
    return MLPPrior(sk.dim, widths, rng=0, reference=reference)


def _new_objective(sk: Sketch, prior: MLPPrior) -> SketchMatching:
    return SketchMatching(sk, _domain_of(sk), prior.dtype)


def _peak_mib(sk: Sketch, method: str, points: int, widths: Sequence[int]) -> float:
    """Peak memory of NumPy in one step of a new prior, in MiB.

    Kernels take about 100 KiB per thread in addition.
    """
    tracemalloc.start()
    try:
        prior = _new_prior(sk, widths)
        _new_objective(sk, prior).gradient(prior, method, points, np.random.default_rng(0))
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _evaluate(objective: SketchMatching, prior: MLPPrior) -> float:
    """G: on a fine grid in up to two dimensions, beyond by unbiased estimates at 200,000 points."""
    if isinstance(objective.domain, Box) and prior.dim <= 2:
        return objective.gradient(prior, "grid", 256).value
    estimates = [
        objective.gradient(prior, "unbiased", 20_000, np.random.default_rng(k)) for k in range(10)
    ]
    return float(np.mean([estimate.value for estimate in estimates]))


def write(results: dict[str, Any], folder: PathLike) -> None:
    """Write the numbers as bench.json and the curves as bench.png into a folder."""
    from ..plots.figures import new_figure, save_figure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "bench.json") as file:
        file.write(json.dumps(results, indent=1).encode())
    figure, ((axes,),) = new_figure(1, 1, 5, 3.5)
    for method, row in results["methods"].items():
        if "value" in row:
            axes.plot(row["seconds"], row["value"], ".-", label=method)
    scale = "symlog" if results["dim"] > 2 else "log"
    axes.set(xlabel="seconds of learning", ylabel="G", yscale=scale)
    axes.set_title(
        f"d = {results['dim']}, m = {results['m']}, {results['n_points']} points per step"
    )
    axes.legend()
    save_figure(figure, folder / "bench.png")
