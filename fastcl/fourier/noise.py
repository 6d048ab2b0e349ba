"""Known noise in the points of a sketch, and its characteristic function.

For points y = x + e with noise e independent of x, ``E exp(-i <omega, y>)`` is the product of
``E exp(-i <omega, x>)`` and ``E exp(-i <omega, e>)``: the moments of noisy points, divided by those
of the noise, estimate the moments of points without noise, without bias. Their standard errors are
divided by the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import product, to_host
from ..files import Arrays, Storable, part_from, parts_of
from ..validation import as_array, as_nonnegative, as_points, as_vector, check_lengths

# What noise may add to the standard error of a moment: the most, beyond which the frequency counts
# as lost, and that at which the moment counts half.
MAX_ERROR = 0.05
HALF_ERROR = 0.01


class Noise:
    """Noise with a known characteristic function.

    Parameters
    ----------
    noise : float, array or measure
        Gaussian noise with mean zero: its standard deviation, one per coordinate (d,), or its
        covariance (d, d), in units of x. For other noise, the distribution of e: a `Box`, in which
        it is uniform, or a `ReferenceMeasure`, whose `sketch` is known.
    dim : int
        Dimension d of the points.
    name : str
        What errors call it.

    Raises
    ------
    TypeError, ValueError
        Negative deviations, or a covariance that is not symmetric and positive semidefinite; shapes
        or a measure of another dimension; no noise at all.
    """

    def __init__(self, noise: Any, dim: int, name: str = "noise") -> None:
        self.measure: Any = None
        self.variances: NDArray[np.float64] = np.zeros(dim)
        self.covariance: NDArray[np.float64] | None = None  # None if it is diagonal
        if callable(getattr(noise, "sketch", None)):
            if noise.dim != dim:
                raise ValueError(f"{name} has dimension {noise.dim}, the points {dim}")
            self.measure = noise
            return
        if not isinstance(noise, (list, tuple)) and np.ndim(noise) == 0:
            self.variances = np.full(dim, as_nonnegative(noise, name))
        elif np.ndim(noise := to_host(as_array(noise, name))) == 1:
            self.variances = as_vector(noise, name, dim)
            if (self.variances < 0).any():
                raise ValueError(f"{name} must not be negative, got {self.variances.min():g}")
        else:
            self.covariance = _as_covariance(noise, dim, name)
            self.variances = np.sqrt(np.diag(self.covariance))
        if not self.variances.any():
            raise ValueError(f"{name} is zero: there is nothing to take out")
        check_lengths(self.variances[self.variances > 0], name)
        self.variances = self.variances**2

    def __repr__(self) -> str:
        if self.measure is not None:
            return repr(self.measure)
        low, high = np.sqrt([self.variances.min(), self.variances.max()])
        if self.covariance is None and low == high:
            return f"Gaussian, standard deviation {low:g}"
        return f"Gaussian, standard deviations {low:g} to {high:g}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Noise):
            return NotImplemented
        if self.measure is not None or other.measure is not None:
            if type(self.measure).to_arrays is Storable.to_arrays:  # a user's own class
                return self.measure is other.measure
            if type(self.measure) is not type(other.measure):
                return False
        mine, theirs = self.to_arrays(), other.to_arrays()
        return mine.keys() == theirs.keys() and all(
            np.array_equal(mine[name], theirs[name]) for name in mine
        )

    @np.errstate(under="ignore")
    def moments(self, omega: NDArray) -> NDArray:
        """``E exp(-i <omega_l, e>)``, (m,), for omega (m, d); real for Gaussian noise."""
        if self.measure is not None:
            return self.measure.sketch(omega)
        if self.covariance is None:
            powers = product(omega**2, self.variances[:, None])[:, 0]
        else:
            powers = (product(omega, self.covariance) * omega).sum(axis=1)
        return np.exp(powers / -2)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        if self.measure is None:
            whole = np.diag(self.variances) if self.covariance is None else self.covariance
            return {"covariance": whole}
        return parts_of("measure", self.measure)

    @classmethod
    def from_arrays(cls, arrays: Arrays, dim: int) -> Noise:
        """The noise whose `to_arrays` gave `arrays`."""
        if "covariance" in arrays:
            covariance = np.asarray(arrays["covariance"])
            variances = np.diag(covariance)
            is_diagonal = (covariance == np.diag(variances)).all()
            return cls(np.sqrt(variances) if is_diagonal else covariance, dim)
        return cls(part_from("measure", arrays, Storable), dim)


def _as_covariance(covariance: NDArray, dim: int, name: str) -> NDArray[np.float64]:
    if covariance.shape != (dim, dim):
        raise ValueError(
            f"{name} must be a number, one per coordinate ({dim},), or a covariance "
            f"({dim}, {dim}), got shape {covariance.shape}"
        )
    eps = np.finfo(covariance.dtype if covariance.dtype.kind == "f" else np.float64).eps
    covariance = as_points(covariance.astype(np.float64), name)
    tolerance = 10 * dim * eps * np.abs(covariance).max()
    if not np.allclose(covariance, covariance.T, rtol=0, atol=tolerance):
        raise ValueError(f"{name} must be a symmetric covariance")
    covariance = (covariance + covariance.T) / 2
    if np.linalg.eigvalsh(covariance)[0] < -tolerance:
        raise ValueError(f"{name} must be a positive semidefinite covariance")
    return covariance
