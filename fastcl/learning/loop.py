"""The loop: stochastic gradients of the sketch-matching objective, an optimiser, and what a long run needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import files
from ..backend import to_device_of, to_host
from ..measures.counter_rng import Stream
from ..priors.metric import WhitenedMetric
from ..priors.mlp import MLPPrior
from ..progress import progress_bar
from ..validation import (
    as_array,
    as_choice,
    as_count,
    as_generator,
    as_positive,
    as_stored_count,
    as_vector,
)
from .cuda_graph import ROWS, CapturedSteps, can_capture
from .objective import LOG_SCALES, METHODS, SketchMatching
from .optimizers import Adam, Optimizer

METRICS = ("identity", "whitened")
HISTORY = ("iteration", "value", "gradient_norm", "seconds")


@dataclass
class LearnResult:
    """What `learn` returns: the prior, trained in place, and its history.

    `history` has the arrays "iteration", "value" (the estimate of G that comes with each gradient), "gradient_norm"
    and "seconds" (since the start, earlier runs of a resumed checkpoint included; spread evenly over steps that a device
    took at a time). `interrupted` tells whether a KeyboardInterrupt ended the run early.
    """

    prior: MLPPrior
    history: dict
    interrupted: bool = False


def learn(
    prior,
    sketch,
    domain=None,
    method="normalised",
    n_points=4096,
    n_iter=3000,
    optimizer=None,
    rng=None,
    progress=False,
    checkpoint=None,
    callback=None,
    points_per_axis=20,
    log_scale=None,
    metric="identity",
    tracking=0.3,
    average=0.0,
    checkpoint_every=500,
):
    """Learn a prior from a sketch alone, by CL-SGD.

    Parameters
    ----------
    prior : MLPPrior
        Trained in place, on the device where its theta is a CuPy array. With a box, any method but the grid, frequencies
        without a structure, SGD or Adam, no metric, and a log-scale that is not profiled, the device then takes up to 256
        steps at a time (one with a callback) from one CUDA graph.
    sketch : Sketch
    domain : Box or reference measure, optional
        Where points are drawn; by default, and necessarily, the reference of a prior that has one.
    method : {"normalised", "tracked", "unbiased", "naive", "grid"}
        "unbiased", "naive" and "grid" are the methods of the paper. "normalised" is "unbiased" with a density that is kept
        at mass one instead of learning its scale. "tracked" draws one set of points a step instead of two: the residual
        is that of a running mean over earlier steps, the gradient is at the new points; it too is normalised.
    n_points : int
        Points drawn at every step (twice that many for "unbiased" and "normalised"); the grid has points_per_axis^d instead.
    n_iter : int
        Steps in all, those of a resumed checkpoint included.
    optimizer : optimizer, optional
        ``Adam(1e-3)`` by default. It is reset first.
    rng : int or numpy.random.Generator, optional
        The points of step k depend on the seed and k alone. A checkpoint goes on only with the seed it was made with.
    progress : bool
        Whether to show a progress bar, where tqdm is installed (the extra "demo").
    checkpoint : path, optional
        A file written every `checkpoint_every` steps and when the run ends or is interrupted. Where it exists, the
        run goes on from it, to the same bits as an unbroken run.
    callback : callable, optional
        Called as ``callback(iteration, prior, value)`` after every step; a true result stops the run.
    points_per_axis : int
        Of the grid method.
    log_scale : {"learned", "profiled", "normalised", "fixed"}, optional
        As in `grid_gradient`; by default "learned" for the methods of the paper and "normalised" for the others.
    metric : "identity", "whitened", or object with `apply`
        M of the objective r* M r; "identity" by default. "whitened", a `WhitenedMetric` of the domain, suits references
        that are near the data; far from it, as in a box, it magnifies the noise of the gradients.
    tracking : float
        Of "tracked": the share of a step's points in the running mean falls from 1 to this over the first half.
    average : float
        Polyak averaging: the result is the mean of the parameters over this last fraction of the steps; 0 for none.
    checkpoint_every : int

    Returns
    -------
    LearnResult
        A KeyboardInterrupt ends the run early and returns what has been learned so far.

    Raises
    ------
    FloatingPointError
        The value or the gradient is not finite: the run diverged. `prior` keeps the last parameters at which both were.
    TypeError, ValueError
        Arguments that do not fit together, or a checkpoint of another run.
    OSError
        A checkpoint that cannot be written.

    Notes
    -----
    CL-SGD, arXiv 2310.03085. The running mean is that of stochastic compositional gradients: Wang, Fang and Liu,
    Mathematical Programming 2017.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 1))
    >>> sk = fastcl.sketch(x, fastcl.draw_frequencies(50, dim=1, scale=0.3, rng=0))
    >>> prior = fastcl.MLPPrior(dim=1, widths=(16, 16), rng=0)
    >>> result = fastcl.learn(prior, sk, fastcl.Box([-1], [1]), n_points=256, n_iter=200, rng=0)
    >>> bool(result.history["value"][-50:].mean() < result.history["value"][:50].mean())
    True
    """
    if not isinstance(prior, MLPPrior):
        raise TypeError(f"prior must be a fastcl.MLPPrior, got {type(prior).__name__}")
    if domain is None and prior.reference is None:
        raise ValueError("domain is needed for a prior without a reference measure")
    as_choice(method, "method", METHODS)
    log_scale = (
        ("normalised" if method in ("normalised", "tracked") else "learned")
        if log_scale is None
        else log_scale
    )
    as_choice(log_scale, "log_scale", LOG_SCALES)
    if not 0 < as_positive(tracking, "tracking") <= 1:
        raise ValueError(f"tracking must be in (0, 1], got {tracking}")
    if isinstance(metric, str):
        as_choice(metric, "metric", METRICS)
    domain = prior.reference if domain is None else domain
    objective = SketchMatching(
        sketch, domain, prior.dtype, None if isinstance(metric, str) else metric, prior.theta
    )
    objective.check(prior)
    points = (
        as_count(points_per_axis, "points_per_axis")
        if method == "grid"
        else as_count(n_points, "n_points")
    )
    n_iter, checkpoint_every = (
        as_count(n_iter, "n_iter"),
        as_count(checkpoint_every, "checkpoint_every"),
    )
    if not 0 <= average <= 1:
        raise ValueError(f"average must be in [0, 1], got {average}")
    optimizer = Adam(1e-3) if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastcl's optimisers, got {optimizer!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    if metric == "whitened":
        objective.metric = WhitenedMetric(sketch.omega, domain, dtype=prior.dtype)
    optimizer.reset()
    seed = int(as_generator(rng).integers(2**63))

    run = _Run(prior, optimizer, n_iter, average)
    # A run with the same settings, domain and seed goes on; another one must not be mixed up with it.
    settings = [
        method,
        points,
        log_scale,
        metric if isinstance(metric, str) else repr(metric),
        tracking,
        average,
    ]
    settings += [prior.sizes.tolist(), str(prior.dtype), optimizer.describe()]
    settings += [
        {name: np.asarray(array).tolist() for name, array in objective.domain.to_arrays().items()}
    ]
    settings = repr(
        [
            *settings,
            n_iter if average or method == "tracked" else None,
            seed if rng is not None else None,
        ]
    )
    if checkpoint is not None:
        files.check_writable(checkpoint)
        if Path(checkpoint).exists():
            seed = run.load(checkpoint, settings, objective)
    interrupted = False
    steps = _Steps(objective, prior, method, points, log_scale, optimizer, seed, run, tracking)
    most = 1 if callback is not None else ROWS
    with progress_bar(progress, n_iter, "learn", "step", initial=run.iteration) as bar:
        start = time.perf_counter() - (run.history["seconds"][-1] if run.history["seconds"] else 0)
        try:
            while run.iteration < n_iter:
                first = run.iteration
                steps.take(
                    min(most, n_iter - first, checkpoint_every - first % checkpoint_every), start
                )
                bar.update(run.iteration - first)
                if checkpoint is not None and run.iteration % checkpoint_every == 0:
                    run.save(checkpoint, settings, seed, objective)
                if callback is not None and callback(first, prior, run.history["value"][-1]):
                    break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if not run.whole:
                prior.theta[:] = run.last_good
            elif checkpoint is not None:
                run.save(checkpoint, settings, seed, objective)
    run.take_average()
    if log_scale == "normalised" and method != "grid":
        objective.normalise(prior, Stream(seed, n_iter))
    return LearnResult(
        prior, {name: np.array(column) for name, column in run.history.items()}, interrupted
    )


class _Steps:
    """Takes the steps of a run: one by one, or on a device many at a time where `CapturedSteps` serves."""

    def __init__(self, objective, prior, method, points, log_scale, optimizer, seed, run, tracking):
        self.objective, self.prior, self.optimizer, self.run = objective, prior, optimizer, run
        self.settings, self.seed, self.tracking = (method, points, log_scale), seed, tracking
        self.gradient, self.captured = np.empty_like(prior.theta), None
        if can_capture(objective, prior, method, log_scale, optimizer):
            mean = run.mean if run.first_averaged < run.n_iter else None
            self.captured = CapturedSteps(objective, prior, *self.settings, optimizer, seed, mean)

    def take(self, count, start):
        """Take up to `count` steps of a run that began at the time `start`; FloatingPointError where one diverges."""
        if self.captured is None:
            k, (method, points, log_scale) = self.run.iteration, self.settings
            value, self.gradient = self.objective.gradient(
                self.prior,
                method,
                points,
                Stream(self.seed, k),
                log_scale,
                self.gradient,
                self._share(k),
            )
            self.run.advance(self.gradient, value, time.perf_counter() - start)
            return
        steps = range(self.run.iteration, self.run.iteration + count)
        averaging = [
            1 / (k - self.run.first_averaged + 1) if k >= self.run.first_averaged else 0.0
            for k in steps
        ]
        self.run.begin()
        lines, diverged = self.captured.advance(
            steps[0], [self._share(k) for k in steps], averaging
        )
        self.run.end(lines, diverged, time.perf_counter() - start)

    def _share(self, k):
        return max(self.tracking, 1 - 2 * k / self.run.n_iter)


class _Run:
    """The state of a run between two steps, and its file."""

    def __init__(self, prior, optimizer, n_iter, average):
        self.prior, self.optimizer, self.n_iter = prior, optimizer, n_iter
        self.iteration, self.whole = 0, True
        self.last_good = prior.theta.copy()
        self.first_averaged = n_iter - round(average * n_iter)
        self.mean = np.zeros_like(prior.theta, np.float64)
        self.history = {name: [] for name in HISTORY}

    def begin(self):
        """Until `end`, neither an interruption nor an error may leave half a step behind."""
        self.whole = False
        self.last_good[:] = self.prior.theta

    def end(self, lines, diverged, seconds):
        """Book steps that the device took: their values and norms (k, 2), the last one that of the step that diverged."""
        taken = len(lines) - diverged
        before = self.history["seconds"][-1] if self.history["seconds"] else 0.0
        for number, (value, norm) in enumerate(
            lines[:taken], 1
        ):  # their times follow from that of the last one
            self._record(value, norm, before + (seconds - before) * number / taken)
        self.optimizer.iteration += taken
        if diverged:
            self.last_good[:] = self.prior.theta
            self._raise(*lines[-1])
        self.whole = True

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, gradient, value, seconds):
        """One update of the parameters, with its line of history; FloatingPointError where anything is not finite."""
        self.whole = False
        norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
        if np.isfinite(value) and np.isfinite(norm):
            self.last_good[:] = self.prior.theta
            self.optimizer.update(self.prior.theta, gradient)
        if not (np.isfinite(value) and np.isfinite(norm) and np.isfinite(self.prior.theta).all()):
            self._raise(value, norm)
        if self.iteration >= self.first_averaged:
            self.mean += (self.prior.theta - self.mean) / (self.iteration - self.first_averaged + 1)
        self._record(value, norm, seconds)
        self.whole = True

    def _record(self, value, norm, seconds):
        for name, number in zip(
            self.history, (self.iteration, float(value), float(norm), seconds), strict=True
        ):
            self.history[name].append(number)
        self.iteration += 1

    def _raise(self, value, norm):
        raise FloatingPointError(
            f"learning diverged at step {self.iteration} (value {value:.3g}, gradient norm {norm:.3g}): "
            "take a smaller step; the prior keeps its last good parameters"
        )

    def take_average(self):
        """Put the averaged parameters into the prior, where there are any."""
        if self.iteration > self.first_averaged:
            self.prior.theta[:] = self.mean

    def save(self, path, settings, seed, objective):
        """Write all that `load` needs."""
        arrays = {
            "settings": settings,
            "seed": np.uint64(seed),
            "z": to_host(objective.z),
            "omega": objective.packed.omega,
        }
        arrays |= {
            "theta": to_host(self.prior.theta),
            "mean": to_host(self.mean),
            "iteration": self.iteration,
        }
        if objective.tracked is not None:
            arrays["tracked"] = to_host(objective.tracked)
        arrays |= files.with_prefix("optimizer", self.optimizer.state())
        arrays |= files.with_prefix(
            "history", {name: np.array(column) for name, column in self.history.items()}
        )
        files.write_npz(path, "checkpoint", arrays)

    def load(self, path, settings, objective):
        """Take the state of the file; returns its seed. ValueError, and nothing taken, where it belongs to another run."""
        _, arrays = files.read_npz(path, "checkpoint")
        try:
            same = np.array_equal(arrays["z"], to_host(objective.z)) and np.array_equal(
                arrays["omega"], objective.packed.omega
            )
            same = same and str(arrays["settings"]) == settings
        except KeyError as error:
            raise ValueError(
                f"checkpoint {str(path)!r} is damaged or incomplete: {error}"
            ) from None
        if not same:
            raise ValueError(
                f"checkpoint {str(path)!r} belongs to a run with other settings, domain, seed or sketch"
            )
        try:
            theta, mean = (
                as_vector(arrays[name], name, self.mean.size) for name in ("theta", "mean")
            )
            iteration, seed = (
                as_stored_count(arrays[name], name) for name in ("iteration", "seed")
            )
            history = {
                name: as_vector(arrays[f"history.{name}"], name, iteration).tolist()
                for name in HISTORY
            }
            tracked = (
                as_array(arrays["tracked"], "tracked", "c").reshape(objective.z.shape)
                if "tracked" in arrays
                else None
            )
            self.optimizer.load_state(files.without_prefix("optimizer", arrays), self.prior.theta)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"checkpoint {str(path)!r} is damaged or incomplete: {error}"
            ) from None
        objective.tracked = None if tracked is None else to_device_of(tracked, objective.z)
        self.prior.theta[:] = self.last_good[:] = to_device_of(theta, self.prior.theta)
        self.mean[:] = to_device_of(mean, self.mean)
        self.iteration, self.history = iteration, history
        return seed
