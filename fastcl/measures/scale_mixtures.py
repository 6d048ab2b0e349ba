"""Gaussian scale mixtures and mixtures of them: heavy-tailed, with fast posteriors.

Their distribution is ``sum_kj weight_kj N(0, scale_j^2 C_k)``: a point is a Gaussian vector with
one of K covariances, multiplied by one of J scales; centred image patches nearly follow such a
distribution. In a basis that diagonalises both C_k and the noise, all scales of a component share
one projection.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import contiguous, kernel, product, typical_rows
from ..files import Arrays
from ..kernels.mixtures import LANES, MOMENT_PARTS
from ..progress import progress_bar
from ..validation import (
    as_array,
    as_count,
    as_generator,
    as_noise_level,
    as_points,
    as_vector,
    check_lengths,
)
from .mixtures import CHUNK_ROWS, GaussianTerms, too_far
from .pointwise import OVERFLOW
from .radial_map import map_radii, pull_back, radial_tables

MIN_WEIGHT = 1e-12  # smallest weight of a term, because a fit may drive weights to zero
RIDGE = 1e-3  # share of the common covariance that a fit adds to the covariance of each component
MAX_OFFSET = 10  # standard deviations between the mean and zero, for points that count as centred
N_NEIGHBOURS = 3000  # points that give a component its first covariance
MAX_CANDIDATES = 60_000  # points among which these neighbours are sought


class MixtureOfScaleMixtures(GaussianTerms, kind="mixture_of_scale_mixtures"):
    """A mixture of centred Gaussians of random size: ``sum_kj weight_kj N(0, scale_j^2 C_k)``.

    Parameters
    ----------
    covariances : array (K, d, d)
        C_k, symmetric positive definite, in units of x squared.
    scales : array (J,)
        Above zero, shared by the components.
    weights : array (K, J)
        Not negative; normalised to sum to 1.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, scales not above zero, weights below
        zero or all zero, covariances that are not positive definite.

    Notes
    -----
    Guerrero-Colon, Simoncelli and Portilla, "Image denoising using mixtures of Gaussian scale
    mixtures", ICIP 2008.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> covariances = [[[4.0, 0.0], [0.0, 0.01]], [[0.01, 0.0], [0.0, 4.0]]]
    >>> cross = fastcl.MixtureOfScaleMixtures(covariances, [1.0, 3.0], np.ones((2, 2)))
    >>> cross.posterior_mean(np.array([[5.0, 1.0]]), np.array([1.0, 1.0])).round(2)
    array([[4.66, 0.07]])
    """

    def __init__(self, covariances: ArrayLike, scales: ArrayLike, weights: ArrayLike) -> None:
        self.scales = as_vector(scales, "scales").copy()
        if self.scales.size == 0 or not (self.scales > 0).all():
            raise ValueError("scales must be above zero, and at least one")
        check_lengths(self.scales, "scales")
        covariances = as_array(covariances, "covariances").astype(np.float64)
        square = covariances.ndim == 3 and covariances.shape[1] == covariances.shape[2]
        if not square or covariances.size == 0:
            raise ValueError(f"covariances must have shape (K, d, d), got {covariances.shape}")
        weights = as_array(weights, "weights").astype(np.float64)
        shape = (len(covariances), self.scales.size)
        if weights.shape != shape:
            raise ValueError(f"weights must have shape {shape}, got {weights.shape}")
        with np.errstate(over="ignore"):
            total = weights.sum()
        if not ((weights >= 0).all() and 0 < total < np.inf):
            raise ValueError("weights must be finite and not negative, and so must their sum")
        # Weights read back from a file stay exactly as they were saved.
        if abs(weights.sum() - 1) > 2 * weights.size * MIN_WEIGHT:
            weights = weights / weights.sum()
        self._covariances = covariances
        self._weights = np.maximum(weights, MIN_WEIGHT)
        terms = self.scales[:, None, None] ** 2 * covariances[:, None]
        terms = terms.reshape(-1, *covariances.shape[1:])
        super().__init__(self._weights.ravel(), np.zeros(terms.shape[:2]), terms)

    @property
    def covariances(self) -> NDArray:
        """C_k, (K, d, d)."""
        return self._covariances

    @property
    def weights(self) -> NDArray:
        """Weights of the terms, (K, J), which sum to 1."""
        return self._weights

    def __repr__(self) -> str:
        k, n_scales = self._weights.shape
        return f"MixtureOfScaleMixtures(k={k}, scales={n_scales}, dim={self.dim})"

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        n_components: int = 20,
        n_scales: int = 10,
        n_iter: int = 20,
        rng: Any = None,
        progress: bool = False,
    ) -> MixtureOfScaleMixtures:
        """Fit to centred points x (n, d) by expectation-maximisation.

        The scales are fixed, spread geometrically over the radii of the points. Each component
        starts from the points whose directions are closest to that of a point chosen at random.
        Memory: K J numbers for each of 16384 points.

        Parameters
        ----------
        x : array (n, d)
        n_components, n_scales : int
            K and J.
        n_iter : int
            Number of steps of expectation-maximisation.
        rng : int or numpy.random.Generator, optional
        progress : bool
            Whether to show a progress bar, if tqdm is installed.

        Raises
        ------
        TypeError, ValueError
            x not finite, empty, with a mean ten standard deviations from zero, or with columns that
            follow from others; a count below 1.
        """
        x = as_points(x, "x")
        if x.any():
            check_lengths(np.abs(x).max(), "the largest magnitude in x", x.dtype)
        n_components = as_count(n_components, "n_components")
        n_iter = as_count(n_iter, "n_iter")
        rng = as_generator(rng)
        common, scales = _common_scales(x, as_count(n_scales, "n_scales"))
        covariances = _first_covariances(x, common, n_components, rng)
        weights = np.ones((n_components, scales.size))
        with progress_bar(progress, n_iter, "mixture", "step") as bar:
            for _ in range(n_iter):
                covariances, weights = cls(covariances, scales, weights)._maximise(x, common)
                bar.update(1)
        return cls(covariances, scales, weights)

    def _maximise(self, x: NDArray, common: NDArray) -> tuple[NDArray, NDArray]:
        """(covariances, weights) after one step of expectation-maximisation on x (n, d)."""
        weights, moments = self._statistics(x)
        return _covariances_of(weights, moments, common), weights

    @np.errstate(under="ignore")
    def _statistics(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """Sufficient statistics of x (n, d) for a step of the fit.

        They are the expected counts of the terms (K, J), and the second moments (K, d, d) of points
        divided by their scales, weighted by the responsibilities of the components.
        """
        weights, moments = np.zeros(self._weights.shape), np.zeros(self._covariances.shape)
        for start in range(0, len(x), CHUNK_ROWS):
            chunk = x[start : start + CHUNK_ROWS]
            responsibilities = self._responsibilities(chunk)[0]
            padded = _padded(chunk, x.dtype)
            weights += responsibilities.sum(axis=0, dtype=np.float64)
            partial = np.empty((len(moments), MOMENT_PARTS, *padded.shape[1:] * 2))
            precision_weights = self._precision_weights(responsibilities)
            kernel("mixture_moments", like=x)(padded, precision_weights, partial)
            moments += partial.sum(axis=1)[:, : self.dim, : self.dim]
        return weights, moments

    def _responsibilities(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """(posterior probabilities (n, K, J) of the terms, log-density (n,)) for a chunk (n, d)."""
        responsibilities = np.empty((len(x), *self._weights.shape), x.dtype, like=x)
        log_density = np.empty(len(x), x.dtype, like=x)
        kernel("mixture_responsibilities", like=x)(
            contiguous(x, x.dtype), *self._factors(x), responsibilities, log_density
        )
        return responsibilities, log_density

    def _precision_weights(self, responsibilities: NDArray) -> NDArray:
        """Weights (K, n) of C_k^-1 x_i in the negative gradient of the log-density at x_i."""
        flat = responsibilities.reshape(-1, self.scales.size)
        weighted = product(flat, self.scales[:, None] ** -2.0)
        return weighted.reshape(len(responsibilities), -1).T

    def _factors(self, like: NDArray) -> tuple[NDArray, ...]:
        """(bases, precisions, constants) for `mixture_responsibilities`, cached."""
        dtype = like.dtype

        def make() -> tuple[NDArray, ...]:
            roots = np.linalg.cholesky(self._covariances)
            determinants = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
            constants = np.log(self._weights)
            constants -= (determinants[:, None] + self.dim * np.log(2 * np.pi)) / 2
            constants -= self.dim * np.log(self.scales)
            shape = (len(roots), self.scales.size, self.dim)
            precisions = np.broadcast_to(self.scales[:, None] ** -2.0, shape)
            bases = np.linalg.inv(roots).swapaxes(1, 2)
            return _padded(bases, dtype), _padded(precisions, dtype), constants.astype(dtype)

        return self._cache(like, f"terms in {dtype}", make)

    def log_density(self, x: ArrayLike) -> NDArray:
        """Log-density, (n,), for x (n, d)."""
        return self._by_chunks(x, lambda chunk: self._responsibilities(chunk)[1])

    def _energy_parts(self, x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        responsibilities, log_density = self._responsibilities(x)
        gradient, curvature = np.zeros(x.shape, like=x), np.zeros(x.shape, like=x)
        pairs = zip(self._precision_weights(responsibilities), self._factors(x)[0], strict=True)
        for weight, basis in pairs:
            precision = product(basis, basis.T)
            gradient += weight[:, None] * product(x, precision)
            curvature += weight[:, None] * np.diag(precision)
        return -log_density, gradient, curvature

    @np.errstate(under="ignore", **OVERFLOW)
    def posterior_mean(self, y: ArrayLike, noise: NDArray) -> NDArray:
        """E[x | y] (n, d) for y = x + N(0, diag(noise^2)).

        noise is (d,), or a number; or else the covariance (d, d) of the noise.
        """
        y = as_points(y, "y", self.dim)
        if type(noise) is not np.ndarray or noise.shape != (self.dim, self.dim):
            noise = as_noise_level(noise, self.dim, "noise")
            check_lengths(noise, "noise")
        out = np.empty_like(y)
        kernel("mixture_means", like=y)(y, *self._mean_factors(y, noise), out)
        if not np.isfinite(out).all():
            raise too_far("y", y.dtype)
        return out

    def _mean_factors(self, like: NDArray, noise: NDArray) -> tuple[NDArray, ...]:
        """(bases, precisions, constants, gains, inverses) for `mixture_means`, cached.

        In the basis of a component, its covariance is diagonal and that of the noise is I. `noise`
        is (d,), standard deviations, or (d, d), their covariance.
        """
        dtype = like.dtype

        def make() -> tuple[NDArray, ...]:
            if noise.ndim == 1:
                values, vectors = np.linalg.eigh(self._covariances / (noise[:, None] * noise))
                bases, inverses = vectors / noise[:, None], vectors.swapaxes(1, 2) * noise
            else:
                root = np.linalg.cholesky(noise)
                whitening = np.linalg.inv(root)
                values, vectors = np.linalg.eigh(whitening @ self._covariances @ whitening.T)
                bases, inverses = whitening.T @ vectors, vectors.swapaxes(1, 2) @ root.T
            variances = self.scales[:, None] ** 2 * np.maximum(values, 0)[:, None, :]
            precisions = 1 / (1 + variances)
            constants = np.log(self._weights) + np.log(precisions).sum(axis=2) / 2
            inverses = _padded(_padded(inverses, dtype).swapaxes(1, 2), dtype).swapaxes(1, 2)
            return (
                _padded(bases, dtype),
                _padded(precisions, dtype),
                constants.astype(dtype),
                _padded(variances * precisions, dtype),
                np.ascontiguousarray(inverses),
            )

        return self._cache(like, f"means in {dtype}", make, noise.tobytes())

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {
            "covariances": self._covariances,
            "scales": self.scales,
            "weights": self._weights,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> MixtureOfScaleMixtures:
        """The mixture whose `to_arrays` gave `arrays`."""
        return cls(arrays["covariances"], arrays["scales"], arrays["weights"])


def _first_covariances(
    x: NDArray, common: NDArray, n_components: int, rng: np.random.Generator
) -> NDArray:
    """First covariances (K, d, d) of a fit, each that of points with similar directions."""
    if n_components == 1:
        return common[None]
    x = typical_rows(x, MAX_CANDIDATES)
    white = product(x, np.linalg.inv(np.linalg.cholesky(common)).T)
    lengths = np.linalg.norm(white, axis=1)
    use = lengths > 0
    directions = white[use] / lengths[use, None]
    scaled = x[use] / lengths[use, None]
    replace = len(directions) < n_components
    chosen = directions[rng.choice(len(directions), n_components, replace=replace)]
    covariances = []
    for cosines in np.abs(product(directions, chosen.T)).T:
        near = scaled[np.argsort(-cosines, kind="stable")[:N_NEIGHBOURS]]
        covariances.append(x.shape[1] * product(near.T, near) / len(near) + 0.05 * common)
    return np.array(covariances)


def _covariances_of(weights: NDArray, moments: NDArray, common: NDArray) -> NDArray:
    """The covariances (K, d, d) that maximise the likelihood given the statistics, with a ridge."""
    covariances = moments / np.maximum(weights.sum(axis=1), 1)[:, None, None]
    return (covariances + covariances.swapaxes(1, 2)) / 2 + RIDGE * common


def _padded(a: NDArray, dtype: DTypeLike) -> NDArray:
    """`a` in `dtype`, with zero columns up to a multiple of LANES, as the kernels need it."""
    return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, -a.shape[-1] % LANES)]).astype(dtype, order="C")


def _check_centred(x: NDArray) -> None:
    """ValueError if x (n, d) is so far from zero that its second moments hide how it varies."""
    means = x.mean(axis=0, dtype=np.float64)
    stds = x.std(axis=0, dtype=np.float64)
    far = np.abs(means) > MAX_OFFSET * stds
    if far.any() and (stds > 0).all():
        raise ValueError(
            f"x is not centred: column {far.argmax()} has mean {means[far.argmax()]:.3g} "
            f"and standard deviation {stds[far.argmax()]:.3g}; subtract the means"
        )


@np.errstate(under="ignore")
def _common_scales(x: NDArray, n_scales: int) -> tuple[NDArray, NDArray]:
    """(second moments (d, d) of x, `n_scales` scales spread over the radii of whitened x)."""
    _check_centred(x)
    stds = np.sqrt(np.square(x, dtype=np.float64).mean(axis=0))
    for units in (np.ones_like(stds), np.where(stds > 0, stds, 1)):
        scaled = (x / units).astype(x.dtype)
        covariance = product(scaled.T, scaled).astype(np.float64) / len(x)
        values, vectors = np.linalg.eigh(covariance)
        if values[0] > values[-1] * np.finfo(np.float64).eps * 10 * x.shape[1]:
            break  # otherwise it may be the units that make a column look like none
    else:
        raise ValueError(
            "x spans fewer dimensions than it has columns: take more points, or drop columns that "
            "follow from others"
        )
    radii = np.sqrt((product(scaled, vectors) ** 2 / values).mean(axis=1))
    covariance *= units[:, None] * units
    low, high = np.quantile(radii, [0.002, 0.9995])
    if n_scales == 1:
        return covariance, np.ones(1)
    return covariance, np.geomspace(max(low, 1e-3 * high), high, n_scales)


class GaussianScaleMixture(MixtureOfScaleMixtures, kind="gaussian_scale_mixture"):
    """A Gaussian of random size: ``sum_j weight_j N(0, scale_j^2 C)``; its tails are heavy.

    Parameters
    ----------
    covariance : array (d, d)
        C, symmetric positive definite.
    scales, weights : array (J,)
        Above zero; the weights are normalised to sum to 1.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, scales or weights not above zero, a
        covariance that is not positive definite.

    Notes
    -----
    Portilla et al., "Image denoising using scale mixtures of Gaussians in the wavelet domain",
    IEEE TIP 2003.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.random.default_rng(0).standard_t(3, (10000, 1))
    >>> heavy = fastcl.GaussianScaleMixture.fit(x)
    >>> plain = fastcl.Gaussian([0.0], [[x.var()]])
    >>> bool(heavy.log_density(x).mean() > plain.log_density(x).mean() + 0.05)
    True
    """

    def __init__(self, covariance: ArrayLike, scales: ArrayLike, weights: ArrayLike) -> None:
        covariance = as_array(covariance, "covariance").astype(np.float64)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"covariance must be square, got shape {covariance.shape}")
        weights = as_vector(weights, "weights")
        if not (weights > 0).all():
            raise ValueError("weights must be above zero")
        super().__init__(covariance[None], scales, weights[None])
        self.covariance = covariance

    @property
    def weights(self) -> NDArray:
        """Weights of the scales, (J,), which sum to 1."""
        return self.term_weights

    def __repr__(self) -> str:
        return f"GaussianScaleMixture(scales={self.scales.size}, dim={self.dim})"

    @classmethod
    def fit(  # type: ignore[override]
        cls, x: ArrayLike, n_scales: int = 12, n_iter: int = 60
    ) -> GaussianScaleMixture:
        """Fit to centred points x (n, d) by expectation-maximisation.

        Only the covariance and the weights are fitted; the scales are spread geometrically over
        the radii of the points. A subsample of a few thousand points is enough. Errors are those
        of `MixtureOfScaleMixtures.fit`.
        """
        mixture = MixtureOfScaleMixtures.fit(x, 1, n_scales, n_iter, rng=0)
        weights = mixture.weights[0]
        kept = weights > 1e-6
        return cls(mixture.covariances[0], mixture.scales[kept], weights[kept])

    def gaussianise(self, x: ArrayLike) -> NDArray:
        """T(x), (n, d), which is standard normal if x follows this distribution.

        The points are whitened, ``v = W^T x`` with ``W W^T`` the inverse of C, and every radius is
        mapped to the quantile of the chi distribution with the same probability:
        ``T(x) = v / |v| F_chi^-1(F(|v|))``, where F is the distribution function of |v|.
        """

        def stretch(chunk: NDArray) -> NDArray:
            whitening, _, table, _ = self._radial(chunk)
            return map_radii(product(chunk, whitening), table)

        return self._by_chunks(x, stretch)

    def degaussianise(self, u: ArrayLike) -> NDArray:
        """The points x (n, d) with ``gaussianise(x) = u``."""

        def stretch(chunk: NDArray) -> NDArray:
            _, roots, _, inverse = self._radial(chunk)
            return product(map_radii(chunk, inverse), roots.T)

        return self._by_chunks(u, stretch, "u")

    @np.errstate(under="ignore", **OVERFLOW)
    def pull_back(self, x: ArrayLike, gradient: NDArray) -> NDArray:
        """Chain rule for T: the gradient (n, d) at x, from the gradient (n, d) at T(x)."""
        x, gradient = as_points(x, "x", self.dim), as_points(gradient, "gradient", self.dim)
        if len(gradient) != len(x):
            raise ValueError(f"gradient must have {len(x)} rows, one per point of x")
        whitening, _, table, _ = self._radial(x)
        v = product(x.astype(np.float64), whitening)
        pulled = product(pull_back(v, gradient, table), whitening.T).astype(x.dtype)
        if not np.isfinite(pulled).all():
            raise too_far("x or gradient", x.dtype)
        return pulled

    def _radial(self, like: NDArray) -> tuple[NDArray, ...]:
        """(W, Cholesky factor of C, table of the radial map, table of its inverse)."""

        def make() -> tuple[NDArray, ...]:
            roots = np.linalg.cholesky(self.covariance)
            return (
                np.linalg.inv(roots).T,
                roots,
                *radial_tables(self.scales, self.weights, self.dim),
            )

        return self._cache(like, "radial", make)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {"covariance": self.covariance, "scales": self.scales, "weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> GaussianScaleMixture:
        """The mixture whose `to_arrays` gave `arrays`."""
        return cls(arrays["covariance"], arrays["scales"], arrays["weights"])
