"""The sketch-matching objective G(theta) = ||S mu_theta - z||^2 and its stochastic gradients.

With points x_1..x_N drawn from the domain, the sketch of the density is estimated by

    S_X mu = base + (c / N) sum_j (mu(x_j) - k) exp(-i <omega, x_j>).

For a box, c is its volume, and k and base are 0. For a reference measure q, mu is the density
relative to q, c = k = 1, and base is the sketch of q. See arXiv 2310.03085.

With the residual r = S_X mu - z, the derivative of G with respect to the energy of a point x_j is
-2 (c / N) mu_j Re <r, exp(-i <omega, x_j>)>. This product has the square of the point's own term in
it, on average the variance of S_X mu, which is the bias of the naive gradient. In the unbiased one
a point meets the residual of others, without a second set of points: that of all the others, which
takes c / (N - 1) (mu_j - k) m away from the adjoint at x_j, all squared magnitudes being one; or,
if the density is normalised, that of the other half, so that no point sets the scale of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import files
from ..backend import contiguous, kernel, to_device_of
from ..fourier.operator import PackedOperator
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, Domain
from ..priors.base import Prior, is_trainable
from ..sketching.sketch import Sketch
from ..validation import FLOATS, as_choice, as_count, as_generator

METHODS = ("unbiased", "naive", "grid")  # of sketch matching
LOG_SCALES = ("normalised", "learned", "fixed")
MASS_ROWS = 4096  # points per call when a learned density is normalised
MASS_PARTS = 32  # such calls


class Estimate(NamedTuple):
    """An estimate of G, its gradient (P,), and the log-scale a of the density that it is for."""

    value: float
    gradient: NDArray
    log_scale: float


class SketchMatching:
    """G for one sketch and one domain, with the buffers that successive gradients share.

    Parameters
    ----------
    sketch : Sketch
    domain : Box or reference measure
    dtype : numpy dtype
        Working precision, that of the prior.
    like : array, optional
        The work is done where this array is: on the device for a CuPy array.
    """

    def __init__(
        self, sketch: Sketch, domain: Domain, dtype: DTypeLike, like: NDArray | None = None
    ) -> None:
        if not isinstance(sketch, Sketch):
            raise TypeError(f"sketch must be a fastcl.Sketch, got {type(sketch).__name__}")
        if not isinstance(domain, (Box, ReferenceMeasure)):
            raise TypeError(
                f"domain must be a Box or a reference measure, got {type(domain).__name__}"
            )
        if domain.dim != sketch.dim:
            raise ValueError(f"domain has dimension {domain.dim}, the sketch {sketch.dim}")
        self.sketch = sketch
        self.domain = domain
        self.dtype = np.dtype(dtype)
        self.z = to_device_of(sketch.values, sketch.values if like is None else like)
        self.moment_weights = to_device_of(sketch.weights, self.z)
        self.total_weight = float(self.moment_weights.sum())
        self.operator = PackedOperator.pack(sketch.omega, self.dtype, self.z)
        if isinstance(domain, Box):
            self.scale = domain.volume  # c
            self.offset = 0.0  # k
            self.base = np.zeros_like(self.z)
        else:
            self.scale = 1.0
            self.offset = 1.0
            self.base = to_device_of(domain.sketch(np.asarray(sketch.omega)), self.z)
        self._grid: tuple[int, NDArray] | None = None  # points per axis, and the points

    def check(self, prior: Prior) -> None:
        """Raise an error unless this objective can drive `prior`."""
        check_prior(prior, self.domain)

    @np.errstate(over="ignore", invalid="ignore")  # the loop reports a run that diverges, once
    def gradient(
        self, prior: Prior, method: str, points: int, rng: Any = None, log_scale: str = "learned"
    ) -> Estimate:
        """G and its gradient by one of `METHODS`; the prior is left as it is.

        `points` is the number per axis for the grid and the number in all otherwise.
        """
        as_choice(method, "method", METHODS)
        as_choice(log_scale, "log_scale", LOG_SCALES)
        x = self._draw(method, points, rng, log_scale)
        energy, state = forward(prior, x, self.dtype)
        a = self._log_scale(prior, log_scale, energy)
        normalised = log_scale == "normalised"
        if method != "unbiased":
            value, grad_energy = self._of_all(x, np.exp(a - energy), normalised)
        elif normalised:
            value, grad_energy = self._of_halves(prior, x, energy)
        else:
            value, grad_energy = self._of_others(x, np.exp(a - energy))
        gradient = backward(prior, grad_energy, state, self.dtype)
        gradient[-1] = -grad_energy.sum(dtype=np.float64) if log_scale == "learned" else 0
        return Estimate(value, gradient, a)

    def unit_mass_log_scale(self, prior: Prior, method: str, points: int, rng: Any = None) -> float:
        """The a that gives the density mass one, on the grid or at many random points."""
        if method == "grid":
            energy = forward(prior, self._grid_points(points), self.dtype, keep=False)[0]
        else:
            parts = [
                forward(prior, self._sample(MASS_ROWS, rng), self.dtype, keep=False)[0].copy()
                for _ in range(MASS_PARTS)
            ]
            energy = np.concatenate(parts)
        return self._log_scale(prior, "normalised", energy)

    def state(self) -> files.Arrays:
        """What `load_state` needs to resume: nothing, as steps leave nothing behind."""
        return {}

    def load_state(self, arrays: files.Arrays, iteration: int) -> None:
        """Resume from the result of `state` after `iteration` steps."""

    # ---- the prior ----------------------------------------------------------------------------

    def _log_scale(self, prior: Prior, log_scale: str, energy: NDArray) -> float:
        """The a of the density: that of the prior, or the one that gives the points mass one."""
        if log_scale != "normalised":
            return prior.log_scale
        least = float(energy.min())
        # scipy's logsumexp takes as long as the network.
        mass = float(np.exp(least - energy.astype(np.float64)).mean())
        return float(self.dtype.type(least - np.log(self.scale * mass)))

    # ---- the residual -------------------------------------------------------------------------

    def _adjoint(self, x: NDArray, residual: NDArray) -> NDArray:
        """Re <W r, exp(-i <omega, x_j>)> at every point, (n,), for a residual r (m,)."""
        out = np.empty(len(x), self.dtype, like=x)
        return self.operator.adjoint(x, self.moment_weights * residual, out)

    def _residual(self, x: NDArray, mu: NDArray) -> NDArray:
        """S_X mu - z, (m,)."""
        change = (self.scale / len(x)) * self.operator.sum(x, mu - self.offset)
        return self.base + change - self.z

    # ---- (G, its derivatives (n,) with respect to the energies) by which residual a point meets

    def _of_all(self, x: NDArray, mu: NDArray, normalised: bool) -> tuple[float, NDArray]:
        """All points meet the residual of all."""
        residual = self._residual(x, mu)
        adjoint = self._adjoint(x, residual)
        return self._inner(residual, residual), self._grad_energy(mu, adjoint, normalised)

    def _of_others(self, x: NDArray, mu: NDArray) -> tuple[float, NDArray]:
        """A point meets the residual of the others, and G is a sum over pairs of points."""
        n = len(x)
        residual, constant = self._residual(x, mu), self.base - self.z
        adjoint = self._adjoint(x, residual + (residual - constant) / (n - 1))
        adjoint -= (self.scale / (n - 1) * self.total_weight) * (mu - self.offset)
        value = self.scale * np.mean((mu - self.offset) * adjoint, dtype=np.float64)
        value += self._inner(residual, constant)
        return float(value), self._grad_energy(mu, adjoint, False)

    def _of_halves(self, prior: Prior, x: NDArray, energy: NDArray) -> tuple[float, NDArray]:
        """A point meets the residual of the other half; both halves have mass one."""
        halves = slice(len(x) // 2), slice(len(x) // 2, len(x))
        densities = [
            np.exp(self._log_scale(prior, "normalised", energy[half]) - energy[half])
            for half in halves
        ]
        residuals = [
            self._residual(x[half], mu) for half, mu in zip(halves, densities, strict=True)
        ]
        grad_energy = np.empty_like(energy)
        for half, mu, other in zip(halves, densities, reversed(residuals), strict=True):
            grad_energy[half] = self._grad_energy(mu, self._adjoint(x[half], other), True) / 2
        return self._inner(*residuals), grad_energy

    def _grad_energy(self, mu: NDArray, adjoint: NDArray, normalised: bool) -> NDArray:
        """-2 (c / N) mu_j times the adjoint at x_j, which is overwritten."""
        if normalised:  # the mass stays one, whatever the energy does
            adjoint -= self.scale * np.mean(mu * adjoint, dtype=np.float64)
        adjoint *= mu
        adjoint *= -2 * self.scale / len(mu)
        return adjoint

    def _inner(self, a: NDArray, b: NDArray) -> float:
        """Re <W a, b>.

        Not `vdot`: BLAS threads that wait for more work would take the cores from the kernels'.
        """
        return float((self.moment_weights * (a.real * b.real + a.imag * b.imag)).sum())

    # ---- the points ---------------------------------------------------------------------------

    def _draw(self, method: str, points: int, rng: Any, log_scale: str = "learned") -> NDArray:
        """The points of a gradient, (n, d)."""
        if method == "grid":
            return self._grid_points(points)
        return self._sample(as_count(points, "n_points", min_points(method, log_scale)), rng)

    def _grid_points(self, points_per_axis: int) -> NDArray:
        if not isinstance(self.domain, Box):
            raise ValueError("domain must be a Box for the grid method")
        if self._grid is None or self._grid[0] != points_per_axis:
            grid = to_device_of(self.domain.grid(points_per_axis, self.dtype), self.z)
            self._check_phases(grid)
            self._grid = (points_per_axis, grid)
        return self._grid[1]

    def _sample(self, count: int, rng: Any) -> NDArray:
        if isinstance(self.domain, Box):
            points = self.domain.sample(count, rng, self.dtype, like=self.z)
        else:
            drawn = self.domain.sample(count, as_generator(rng), self.dtype)
            points = contiguous(to_device_of(drawn, self.z), self.dtype)
            if points.shape != (count, self.domain.dim):
                raise ValueError(
                    f"domain must draw points of shape {(count, self.domain.dim)}, "
                    f"got {points.shape}"
                )
        self._check_phases(points)
        return points

    def _check_phases(self, points: NDArray) -> None:
        magnitudes = np.empty(points.shape[1])
        kernel("column_magnitudes", like=points)(points, magnitudes)
        self.operator.check_phases(magnitudes)


def min_points(method: str, log_scale: str) -> int:
    """The least number of points of a gradient: a density on one point cannot change."""
    if method == "unbiased":
        return 4 if log_scale == "normalised" else 2
    return 2 if method == "chains" else 1


def check_trainable(prior: Any) -> None:
    """TypeError or ValueError unless `prior` has parameters that can be learned."""
    if not is_trainable(prior):
        raise TypeError(
            "prior must be a fastcl.Prior with parameters theta, such as MLPPrior, "
            f"got {type(prior).__name__}"
        )
    theta = prior.theta
    if theta.ndim != 1 or theta.dtype not in FLOATS:
        raise ValueError(
            "prior must have a float32 or float64 vector theta, "
            f"got {theta.dtype} of shape {theta.shape}"
        )


def check_prior(prior: Prior, domain: Domain) -> None:
    """TypeError or ValueError unless `prior` can be learned on this domain."""
    check_trainable(prior)
    if prior.dim != domain.dim:
        raise ValueError(f"prior has dimension {prior.dim}, the sketch {domain.dim}")
    if prior.reference is not (None if isinstance(domain, Box) else domain):
        raise ValueError(
            "domain must be prior.reference itself if the prior has one, and a Box otherwise"
        )


def forward(prior: Prior, x: NDArray, dtype: np.dtype, keep: bool = True) -> tuple[NDArray, Any]:
    """(energies (n,) in `dtype`, the state that `prior.backward` needs), checked."""
    energy, state = prior.forward(x, keep=keep)
    if energy.shape != (len(x),):
        raise ValueError(f"prior must give one energy per point, ({len(x)},), got {energy.shape}")
    return energy.astype(dtype, copy=False), state


def backward(prior: Prior, grad_energy: NDArray, state: Any, dtype: np.dtype) -> NDArray:
    """A copy of the gradient (P,) in `dtype`, checked; its last entry is about to be set."""
    gradient = prior.backward(grad_energy, state)
    if gradient.shape != prior.theta.shape:
        raise ValueError(
            f"prior.backward must give a gradient of shape {prior.theta.shape}, "
            f"got {gradient.shape}"
        )
    return gradient.astype(dtype)
