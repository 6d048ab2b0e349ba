"""Gaussian mixtures as reference measures: sampled, with a density, a sketch and a posterior in closed form."""

import numpy as np

from ..backend import DeviceCache, is_device, product, to_host
from ..validation import as_array, as_generator, as_points, as_vector

CHUNK_ROWS = 1 << 14  # rows for which one array per mixture component is held at a time
DEVICE_CHUNK_ROWS = 1 << 16  # likewise on a device


def log_sum_exp(terms, axis=0):
    """log(sum(exp(terms))) along an axis, for terms not all of which are minus infinity."""
    largest = terms.max(axis=axis, keepdims=True)
    return np.log(np.exp(terms - largest).sum(axis=axis)) + largest.squeeze(axis)


class GaussianMixture:
    """A mixture of Gaussians, as a reference measure.

    Parameters
    ----------
    weights : array (k,)
        Positive; normalised to sum to 1.
    means : array (k, d)
    covariances : array (k, d, d)
        Symmetric positive definite, in units of x squared.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, weights that are not positive, covariances that are not
        positive definite.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> mixture = fastcl.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], np.full((2, 1, 1), 0.04))
    >>> mixture.sketch([[0.0], [np.pi]]).real.round(3), mixture.sample(5, rng=0).shape
    (array([ 1.   , -0.821]), (5, 1))
    """

    is_reference = True

    def __init__(self, weights, means, covariances):
        self.weights = as_vector(weights, "weights")
        self.means = as_points(means, "means").astype(np.float64)
        self.covariances = as_array(covariances, "covariances").astype(np.float64)
        k, dim = self.means.shape
        if self.weights.size != k or self.covariances.shape != (k, dim, dim):
            raise ValueError(
                f"weights {self.weights.shape}, means {self.means.shape} and covariances {self.covariances.shape} do not fit"
            )
        if not (self.weights > 0).all():
            raise ValueError("weights must be above zero")
        if not np.isfinite(self.covariances).all():
            raise ValueError("covariances holds NaN or infinity")
        if not np.allclose(self.covariances, self.covariances.swapaxes(1, 2), rtol=1e-10, atol=0):
            raise ValueError("covariances must be symmetric positive definite")
        total = self.weights.sum()
        if (
            abs(total - 1) > k * np.finfo(np.float64).eps
        ):  # weights read back from a file keep their bits
            self.weights = self.weights / total
        self._cache = DeviceCache()
        try:
            self._roots = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise ValueError("covariances must be symmetric positive definite") from None

    def __repr__(self):
        return f"GaussianMixture(k={self.weights.size}, dim={self.dim})"

    @property
    def dim(self):
        """Dimension d."""
        return self.means.shape[1]

    def sample(self, n, rng=None, dtype=np.float64):
        """n points of the mixture, (n, d)."""
        rng = as_generator(rng)
        component = rng.choice(self.weights.size, size=n, p=self.weights)
        points = rng.standard_normal((n, self.dim), dtype=dtype)
        for k, root in enumerate(self._roots):
            mine = component == k
            points[mine] = product(points[mine], root.T) + self.means[k].astype(dtype)
        return points

    def propose(self, x, step, rng):
        """(y (n, d), log of the density at y over that at x (n,)): a random walk of `step` standard deviations from x."""
        spread = np.einsum("k,kij->ij", self.weights, self.covariances) + np.cov(
            self.means.T, bias=True, aweights=self.weights
        )
        noise = product(
            rng.standard_normal(x.shape, dtype=x.dtype), step * np.linalg.cholesky(spread).T
        )
        y = x + noise
        return y, self.log_density(y) - self.log_density(x)

    def sketch(self, omega):
        """Sketch in closed form, (m,) complex: sum_k weight_k exp(-i <omega, mean_k> - omega^T C_k omega / 2)."""
        omega = as_points(omega, "omega", self.dim).astype(np.float64)
        total = np.zeros(len(omega), np.complex128)
        for weight, mean, covariance in zip(
            self.weights, self.means, self.covariances, strict=True
        ):
            total += weight * np.exp(
                -1j * (omega * mean).sum(axis=1)
                - (product(omega, covariance) * omega).sum(axis=1) / 2
            )
        return total

    @property
    def centre(self):
        """Mean of the law, (d,)."""
        return (self.weights[:, None] * self.means).sum(axis=0)

    def pair_sketches(self, omega):
        """The sketch around the centre at omega_l - omega_l' and omega_l + omega_l': two (m, m) arrays, real where all
        components share one mean."""
        offsets = self.means - self.centre
        symmetric = np.abs(offsets).max() <= 1e-12 * np.sqrt(np.abs(self.covariances).max())
        minus, plus = np.zeros(
            (2, len(omega), len(omega)), np.float64 if symmetric else np.complex128
        )
        for weight, offset, covariance in zip(self.weights, offsets, self.covariances, strict=True):
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
        return minus, plus

    def log_density(self, x):
        """Log-density, (n,)."""
        return self._by_chunks(
            x, lambda chunk: log_sum_exp(self._log_terms(chunk, *self._own_factors(chunk)))
        )

    def log_density_grad(self, x):
        """Gradient of the log-density, (n, d), in the type of x."""
        return self._by_chunks(x, lambda chunk: -self._energy_parts(chunk)[1])

    def energy_parts(self, x):
        """(-log density (n,), its gradient (n, d), the mean diagonal of its majorising curvature (n, d)).

        With responsibilities p_k(x), the quadratic with curvature sum_k p_k C_k^-1 that touches -log density at x
        lies above it, which makes it the right preconditioner of a descent.
        """
        return self._by_chunks(x, self._energy_parts)

    def _energy_parts(self, x):
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

    def posterior(self, y, noise):
        """Posterior of x given y = x + N(0, diag(noise^2)): a mixture, as (responsibilities (k, n), means (k, n, d),
        square roots of the covariances (k, d, d)) for one chunk y (n, d)."""
        centres, whitenings, constants, gains, roots = self._posterior_factors(y, noise)
        log_terms = self._log_terms(y, centres, whitenings, constants)
        responsibilities = np.exp(log_terms - log_sum_exp(log_terms))
        means = np.stack(
            [mean + product(y - mean, gain) for mean, gain in zip(centres, gains, strict=True)]
        )
        return responsibilities, means, roots

    def _posterior_factors(self, y, noise):
        """What `posterior` needs that does not depend on the values of y, kept for the next chunk: that of `_log_terms` for
        the law of y, the gains (k, d, d) that multiply rows y - mean, and the square roots (k, d, d) of the posterior
        covariances."""
        noise = to_host(noise)

        def make():
            total = self.covariances + np.diag(noise**2)
            gains = np.linalg.solve(total, self.covariances)
            precisions = np.linalg.inv(self.covariances) + np.diag(noise**-2.0)
            roots = np.linalg.inv(np.linalg.cholesky(precisions)).swapaxes(1, 2)
            return *self._term_factors(np.linalg.cholesky(total)), gains, roots

        return self._cache(y, "posterior", make, noise.tobytes())

    def posterior_mean(self, y, noise):
        """E[x | y] in closed form, (n, d), for y = x + N(0, diag(noise^2)) and noise (d,)."""

        def mean(chunk):
            centres, whitenings, constants, gains, _ = self._posterior_factors(chunk, noise)
            log_terms = self._log_terms(chunk, centres, whitenings, constants)
            responsibilities = np.exp(log_terms - log_sum_exp(log_terms))
            total = np.zeros_like(chunk)
            for share, centre, gain in zip(responsibilities, centres, gains, strict=True):
                total += share[:, None] * (centre + product(chunk - centre, gain))
            return total

        return self._by_chunks(y, mean)

    def _own_factors(self, like):
        return self._cache(like, "terms", lambda: self._term_factors(self._roots))

    def _term_factors(self, roots):
        """(means (k, d), W (k, d, d) with W W^T the inverse covariance, logarithm (k,) of the largest value) of Gaussians of
        the weights and means of the mixture, for the Cholesky factors of their covariances."""
        constants = np.log(self.weights) - self.dim / 2 * np.log(2 * np.pi)
        constants -= np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        return self.means, np.linalg.inv(roots).swapaxes(1, 2), constants

    def _log_terms(self, x, means, whitenings, constants):
        """log(weight_k N(x; mean_k, ...)), (k, n)."""
        terms = np.empty((self.weights.size, len(x)), like=x)
        for k, (mean, whitening) in enumerate(zip(means, whitenings, strict=True)):
            terms[k] = np.square(product(x - mean, whitening)).sum(axis=1) / -2
        terms += constants[:, None]
        return terms

    def _by_chunks(self, x, function):
        """`function` of chunks of rows, joined, in the type of x: bounds what one array a component takes."""
        x = as_points(x, "x", self.dim)
        rows = DEVICE_CHUNK_ROWS if is_device(x) else CHUNK_ROWS
        results = [
            function(x[start : start + rows].astype(np.float64)) for start in range(0, len(x), rows)
        ]
        if isinstance(results[0], tuple):
            return tuple(
                np.concatenate(part).astype(x.dtype) for part in zip(*results, strict=True)
            )
        return np.concatenate(results).astype(x.dtype)

    def to_arrays(self):
        """What a file keeps of the measure: name -> array."""
        return {
            "kind": "gaussian_mixture",
            "weights": self.weights,
            "means": self.means,
            "covariances": self.covariances,
        }


class Gaussian(GaussianMixture):
    """The Gaussian N(mean, covariance), as a reference measure.

    Parameters
    ----------
    mean : array (d,)
    covariance : array (d, d)
        Symmetric positive definite, in units of x squared.

    Raises
    ------
    TypeError, ValueError
        As `GaussianMixture`.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.Gaussian([0.0], [[1.0]]).log_density([[0.0]]).round(4)
    array([-0.9189])
    """

    def __init__(self, mean, covariance):
        mean = as_vector(mean, "mean")
        super().__init__([1.0], mean[None], as_array(covariance, "covariance")[None])

    def __repr__(self):
        return f"Gaussian(dim={self.dim})"

    def propose(self, x, step, rng):
        """(y, 0): an autoregressive step, under which the law is invariant, of at most 1 standard deviation."""
        y = product(rng.standard_normal(x.shape, dtype=x.dtype), step * self._roots[0].T)
        mean = self.means[0].astype(x.dtype)
        y += mean + x.dtype.type(np.sqrt(1 - step**2)) * (x - mean)
        return y, 0
