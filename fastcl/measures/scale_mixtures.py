"""Gaussian scale mixtures and mixtures of them: the laws of centred patches, with heavy tails and fast posteriors."""

import numpy as np
import scipy

from ..backend import contiguous, kernel, product, to_host
from ..kernels.mixtures import LANES, MOMENT_PARTS
from ..validation import as_array, as_count, as_generator, as_points, as_vector
from .mixtures import CHUNK_ROWS, GaussianMixture

MIN_WEIGHT = 1e-12  # of a term, relative to their sum: a weight that a fit has driven to zero is kept at this
RIDGE = 1e-3  # share of the common covariance that a fit adds to every component's
NEIGHBOURS = 3000  # points that a component starts from
SEEN = 60_000  # points that they are looked for among
RADII = 2000  # nodes of the table of the radial transform


class MixtureOfScaleMixtures(GaussianMixture):
    """A mixture of centred Gaussians of random size: ``sum_kj weight_kj N(0, scale_j^2 covariance_k)``.

    Parameters
    ----------
    covariances : array (K, d, d)
        Symmetric positive definite, in units of x squared.
    scales : array (J,)
        Above zero, shared by the components.
    weights : array (K, J)
        Not negative; normalised to sum to 1.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, scales not above zero, weights below zero or all zero, covariances
        that are not positive definite.

    Notes
    -----
    Guerrero-Colon, Simoncelli and Portilla, "Image denoising using mixtures of Gaussian scale mixtures", ICIP 2008.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> shapes = [[[4.0, 0.0], [0.0, 0.01]], [[0.01, 0.0], [0.0, 4.0]]]
    >>> cross = fastcl.MixtureOfScaleMixtures(shapes, [1.0, 3.0], np.ones((2, 2)))
    >>> cross.posterior_mean(np.array([[5.0, 1.0]]), np.array([1.0, 1.0])).round(2)
    array([[4.66, 0.07]])
    """

    def __init__(self, covariances, scales, weights):
        self.scales = as_vector(scales, "scales")
        if not (self.scales > 0).all():
            raise ValueError("scales must be above zero")
        shapes = as_array(covariances, "covariances").astype(np.float64)
        if shapes.ndim != 3 or shapes.shape[1] != shapes.shape[2] or shapes.size == 0:
            raise ValueError(f"covariances must have shape (K, d, d), got {shapes.shape}")
        weights = as_array(weights, "weights").astype(np.float64)
        if weights.shape != (len(shapes), self.scales.size):
            raise ValueError(
                f"weights must have shape {(len(shapes), self.scales.size)}, got {weights.shape}"
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError("weights must be finite and not negative")
        self.shapes = shapes
        if (
            abs(weights.sum() - 1) > 2 * weights.size * MIN_WEIGHT
        ):  # weights read back from a file keep their bits
            weights = weights / weights.sum()
        self.shape_weights = np.maximum(weights, MIN_WEIGHT)
        terms = (self.scales[:, None, None] ** 2 * shapes[:, None]).reshape(-1, *shapes.shape[1:])
        super().__init__(self.shape_weights.ravel(), np.zeros(terms.shape[:2]), terms)

    def __repr__(self):
        return f"MixtureOfScaleMixtures(k={len(self.shapes)}, scales={self.scales.size}, dim={self.dim})"

    @classmethod
    def fit(cls, x, n_components=20, n_scales=10, n_iter=20, rng=None):
        """Fit to centred points x (n, d) by expectation-maximisation.

        The scales are spread geometrically over the radii of the points; a component starts from the directions
        nearest to that of a random point. Memory: K times J numbers for 16384 points.
        """
        x = as_points(x, "x")
        n_components, n_iter = as_count(n_components, "n_components"), as_count(n_iter, "n_iter")
        rng = as_generator(rng)
        common, scales = _common_scales(x, as_count(n_scales, "n_scales"))
        if n_components == 1:
            shapes = common[None]
        else:
            white = product(x[:SEEN], np.linalg.inv(np.linalg.cholesky(common)).T)
            lengths = np.linalg.norm(white, axis=1)
            use = lengths > 0
            directions, seen = white[use] / lengths[use, None], x[:SEEN][use] / lengths[use, None]
            chosen = directions[
                rng.choice(len(directions), n_components, replace=len(directions) < n_components)
            ]
            shapes = []
            for cosines in np.abs(product(directions, chosen.T)).T:
                near = seen[np.argsort(-cosines, kind="stable")[:NEIGHBOURS]]
                shapes.append(x.shape[1] * product(near.T, near) / len(near) + 0.05 * common)
        shapes, weights = np.array(shapes), np.ones((n_components, scales.size))
        for _ in range(n_iter):
            shapes, weights = cls(shapes, scales, weights)._maximise(x, common)
        return cls(shapes, scales, weights)

    def _maximise(self, x, common):
        """(covariances, weights) after one step of expectation-maximisation on x (n, d)."""
        weights, moments = self._statistics(x)
        return _shapes_of(weights, moments, common), weights

    def _statistics(self, x):
        """What a fit needs to know of x (n, d): expected counts of the terms (K, J), and second moments (K, d, d) of the
        points over the scales, summed with the probabilities of the components."""
        weights, moments = np.zeros(self.shape_weights.shape), np.zeros(self.shapes.shape)
        for start in range(0, len(x), CHUNK_ROWS):
            chunk = x[start : start + CHUNK_ROWS]
            shares, padded = self._shares(chunk)[0], _padded(chunk, x.dtype)
            weights += shares.sum(axis=0, dtype=np.float64)
            partial = np.empty((len(moments), MOMENT_PARTS, *padded.shape[1:] * 2))
            kernel("mixture_moments", like=x)(padded, self._pulls(shares), partial)
            moments += partial.sum(axis=1)[:, : self.dim, : self.dim]
        return weights, moments

    def _shares(self, x):
        """(posterior probabilities (n, K, J) of the terms, log-density (n,)) for one chunk x (n, d)."""
        shares = np.empty((len(x), *self.shape_weights.shape), x.dtype, like=x)
        log_density = np.empty(len(x), x.dtype, like=x)
        kernel("mixture_responsibilities", like=x)(
            contiguous(x, x.dtype), *self._factors(x), shares, log_density
        )
        return shares, log_density

    def _pulls(self, shares):
        """(K, n): the factor of each inverse covariance in minus the gradient of the log-density, from its shares."""
        flat = shares.reshape(-1, self.scales.size)
        return product(flat, self.scales[:, None] ** -2.0).reshape(len(shares), -1).T

    def _factors(self, like):
        """(bases, precisions, constants) that `mixture_responsibilities` reads, kept for every type and place of points."""
        dtype = like.dtype

        def make():
            roots = np.linalg.cholesky(self.shapes)
            determinants = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
            constants = (
                np.log(self.shape_weights)
                - (determinants[:, None] + self.dim * np.log(2 * np.pi)) / 2
            )
            constants -= self.dim * np.log(self.scales)
            precisions = np.broadcast_to(
                self.scales[:, None] ** -2.0, (len(roots), self.scales.size, self.dim)
            )
            bases = np.linalg.inv(roots).swapaxes(1, 2)
            return _padded(bases, dtype), _padded(precisions, dtype), constants.astype(dtype)

        return self._cache(like, f"terms in {dtype}", make)

    def log_density(self, x):
        """Log-density, (n,)."""
        return self._by_chunks(x, lambda chunk: self._shares(chunk)[1])

    def _energy_parts(self, x):
        shares, log_density = self._shares(x)
        gradient, curvature = np.zeros(x.shape, like=x), np.zeros(x.shape, like=x)
        for pull, basis in zip(self._pulls(shares), self._factors(x)[0], strict=True):
            precision = product(basis, basis.T)
            gradient += pull[:, None] * product(x, precision)
            curvature += pull[:, None] * np.diag(precision)
        return -log_density, gradient, curvature

    def posterior_mean(self, y, noise):
        """E[x | y] in closed form, (n, d), for y = x + N(0, diag(noise^2)) and noise (d,); in the type of y."""
        y = as_points(y, "y", self.dim)
        out = np.empty_like(y)
        kernel("mixture_means", like=y)(y, *self._mean_factors(y, to_host(noise)), out)
        return out

    def _mean_factors(self, like, noise):
        """(bases, precisions, constants, gains, inverses) that `mixture_means` reads, kept for the next points: in the basis of
        a component its covariance is diagonal, with the given values, and that of the noise is the identity."""
        dtype = like.dtype

        def make():
            values, vectors = np.linalg.eigh(self.shapes / (noise[:, None] * noise))
            variances = self.scales[:, None] ** 2 * np.maximum(values, 0)[:, None, :]
            precisions = 1 / (1 + variances)
            constants = np.log(self.shape_weights) + np.log(precisions).sum(axis=2) / 2
            bases, inverses = vectors / noise[:, None], vectors.swapaxes(1, 2) * noise
            inverses = _padded(_padded(inverses, dtype).swapaxes(1, 2), dtype).swapaxes(1, 2)
            precisions, gains = _padded(precisions, dtype), _padded(variances * precisions, dtype)
            return (
                _padded(bases, dtype),
                precisions,
                constants.astype(dtype),
                gains,
                np.ascontiguousarray(inverses),
            )

        return self._cache(like, f"means in {dtype}", make, noise.tobytes())

    def to_arrays(self):
        """What a file keeps of the measure: name -> array."""
        arrays = {"covariances": self.shapes, "scales": self.scales, "weights": self.shape_weights}
        return {"kind": "mixture_of_scale_mixtures", **arrays}


def _shapes_of(weights, moments, common):
    """The covariances (K, d, d) that the statistics of a fit give, with a ridge."""
    shapes = moments / np.maximum(weights.sum(axis=1), 1)[:, None, None]
    return (shapes + shapes.swapaxes(1, 2)) / 2 + RIDGE * common


def _padded(a, dtype):
    """`a` in `dtype` with zero columns added, up to the multiple that the kernels ask for."""
    return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, -a.shape[-1] % LANES)]).astype(dtype, order="C")


