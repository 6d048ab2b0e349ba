"""Sketched k-means and Gaussian mixtures with scikit-learn's interface; needs the extra "sklearn".

Each estimator keeps a sketch of the data in its own units: centred, and divided by a standard
deviation. `partial_fit` adds points to the sketch, and it is decoded when a result is first asked
for (`learning.decoders`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from sklearn.base import (
        BaseEstimator,
        ClassNamePrefixFeaturesOutMixin,
        ClusterMixin,
        DensityMixin,
        TransformerMixin,
    )
    from sklearn.metrics import (
        pairwise_distances,
        pairwise_distances_argmin,
        pairwise_distances_argmin_min,
    )
    from sklearn.mixture import GaussianMixture
    from sklearn.utils import check_random_state, gen_batches
    from sklearn.utils.validation import check_is_fitted, validate_data
    from threadpoolctl import threadpool_limits
except ImportError as error:
    raise ImportError(f'scikit-learn is missing ({error}): pip install "fastcl[sklearn]"') from None

from .fourier.frequencies import draw_frequencies, estimate_scale
from .learning.decoders import decode_kmeans, decode_mixture
from .sketching.sketch import Sketch

if TYPE_CHECKING:
    from typing_extensions import Self

SUBSAMPLE = 5000  # points from which the units, the scale and the starting points are taken
CHUNK_ROWS = 1 << 16  # rows that are centred or scored at a time
FREQUENCIES = 10  # frequencies per component and dimension, by default
MARGIN = 1e-3  # by which the search box exceeds the data, in units of the sketch


def find_scale(rows: NDArray, rng: np.random.Generator) -> float:
    """`estimate_scale` of rows (n, d), or 1 if they are all equal."""
    return estimate_scale(rows, rng, of="clusters") if np.ptp(rows, axis=0).any() else 1.0


class SketchingEstimator(BaseEstimator):
    """What both estimators share: the units, the frequencies and the sketch."""

    m: int | None
    scale: float | None
    n_init: int
    random_state: Any
    sketch_: Sketch
    _decoder: ClassVar[Callable]

    def _count(self) -> int:
        """Number of atoms to find."""
        raise NotImplementedError

    def _find_unit(self, rows: NDArray) -> NDArray:
        """Units (d,) of the coordinates of the sketch, from centred rows (n, d)."""
        raise NotImplementedError

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Add the points X (n, d) to the sketch and return the estimator.

        The first call chooses the units and the frequencies.
        """
        first = not hasattr(self, "sketch_")
        points: NDArray = validate_data(self, X, dtype=(np.float64, np.float32), reset=first)
        if first:
            self._begin(points)
        self._add(points)
        return self

    def _begin(self, X: NDArray) -> None:
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        rows = X
        if len(X) > SUBSAMPLE:
            rows = X[np.sort(rng.choice(len(X), SUBSAMPLE, replace=False))]
        rows = rows.astype(np.float64)
        self._offset = rows.mean(axis=0).astype(X.dtype)
        rows -= self._offset
        self._unit = self._find_unit(rows)
        self._starts = rows / self._unit
        dim = X.shape[1]
        scale = find_scale(self._starts, rng) if self.scale is None else self.scale
        m = FREQUENCIES * self._count() * dim if self.m is None else self.m
        self.sketch_ = Sketch(draw_frequencies(m, dim, scale, "adapted_radius", rng))
        self._low = np.full(dim, np.inf)
        self._high = np.full(dim, -np.inf)
        self._seed = int(rng.integers(2**63))

    def _add(self, X: NDArray) -> None:
        for rows in gen_batches(len(X), CHUNK_ROWS):
            chunk = (X[rows] - self._offset) / self._unit.astype(X.dtype)
            self.sketch_.update(chunk)
            self._low = np.minimum(self._low, chunk.min(axis=0))
            self._high = np.maximum(self._high, chunk.max(axis=0))
        self._decoded = None

    def _decode(self) -> Any:
        """The result of the decoder, in units of the sketch; kept until points are added."""
        check_is_fitted(self, "sketch_")
        if self._decoded is None:
            low = self._low - MARGIN
            high = self._high + MARGIN
            # The matrices of L-BFGS-B are small: BLAS threads would spend several times as long
            # waiting for one another.
            with threadpool_limits(1, "blas"):
                self._decoded = self._decoder(
                    self.sketch_, self._count(), low, high, self._seed, self.n_init, self._starts
                )
        return self._decoded

    def _check(self, X: ArrayLike) -> NDArray:
        check_is_fitted(self, "sketch_")
        return validate_data(self, X, dtype=(np.float64, np.float32), reset=False)

    def _start_again(self, X: ArrayLike) -> None:
        self.__dict__.pop("sketch_", None)
        SketchingEstimator.partial_fit(self, X)._decode()


