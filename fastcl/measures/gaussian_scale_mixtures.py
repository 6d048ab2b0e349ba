"""Gaussian scale mixtures, and the map under which they become standard normal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import product
from ..files import Arrays
from ..validation import as_array, as_points, as_vector
from .mixtures import too_far
from .pointwise import OVERFLOW
from .radial_map import map_radii, pull_back, radial_tables
from .scale_mixtures import MixtureOfScaleMixtures


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
        return self._weights[0]

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
