"""Where the points of a stochastic gradient are drawn: a box, or a reference measure that the prior multiplies.

A reference measure can be sampled, has a density and a sketch in closed form; the Gaussian mixtures also have a
posterior under Gaussian noise in closed form.
"""

import numpy as np
from scipy.special import logsumexp

from .backend import product
from .validation import as_array, as_count, as_generator, as_points, as_vector

CHUNK_ROWS = 1 << 14  # rows for which one array per mixture component is held at a time


class Box:
    """The box ``low <= x <= high``, with points drawn uniformly; the domain of arXiv 2310.03085.

    Parameters
    ----------
    low, high : array (d,)
        Opposite corners, in units of x.

    Examples
    --------
    >>> import fastcl
    >>> box = fastcl.Box(low=[-1, -1], high=[1, 1])
    >>> box.dim, box.volume, box.grid(2).tolist()
    (2, 4.0, [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    """

    is_reference = False

    def __init__(self, low, high):
        self.low = as_vector(low, "low")
        self.high = as_vector(high, "high", self.low.size)
        if self.low.size == 0:
            raise ValueError("low is empty")
        if not (self.low < self.high).all():
            raise ValueError("low must be below high in every coordinate")

    @property
    def dim(self):
        """Dimension d."""
        return self.low.size

    @property
    def volume(self):
        """Product of the sides."""
        return float(np.prod(self.high - self.low))

    def sample(self, n, rng=None, dtype=np.float64):
        """n points drawn uniformly, (n, d)."""
        low, side = self.low.astype(dtype), (self.high - self.low).astype(dtype)
        points = as_generator(rng).random((n, self.dim), dtype=dtype)
        points *= side
        points += low
        return points

    def log_density(self, x):
        """Log-density of the uniform law, (n,): -log(volume) inside, -inf outside."""
        x = as_points(x, "x", self.dim)
        inside = ((x >= self.low) & (x <= self.high)).all(axis=1)
        return np.where(inside, -np.log(self.volume), -np.inf).astype(x.dtype)

    def sketch(self, omega):
        """Sketch of the uniform law in closed form, (m,) complex: a product of sinc."""
        omega = as_points(omega, "omega", self.dim)
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return np.exp(-1j * (omega * middle).sum(axis=1)) * np.sinc(omega * half / np.pi).prod(axis=1)

    def grid(self, points_per_axis, dtype=np.float64):
        """The centres of `points_per_axis` equal cells along every axis, (points_per_axis ** d, d)."""
        k = as_count(points_per_axis, "points_per_axis")
        axes = [low + (high - low) * (np.arange(k) + 0.5) / k for low, high in zip(self.low, self.high, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dim).astype(dtype)

    def to_arrays(self):
        """What a file keeps of the domain: name -> array."""
        return {"kind": "box", "low": self.low, "high": self.high}


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
    ValueError
        Shapes that do not fit, weights that are not positive, covariances that are not positive definite.

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
        if abs(total - 1) > k * np.finfo(np.float64).eps:  # weights read back from a file keep their bits
            self.weights = self.weights / total
        self._kept_factors = (None, None)
        try:
            self._roots = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise ValueError("covariances must be symmetric positive definite") from None

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

    def sketch(self, omega):
        """Sketch in closed form, (m,) complex: sum_k weight_k exp(-i <omega, mean_k> - omega^T C_k omega / 2)."""
        omega = as_points(omega, "omega", self.dim).astype(np.float64)
        total = np.zeros(len(omega), np.complex128)
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            total += weight * np.exp(-1j * (omega * mean).sum(axis=1) - (product(omega, covariance) * omega).sum(axis=1) / 2)
        return total

    def log_density(self, x):
        """Log-density, (n,)."""
        return self._by_chunks(x, lambda chunk: logsumexp(self._log_terms(chunk, self._precisions()), axis=0))

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
        precisions = self._precisions()
        log_terms = self._log_terms(x, precisions)
        energy = -logsumexp(log_terms, axis=0)
        responsibilities = np.exp(log_terms + energy)
        gradient, curvature = np.zeros(x.shape), np.zeros(x.shape)
        for share, mean, (whitening, _) in zip(responsibilities, self.means, precisions, strict=True):
            precision = whitening @ whitening.T
            gradient += share[:, None] * product(x - mean, precision)
            curvature += share[:, None] * np.diag(precision)
        return energy, gradient, curvature

    def posterior(self, y, noise):
        """Posterior of x given y = x + N(0, diag(noise^2)): a mixture, as (responsibilities (k, n), means (k, n, d),
        square roots of the covariances (k, d, d)) for one chunk y (n, d)."""
        evidence, gains, roots = self._posterior_factors(noise)
        log_terms = self._log_terms(y, evidence)
        responsibilities = np.exp(log_terms - logsumexp(log_terms, axis=0))
        means = np.stack([mean + product(y - mean, gain) for mean, gain in zip(self.means, gains, strict=True)])
        return responsibilities, means, roots

    def _posterior_factors(self, noise):
        """What `posterior` needs that does not depend on y, kept for the next chunk: the precisions of y, the gains
        (k, d, d) that multiply rows y - mean, and the square roots (k, d, d) of the posterior covariances."""
        key = noise.tobytes()
        if self._kept_factors[0] != key:
            total = self.covariances + np.diag(noise**2)
            gains = np.linalg.solve(total, self.covariances)
            precisions = np.linalg.inv(self.covariances) + np.diag(noise**-2.0)
            roots = np.linalg.inv(np.linalg.cholesky(precisions)).swapaxes(1, 2)
            self._kept_factors = (key, (self._precisions(total), gains, roots))
        return self._kept_factors[1]

    def posterior_mean(self, y, noise):
        """E[x | y] in closed form, (n, d), for y = x + N(0, diag(noise^2)) and noise (d,)."""

        def mean(chunk):
            evidence, gains, _ = self._posterior_factors(noise)
            log_terms = self._log_terms(chunk, evidence)
            responsibilities = np.exp(log_terms - logsumexp(log_terms, axis=0))
            total = np.zeros_like(chunk)
            for share, centre, gain in zip(responsibilities, self.means, gains, strict=True):
                total += share[:, None] * (centre + product(chunk - centre, gain))
            return total

        return self._by_chunks(y, mean)

    def _precisions(self, covariances=None):
        """(W with W W^T the inverse, log-determinant) of each covariance, the mixture's own by default."""
        roots = self._roots if covariances is None else np.linalg.cholesky(covariances)
        return [(np.linalg.inv(root).T, 2 * np.log(np.diag(root)).sum()) for root in roots]

    def _log_terms(self, x, precisions):
        """log(weight_k N(x; mean_k, ...)), (k, n)."""
        constant = -self.dim / 2 * np.log(2 * np.pi)
        terms = np.empty((self.weights.size, len(x)))
        for k, (whitening, log_determinant) in enumerate(precisions):
            terms[k] = np.square(product(x - self.means[k], whitening)).sum(axis=1) / -2
            terms[k] += np.log(self.weights[k]) + constant - log_determinant / 2
        return terms

    def _by_chunks(self, x, function):
        """`function` of chunks of rows, joined, in the type of x: bounds what one array a component takes."""
        x = as_points(x, "x", self.dim)
        results = [function(x[start : start + CHUNK_ROWS].astype(np.float64)) for start in range(0, len(x), CHUNK_ROWS)]
        if isinstance(results[0], tuple):
            return tuple(np.concatenate(part).astype(x.dtype) for part in zip(*results, strict=True))
        return np.concatenate(results).astype(x.dtype)

    def to_arrays(self):
        """What a file keeps of the measure: name -> array."""
        return {"kind": "gaussian_mixture", "weights": self.weights, "means": self.means, "covariances": self.covariances}


class Gaussian(GaussianMixture):
    """The Gaussian N(mean, covariance), as a reference measure.

    Parameters
    ----------
    mean : array (d,)
    covariance : array (d, d)
        Symmetric positive definite.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.Gaussian([0.0], [[1.0]]).log_density([[0.0]]).round(4)
    array([-0.9189])
    """

    def __init__(self, mean, covariance):
        mean = as_vector(mean, "mean")
        super().__init__([1.0], mean[None], as_array(covariance, "covariance")[None])


class GaussianScaleMixture(GaussianMixture):
    """A Gaussian of random size: ``sum_k weight_k N(0, scale_k^2 covariance)``; heavy tails, as image patches have.

    Parameters
    ----------
    covariance : array (d, d)
        Symmetric positive definite.
    scales, weights : array (k,)
        Above zero; the weights are normalised to sum to 1.

    Notes
    -----
    Portilla et al., "Image denoising using scale mixtures of Gaussians in the wavelet domain", IEEE TIP 2003.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.random.default_rng(0).standard_t(3, (10000, 1))
    >>> heavy, plain = fastcl.GaussianScaleMixture.fit(x), fastcl.Gaussian([0.0], [[x.var()]])
    >>> bool(heavy.log_density(x).mean() > plain.log_density(x).mean() + 0.05)
    True
    """

    def __init__(self, covariance, scales, weights):
        self.scales = as_vector(scales, "scales")
        if not (self.scales > 0).all():
            raise ValueError("scales must be above zero")
        covariance = as_array(covariance, "covariance").astype(np.float64)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"covariance must be square, got shape {covariance.shape}")
        means = np.zeros((self.scales.size, len(covariance)))
        super().__init__(weights, means, self.scales[:, None, None] ** 2 * covariance)

    @classmethod
    def fit(cls, x, n_scales=12, n_iter=200):
        """Fit to centred points x (n, d): their second moments, then the weights of fixed scales by maximum likelihood.

        The scales are spread geometrically over the radii of the points; the weights follow from `n_iter` steps of
        expectation-maximisation, which is convex here. A subsample of some thousand points is enough.
        """
        x = as_points(x, "x").astype(np.float64)
        n_scales = as_count(n_scales, "n_scales")
        covariance = product(x.T, x) / len(x)
        values, vectors = np.linalg.eigh(covariance)
        if not values[0] > values[-1] * np.finfo(np.float64).eps * 10 * x.shape[1]:
            raise ValueError("x spans fewer dimensions than it has columns")
        radii = np.sqrt((product(x, vectors) ** 2 / values).mean(axis=1))
        low, high = np.quantile(radii, [0.002, 0.9995])
        scales = np.geomspace(max(low, 1e-3 * high), high, n_scales) if n_scales > 1 else np.ones(1)
        mixture = cls(covariance, scales, np.ones(n_scales))
        log_likelihood = mixture._log_terms(x, mixture._precisions()) - np.log(mixture.weights)[:, None]
        likelihood = np.exp(log_likelihood - log_likelihood.max(axis=0))
        weights = mixture.weights
        for _ in range(n_iter):
            shares = weights[:, None] * likelihood
            weights = (shares / shares.sum(axis=0)).mean(axis=1)
        kept = weights > 1e-6
        return cls(covariance, scales[kept], weights[kept])


def merge_domains(a, b):
    """The domain of data of which parts lie in a and in b: a common box, equal measures, the only one there is, or None."""
    if a is None or b is None:
        return a or b
    if isinstance(a, Box) and isinstance(b, Box):
        return Box(np.minimum(a.low, b.low), np.maximum(a.high, b.high))
    first, second = a.to_arrays(), b.to_arrays()
    same = first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
    return a if same else None


def domain_from_arrays(arrays):
    """The domain whose `to_arrays` gave `arrays`; ValueError where they are not one."""
    try:
        kind = str(arrays["kind"])
        if kind == "box":
            return Box(arrays["low"], arrays["high"])
        if kind == "gaussian_mixture":
            return GaussianMixture(arrays["weights"], arrays["means"], arrays["covariances"])
    except KeyError as error:
        raise ValueError(f"not a domain: {error} is missing") from None
    raise ValueError(f"not a domain: unknown kind {kind!r}")
