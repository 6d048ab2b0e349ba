"""Gaussian mixtures as reference measures: sampling, density, sketch and posterior in closed form.

The sketch of ``weight N(mean, C)`` is ``weight exp(-i <omega, mean> - omega^T C omega / 2)``, and
the posterior of x given y = x + N(0, S) is again a mixture, with gains ``C (C + S)^-1`` and
covariances ``(C^-1 + S^-1)^-1``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import DeviceCache, is_device, product, to_host
from ..files import Arrays
from ..validation import (
    as_array,
    as_count,
    as_float_dtype,
    as_generator,
    as_noise_level,
    as_points,
    as_vector,
    check_lengths,
)
from .base import ReferenceMeasure, check_sketch
from .pointwise import OVERFLOW

CHUNK_ROWS = 1 << 14  # rows at a time, each with one number per component in memory
DEVICE_CHUNK_ROWS = 1 << 16  # the same on a device


def log_sum_exp(terms: NDArray, axis: int = 0) -> NDArray:
    """log(sum(exp(terms))) along an axis; not all terms along it may be minus infinity."""
    largest = terms.max(axis=axis, keepdims=True)
    return np.log(np.exp(terms - largest).sum(axis=axis)) + largest.squeeze(axis)


def too_far(name: str, dtype: np.dtype) -> ValueError:
    """The exception for points from which nothing finite follows."""
    return ValueError(f"{name} is so far out that {dtype} overflows: change the unit of the data")


def roots_of(covariances: NDArray) -> NDArray:
    """Cholesky factors of covariances (k, d, d); ValueError if they are none."""
    if not np.isfinite(covariances).all():
        raise ValueError("covariances holds NaN or infinity")
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    if (variances > 0).all():  # otherwise they are not positive definite, see below
        check_lengths(np.sqrt(variances), "standard deviations")
    if not np.allclose(covariances, covariances.swapaxes(1, 2), rtol=1e-10, atol=0):
        raise ValueError("covariances must be symmetric positive definite")
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        raise ValueError("covariances must be symmetric positive definite") from None


class GaussianTerms(ReferenceMeasure):
    """A weighted sum of Gaussians: the base of every Gaussian mixture here.

    Parameters
    ----------
    weights : array (t,)
        Above zero; normalised to sum to 1.
    means : array (t, d)
    covariances : array (t, d, d)
        Symmetric positive definite, in units of x squared.

    Attributes
    ----------
    term_weights, term_means, term_covariances : arrays (t,), (t, d), (t, d, d)
        The same, with the weights normalised.
    """

    strict = True
    term_covariances: NDArray
    _roots: NDArray

    def __init__(self, weights: NDArray, means: NDArray, covariances: NDArray) -> None:
        k, dim = means.shape
        if weights.size != k or covariances.shape != (k, dim, dim):
            raise ValueError(
                f"weights {weights.shape}, means {means.shape} and covariances "
                f"{covariances.shape} do not fit"
            )
        if not (weights > 0).all():
            raise ValueError("weights must be above zero")
        self._roots = roots_of(covariances)
        check_lengths(np.maximum(1, np.abs(means)), "magnitudes of means")
        self.term_covariances = covariances
        self._set_terms(weights, means)

    def _set_terms(self, weights: NDArray, means: NDArray) -> None:
        """Normalise checked weights, and keep them and the means."""
        with np.errstate(over="ignore"):
            total = weights.sum()
        if not np.isfinite(total):
            raise ValueError("the sum of weights overflows")
        eps = weights.size * np.finfo(np.float64).eps
        if abs(total - 1) > eps:  # weights read from a file stay as saved
            weights = weights / total
        self.term_weights = weights
        self.term_means = means
        self._cache = DeviceCache()

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.term_means.shape[1]

    @property
    def centre(self) -> NDArray:
        """Mean of the mixture, (d,)."""
        return (self.term_weights[:, None] * self.term_means).sum(axis=0)

    @property
    def walk_scale(self) -> NDArray:
        """Standard deviations of the coordinates, (d,)."""
        offsets = self.term_means - self.centre
        variances = np.diagonal(self.term_covariances, axis1=1, axis2=2) + offsets**2
        return np.sqrt((self.term_weights[:, None] * variances).sum(axis=0))

    @np.errstate(under="ignore", **OVERFLOW)
    def sample(self, n: int, rng: Any = None, dtype: DTypeLike = np.float64) -> NDArray:
        """n points drawn from the mixture, (n, d)."""
        n, rng, dtype = as_count(n, "n", least=0), as_generator(rng), as_float_dtype(dtype)
        component = rng.choice(self.term_weights.size, size=n, p=self.term_weights)
        points = rng.standard_normal((n, self.dim), dtype=dtype)
        for k, root in enumerate(self._roots):
            mine = component == k
            points[mine] = product(points[mine], root.T) + self.term_means[k].astype(dtype)
        if not np.isfinite(points).all():
            raise ValueError(f"points of the mixture overflow {dtype}: change the unit of the data")
        return points

    @np.errstate(under="ignore")
    def propose(
        self, x: NDArray, step: float, rng: np.random.Generator
    ) -> tuple[NDArray, NDArray | float]:
        """(y (n, d), log q(y) - log q(x) (n,)): a random-walk step of `step` stds of q."""
        spread = np.einsum("k,kij->ij", self.term_weights, self.term_covariances)
        spread = spread + np.cov(self.term_means.T, bias=True, aweights=self.term_weights)
        root = np.linalg.cholesky(spread)
        y = x + product(rng.standard_normal(x.shape, dtype=x.dtype), step * root.T)
        return y, self.log_density(y) - self.log_density(x)

    @np.errstate(under="ignore", **OVERFLOW)
    def sketch(self, omega: ArrayLike) -> NDArray:
        """Sketch in closed form, (m,) complex, for omega (m, d)."""
        omega = as_points(omega, "omega", self.dim).astype(np.float64)
        total = np.zeros(len(omega), np.complex128)
        terms = zip(self.term_weights, self.term_means, self.term_covariances, strict=True)
        for weight, mean, covariance in terms:
            phases = (omega * mean).sum(axis=1)
            squares = (product(omega, covariance) * omega).sum(axis=1)
            total += weight * np.exp(-1j * phases - squares / 2)
        return check_sketch(total)

    @np.errstate(under="ignore", **OVERFLOW)
    def pair_sketches(self, omega: NDArray) -> tuple[NDArray, NDArray]:
        """The sketch around the centre at omega_l - omega_l' and omega_l + omega_l', (m, m).

        Real if all components share one mean, complex otherwise.
        """
        offsets = self.term_means - self.centre
        largest = np.sqrt(np.abs(self.term_covariances).max())
        symmetric = np.abs(offsets).max() <= 1e-12 * largest
        dtype = np.float64 if symmetric else np.complex128
        minus, plus = np.zeros((2, len(omega), len(omega)), dtype)
        terms = zip(self.term_weights, offsets, self.term_covariances, strict=True)
        for weight, offset, covariance in terms:
            gram = product(omega, product(covariance, omega.T))
            squares = np.diag(gram) / 2
            near = weight * np.exp(gram - squares[:, None] - squares)
            far = weight * np.exp(-gram - squares[:, None] - squares)
            if symmetric:
                minus += near
                plus += far
            else:
                phase = np.exp(-1j * (omega * offset).sum(axis=1))
                minus += near * phase[:, None] * phase.conj()
                plus += far * phase[:, None] * phase
        return check_sketch(minus), check_sketch(plus)

    def log_density(self, x: ArrayLike) -> NDArray:
        """Log-density, (n,), for x (n, d)."""
        return self._by_chunks(
            x, lambda chunk: log_sum_exp(self._log_terms(chunk, *self._own_factors(chunk)))
        )

    def log_density_grad(self, x: ArrayLike) -> NDArray:
        """Gradient of the log-density, (n, d), in the type of x."""
        return self._by_chunks(x, lambda chunk: -self._energy_parts(chunk)[1])

    def energy_parts(self, x: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
        """(-log density (n,), its gradient (n, d), the diagonal of a majorising curvature (n, d)).

        With responsibilities p_k(x), the quadratic with curvature sum_k p_k C_k^-1 that touches
        -log density at x lies above it everywhere: a safe preconditioner for a descent.
        """
        return self._by_chunks(x, self._energy_parts)

    def _energy_parts(self, x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        means, whitenings, constants = self._own_factors(x)
        log_terms = self._log_terms(x, means, whitenings, constants)
        energy = -log_sum_exp(log_terms)
        responsibilities = np.exp(log_terms + energy)
        gradient, curvature = np.zeros(x.shape, like=x), np.zeros(x.shape, like=x)
        for share, mean, whitening in zip(responsibilities, means, whitenings, strict=True):
            precision = product(whitening, whitening.T)
            gradient += share[:, None] * product(x - mean, precision)
            curvature += share[:, None] * np.diag(precision)
        return energy, gradient, curvature

    @np.errstate(under="ignore")
    def posterior(self, y: NDArray, noise: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """The posterior of x given y = x + N(0, diag(noise^2)), a mixture, for one chunk y (n, d).

        Returns (responsibilities (k, n), means (k, n, d), roots of the covariances (k, d, d)).
        """
        centres, whitenings, constants, gains, roots = self._posterior_factors(y, noise)
        log_terms = self._log_terms(y, centres, whitenings, constants)
        responsibilities = np.exp(log_terms - log_sum_exp(log_terms))
        pairs = zip(centres, gains, strict=True)
        means = np.stack([mean + product(y - mean, gain) for mean, gain in pairs])
        return responsibilities, means, roots

    @np.errstate(under="ignore")
    def posterior_points(
        self, y: NDArray, noise: NDArray, normals: NDArray
    ) -> tuple[NDArray, NDArray, None]:
        """(mean (n, d), points (n, s, d), None) of the posterior; terms by systematic sampling."""
        responsibilities, means, roots = self.posterior(y.astype(np.float64), noise)
        centre = np.einsum("kn,knd->nd", responsibilities, means)
        levels = (np.arange(len(normals), like=y) + 0.5) / len(normals)
        cumulative = np.cumsum(responsibilities, axis=0)[:-1]
        component = (cumulative[:, :, None] < levels).sum(axis=0)  # (n, s)
        offsets = np.einsum("sd,ked->kse", normals, roots)  # (k, s, d)
        rows, columns = np.arange(len(y), like=y)[:, None], np.arange(len(normals), like=y)
        points = means[component, rows] + offsets[component, columns]
        return centre, points.astype(y.dtype), None

    @np.errstate(under="ignore")
    def posterior_mean(self, y: ArrayLike, noise: NDArray) -> NDArray:
        """E[x | y] (n, d) for y = x + N(0, diag(noise^2)); noise is (d,), or a number."""
        noise = as_noise_level(noise, self.dim, "noise")

        def mean(chunk: NDArray) -> NDArray:
            centres, whitenings, constants, gains, _ = self._posterior_factors(chunk, noise)
            log_terms = self._log_terms(chunk, centres, whitenings, constants)
            responsibilities = np.exp(log_terms - log_sum_exp(log_terms))
            total = np.zeros_like(chunk)
            for share, centre, gain in zip(responsibilities, centres, gains, strict=True):
                total += share[:, None] * (centre + product(chunk - centre, gain))
            return total

        return self._by_chunks(y, mean, "y")

    def _posterior_factors(self, y: NDArray, noise: NDArray) -> tuple[NDArray, ...]:
        """What `posterior` needs besides y, cached for the next chunk.

        These are the three factors of `_log_terms` for the distribution of y, the gains (k, d, d)
        by which rows y - mean are multiplied, and roots (k, d, d) of the posterior covariances.
        """
        noise = to_host(noise)

        def make() -> tuple[NDArray, ...]:
            total = self.term_covariances + np.diag(noise**2)
            gains = np.linalg.solve(total, self.term_covariances)
            precisions = np.linalg.inv(self.term_covariances) + np.diag(noise**-2.0)
            roots = np.linalg.inv(np.linalg.cholesky(precisions)).swapaxes(1, 2)
            return *self._term_factors(np.linalg.cholesky(total)), gains, roots

        return self._cache(y, "posterior", make, noise.tobytes())

    def _own_factors(self, like: NDArray) -> tuple[NDArray, ...]:
        return self._cache(like, "terms", lambda: self._term_factors(self._roots))

    def _term_factors(self, roots: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Factors for `_log_terms`, given Cholesky factors `roots` (k, d, d) of any covariances.

        Returns (means (k, d), W (k, d, d) with W W^T the inverse covariance, logarithms (k,) of the
        peak values) for Gaussians with the weights and means of the mixture.
        """
        constants = np.log(self.term_weights) - self.dim / 2 * np.log(2 * np.pi)
        constants -= np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        return self.term_means, np.linalg.inv(roots).swapaxes(1, 2), constants

    def _log_terms(
        self, x: NDArray, means: NDArray, whitenings: NDArray, constants: NDArray
    ) -> NDArray:
        """log(weight_k N(x; mean_k, C_k)), (k, n)."""
        terms = np.empty((self.term_weights.size, len(x)), like=x)
        for k, (mean, whitening) in enumerate(zip(means, whitenings, strict=True)):
            terms[k] = np.square(product(x - mean, whitening)).sum(axis=1) / -2
        terms += constants[:, None]
        return terms

    @np.errstate(under="ignore", **OVERFLOW)
    def _by_chunks(self, x: ArrayLike, function: Callable, name: str = "x") -> Any:
        """Apply `function` to x in chunks of rows, and join the results in the type of x."""
        x = as_points(x, name, self.dim)
        rows = DEVICE_CHUNK_ROWS if is_device(x) else CHUNK_ROWS
        starts = range(0, len(x), rows)
        results = [function(x[start : start + rows].astype(np.float64)) for start in starts]
        several = isinstance(results[0], tuple)
        parts = zip(*results, strict=True) if several else [results]
        joined = tuple(np.concatenate(part).astype(x.dtype) for part in parts)
        if not all(np.isfinite(part).all() for part in joined):
            raise too_far(name, x.dtype)
        return joined if several else joined[0]


