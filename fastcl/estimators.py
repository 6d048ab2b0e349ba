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
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
    from threadpoolctl import threadpool_limits
except ImportError as error:
    raise ImportError(f'scikit-learn is missing ({error}): pip install "fastcl[sklearn]"') from None

from .learning.batches import BatchSketch, Frame, chunks
from .learning.decoders import decode_kmeans, decode_mixture
from .locks import STATE_LOCK
from .sketching.sketch import Sketch
from .validation import as_count, as_positive, reject_foreign

if TYPE_CHECKING:
    from typing_extensions import Self

FREQUENCIES = 10  # frequencies per component and dimension, by default
MARGIN = 1e-3  # by which the search box exceeds the data, in units of the sketch


class SketchingEstimator(BaseEstimator):
    """What both estimators share: a sketch of the points, and what was decoded from it."""

    m: int | None
    scale: float | None
    n_init: int
    random_state: Any
    _decoder: ClassVar[Callable]
    _count_name: ClassVar[str]  # the argument that says how many atoms to find

    @staticmethod
    def _find_unit(rows: NDArray) -> NDArray:
        """Units (d,) of the coordinates of the sketch, from centred rows (n, d)."""
        raise NotImplementedError

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Add the points X (n, d) to the sketch and return the estimator.

        The units and the frequencies are chosen from the first 5000 points, or from fewer if a
        result is asked for earlier. Batches may come in any order: should they turn out to be in
        other units, a new sketch begins from a sample of all points so far. Several threads may
        add points.
        """
        return self._add(X, least=0)

    def _add(self, X: ArrayLike, least: int) -> Self:
        counts = self._check_parameters()
        reject_foreign(X, "X")  # scikit-learn would drop a mask
        points: NDArray = validate_data(
            self,
            X,
            dtype=(np.float64, np.float32),
            reset=not hasattr(self, "_batches"),
            ensure_min_samples=least,
        )
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        m = FREQUENCIES * counts * points.shape[1] if self.m is None else self.m
        with STATE_LOCK:
            if not hasattr(self, "_batches"):
                self._batches = BatchSketch(self._find_unit, m, self.scale, seed)
                self._seed = seed
                self._decoded: Any = None
        self._batches.add(points)
        return self

    def _check_parameters(self) -> int:
        """The number of atoms to find; TypeError or ValueError that names a bad parameter."""
        as_count(self.n_init, "n_init")
        if self.m is not None:
            as_count(self.m, "m")
        if self.scale is not None:
            as_positive(self.scale, "scale")
        return as_count(getattr(self, self._count_name), self._count_name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_batches") and not self._batches.is_empty

    @property
    def sketch_(self) -> Sketch:
        """The sketch of all points so far."""
        check_is_fitted(self)
        return self._batches.begin().sketch

    def _decode(self) -> tuple[Frame, Any]:
        """(frame, what was decoded from its sketch); kept until points are added."""
        check_is_fitted(self)
        frame, batches = self._batches.begin(), self._batches
        count = frame.sketch.count
        if self._decoded is None or self._decoded[:2] != (id(frame.sketch), count):
            starts = (batches.starts - frame.offset) / frame.unit
            # The matrices of L-BFGS-B are small: BLAS threads would spend several times as long
            # waiting for one another.
            with threadpool_limits(1, "blas"):
                result = self._decoder(
                    frame.sketch,
                    self._check_parameters(),
                    (batches.low - frame.offset) / frame.unit - MARGIN,
                    (batches.high - frame.offset) / frame.unit + MARGIN,
                    self._seed,
                    self.n_init,
                    starts,
                )
            self._decoded = id(frame.sketch), count, frame, result
        return self._decoded[2:]

    def _check(self, X: ArrayLike) -> NDArray:
        check_is_fitted(self)
        reject_foreign(X, "X")
        return validate_data(self, X, dtype=(np.float64, np.float32), reset=False)

    @np.errstate(under="ignore")
    def _by_chunks(self, function: Callable[[NDArray], NDArray], X: ArrayLike) -> NDArray:
        """function(centred rows) for all rows of X: far from the origin, products lose digits."""
        X = self._check(X)
        offset = self._decode()[0].offset
        return np.concatenate([function(rows - offset) for rows in chunks(X)])

    def _start_again(self, X: ArrayLike) -> None:
        self.__dict__.pop("_batches", None)
        self._add(X, least=1)
        self._decode()


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
    _count_name = "n_clusters"

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

    @staticmethod
    def _find_unit(rows: NDArray) -> NDArray:
        # The same unit for all features, so that distances keep their meaning.
        return np.full(rows.shape[1], np.sqrt(rows.var(axis=0).mean()) or 1.0)

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Sketch X (n, d), find its clusters, and return the estimator."""
        self._start_again(X)
        if self.compute_labels:
            self.labels_ = self.predict(X)
        return self

    @property
    def _centred_centers(self) -> NDArray:
        frame, (centres, _) = self._decode()
        return centres * frame.unit

    @property
    def cluster_centers_(self) -> NDArray:
        """Centres, (n_clusters, d)."""
        return self._centred_centers + self._decode()[0].offset

    @property
    def weights_(self) -> NDArray:
        """Fraction of the points in every cluster, (n_clusters,)."""
        return self._decode()[1][1]

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters

    def predict(self, X: ArrayLike) -> NDArray:
        """Index of the closest centre, (n,)."""
        nearest = self._by_chunks(
            lambda rows: pairwise_distances_argmin(rows, self._centred_centers), X
        )
        return nearest.astype(np.int32)

    def transform(self, X: ArrayLike) -> NDArray:
        """Distances to the centres, (n, n_clusters)."""
        X = self._check(X)
        distances = self._by_chunks(lambda rows: pairwise_distances(rows, self._centred_centers), X)
        return distances.astype(X.dtype)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Minus the sum of squared distances to the closest centres."""
        distances = self._by_chunks(
            lambda rows: pairwise_distances_argmin_min(rows, self._centred_centers)[1], X
        )
        return -float(np.square(distances).sum())


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
    _count_name = "n_components"

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

    @staticmethod
    def _find_unit(rows: NDArray) -> NDArray:
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
        return self._decode()[1].weights

    @property
    def means_(self) -> NDArray:
        """Means, (k, d)."""
        frame, mixture = self._decode()
        return mixture.means * frame.unit + frame.offset

    @property
    def covariances_(self) -> NDArray:
        """Diagonals of the covariances, (k, d)."""
        frame, mixture = self._decode()
        return np.diagonal(mixture.covariances, axis1=1, axis2=2) * frame.unit**2

    def _of_mixture(self, name: str, X: ArrayLike) -> NDArray:
        """The result of the method `name` of scikit-learn's mixture."""
        X = self._check(X)
        frame, mixture = self._decode()
        model = GaussianMixture(self.n_components, covariance_type="diag")
        model.weights_ = self.weights_
        model.means_ = mixture.means * frame.unit
        model.covariances_ = self.covariances_
        model.precisions_cholesky_ = 1 / np.sqrt(self.covariances_)
        return self._by_chunks(getattr(model, name), X)

    def predict(self, X: ArrayLike) -> NDArray:
        """The most probable component of every point, (n,)."""
        return self._of_mixture("predict", X)

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Probability of every component given every point, (n, k)."""
        return self._of_mixture("predict_proba", X)

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Log-density of every point, (n,)."""
        return self._of_mixture("score_samples", X)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log-density of the points."""
        return float(self.score_samples(X).mean())
