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

from ..backend import to_host
from ..files import Arrays, Storable, part_from, parts_of
from ..validation import as_array, as_nonnegative, as_points, as_vector

# Standard error of a moment beyond which it counts as lost, and the one at which it counts half.
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
        self.covariance: NDArray[np.float64] | None = None
        if callable(getattr(noise, "sketch", None)):
            if noise.dim != dim:
                raise ValueError(f"{name} has dimension {noise.dim}, the points {dim}")
            self.measure = noise
            return
        if not isinstance(noise, (list, tuple)) and np.ndim(noise) == 0:
            self.covariance = as_nonnegative(noise, name) ** 2 * np.eye(dim)
        elif np.ndim(noise := to_host(as_array(noise, name))) == 1:
            deviations = as_vector(noise, name, dim)
            if (deviations < 0).any():
                raise ValueError(f"{name} must not be negative, got {deviations.min():g}")
            self.covariance = np.diag(deviations**2)
        else:
            self.covariance = _as_covariance(noise, dim, name)
        if not self.covariance.any():
            raise ValueError(f"{name} is zero: there is nothing to take out")

    def __repr__(self) -> str:
        if self.covariance is None:
            return repr(self.measure)
        variances = np.diag(self.covariance)
        if (self.covariance == variances[0] * np.eye(len(variances))).all():
            return f"Gaussian, standard deviation {np.sqrt(variances[0]):g}"
        low, high = np.sqrt([variances.min(), variances.max()])
        return f"Gaussian, standard deviations {low:g} to {high:g}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Noise):
            return NotImplemented
        mine, theirs = self.to_arrays(), other.to_arrays()
        return mine.keys() == theirs.keys() and all(
            np.array_equal(mine[name], theirs[name]) for name in mine
        )

    @np.errstate(under="ignore")
    def moments(self, omega: NDArray) -> NDArray:
        """``E exp(-i <omega_l, e>)``, (m,), for omega (m, d); real for Gaussian noise."""
        if self.covariance is None:
            return self.measure.sketch(omega)
        return np.exp(np.einsum("ld,de,le->l", omega, self.covariance, omega) / -2)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        if self.covariance is not None:
            return {"covariance": self.covariance}
        return parts_of("measure", self.measure)

    @classmethod
    def from_arrays(cls, arrays: Arrays, dim: int) -> Noise:
        """The noise whose `to_arrays` gave `arrays`."""
        if "covariance" in arrays:
            return cls(arrays["covariance"], dim)
        return cls(part_from("measure", arrays, Storable), dim)


def _as_covariance(covariance: NDArray, dim: int, name: str) -> NDArray[np.float64]:
    if covariance.shape != (dim, dim):
        raise ValueError(
            f"{name} must be a number, one per coordinate ({dim},), or a covariance "
            f"({dim}, {dim}), got shape {covariance.shape}"
        )
    covariance = as_points(covariance.astype(np.float64), name)
    if not np.allclose(covariance, covariance.T, rtol=1e-10, atol=0):
        raise ValueError(f"{name} must be a symmetric covariance")
    values = np.linalg.eigvalsh(covariance)
    if values[0] < -1e-12 * values[-1]:
        raise ValueError(f"{name} must be a positive semidefinite covariance")
    return (covariance + covariance.T) / 2