def _common_scales(x, n_scales):
    """(second moments (d, d) of x, n_scales scales spread over the radii that x has in these units)."""
    covariance = product(x.T, x).astype(np.float64) / len(x)
    values, vectors = np.linalg.eigh(covariance)
    if not values[0] > values[-1] * np.finfo(np.float64).eps * 10 * x.shape[1]:
        raise ValueError("x spans fewer dimensions than it has columns")
    radii = np.sqrt((product(x, vectors) ** 2 / values).mean(axis=1))
    low, high = np.quantile(radii, [0.002, 0.9995])
    return covariance, np.geomspace(
        max(low, 1e-3 * high), high, n_scales
    ) if n_scales > 1 else np.ones(1)


class GaussianScaleMixture(MixtureOfScaleMixtures):
    """A Gaussian of random size: ``sum_j weight_j N(0, scale_j^2 covariance)``; heavy tails, as image patches have.

    Parameters
    ----------
    covariance : array (d, d)
        Symmetric positive definite.
    scales, weights : array (J,)
        Above zero; the weights are normalised to sum to 1.

    Raises
    ------
    TypeError, ValueError
        As `MixtureOfScaleMixtures`; a weight of zero.

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
        covariance = as_array(covariance, "covariance").astype(np.float64)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"covariance must be square, got shape {covariance.shape}")
        weights = as_vector(weights, "weights")
        if not (weights > 0).all():
            raise ValueError("weights must be above zero")
        super().__init__(covariance[None], scales, weights[None])
        self.covariance = covariance

    def __repr__(self):
        return f"GaussianScaleMixture(scales={self.scales.size}, dim={self.dim})"

    @classmethod
    def fit(cls, x, n_scales=12, n_iter=60):
        """Fit to centred points x (n, d) by expectation-maximisation: the covariance, and the weights of fixed scales.

        The scales are spread geometrically over the radii of the points. A subsample of some thousand points is enough.
        """
        mixture = MixtureOfScaleMixtures.fit(x, 1, n_scales, n_iter, rng=0)
        kept = mixture.shape_weights[0] > 1e-6
        return cls(mixture.shapes[0], mixture.scales[kept], mixture.shape_weights[0, kept])

    def gaussianise(self, x):
        """T(x), (n, d), which follows N(0, I) where x follows this law.

        The points are made white, and their radius r becomes the one that a standard normal vector exceeds as often as
        this law exceeds r: ``T(x) = v / |v| F_chi^-1(F(|v|))``, ``v = W^T x``, ``W W^T`` the inverse covariance.
        """

        def stretch(chunk):
            whitening, _, table, _ = self._radial(chunk)
            return _stretch(product(chunk, whitening), table)

        return self._by_chunks(x, stretch)

    def degaussianise(self, u):
        """The points x (n, d) with ``gaussianise(x) = u``."""

        def stretch(chunk):
            _, roots, _, inverse = self._radial(chunk)
            return product(_stretch(chunk, inverse), roots.T)

        return self._by_chunks(u, stretch)

    def pull_back(self, x, gradient):
        """The gradient (n, d) in x of a function of T(x), from its gradient (n, d) in T(x)."""
        x = as_points(x, "x", self.dim)
        whitening, _, table, _ = self._radial(x)
        v = product(x.astype(np.float64), whitening)
        radius = np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        log_radius = np.log(radius)
        value, slope = _interpolate(table, log_radius)  # d log T / d log r
        outwards = v / radius
        along = (outwards * gradient).sum(axis=1, keepdims=True)
        stretched = np.exp(value - log_radius) * (gradient + (slope - 1) * along * outwards)
        return product(stretched, whitening.T).astype(x.dtype)

    def _radial(self, like):
        """(W, the Cholesky factor of the covariance, table of log radius of x -> log radius of T(x), and of the way back), where
        `like` is; a table has the nodes of a piecewise cubic in its first row and the coefficients below."""

        def make():
            weights, dim, roots = self.weights, self.dim, np.linalg.cholesky(self.covariance)
            r = np.geomspace(1e-4 * self.scales.min(), 40 * np.sqrt(dim) * self.scales.max(), RADII)
            ratios = (r[:, None] / self.scales) ** 2
            below = scipy.special.logsumexp(scipy.stats.chi2.logcdf(ratios, dim), b=weights, axis=1)
            above = scipy.special.logsumexp(scipy.stats.chi2.logsf(ratios, dim), b=weights, axis=1)
            kept = (
                np.minimum(below, above) > -600
            )  # beyond, the probabilities leave the range of floats
            below, above, r = below[kept], above[kept], r[kept]
            t = np.where(
                below < above,
                scipy.stats.chi.ppf(np.exp(below), dim),
                scipy.stats.chi.isf(np.exp(above), dim),
            )
            kept = (
                np.concatenate([[True], np.diff(np.maximum.accumulate(t)) > 1e-12 * t[1:]])
                & np.isfinite(t)
                & (t > 0)
            )
            log_r, log_t = np.log(r[kept]), np.log(t[kept])
            tables = [
                _table(scipy.interpolate.PchipInterpolator(*ends))
                for ends in ((log_r, log_t), (log_t, log_r))
            ]
            return np.linalg.inv(roots).T, roots, *tables

        return self._cache(like, "radial", make)

    def to_arrays(self):
        """What a file keeps of the measure: name -> array."""
        arrays = {
            "covariance": self.covariance,
            "scales": self.scales,
            "weights": self.shape_weights[0],
        }
        return {"kind": "gaussian_scale_mixture", **arrays}


def _table(cubic):
    """The nodes (1, n) and coefficients (4, n), highest powers first, of a piecewise cubic with n - 1 pieces."""
    return np.vstack([cubic.x, np.pad(cubic.c, [(0, 0), (0, 1)])])


def _interpolate(table, value):
    """(values, slopes) of a cubic of `_table`; beyond its ends the slope is 1, the limit of the radial map."""
    nodes = table[0]
    inside = np.clip(value, nodes[0], nodes[-1])
    piece = np.clip(np.searchsorted(nodes, inside, side="right") - 1, 0, len(nodes) - 2)
    start, cube, square, slope, constant = (row[piece] for row in table)
    rest = inside - start
    values = ((cube * rest + square) * rest + slope) * rest + constant
    return values + (value - inside), np.where(
        inside == value, (3 * cube * rest + 2 * square) * rest + slope, 1
    )


def _stretch(v, table):
    """v (n, d) with its log-radii sent through `table`."""
    log_radius = np.log(
        np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    )
    return v * np.exp(_interpolate(table, log_radius)[0] - log_radius)
