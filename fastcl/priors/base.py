"""What a prior is: an unnormalised density mu(x) = q(x) exp(a - R(x))."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import is_device
from ..files import Storable
from ..measures.base import ReferenceMeasure
from ..measures.box import Box
from ..measures.pointwise import Pointwise
from ..validation import undefined


class Prior(Pointwise, Storable):
    """An unnormalised density ``q(x) exp(a - R(x))``: an energy R, a log-scale a, a reference q.

    A subclass that defines `dim` and `energy_and_grad` can be used to denoise; its methods get
    points (n, d), and may be called with one point (d,) too. One that also has `theta`, `dtype` and
    `backward` can be learned. To make it savable, add `to_arrays`,
    `from_arrays` and a kind, ``class Mine(Prior, kind="mine")``.

    Attributes
    ----------
    reference : ReferenceMeasure or None
        q; None for a density with respect to volume.
    log_scale : float
        a, the last parameter of a prior with `theta`.
    theta : array (P,)
        All parameters in one vector, writable in place; the last one is a.
    dtype : numpy dtype
        Type of `theta`, and of the points at which gradients are computed.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> class Quartic(fastcl.Prior, kind="quartic"):
    ...     def __init__(self, weights):
    ...         self.weights = np.asarray(weights)
    ...     @property
    ...     def dim(self):
    ...         return self.weights.size
    ...     def energy_and_grad(self, x):
    ...         return x**4 @ self.weights, 4 * x**3 * self.weights
    ...     def to_arrays(self):
    ...         return {"weights": self.weights}
    ...     @classmethod
    ...     def from_arrays(cls, arrays):
    ...         return cls(arrays["weights"])
    >>> fastcl.denoise(Quartic([1.0]), [[1.0]], sigma=1.0).round(4)
    array([[0.5]])
    """

    reference: ReferenceMeasure | None = None
    theta: NDArray
    dtype: np.dtype
    _log_scale: float = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim}, reference={self.reference})"

    # ---- what every prior defines -------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Dimension d of the points."""
        raise undefined(self, "dim")

    def energy_and_grad(self, x: ArrayLike) -> tuple[NDArray, NDArray]:
        """(R(x) (n,), its gradient with respect to x (n, d))."""
        raise undefined(self, "energy_and_grad")

    # ---- what follows -------------------------------------------------------------------------

    def energy(self, x: ArrayLike) -> NDArray:
        """R(x), (n,), in the type of x; a number for one point (d,).

        Override it if R alone costs less.
        """
        return self.energy_and_grad(x)[0]

    def energy_grad(self, x: ArrayLike) -> NDArray:
        """Gradient of R with respect to x, (n, d) or (d,), in the type of x."""
        return self.energy_and_grad(x)[1]

    @property
    def log_scale(self) -> float:
        """a, which can be set: the last entry of `theta` if the prior has parameters."""
        return float(self.theta[-1]) if is_trainable(self) else self._log_scale

    @log_scale.setter
    def log_scale(self, value: float) -> None:
        if not isinstance(value, numbers.Real):
            raise TypeError(f"log_scale must be a number, got {value!r}")
        if is_trainable(self):
            self.theta[-1] = value
        else:
            self._log_scale = float(value)

    def log_density(self, x: ArrayLike) -> NDArray:
        """log mu(x), (n,): a - R(x), plus log q(x) if there is a reference.

        It is a number for one point x (d,).

        It is normalised after `learn`, whose default sees to that, and otherwise up to
        `log_normaliser`.
        """
        value = self.log_scale - self.energy(x)
        return value if self.reference is None else value + self.reference.log_density(x)

    def sample(
        self, n: int, rng: Any = None, dtype: DTypeLike = np.float32, domain: Box | None = None
    ) -> NDArray:
        """n points (n, d) that nearly follow the density, by Markov chains.

        Parameters
        ----------
        n : int
            Number of points.
        rng : int or numpy.random.Generator, optional
        dtype : numpy dtype
            float32 or float64.
        domain : Box, optional
            Needed for a prior without a reference measure: the box that holds the points.

        Raises
        ------
        TypeError, ValueError
            n below 1; no box for a prior without a reference, or a domain for one with a reference.

        Notes
        -----
        Up to 8192 chains start from the reference or the box, and follow the density while its
        energy is switched on, see `Chains`. Beyond 8192, points of one chain are correlated a
        little.
        """
        from .chains import draw_samples  # which imports this module

        return draw_samples(self, n, rng, dtype, domain)

    # ---- what learning needs ------------------------------------------------------------------

    def backward(self, grad_energy: NDArray, state: Any, out: NDArray | None = None) -> NDArray:
        """Gradient (P,) with respect to theta of ``sum_i grad_energy_i R(x_i)``.

        `state` is what `forward` returned for x: x itself, unless the subclass defines `forward`.
        The last entry, the one of a, is ignored because R does not depend on a. The result may be
        written to `out` (P,), if that is given.
        """
        raise undefined(self, "backward")

    def forward(self, x: NDArray, keep: bool = True) -> tuple[NDArray, Any]:
        """(R(x), the state that `backward` needs) for x (n, d) in the type of theta.

        Without `keep` the state is not needed.
        """
        return self.energy(x), x


def check_reference(reference: ReferenceMeasure | None, dim: int) -> None:
    """Raise TypeError or ValueError unless `reference` is a measure in `dim` dimensions."""
    if not isinstance(reference, ReferenceMeasure):
        raise TypeError(f"reference must be a reference measure, got {type(reference).__name__}")
    if reference.dim != dim:
        raise ValueError(f"reference must have dimension {dim}, got {reference.dim}")


def is_trainable(prior: object) -> bool:
    """Whether a prior has parameters that can be learned."""
    theta = getattr(prior, "theta", None)
    return isinstance(prior, Prior) and (isinstance(theta, np.ndarray) or is_device(theta))
