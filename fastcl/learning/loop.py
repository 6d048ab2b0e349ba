"""The loop: stochastic gradients of the sketch-matching objective, and an optimiser."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import files
from ..locks import exclusive
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, Domain
from ..measures.counter_rng import Stream
from ..priors.base import Prior
from ..priors.mlp import MLPPrior
from ..progress import progress_bar
from ..sketching.sketch import Sketch
from ..validation import as_choice, as_count, as_generator
from .cuda_graph import ROWS, captured_steps
from .energy_matching import EnergyMatching, Objective
from .objective import LOG_SCALES, METHODS, SketchMatching, check_trainable, min_points
from .optimizers import Adam, Cosine, Optimizer
from .run import Run, describe_settings

CHAINS_STEP = 5e-3  # step size of Adam for chains
LEARN_METHODS = (*METHODS, "chains")
CHECKPOINT_EVERY = 500  # steps
MAX_OFFSET = 30  # sides of a box between its centre and the origin
MIN_JUDGED = 1000  # steps after which G should have fallen
MAX_UNMATCHED = 0.1  # of ||z||^2: more of it is left if the prior cannot match the sketch


@dataclass(repr=False)
class LearnResult:
    """What `learn` returns: the prior, trained in place, and its history.

    Attributes
    ----------
    prior : Prior
    history : dict
        Arrays with one number per step: "iteration", "value" (the estimate of G that comes with the
        gradient), "gradient_norm" and "seconds" (since the start, earlier runs of a resumed
        checkpoint included; spread evenly over the steps that a device takes in one go).
    interrupted : bool
        Whether a KeyboardInterrupt ended the run early.
    """

    prior: Prior
    history: dict[str, NDArray]
    interrupted: bool = False

    def __repr__(self) -> str:
        steps = len(self.history["value"])
        return f"LearnResult({self.prior}, steps={steps}, interrupted={self.interrupted})"


@np.errstate(under="ignore")
def learn(
    prior: Prior,
    sketch: Sketch,
    domain: Domain | None = None,
    *,
    method: str = "unbiased",
    log_scale: str = "normalised",
    n_points: int = 4096,
    n_iter: int = 3000,
    optimizer: Optimizer | None = None,
    rng: Any = None,
    progress: bool = False,
    checkpoint: files.PathLike | None = None,
    callback: Callable[[int, Prior, float], Any] | None = None,
) -> LearnResult:
    """Learn a prior from a sketch alone, by stochastic gradients.

    Parameters
    ----------
    prior : Prior
        One with parameters, such as `MLPPrior`. It is trained in place, on the device if its theta
        is a CuPy array. An `MLPPrior` over a box, with a random method, frequencies without a
        structure, and SGD or Adam, then takes up to 256 steps at a time (one with a callback) from
        one CUDA graph.
    sketch : Sketch
    domain : Box or reference measure, optional
        Where points are drawn. A prior with a reference measure draws from that.
    method : {"unbiased", "naive", "grid", "chains"}
        The three methods of CL-SGD, `unbiased_gradient`, `naive_gradient` and `grid_gradient`, draw
        points from the domain, which serves in a few dimensions. "chains" is for a prior with a
        reference measure, in any number of them: `max_entropy` finds the density with the moments
        of the sketch, and the prior learns its energy, up to a constant, at the points of chains
        that follow it; on NumPy arrays only, and with a normalised density.
    log_scale : {"normalised", "learned", "fixed"}
        "normalised" keeps the density at mass one, and gives it mass one at the end. "learned"
        makes the log-scale a parameter like any other, "fixed" leaves it alone; both are the models
        of the paper.
    n_points : int
        Points drawn per step, four at least for "unbiased" (two unless the density is normalised),
        or number of chains. The grid has k^d
        points, the k for which that is nearest to n_points.
    n_iter : int
        Steps in all, those of a resumed checkpoint included.
    optimizer : optimizer, optional
        ``Adam(1e-3)`` by default. It is reset first.
    rng : int or numpy.random.Generator, optional
        The points of step k depend on the seed and k alone. A checkpoint resumes only with the seed
        that it was made with.
    progress : bool
        Whether to show a progress bar, if tqdm is installed (the extra "demo").
    checkpoint : path, optional
        A file written every 500 steps and when the run ends or is interrupted. If it exists, the
        run resumes from it; the result is bitwise identical to that of an unbroken run, by the same
        version. Chains begin with `max_entropy`, before the first step, without a checkpoint.
    callback : callable, optional
        Called as ``callback(iteration, prior, value)`` after every step; a true result stops the
        run.

    Returns
    -------
    LearnResult
        A KeyboardInterrupt ends the run early and returns what has been learned so far.

    Raises
    ------
    FloatingPointError
        The value or the gradient is not finite: the run diverged. `prior` keeps the last parameters
        at which both were.
    TypeError, ValueError
        Arguments that do not fit together, or a checkpoint of another run.
    OSError
        A checkpoint that cannot be written.
    RuntimeError
        The prior or the optimiser is being used by `learn` in another thread.

    Warns
    -----
    RuntimeWarning
        After 1000 steps or more of a normalised density, G is still above a tenth of ||z||^2: the
        domain may not hold all of the data. Or the domain is a box more than 30 sides from the
        origin.

    Notes
    -----
    CL-SGD, arXiv 2310.03085.

    Reading the history: "value" is a noisy estimate of G, which for "unbiased" has no bias (one of
    the order of 1 / n_points, if the density is normalised) and may be negative. Look at its
    running median, or, in up to two dimensions, at `grid_gradient` on a fine grid. For the true
    density of n data points G averages (m - ||z||^2) / n; far below that you are fitting sampling
    noise. For "chains", "value" is the variance of the difference of the energies; if it is small,
    half of it is the divergence of the two densities.

    - A plateau, at which the median is flat and the gradient norm stays, is the noise of the
      gradients: take more points, or step sizes that fall:
      ``Adam(1e-3, schedule=Cosine(n_iter))``.
    - A value of ||z||^2 with gradient zero is an empty density, which vanishes at every point drawn
      (a normalised one keeps its mass in a few points, and the value stays above ||z||^2). At the
      start the units of x are too large, which `MLPPrior.initialise_on` cures; later the step size
      is.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 1))
    >>> sk = fastcl.sketch(x, fastcl.draw_frequencies(50, dim=1, scale=0.3, rng=0))
    >>> prior, box = fastcl.MLPPrior(dim=1, widths=(16, 16), rng=0), fastcl.Box([-1], [1])
    >>> result = fastcl.learn(prior, sk, box, n_points=256, n_iter=200, rng=0)
    >>> bool(result.history["value"][-50:].mean() < result.history["value"][:50].mean())
    True
    """
    check_trainable(prior)
    domain = prior.reference if domain is None else domain
    if domain is None:
        raise ValueError("domain is needed for a prior without a reference measure: pass a Box")
    as_choice(log_scale, "log_scale", LOG_SCALES)
    as_choice(method, "method", LEARN_METHODS)
    n_points = as_count(n_points, "n_points", min_points(method, log_scale))
    seed = int(as_generator(rng).integers(2**63))
    objective: Objective
    if method == "chains":
        check_chains(log_scale)
        objective = EnergyMatching(sketch, domain, prior.theta.dtype, n_points)
    else:
        objective = SketchMatching(sketch, domain, prior.theta.dtype, prior.theta)
    objective.check(prior)
    _check_centred(domain)
    points = nearest_grid(n_points, domain.dim) if method == "grid" else n_points
    n_iter = as_count(n_iter, "n_iter")
    optimizer = Adam(1e-3) if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastcl's optimisers, got {optimizer!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    settings = describe_settings(
        method, points, log_scale, prior, domain, optimizer, None if rng is None else seed
    )
    if checkpoint is not None:
        files.check_writable(checkpoint)
    with exclusive(prior=prior, optimizer=optimizer):
        optimizer.reset()
        run = Run(prior, optimizer)
        save = None
        if checkpoint is not None:
            if Path(checkpoint).exists():
                seed = run.load(checkpoint, settings, objective)
            save = partial(run.save, checkpoint, settings[0], seed, objective)
        steps = _Steps(objective, run, method, points, log_scale, seed)
        interrupted = _take_steps(steps, n_iter, progress, save, callback)
        if log_scale == "normalised":
            stream = Stream(seed, n_iter)
            prior.log_scale = objective.unit_mass_log_scale(prior, method, points, stream)
    history = {name: np.array(column) for name, column in run.history.items()}
    # The models of the paper may need many more steps.
    if log_scale == "normalised" and method != "chains":
        _check_fit(sketch, history["value"])
    return LearnResult(prior, history, interrupted)


def check_chains(log_scale: str) -> None:
    """ValueError unless the method "chains" takes this log-scale."""
    if log_scale != "normalised":
        raise ValueError(
            f"log_scale must be 'normalised' for the method 'chains', got {log_scale!r}"
        )


def _check_centred(domain: Domain) -> None:
    """Warn if a box is so far from the origin that the weights of a network hardly turn it."""
    if not isinstance(domain, Box):
        return
    offset = float(np.max(np.abs(domain.centre) / (domain.high - domain.low)))
    if offset > MAX_OFFSET:
        warnings.warn(
            f"the centre of domain lies {offset:.0f} sides from the origin, where networks learn "
            "badly: subtract it from the data and from the box",
            RuntimeWarning,
            stacklevel=3,
        )


def _check_fit(sketch: Sketch, values: NDArray) -> None:
    """Warn if G stayed far above the noise of the sketch, as it does on a box that is too small."""
    if len(values) < MIN_JUDGED or sketch.privacy is not None:  # the noise of a release is unknown
        return
    z, weights = sketch.values, sketch.weights
    square = float((weights * (z.real**2 + z.imag**2)).sum())
    noise = float((weights * sketch.errors**2).sum())
    final = float(np.median(values[-len(values) // 10 :]))
    if final > MAX_UNMATCHED * square + 2 * noise:
        warnings.warn(
            f"G stayed at {final / square:.0%} of ||z||^2: check that the domain holds all of the "
            "data; if it does, take more steps, a wider network or another step size",
            RuntimeWarning,
            stacklevel=4,  # beyond the context of `learn`
        )


def learn_network(
    sketch: Sketch,
    domain: Domain | None = None,
    *,
    widths: Sequence[int] = (64, 128, 256),
    dtype: DTypeLike = np.float32,
    n_iter: int = 3000,
    optimizer: Optimizer | None = None,
    method: str | None = None,
    rng: Any = None,
    **settings: Any,
) -> LearnResult:
    """Learn a network that starts near a domain, by Adam with steps that fall to zero.

    Parameters
    ----------
    sketch : Sketch
    domain : Box or reference measure, optional
        By default that of the sketch. A reference measure becomes the prior's.
    widths, dtype
        As in `MLPPrior`.
    n_iter : int
    optimizer : optimizer, optional
        ``Adam(1e-3, schedule=Cosine(n_iter))`` by default, with 5e-3 for chains.
    method : optional
        As in `learn`; by default "chains" for a reference measure, unless the log-scale is not
        normalised, and otherwise "unbiased".
    rng : int or numpy.random.Generator, optional
        For the network, its initialisation and `learn`, in this order.
    **settings
        As in `learn`.

    Returns
    -------
    LearnResult

    Raises
    ------
    TypeError, ValueError, FloatingPointError, OSError
        As in `learn`; a sketch without a domain.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> from fastcl.learning.loop import learn_network
    >>> x = np.random.default_rng(0).standard_normal((1000, 1))
    >>> sk = fastcl.sketch(x, fastcl.draw_frequencies(50, dim=1, scale=0.3, rng=0))
    >>> q = fastcl.Gaussian([0.0], [[1.0]])
    >>> learn_network(sk, q, widths=(16,), n_points=256, n_iter=20, rng=0).prior
    MLPPrior(dim=1, widths=(16,), dtype=float32, reference=Gaussian(dim=1))
    """
    domain = sketch.domain if domain is None else domain
    if domain is None:
        raise ValueError("domain is needed for a sketch without one")
    reference = domain if isinstance(domain, ReferenceMeasure) else None
    prior = MLPPrior(sketch.dim, widths, rng, reference, dtype)
    prior.initialise_on(domain, rng=rng)
    if method is None:
        normalised = settings.get("log_scale", "normalised") == "normalised"
        method = "chains" if reference is not None and normalised else "unbiased"
    if optimizer is None:
        step_size = CHAINS_STEP if method == "chains" else 1e-3
        optimizer = Adam(step_size, schedule=Cosine(as_count(n_iter, "n_iter")))
    settings |= {"method": method, "optimizer": optimizer, "rng": rng}
    return learn(prior, sketch, domain, n_iter=n_iter, **settings)


def nearest_grid(n_points: int, dim: int) -> int:
    """The k for which k^dim is nearest to n_points."""
    k = max(1, int(n_points ** (1 / dim)))
    return min((k, k + 1), key=lambda k: abs(k**dim - n_points))


def _take_steps(
    steps: _Steps,
    n_iter: int,
    progress: bool,
    save: Callable[[], None] | None,
    callback: Callable[[int, Prior, float], Any] | None,
) -> bool:
    """Take steps until there are `n_iter`; returns whether a KeyboardInterrupt ended them early."""
    run = steps.run
    most = ROWS if callback is None else 1
    with progress_bar(progress, n_iter, "learn", "step", initial=run.iteration) as bar:
        start = time.perf_counter() - run.seconds
        try:
            while run.iteration < n_iter:
                first = run.iteration
                to_checkpoint = CHECKPOINT_EVERY - first % CHECKPOINT_EVERY
                steps.take(min(most, n_iter - first, to_checkpoint), start)
                bar.update(run.iteration - first)
                if save is not None and run.iteration % CHECKPOINT_EVERY == 0:
                    save()
                if callback is not None and callback(first, run.prior, run.history["value"][-1]):
                    break
        except KeyboardInterrupt:
            return True
        finally:
            if not run.is_whole:
                run.prior.theta[:] = run.last_good
            elif save is not None:
                save()
    return False


class _Steps:
    """Takes the steps of a run: one by one, or many at a time on a device that can."""

    def __init__(
        self,
        objective: Objective,
        run: Run,
        method: str,
        points: int,
        log_scale: str,
        seed: int,
    ) -> None:
        self.objective = objective
        self.run = run
        self.method = method
        self.points = points
        self.log_scale = log_scale
        self.seed = seed
        self.captured = None
        if isinstance(objective, SketchMatching):
            self.captured = captured_steps(
                objective, run.prior, method, points, log_scale, run.optimizer, seed
            )

    def take(self, count: int, start: float) -> None:
        """Take up to `count` steps of a run that began at the time `start`.

        FloatingPointError if one of them diverges.
        """
        run = self.run
        if self.captured is None:
            stream = Stream(self.seed, run.iteration)
            estimate = self.objective.gradient(
                run.prior, self.method, self.points, stream, self.log_scale
            )
            run.advance(estimate, time.perf_counter() - start)
            return
        run.begin()
        lines, diverged = self.captured.advance(run.iteration, count)
        run.end(lines, diverged, time.perf_counter() - start)
