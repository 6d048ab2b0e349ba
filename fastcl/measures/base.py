"""Reference measures: the probability measure q in a prior mu = q exp(a - R)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import to_device_of, to_host
from ..files import Storable
from ..validation import as_points, undefined
from .pointwise import Pointwise

SCALE_SAMPLES = 4096  # sampled points whose spread sets the step length of a random walk
DIFFERENCE = np.finfo(np.float64).eps ** (1 / 3)  # best relative step for central differences


def check_sketch(values: NDArray) -> NDArray:
    """`values`, or ValueError, which blames omega, if some are not finite."""
    if not np.isfinite(values).all():
        raise ValueError("omega is too large for the measure: phases overflow")
    return values


class ReferenceMeasure(Pointwise, Storable):
    """A probability measure q on R^d that can be sampled, with a known log-density and sketch.

    A subclass that defines `dim`, `sample`, `log_density` and `sketch` can be used wherever fastcl
    takes a reference measure. Everything else has a default here, which is general but slow:
    override whatever has a closed form. To make it savable, add `to_arrays`, `from_arrays` and a
    kind, ``class Mine(ReferenceMeasure, kind="mine")``.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> class Laplace(fastcl.ReferenceMeasure):
    ...     dim = 1
    ...     def sample(self, n, rng=None, dtype=np.float64):
    ...         return np.random.default_rng(rng).laplace(size=(n, 1)).astype(dtype)
    ...     def log_density(self, x):
    ...         return -np.abs(np.asarray(x)[:, 0]) - np.log(2)
    ...     def sketch(self, omega):
    ...         return 1 / (1 + np.asarray(omega)[:, 0] ** 2) + 0j
    >>> clean = fastcl.denoise(Laplace(), [[3.0]], sigma=1.0, estimator="mean")
    >>> clean.round(1)  # soft thresholding by sigma^2, nearly
    array([[2.]])
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"

    @property
    def dim(self) -> int:
        """Dimension d of the points."""
        raise undefined(self, "dim")

    def sample(self, n: int, rng: Any = None, dtype: DTypeLike = np.float64) -> NDArray:
        """n independent points, (n, d)."""
        raise undefined(self, "sample")

    def log_density(self, x: ArrayLike) -> NDArray:
        """Log-density at the points x (n, d), normalised: (n,); a number for one point (d,)."""
        raise undefined(self, "log_density")

    def sketch(self, omega: ArrayLike) -> NDArray:
        """The moments ``E exp(-i <omega_l, x>)``, (m,) complex, for omega (m, d)."""
        raise undefined(self, "sketch")

    # ---- defaults -----------------------------------------------------------------------------

    @property
    def centre(self) -> NDArray:
        """The point (d,) around which `pair_sketches` are taken: the mean, if it is known."""
        return np.zeros(self.dim)

    @np.errstate(under="ignore")
    def pair_sketches(self, omega: NDArray) -> tuple[NDArray, NDArray]:
        """The sketch around `centre` at omega_l - omega_l' and at omega_l + omega_l', each (m, m).

        Both are real if the measure is symmetric around `centre`, otherwise complex.
        """
        minus, plus = np.empty((2, len(omega), len(omega)), np.complex128)
        for i, row in enumerate(omega):
            for out, pairs in ((minus, row - omega), (plus, row + omega)):
                out[i] = self.sketch(pairs) * np.exp(1j * (pairs * self.centre).sum(axis=1))
        return minus, plus

    def log_density_grad(self, x: ArrayLike) -> NDArray:
        """Gradient (n, d) of the log-density at x (n, d); the default uses central differences.

        It is (d,) for one point, and zero outside the support of the measure.
        """
        x = as_points(x, "x", self.dim)
        points = to_host(x).astype(np.float64)
        gradient = np.empty_like(points)
        for k in range(self.dim):
            step = DIFFERENCE * np.maximum(np.abs(points[:, k]), self.walk_scale[k])
            ahead, behind = points.copy(), points.copy()
            ahead[:, k] += step
            behind[:, k] -= step
            with np.errstate(invalid="ignore"):  # minus infinity on both sides
                difference = self.log_density(ahead) - self.log_density(behind)
            gradient[:, k] = difference / (ahead[:, k] - behind[:, k])
        gradient[~np.isfinite(gradient)] = 0  # outside the support, where no direction is better
        return to_device_of(gradient.astype(x.dtype), x)

    @np.errstate(under="ignore")
    def energy_parts(self, x: ArrayLike) -> tuple[NDArray, NDArray, NDArray | float]:
        """(-log density (n,), its gradient (n, d), curvature for a preconditioner (n, d) or 0)."""
        x = as_points(x, "x", self.dim)
        return -self.log_density(x), -self.log_density_grad(x), x.dtype.type(0)

    @np.errstate(under="ignore")
    def propose(
        self, x: NDArray, step: float, rng: np.random.Generator
    ) -> tuple[NDArray, NDArray | float]:
        """(y (n, d), log q(y) - log q(x) (n,)): a random-walk step of `step` times q's spread."""
        noise = rng.standard_normal(x.shape, dtype=x.dtype)
        y = x + noise * (step * self.walk_scale).astype(x.dtype)
        return y, self.log_density(y) - self.log_density(x)

    @cached_property
    def walk_scale(self) -> NDArray:
        """Half the width of the middle 68% of every coordinate, (d,): robust to heavy tails."""
        low, high = np.quantile(to_host(self.sample(SCALE_SAMPLES, 0)), [0.16, 0.84], axis=0)
        return np.maximum((high - low) / 2, np.finfo(np.float64).tiny)

    @np.errstate(under="ignore")
    def posterior_points(
        self, y: NDArray, noise: NDArray, normals: NDArray
    ) -> tuple[NDArray, NDArray, NDArray | None]:
        """Weighted points for the posterior of x given y = x + N(0, diag(noise^2)).

        Parameters
        ----------
        y : array (n, d)
            Noisy points.
        noise : array (d,)
            Standard deviation of the noise in every coordinate.
        normals : array (s, d)
            Standard normal points with mean zero, which are transformed into samples.

        Returns
        -------
        mean : array (n, d)
            Mean of the distribution that the points are drawn from.
        points : array (n, s, d)
            The points.
        log_weights : array (n, s) or None
            Logarithms of their importance weights; None if all weights are equal, as for measures
            whose posterior is known. By default the points are drawn around y and weighted by the
            density.
        """
        points = y[:, None, :] + (normals * to_device_of(noise, y)).astype(y.dtype)
        log_weights = self.log_density(points.reshape(-1, y.shape[1]))
        return y, points, log_weights.reshape(points.shape[:2])

    def posterior_mean(self, y: NDArray, noise: NDArray) -> NDArray | None:
        """E[x | y] (n, d) in closed form for noise (d,), or None if there is no closed form."""
        return None
