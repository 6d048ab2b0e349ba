"""First-order optimisers that update one flat vector in place, and schedules of their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..backend import kernel, to_device_of, to_host
from ..validation import as_count, as_positive, as_stored_count, as_vector

# The factor of the step size at iteration k = 0, 1, ...
ScheduleLike = Callable[[int], float]


class Schedule:
    """The base of the schedules: their settings are their attributes."""

    def __repr__(self) -> str:
        return with_settings(self, vars(self))


class Constant(Schedule):
    """The same step for ever: the fixed regime of the convergence theorem (arXiv 2310.03085)."""

    def __call__(self, k: int) -> float:
        """Factor of the step size at iteration k = 0, 1, ..."""
        return 1.0


class Diminishing(Schedule):
    """Steps that fall like ``(1 + k / offset)^-power``: the diminishing regime (arXiv 2310.03085).

    For 1/2 < power <= 1 the sum of the steps diverges and that of their squares is finite.

    Parameters
    ----------
    offset : float
        In steps, above zero.
    power : float
        In (0, 1].

    Raises
    ------
    ValueError
        offset or power out of its range.

    Examples
    --------
    >>> import fastcl
    >>> schedule = fastcl.Diminishing(offset=10, power=1)
    >>> schedule(0), schedule(10)
    (1.0, 0.5)
    """

    def __init__(self, offset: float = 100.0, power: float = 0.6) -> None:
        if not offset > 0 or not 0 < power <= 1:
            raise ValueError(
                f"offset must be above 0 and power in (0, 1], got {offset} and {power}"
            )
        self.offset = offset
        self.power = power

    def __call__(self, k: int) -> float:
        """Factor of the step size at iteration k = 0, 1, ..."""
        return (1 + k / self.offset) ** -self.power


class Cosine(Schedule):
    """Half a cosine from 1 at the start to `final` at iteration `n_iter`, and `final` from there.

    Parameters
    ----------
    n_iter : int
        At least 1.
    final : float
        Factor of the step size.

    Raises
    ------
    TypeError, ValueError
        n_iter not an integer, or below 1.

    Examples
    --------
    >>> import fastcl
    >>> schedule = fastcl.Cosine(100, final=0.1)
    >>> [round(float(schedule(k)), 3) for k in (0, 50, 100)]
    [1.0, 0.55, 0.1]
    """

    def __init__(self, n_iter: int, final: float = 0.0) -> None:
        self.n_iter = as_count(n_iter, "n_iter")
        self.final = final

    def __call__(self, k: int) -> float:
        """Factor of the step size at iteration k = 0, 1, ..."""
        return self.final + (1 - self.final) * (1 + np.cos(np.pi * min(k / self.n_iter, 1))) / 2


def with_settings(owner: object, settings: Mapping[str, Any], more: str = "") -> str:
    """How an object is printed, from the name -> value of its settings."""
    written = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"{type(owner).__name__}({written}{more})"


def _name_of(schedule: ScheduleLike) -> str:
    """The name of a function, or of the class of an object."""
    return getattr(schedule, "__qualname__", type(schedule).__name__)


class Optimizer:
    """The base of the optimisers: step size, schedule, iteration, and state that can be saved."""

    buffers: ClassVar[tuple[str, ...]] = ()  # names of the vectors that have the size of theta

    def __init__(self, step_size: float, schedule: ScheduleLike | None) -> None:
        if callable(step_size):
            raise TypeError(f"step_size must be a number, got {step_size!r}: pass it as schedule")
        if schedule is not None and not callable(schedule):
            raise TypeError(f"schedule must be a function of the iteration, got {schedule!r}")
        self.step_size = as_positive(step_size, "step_size")
        self.schedule = schedule or Constant()
        self.reset()

    def reset(self) -> None:
        """Forget everything but the settings."""
        self.iteration = 0
        for name in self.buffers:
            setattr(self, name, None)

    def update(self, theta: NDArray, gradient: NDArray) -> None:
        """Move theta (P,) in place by one step along gradient (P,), which is left as it was."""
        for name in self.buffers:
            if getattr(self, name) is None:
                setattr(self, name, np.zeros_like(theta))
        self._update(theta, gradient)
        self.iteration += 1

    def rates(self, k: int) -> list[float]:
        """The numbers that the update of iteration k = 0, 1, ... needs."""
        raise NotImplementedError

    def _update(self, theta: NDArray, gradient: NDArray) -> None:
        raise NotImplementedError

    def _settings(self) -> dict[str, Any]:
        """Name -> value of the arguments, without the schedule; the step size comes last."""
        left_out = ("iteration", "schedule", *self.buffers)
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __repr__(self) -> str:
        is_ours = isinstance(self.schedule, Schedule)
        schedule = repr(self.schedule) if is_ours else _name_of(self.schedule)
        settings = {"step_size": self.step_size} | self._settings()
        return with_settings(self, settings, f", schedule={schedule}")

    def describe(self) -> str:
        """The optimiser with its settings, in one line by which a checkpoint identifies it."""
        schedule = f"{_name_of(self.schedule)}({getattr(self.schedule, '__dict__', '')})"
        return f"{type(self).__name__}({self._settings()}, {schedule})"

    def state(self) -> dict[str, NDArray]:
        """Name -> array: what `load_state` needs to continue bitwise identically."""
        state = {"iteration": np.array(self.iteration, np.int64)}
        for name in self.buffers:
            if getattr(self, name) is not None:
                state[name] = np.array(to_host(getattr(self, name)))
        return state

    def load_state(self, state: Mapping[str, NDArray], like: NDArray | None = None) -> None:
        """Continue from what `state` returned.

        With `like`, such as theta, the vectors go where it is, and ValueError is raised unless
        they have its size, which no kernel checks.
        """
        self.reset()
        self.iteration = as_stored_count(state["iteration"], "iteration")
        for name in self.buffers:
            if name not in state:
                continue
            if like is None:
                buffer = np.array(state[name])
            else:
                checked = as_vector(state[name], name, like.size, like.dtype)
                buffer = to_device_of(np.array(checked), like)
            setattr(self, name, buffer)


class SGD(Optimizer):
    """Stochastic gradient descent, plain, with heavy-ball momentum, or with Nesterov's.

    Parameters
    ----------
    step_size : float
    momentum : float
        In [0, 1).
    nesterov : bool
    schedule : callable, optional
        Factor of the step size at iteration k: `Constant` (the default), `Diminishing`, `Cosine`,
        or any function of k.

    Raises
    ------
    TypeError, ValueError
        step_size not above zero, momentum outside [0, 1); a schedule that cannot be called.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> optimizer = fastcl.SGD(0.5, schedule=fastcl.Diminishing(offset=1, power=1))
    >>> theta = np.array([1.0])
    >>> optimizer.update(theta, np.array([1.0]))
    >>> optimizer.update(theta, np.array([1.0]))
    >>> theta
    array([0.25])
    """

    buffers = ("velocity",)
    velocity: Any

    def __init__(
        self,
        step_size: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        schedule: ScheduleLike | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        self.momentum = float(momentum)
        self.nesterov = nesterov
        super().__init__(step_size, schedule)

    def rates(self, k: int) -> list[float]:
        """The step size and the momentum of iteration k = 0, 1, ..., (2,)."""
        return [self.step_size * self.schedule(k), self.momentum]

    def _update(self, theta: NDArray, gradient: NDArray) -> None:
        step_size, momentum = (theta.dtype.type(rate) for rate in self.rates(self.iteration))
        self.velocity *= momentum
        self.velocity += gradient
        theta -= step_size * (
            gradient + momentum * self.velocity if self.nesterov else self.velocity
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980).

    Parameters
    ----------
    step_size : float
    beta1, beta2 : float
        Memory of the first and second moments, in [0, 1).
    epsilon : float
        Above zero; added to the root of the second moment.
    schedule : callable, optional
        Factor of the step size at iteration k: `Constant` (the default), `Diminishing`, `Cosine`,
        or any function of k.

    Raises
    ------
    TypeError, ValueError
        step_size or epsilon not above zero, beta1 or beta2 outside [0, 1); a schedule that cannot
        be called.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> theta = np.array([1.0, -1.0])
    >>> fastcl.Adam(0.1).update(theta, np.array([5.0, -0.01]))
    >>> theta.round(3)  # the first step has the same length in every coordinate
    array([ 0.9, -0.9])
    """

    buffers = ("first", "second")
    first: Any
    second: Any

    def __init__(
        self,
        step_size: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        schedule: ScheduleLike | None = None,
    ) -> None:
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
            raise ValueError(f"beta1 and beta2 must be in [0, 1), got {beta1} and {beta2}")
        if not 0 < epsilon < np.inf:
            raise ValueError(f"epsilon must be above zero and finite, got {epsilon}")
        self.beta1 = float(beta1)
        self.beta2 = float(beta2)
        self.epsilon = float(epsilon)
        super().__init__(step_size, schedule)

    def rates(self, k: int) -> list[float]:
        """The numbers that the kernel `adam_step` takes for iteration k = 0, 1, ..., (5,)."""
        step_size = self.step_size * self.schedule(k)
        return [
            1 - self.beta1,
            1 - self.beta2,
            1 / np.sqrt(1 - self.beta2 ** (k + 1)),
            self.epsilon,
            step_size / (1 - self.beta1 ** (k + 1)),
        ]

    def _update(self, theta: NDArray, gradient: NDArray) -> None:
        rates = np.array(self.rates(self.iteration), theta.dtype)
        kernel("adam_step", like=theta)(theta, gradient, self.first, self.second, rates)