class SketchedKMeans(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, SketchingEstimator
):
    """k-means from a sketch, after a single pass over the data (arXiv 1610.08738).

    Parameters
    ----------
    n_clusters : int
    m : int, optional
        Number of frequencies; by default 10 n_clusters d, which usually suffices.
    scale : float, optional
        Length scale of the frequencies, in units of the root mean square standard deviation of the
        features; by default estimated from 5000 points.
    n_init : int
        Searches for each cluster width that `decode_kmeans` tries.
    compute_labels : bool
        Whether `fit` reads the data a second time to find `labels_`.
    random_state : int, RandomState or None

    Attributes
    ----------
    cluster_centers_ : array (n_clusters, d)
    weights_ : array (n_clusters,)
        Fraction of the points in every cluster.
    labels_ : array (n,)
    sketch_ : Sketch
        Of the centred data, divided by the root mean square standard deviation of the features;
        both the mean and the divisor come from 5000 points.
    n_features_in_ : int

    Notes
    -----
    Extra memory: a few chunks of 65536 rows, and what `decode_kmeans` takes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcl.estimators import SketchedKMeans
    >>> centres = np.repeat([[0.0, 0.0], [9.0, 9.0]], 100, axis=0)
    >>> x = centres + np.random.default_rng(0).standard_normal((200, 2))
    >>> model = SketchedKMeans(2, random_state=0).fit(x)
    >>> bool(8.5 < model.cluster_centers_.max() < 9.5), model.predict(x).shape
    (True, (200,))
    """

    _decoder = staticmethod(decode_kmeans)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        m: int | None = None,
        scale: float | None = None,
        n_init: int = 1,
        compute_labels: bool = True,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.m = m
        self.scale = scale
        self.n_init = n_init
        self.compute_labels = compute_labels
        self.random_state = random_state

    def _count(self) -> int:
        return self.n_clusters

    def _find_unit(self, rows: NDArray) -> NDArray:
        # The same unit for all features, so that distances keep their meaning.
        return np.full(rows.shape[1], np.sqrt(rows.var(axis=0).mean()) or 1.0)

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Sketch X (n, d), find its clusters, and return the estimator."""
        self._start_again(X)
        if self.compute_labels:
            self.labels_ = self.predict(X)
        return self

    @property
    def cluster_centers_(self) -> NDArray:
        """Centres, (n_clusters, d)."""
        return self._decode()[0] * self._unit + self._offset

    @property
    def weights_(self) -> NDArray:
        """Fraction of the points in every cluster, (n_clusters,)."""
        return self._decode()[1]

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters

    def predict(self, X: ArrayLike) -> NDArray:
        """Index of the closest centre, (n,)."""
        X = self._check(X)
        return pairwise_distances_argmin(X, self.cluster_centers_.astype(X.dtype)).astype(np.int32)

    def transform(self, X: ArrayLike) -> NDArray:
        """Distances to the centres, (n, n_clusters)."""
        X = self._check(X)
        return pairwise_distances(X, self.cluster_centers_.astype(X.dtype))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Minus the sum of squared distances to the closest centres."""
        X = self._check(X)
        distances = pairwise_distances_argmin_min(X, self.cluster_centers_.astype(X.dtype))[1]
        return -float(np.square(distances, dtype=np.float64).sum())


class SketchedGaussianMixture(DensityMixin, SketchingEstimator):
    """A mixture of Gaussians with diagonal covariances, from a sketch (arXiv 1606.02838).

    Parameters
    ----------
    n_components : int
    m : int, optional
        Number of frequencies; by default 10 n_components d.
    scale : float, optional
        Length scale of the frequencies, in units of the standard deviations of the features; by
        default estimated from 5000 points.
    n_init : int
        As in `SketchedKMeans`.
    random_state : int, RandomState or None

    Attributes
    ----------
    weights_, means_, covariances_ : arrays (k,), (k, d), (k, d)
    sketch_ : Sketch
        Of the centred data, with every feature divided by its standard deviation; the means and
        the divisors come from 5000 points.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from fastcl.estimators import SketchedGaussianMixture
    >>> x = np.random.default_rng(0).normal([0.0, 5.0], [1.0, 2.0], (10000, 2))
    >>> SketchedGaussianMixture(1, random_state=0).fit(x).covariances_.round()
    array([[1., 4.]])
    """

    _decoder = staticmethod(decode_mixture)

    def __init__(
        self,
        n_components: int = 1,
        *,
        m: int | None = None,
        scale: float | None = None,
        n_init: int = 1,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.m = m
        self.scale = scale
        self.n_init = n_init
        self.random_state = random_state

    def _count(self) -> int:
        return self.n_components

    def _find_unit(self, rows: NDArray) -> NDArray:
        stds = rows.std(axis=0)
        return np.where(stds > 0, stds, 1.0)

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Sketch X (n, d), find its mixture, and return the estimator."""
        self._start_again(X)
        return self

    def fit_predict(self, X: ArrayLike, y: Any = None) -> NDArray:
        """Fit to X (n, d), then find the most probable component of every point, (n,)."""
        return self.fit(X).predict(X)

    @property
    def weights_(self) -> NDArray:
        """Weights of the components, (k,)."""
        return self._decode().weights

    @property
    def means_(self) -> NDArray:
        """Means, (k, d)."""
        return self._decode().means * self._unit + self._offset

    @property
    def covariances_(self) -> NDArray:
        """Diagonals of the covariances, (k, d)."""
        return np.diagonal(self._decode().covariances, axis1=1, axis2=2) * self._unit**2

    def _by_chunks(self, name: str, X: ArrayLike) -> NDArray:
        """The result of the method `name` of scikit-learn's mixture, chunk by chunk."""
        X = self._check(X)
        model = GaussianMixture(self.n_components, covariance_type="diag")
        model.weights_ = self.weights_
        model.means_ = self.means_
        model.covariances_ = self.covariances_
        model.precisions_cholesky_ = 1 / np.sqrt(self.covariances_)
        results = [getattr(model, name)(X[rows]) for rows in gen_batches(len(X), CHUNK_ROWS)]
        return np.concatenate(results)

    def predict(self, X: ArrayLike) -> NDArray:
        """The most probable component of every point, (n,)."""
        return self._by_chunks("predict", X)

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Probability of every component given every point, (n, k)."""
        return self._by_chunks("predict_proba", X)

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Log-density of every point, (n,)."""
        return self._by_chunks("score_samples", X)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log-density of the points."""
        return float(self.score_samples(X).mean())
