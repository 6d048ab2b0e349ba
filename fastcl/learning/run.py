"""The state of a run of `learn` between two steps, and the checkpoint that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..backend import to_device_of, to_host
from ..measures.box import Domain
from ..priors.base import Prior
from ..priors.mlp import MLPPrior
from ..validation import as_stored_count, as_vector
from .energy_matching import Objective
from .objective import Estimate
from .optimizers import Optimizer

HISTORY = ("iteration", "value", "gradient_norm", "seconds")


class Run:
    """The parameters, the optimiser and the history of a run, and how many steps it has taken."""

    def __init__(self, prior: Prior, optimizer: Optimizer) -> None:
        self.prior = prior
        self.optimizer = optimizer
        self.iteration = 0
        self.is_whole = True  # False in the middle of a step
        self.last_good = prior.theta.copy()
        self.history: dict[str, list] = {name: [] for name in HISTORY}

    @property
    def seconds(self) -> float:
        """Seconds that the steps so far took."""
        return self.history["seconds"][-1] if self.history["seconds"] else 0.0

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self, estimate: Estimate, seconds: float) -> None:
        """Update the parameters and the history; FloatingPointError if anything is not finite."""
        self.is_whole = False
        value, gradient, log_scale = estimate
        norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
        is_finite = bool(np.isfinite(value) and np.isfinite(norm))
        if is_finite:
            self.prior.log_scale = log_scale
            self.last_good[:] = self.prior.theta
            self.optimizer.update(self.prior.theta, gradient)
        if not (is_finite and np.isfinite(self.prior.theta).all()):
            self._raise(value, norm)
        self._record(value, norm, seconds)
        self.is_whole = True

    def begin(self) -> None:
        """Until `end`, neither an interruption nor an error may leave half a step behind."""
        self.is_whole = False
        self.last_good[:] = self.prior.theta

    def end(self, lines: NDArray, diverged: bool, seconds: float) -> None:
        """Record steps that the device took.

        `lines` (k, 2) are their values and norms; if the run diverged, the last line is that of
        the step at which it did.
        """
        taken = len(lines) - diverged
        before = self.seconds
        for number, (value, norm) in enumerate(lines[:taken], 1):
            self._record(value, norm, before + (seconds - before) * number / taken)
        self.optimizer.iteration += taken
        if diverged:
            self.last_good[:] = self.prior.theta
            self._raise(*lines[-1])
        self.is_whole = True

    def _record(self, value: float, norm: float, seconds: float) -> None:
        line = (self.iteration, float(value), float(norm), seconds)
        for name, number in zip(HISTORY, line, strict=True):
            self.history[name].append(number)
        self.iteration += 1

    def _raise(self, value: float, norm: float) -> NoReturn:
        raise FloatingPointError(
            f"learning diverged at step {self.iteration} "
            f"(value {value:.3g}, gradient norm {norm:.3g}): "
            "take a smaller step; the prior keeps its last good parameters"
        )

    # ---- the checkpoint -----------------------------------------------------------------------

    def save(self, path: files.PathLike, settings: str, seed: int, objective: Objective) -> None:
        """Write everything that `load` needs."""
        arrays = {
            "settings": settings,
            "seed": np.uint64(seed),
            "z": to_host(objective.sketch.values),
            "omega": np.asarray(objective.sketch.omega),
            "theta": to_host(self.prior.theta),
            "iteration": self.iteration,
        }
        history = {name: np.array(column) for name, column in self.history.items()}
        arrays |= files.with_prefix("optimizer", self.optimizer.state())
        arrays |= files.with_prefix("objective", objective.state())
        arrays |= files.with_prefix("history", history)
        files.write_npz(path, "checkpoint", arrays)

    def load(self, path: files.PathLike, settings: Sequence[str], objective: Objective) -> int:
        """Take the state from a checkpoint and return its seed.

        ValueError, and nothing taken, if its settings are none of `settings`, or its sketch is
        another one.
        """
        _, arrays = files.read_npz(path, "checkpoint")
        damaged = f"checkpoint {str(path)!r} is damaged or incomplete"
        try:
            same = str(arrays["settings"]) in settings
            sketch = objective.sketch
            same = same and np.array_equal(arrays["z"], to_host(sketch.values))
            same = same and np.array_equal(arrays["omega"], np.asarray(sketch.omega))
        except KeyError as error:
            raise ValueError(f"{damaged}: {error}") from None
        if not same:
            raise ValueError(
                f"checkpoint {str(path)!r} belongs to a run with other settings, "
                "domain, seed or sketch"
            )
        try:
            theta = as_vector(arrays["theta"], "theta", self.prior.theta.size)
            iteration = as_stored_count(arrays["iteration"], "iteration")
            seed = as_stored_count(arrays["seed"], "seed")
            history = {
                name: as_vector(arrays[f"history.{name}"], name, iteration).tolist()
                for name in HISTORY
            }
            self.optimizer.load_state(files.without_prefix("optimizer", arrays), self.prior.theta)
            objective.load_state(files.without_prefix("objective", arrays), iteration)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{damaged}: {error}") from None
        self.prior.theta[:] = self.last_good[:] = to_device_of(theta, self.prior.theta)
        self.iteration = iteration
        self.history = history
        return seed


def describe_settings(
    method: str,
    points: int,
    log_scale: str,
    prior: Prior,
    domain: Domain,
    optimizer: Optimizer,
    seed: int | None,
) -> list[str]:
    """What identifies a run in a checkpoint: as written now, then as version 0.1.0 wrote it."""
    theta = prior.theta
    network = [repr(prior), theta.size] if type(prior) is not MLPPrior else prior.sizes.tolist()
    dtype, described = str(theta.dtype), _describe_domain(domain)
    algorithm = optimizer.describe()
    settings = [repr([method, points, log_scale, network, dtype, algorithm, described, seed])]
    # Version 0.1.0 also wrote the defaults of options that are gone: the metric, the share of
    # tracked residuals, the share of averaged steps and the number of steps that these two needed.
    # It called the default method "normalised".
    rest = [network, dtype, algorithm.replace("'step_size'", "'step'"), described, None, seed]
    names = [method]
    if (method, log_scale) == ("unbiased", "normalised"):
        names.append("normalised")
    for name in names:
        settings.append(repr([name, points, log_scale, "identity", 0.3, 0.0, *rest]))
    return settings


def _describe_domain(domain: Domain) -> object:
    """Name -> list of its numbers; for a measure without `to_arrays`, how it is printed."""
    if type(domain).to_arrays is files.Storable.to_arrays:
        return repr(domain)
    arrays = {"kind": domain.kind or type(domain).__qualname__, **domain.to_arrays()}
    return {name: np.asarray(array).tolist() for name, array in arrays.items()}
