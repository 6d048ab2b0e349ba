"""First-order optimisers that update one flat vector in place, and the schedules of their steps."""

import numpy as np

from ..backend import kernel, to_device_of, to_host
from ..validation import as_count, as_stored_count, as_vector


class Schedule:
    """What the schedules share: their settings are their attributes."""

    def __repr__(self):
        return with_settings(self, vars(self))


class Constant(Schedule):
    """The same step for ever: the fixed regime of the convergence theorem (arXiv 2310.03085)."""

    def __call__(self, k):
        """Factor of the step at iteration k = 0, 1, ..."""
        return 1.0


class Diminishing(Schedule):
    """Steps that fall like ``(1 + k / offset)^-power``: the diminishing regime (arXiv 2310.03085).

    The sum of the steps diverges and that of their squares is finite for 1/2 < power <= 1.

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

    def __init__(self, offset=100.0, power=0.6):
        if not offset > 0 or not 0 < power <= 1:
            raise ValueError(
                f"offset must be above 0 and power in (0, 1], got {offset} and {power}"
            )
        self.offset, self.power = offset, power

    def __call__(self, k):
        """Factor of the step at iteration k = 0, 1, ..."""
        return (1 + k / self.offset) ** -self.power


class Cosine(Schedule):
    """Half a cosine from 1 at the start to `final` at iteration `n_iter`, and `final` from there.

    Parameters
    ----------
    n_iter : int
        At least 1.
    final : float
        Factor of the step.

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

    def __init__(self, n_iter, final=0.0):
        self.n_iter, self.final = as_count(n_iter, "n_iter"), final

    def __call__(self, k):
        """Factor of the step at iteration k = 0, 1, ..."""
        return self.final + (1 - self.final) * (1 + np.cos(np.pi * min(k / self.n_iter, 1))) / 2


def with_settings(owner, settings, more=""):
    """How an object and its settings, name -> value, are written."""
    return f"{type(owner).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())}{more})"


def _name_of(schedule):
    """The name of a function, or of the class of an object."""
    return getattr(schedule, "__qualname__", type(schedule).__name__)


class Optimizer:
    """What all optimisers share: the step, its schedule, the iteration, and state that can be saved."""

    buffers = ()  # names of the vectors of the size of theta

    def __init__(self, step, schedule):
        if not 0 < step < np.inf:
            raise ValueError(f"step must be above zero and finite, got {step}")
        if schedule is not None and not callable(schedule):
            raise TypeError(f"schedule must be a function of the iteration, got {schedule!r}")
        self.step, self.schedule = float(step), schedule or Constant()
        self.reset()

    def reset(self):
        """Forget everything but the settings."""
        self.iteration = 0
        for name in self.buffers:
            setattr(self, name, None)

    def update(self, theta, gradient):
        """Move theta (P,) in place by one step along gradient (P,), which is left as it was."""
        for name in self.buffers:
            if getattr(self, name) is None:
                setattr(self, name, np.zeros_like(theta))
        self._update(theta, gradient)
        self.iteration += 1

    def _settings(self):
        """Name -> value of what was given but for the schedule, the step last."""
        return {
            k: v for k, v in vars(self).items() if k not in ("iteration", "schedule", *self.buffers)
        }

    def __repr__(self):
        schedule = (
            repr(self.schedule) if isinstance(self.schedule, Schedule) else _name_of(self.schedule)
        )
        return with_settings(self, {"step": self.step} | self._settings(), f", schedule={schedule}")

    def describe(self):
        """The optimiser with its settings, in one line that a checkpoint keeps."""
        return f"{type(self).__name__}({self._settings()}, {_name_of(self.schedule)}({getattr(self.schedule, '__dict__', '')}))"

    def state(self):
        """Name -> array: what `load_state` needs to go on to the same bits."""
        return {"iteration": np.int64(self.iteration)} | {
            name: np.array(to_host(getattr(self, name)))
            for name in self.buffers
            if getattr(self, name) is not None
        }

    def load_state(self, state, like=None):
        """Go on from what `state` gave, where `like` is; ValueError for vectors of another size, which no kernel checks."""
        self.reset()
        self.iteration = as_stored_count(state["iteration"], "iteration")
        for name in self.buffers:
            if name in state:
                buffer = (
                    state[name]
                    if like is None
                    else as_vector(state[name], name, like.size, like.dtype)
                )
                setattr(
                    self,
                    name,
                    np.array(buffer) if like is None else to_device_of(np.array(buffer), like),
                )


class SGD(Optimizer):
    """Stochastic gradient descent, plain, with heavy-ball momentum, or with Nesterov's.

    Parameters
    ----------
    step : float
    momentum : float
        In [0, 1).
    nesterov : bool
    schedule : callable, optional
        Factor of the step at iteration k: `Constant` (the default), `Diminishing`, `Cosine`, or any function of k.

    Raises
    ------
    TypeError, ValueError
        step not above zero, momentum outside [0, 1); a schedule that cannot be called.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> optimizer, theta = fastcl.SGD(0.5, schedule=fastcl.Diminishing(offset=1, power=1)), np.array([1.0])
    >>> optimizer.update(theta, np.array([1.0]))
    >>> optimizer.update(theta, np.array([1.0]))
    >>> theta
    array([0.25])
    """

    buffers = ("velocity",)

    def __init__(self, step, momentum=0.0, nesterov=False, schedule=None):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        self.momentum, self.nesterov = float(momentum), nesterov
        super().__init__(step, schedule)

    def rates(self, k):
        """The step and the momentum of iteration k = 0, 1, ..., (2,)."""
        return [self.step * self.schedule(k), self.momentum]

    def _update(self, theta, gradient):
        step = self.rates(self.iteration)[0]
        self.velocity *= theta.dtype.type(self.momentum)
        self.velocity += gradient
        direction = (
            gradient + theta.dtype.type(self.momentum) * self.velocity
            if self.nesterov
            else self.velocity
        )
        theta -= theta.dtype.type(step) * direction


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980).

    Parameters
    ----------
    step : float
    beta1, beta2 : float
        Memory of the first and second moments, in [0, 1).
    epsilon : float
        Above zero; added to the root of the second moment.
    schedule : callable, optional
        Factor of the step at iteration k: `Constant` (the default), `Diminishing`, `Cosine`, or any function of k.

    Raises
    ------
    TypeError, ValueError
        step or epsilon not above zero, beta1 or beta2 outside [0, 1); a schedule that cannot be called.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> theta = np.array([1.0, -1.0])
    >>> fastcl.Adam(0.1).update(theta, np.array([5.0, -0.01]))
    >>> theta.round(3)  # the first step has the same length in every coordinate
    array([ 0.9, -0.9])
    """

    buffers = ("first", "second")

    def __init__(self, step=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, schedule=None):
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
            raise ValueError(f"beta1 and beta2 must be in [0, 1), got {beta1} and {beta2}")
        if not 0 < epsilon < np.inf:
            raise ValueError(f"epsilon must be above zero and finite, got {epsilon}")
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)
        super().__init__(step, schedule)

    def rates(self, k):
        """What `adam_step` needs of iteration k = 0, 1, ..., (5,)."""
        step, correction = self.step * self.schedule(k), 1 / np.sqrt(1 - self.beta2 ** (k + 1))
        return [
            1 - self.beta1,
            1 - self.beta2,
            correction,
            self.epsilon,
            step / (1 - self.beta1 ** (k + 1)),
        ]

    def _update(self, theta, gradient):
        rates = np.array(self.rates(self.iteration), theta.dtype)
        kernel("adam_step", like=theta)(theta, gradient, self.first, self.second, rates)
