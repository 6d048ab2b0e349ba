"""Gaussian scale mixtures and mixtures of them: heavy-tailed, with fast posteriors.

Their distribution is ``sum_kj weight_kj N(0, scale_j^2 C_k)``: a point is a Gaussian vector with
one of K covariances, multiplied by one of J scales; centred image patches nearly follow such a
distribution. In a basis that diagonalises both C_k and the noise, all scales of a component share
one projection. The last coordinates, the tail, may be independent within a component: those along
minor principal axes nearly are, and need no projection.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import contiguous, kernel, product, to_device_of
from ..files import Arrays
from ..kernels.mixtures import MOMENT_PARTS
from ..progress import progress_bar
from ..validation import (
    as_array,
    as_count,
    as_generator,
    as_noise_level,
    as_points,
    as_positive,
    as_vector,
    check_lengths,
)
from .mixtures import CHUNK_ROWS, GaussianTerms, roots_of, too_far
from .pointwise import OVERFLOW
from .scale_mixture_noise import (
    common_without_noise,
    maximise_without_noise,
    scales_without_noise,
    tails_without_noise,
)
from .scale_mixture_starts import check_centred, common_scales, first_covariances, pad_columns

MIN_WEIGHT = 1e-12  # smallest weight of a term, because a fit may drive weights to zero
MAX_EXCESS = 4  # largest ratio of a tail's most likely variance to the one that keeps the energy
PRIOR_SHARE = 1e-3  # weight of the pooled tail, relative to that of an average component
RIDGE = 1e-3  # share of the common covariance that a fit adds to the covariance of each component


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
    tails : array (K, t), optional
        Variances of t further coordinates, in units of x squared. A component has these on the
        diagonal of its covariance, after C_k, and zeros beside them.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, scales not above zero, weights below
        zero or all zero, covariances that are not positive definite, tails not above zero.

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

    def __init__(
        self,
        covariances: ArrayLike,
        scales: ArrayLike,
        weights: ArrayLike,
        tails: ArrayLike | None = None,
    ) -> None:
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
        self._tails = _as_tails(tails, len(covariances))
        self._weights = np.maximum(weights, MIN_WEIGHT)
        for scale in (self.scales.min(), self.scales.max()):
            roots_of(scale**2 * covariances)
            if self._tails.size:
                check_lengths(scale * np.sqrt(self._tails), "standard deviations")
        dim = covariances.shape[1] + self._tails.shape[1]
        self._set_terms(self._weights.ravel(), np.zeros((self._weights.size, dim)))

    @cached_property
    def term_covariances(self) -> NDArray:  # type: ignore[override]
        """Covariances of the terms, (K J, d + t, d + t)."""
        head = self.head_dim
        whole = np.zeros((len(self._covariances), self.dim, self.dim))
        whole[:, :head, :head] = self._covariances
        tail = np.arange(head, self.dim)
        whole[:, tail, tail] = self._tails
        terms = self.scales[:, None, None] ** 2 * whole[:, None]
        return terms.reshape(-1, *whole.shape[1:])

    @cached_property
    def _roots(self) -> NDArray:  # type: ignore[override]
        return np.linalg.cholesky(self.term_covariances)

    @property
    def head_dim(self) -> int:
        """Number d of coordinates before the tail."""
        return self._covariances.shape[1]

    @property
    def covariances(self) -> NDArray:
        """C_k, (K, d, d)."""
        return self._covariances

    @property
    def tails(self) -> NDArray:
        """Variances of the coordinates of the tail, (K, t)."""
        return self._tails

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
        n_tail: int = 0,
        noise: ArrayLike | None = None,
    ) -> MixtureOfScaleMixtures:
        """Fit to centred points x (n, d + t) by expectation-maximisation.

        The scales are fixed, spread geometrically over the radii of the points. Each component
        starts from the points whose directions are closest to that of a point chosen at random.
        Memory: K J numbers for each of 16384 points.

        Parameters
        ----------
        x : array (n, d + t)
        n_components, n_scales : int
            K and J.
        n_iter : int
            Number of steps of expectation-maximisation.
        rng : int or numpy.random.Generator, optional
        progress : bool
            Whether to show a progress bar, if tqdm is installed.
        n_tail : int
            Number t of columns at the end that are the tail, which is fitted last.
        noise : float or array (d + t,), optional
            Standard deviation of Gaussian noise in x, in all columns or in each: the mixture is
            that of the points without it.

        Raises
        ------
        TypeError, ValueError
            x not finite, empty, with a mean ten standard deviations from zero, or with columns that
            follow from others; a count below 1; a tail of all columns; noise not above zero.
        """
        x = as_points(x, "x")
        if x.any():
            check_lengths(np.abs(x).max(), "the largest magnitude in x", x.dtype)
        n_components = as_count(n_components, "n_components")
        n_iter = as_count(n_iter, "n_iter")
        rng = as_generator(rng)
        head = x.shape[1] - as_count(n_tail, "n_tail", least=0)
        if head < 1:
            raise ValueError(f"n_tail must be below the number of columns, {x.shape[1]}")
        check_centred(x)
        heads = np.ascontiguousarray(x[:, :head])
        common, scales = common_scales(heads, as_count(n_scales, "n_scales"))
        covariances = first_covariances(heads, common, n_components, rng)
        if noise is not None:
            noise = as_noise_level(noise, x.shape[1], "noise")
            check_lengths(noise, "noise", x.dtype)
            common, scales = (
                common_without_noise(common, noise[:head]),
                scales_without_noise(scales),
            )
        weights = np.ones((n_components, scales.size))
        with progress_bar(progress, n_iter, "mixture", "step") as bar:
            for _ in range(n_iter):
                mixture = MixtureOfScaleMixtures(covariances, scales, weights)
                if noise is None:
                    covariances, weights = mixture._maximise(heads)
                else:
                    covariances, weights = maximise_without_noise(mixture, heads, noise[:head])
                covariances = (covariances + covariances.swapaxes(1, 2)) / 2 + RIDGE * common
                bar.update(1)
        tails = None
        if n_tail:
            mixture = MixtureOfScaleMixtures(covariances, scales, weights)
            tails = (
                mixture._tails_of(x) if noise is None else tails_without_noise(mixture, x, noise)
            )
            if not (tails > 0).all():
                raise ValueError("x has columns of its tail that are zero: drop them")
        return cls(covariances, scales, weights, tails)

    def _maximise(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """(covariances, weights) after one step of expectation-maximisation on x (n, d)."""
        weights, moments = self._statistics(x)
        return moments / np.maximum(weights.sum(axis=1), 1)[:, None, None], weights

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
            padded = pad_columns(chunk, x.dtype)
            weights += responsibilities.sum(axis=0, dtype=np.float64)
            partial = np.empty((len(moments), MOMENT_PARTS, *padded.shape[1:] * 2))
            precision_weights = self._precision_weights(responsibilities)
            kernel("mixture_moments", like=x)(padded, precision_weights, partial)
            moments += partial.sum(axis=1)[:, : self.dim, : self.dim]
        return weights, moments

    @np.errstate(under="ignore")
    def _tails_of(self, x: NDArray) -> NDArray:
        """Variances (K, t) of the columns of x (n, d + t) after those of this mixture.

        The responsibilities are those of the first d columns alone: a component stands for a shape
        of these, and the tail would outvote them. The variances are those of greatest likelihood,
        which divides each point by its scale, so that noise on the points of the smallest scales
        may dominate: MAX_EXCESS bounds them relative to those with which a component has as much
        energy in its tail as its points have. A component with few points is shrunk towards the
        average of all.
        """
        powers = np.stack((np.ones_like(self.scales), self.scales**2), axis=1)
        sizes = np.zeros((2, len(self._weights), 1))  # likelihood, energy
        squares = np.zeros((2, len(self._weights), x.shape[1] - self.dim))
        for start in range(0, len(x), CHUNK_ROWS):
            head, tail = np.split(x[start : start + CHUNK_ROWS], [self.dim], axis=1)
            responsibilities = self._responsibilities(head)[0]
            sizes[..., 0] += (responsibilities.sum(axis=0, dtype=np.float64) @ powers).T
            shares = self._precision_weights(responsibilities), responsibilities.sum(axis=2).T
            squares += [product(share, np.square(tail)) for share in shares]
        few = PRIOR_SHARE * sizes.mean(axis=1, keepdims=True)
        squares += few * squares.sum(axis=1, keepdims=True) / sizes.sum(axis=1, keepdims=True)
        likeliest, energetic = squares / (sizes + few)
        return np.minimum(likeliest, MAX_EXCESS * energetic)

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
        """What `mixture_responsibilities` needs besides the points, cached."""
        dtype = like.dtype

        def make() -> tuple[NDArray, ...]:
            roots = np.linalg.cholesky(self._covariances)
            determinants = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
            determinants += np.log(self._tails).sum(axis=1)
            constants = np.log(self._weights)
            constants -= (determinants[:, None] + self.dim * np.log(2 * np.pi)) / 2
            constants -= self.dim * np.log(self.scales)
            inverse_squares = self.scales[:, None] ** -2.0
            shape = (len(roots), self.scales.size, self.head_dim)
            precisions = np.broadcast_to(inverse_squares, shape)
            return (
                pad_columns(np.linalg.inv(roots).swapaxes(1, 2), dtype),
                pad_columns(precisions, dtype),
                pad_columns(inverse_squares / self._tails[:, None], dtype),
                constants.astype(dtype),
            )

        return self._cache(like, f"terms in {dtype}", make)

    def log_density(self, x: ArrayLike) -> NDArray:
        """Log-density, (n,), for x (n, d)."""
        return self._by_chunks(x, lambda chunk: self._responsibilities(chunk)[1])

    def _energy_parts(self, x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        responsibilities, log_density = self._responsibilities(x)
        gradient, curvature = np.zeros(x.shape, like=x), np.zeros(x.shape, like=x)
        head, weights = self.head_dim, self._precision_weights(responsibilities)
        for weight, basis in zip(weights, self._factors(x)[0], strict=True):
            precision = product(basis, basis.T)
            gradient[:, :head] += weight[:, None] * product(x[:, :head], precision)
            curvature[:, :head] += weight[:, None] * np.diag(precision)
        curvature[:, head:] = product(weights.T, to_device_of(1 / self._tails, x))
        gradient[:, head:] = curvature[:, head:] * x[:, head:]
        return -log_density, gradient, curvature

    @np.errstate(under="ignore", **OVERFLOW)
    def posterior_mean(self, y: ArrayLike, noise: ArrayLike, level: float = 1.0) -> NDArray:
        """E[x | y] (n, d + t) for y = x + level N(0, diag(noise^2)).

        noise is (d + t,), or a number; or else the covariance (d + t, d + t) of the noise, which
        then counts as independent along the tail. The expensive factors depend on `noise` alone,
        and are cached between calls at different levels.
        """
        y = as_points(y, "y", self.dim)
        level = as_positive(level, "level")
        check_lengths(np.array([level]), "level")
        if type(noise) is not np.ndarray or noise.shape != (self.dim, self.dim):
            noise = as_noise_level(noise, self.dim, "noise")
            check_lengths(noise * level, "noise")
        elif not (np.isfinite(noise).all() and (np.diag(noise) > 0).all()):
            raise ValueError("noise must be finite, with variances above zero")
        out = np.empty_like(y)
        kernel("mixture_means", like=y)(y, *self.mean_factors(y, noise, level), out)
        if not np.isfinite(out).all():
            raise too_far("y", y.dtype)
        return out

    def mean_factors(self, like: NDArray, noise: NDArray, level: float) -> tuple[NDArray, ...]:
        """What `mixture_means` needs besides the points, cached."""
        bases, inverses, values, tail_noise = self.noise_bases(like, noise)
        dtype = like.dtype

        def make() -> tuple[NDArray, ...]:
            variances = self.scales[:, None] ** 2 * np.maximum(values, 0)[:, None, :] / level**2
            precisions = 1 / (1 + variances)
            tails = self.scales[:, None] ** 2 * self._tails[:, None, :]
            tail_variances = tail_noise * level**2
            constants = np.log(self._weights) + np.log(precisions).sum(axis=2) / 2
            constants += np.log(tail_variances / (tails + tail_variances)).sum(axis=2) / 2
            return (
                pad_columns(precisions / level**2, dtype),
                pad_columns(1 / (tails + tail_variances), dtype),
                constants.astype(dtype),
                pad_columns(variances * precisions, dtype),
                pad_columns(tails / (tails + tail_variances), dtype),
            )

        key = (level, noise.ndim, noise.tobytes())
        return bases, *self._cache(like, f"means in {dtype}", make, key), inverses

    def noise_bases(
        self, like: NDArray, noise: NDArray
    ) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """(bases (K, d, p), their inverses (K, p, p), variances (K, d), variances (t,)), cached.

        In the basis of a component, its covariance is diagonal, with these variances, and that of
        the noise is I; the noise of the tail has the others. `noise` is (d + t,), standard
        deviations, or (d + t, d + t), their covariance.
        """
        head, key = self.head_dim, (noise.ndim, noise.tobytes())

        def decompose() -> tuple[NDArray, ...]:
            if noise.ndim == 1:
                stds, tail_noise = noise[:head], noise[head:] ** 2
                values, vectors = np.linalg.eigh(self._covariances / (stds[:, None] * stds))
                return vectors / stds[:, None], vectors.swapaxes(1, 2) * stds, values, tail_noise
            root, tail_noise = np.linalg.cholesky(noise[:head, :head]), np.diag(noise)[head:]
            whitening = np.linalg.inv(root)
            values, vectors = np.linalg.eigh(whitening @ self._covariances @ whitening.T)
            return whitening.T @ vectors, vectors.swapaxes(1, 2) @ root.T, values, tail_noise

        # On the host, whatever `like` is on.
        bases, inverses, values, tail_noise = self._cache(self.scales, "noise", decompose, key)

        def make() -> tuple[NDArray, NDArray]:
            padded = pad_columns(bases, like.dtype)
            square = np.zeros((len(bases), *padded.shape[2:] * 2), like.dtype)
            square[:, :head, :head] = inverses
            return padded, square

        padded, square = self._cache(like, f"bases in {like.dtype}", make, key)
        return padded, square, values, tail_noise

    def complete(self, head: ArrayLike, rng: Any = None) -> NDArray:
        """Points (n, d + t): `head` (n, d), and a tail drawn from its distribution given the head.

        On the host.

        Raises
        ------
        TypeError, ValueError
            A head of another dimension than d, or not finite.
        """
        head, rng = as_points(head, "head", self.head_dim), as_generator(rng)
        marginal = MixtureOfScaleMixtures(self._covariances, self.scales, self._weights)
        stds = self.scales[:, None] * np.sqrt(self._tails)[:, None]  # (K, J, t)
        stds = stds.reshape(self._weights.size, -1).astype(head.dtype)
        points = np.empty((len(head), self.dim), head.dtype)
        points[:, : self.head_dim] = head
        for start in range(0, len(head), CHUNK_ROWS):
            chunk = points[start : start + CHUNK_ROWS]
            responsibilities = marginal._responsibilities(chunk[:, : self.head_dim])[0]
            cumulative = responsibilities.reshape(len(chunk), -1).cumsum(axis=1, dtype=np.float64)
            levels = rng.random(len(chunk)) * cumulative[:, -1]
            term = np.minimum((cumulative < levels[:, None]).sum(axis=1), len(stds) - 1)
            normals = rng.standard_normal((len(chunk), stds.shape[1]), dtype=head.dtype)
            chunk[:, self.head_dim :] = stds[term] * normals
        return points

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {
            "covariances": self._covariances,
            "scales": self.scales,
            "weights": self._weights,
        } | ({"tails": self._tails} if self._tails.size else {})

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> MixtureOfScaleMixtures:
        """The mixture whose `to_arrays` gave `arrays`."""
        tails = arrays.get("tails")
        return cls(arrays["covariances"], arrays["scales"], arrays["weights"], tails)


def _as_tails(tails: ArrayLike | None, components: int) -> NDArray[np.float64]:
    """Checked variances (K, t) of a tail, without columns if there is none."""
    if tails is None:
        return np.empty((components, 0))
    array = as_array(tails, "tails").astype(np.float64)
    if array.ndim != 2 or len(array) != components:
        raise ValueError(f"tails must have shape ({components}, t), got {array.shape}")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError("tails must be finite and above zero")
    return array
