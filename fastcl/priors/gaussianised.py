"""A prior learned in coordinates in which a Gaussian scale mixture is standard normal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..files import Arrays, part_from, parts_of
from ..measures.box import Box
from ..measures.gaussian_scale_mixtures import GaussianScaleMixture
from ..measures.mixtures import Gaussian
from .base import Prior


class GaussianisedPrior(Prior, kind="gaussianised-prior"):
    """The density ``q(x) exp(a - R(T(x)))``: q a Gaussian scale mixture, T its `gaussianise`.

    Parameters
    ----------
    prior : Prior
        The prior with R and a, learned from points T(x) with a standard normal reference.
    reference : GaussianScaleMixture
        q, which also defines T.

    Raises
    ------
    TypeError, ValueError
        A prior whose reference is not standard normal; another kind of reference; different
        dimensions.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> q = fastcl.GaussianScaleMixture(np.eye(2), [0.5, 2.0], [0.5, 0.5])
    >>> inner = fastcl.MaxEntropyPrior([[1.0, 0.0]], [0.3], fastcl.Gaussian([0, 0], np.eye(2)))
    >>> prior = fastcl.GaussianisedPrior(inner, q)
    >>> x = [[1.0, 2.0]]
    >>> bool(np.isclose(prior.log_density(x), q.log_density(x) - prior.energy(x))[0])
    True
    """

    reference: GaussianScaleMixture
    strict = True

    def __init__(self, prior: Prior, reference: GaussianScaleMixture) -> None:
        if not isinstance(reference, GaussianScaleMixture):
            raise TypeError(
                f"reference must be a GaussianScaleMixture, got {type(reference).__name__}"
            )
        if not isinstance(prior, Prior) or not isinstance(prior.reference, Gaussian):
            raise TypeError(f"prior must have a standard normal reference, got {prior!r}")
        if prior.dim != reference.dim:
            raise ValueError(f"prior has dimension {prior.dim}, the reference {reference.dim}")
        normal = prior.reference
        if normal.mean.any() or not np.array_equal(normal.covariance, np.eye(normal.dim)):
            raise ValueError("the reference of prior must be N(0, I), the standard normal")
        self.prior = prior
        self.reference = reference

    def __repr__(self) -> str:
        return f"GaussianisedPrior(prior={self.prior}, reference={self.reference})"

    @property
    def dim(self) -> int:
        """Dimension d of the points."""
        return self.reference.dim

    @property
    def log_scale(self) -> float:
        """a, that of the inner prior."""
        return self.prior.log_scale

    @log_scale.setter
    def log_scale(self, value: float) -> None:
        self.prior.log_scale = value

    def energy(self, x: ArrayLike) -> NDArray:
        """R(T(x)), (n,), for x (n, d)."""
        return self.prior.energy(self.reference.gaussianise(x))

    def energy_and_grad(self, x: ArrayLike) -> tuple[NDArray, NDArray]:
        """(R(T(x)) (n,), its gradient with respect to x (n, d))."""
        energy, gradient = self.prior.energy_and_grad(self.reference.gaussianise(x))
        return energy, self.reference.pull_back(x, gradient)

    def sample(
        self, n: int, rng: Any = None, dtype: DTypeLike = np.float32, domain: Box | None = None
    ) -> NDArray:
        """n points (n, d) that nearly follow the density: those of the inner prior, mapped back."""
        return self.reference.degaussianise(self.prior.sample(n, rng, dtype, domain))

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return parts_of("inner", self.prior) | parts_of("outer", self.reference)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> GaussianisedPrior:
        """The prior whose `to_arrays` gave `arrays`; ValueError if they do not fit together."""
        inner = part_from("inner", arrays, Prior)
        return cls(inner, part_from("outer", arrays, GaussianScaleMixture))