class GaussianMixture(GaussianTerms, kind="gaussian_mixture"):
    """A mixture of Gaussians, as a reference measure.

    Parameters
    ----------
    weights : array (k,)
        Above zero; normalised to sum to 1.
    means : array (k, d)
    covariances : array (k, d, d)
        Symmetric positive definite, in units of x squared.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, weights not above zero, covariances
        that are not positive definite.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> mixture = fastcl.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], np.full((2, 1, 1), 0.04))
    >>> mixture.sketch([[0.0], [np.pi]]).real.round(3), mixture.sample(5, rng=0).shape
    (array([ 1.   , -0.821]), (5, 1))
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        super().__init__(
            as_vector(weights, "weights").copy(),
            as_points(means, "means").astype(np.float64),
            as_array(covariances, "covariances").astype(np.float64),
        )

    @property
    def weights(self) -> NDArray:
        """Weights of the components, (k,), which sum to 1."""
        return self.term_weights

    @property
    def means(self) -> NDArray:
        """Means of the components, (k, d)."""
        return self.term_means

    @property
    def covariances(self) -> NDArray:
        """Covariances of the components, (k, d, d)."""
        return self.term_covariances

    def __repr__(self) -> str:
        return f"GaussianMixture(k={self.weights.size}, dim={self.dim})"

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {"weights": self.weights, "means": self.means, "covariances": self.covariances}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> GaussianMixture:
        """The mixture whose `to_arrays` gave `arrays`; a `Gaussian` if it has one component."""
        mixture = GaussianMixture(arrays["weights"], arrays["means"], arrays["covariances"])
        if len(mixture.weights) > 1:
            return mixture
        return Gaussian(mixture.means[0], mixture.covariances[0])


class Gaussian(GaussianMixture):
    """The Gaussian N(mean, covariance), as a reference measure.

    It is a `GaussianMixture` of one component, and saved as such.

    Parameters
    ----------
    mean : array (d,)
    covariance : array (d, d)
        Symmetric positive definite, in units of x squared.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, a covariance that is not positive
        definite.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.Gaussian([0.0], [[1.0]]).log_density([[0.0]]).round(4)
    array([-0.9189])
    """

    kind = GaussianMixture.kind  # its `from_arrays` returns a Gaussian for one component

    def __init__(self, mean: ArrayLike, covariance: ArrayLike) -> None:
        mean, covariance = as_vector(mean, "mean"), as_array(covariance, "covariance")
        if mean.size == 0 or covariance.shape != (mean.size, mean.size):
            raise ValueError(
                "mean must have shape (d,) and covariance (d, d), d at least 1, "
                f"got {mean.shape} and {covariance.shape}"
            )
        super().__init__([1.0], mean[None], covariance[None])

    @property
    def mean(self) -> NDArray:
        """Mean, (d,)."""
        return self.means[0]

    @property
    def covariance(self) -> NDArray:
        """Covariance, (d, d)."""
        return self.covariances[0]

    def __repr__(self) -> str:
        return f"Gaussian(dim={self.dim})"

    @np.errstate(under="ignore")
    def propose(self, x: NDArray, step: float, rng: np.random.Generator) -> tuple[NDArray, float]:
        """(y, 0): an autoregressive step that leaves q invariant; `step` is at most 1."""
        y = product(rng.standard_normal(x.shape, dtype=x.dtype), step * self._roots[0].T)
        mean = self.means[0].astype(x.dtype)
        y += mean + x.dtype.type(np.sqrt(1 - step**2)) * (x - mean)
        return y, 0.0


def standard_normal(dim: int) -> Gaussian:
    """The reference measure N(0, I) in `dim` dimensions."""
    return Gaussian(np.zeros(dim), np.eye(dim))
