"""Sketched k-means and Gaussian mixtures in the manner of scikit-learn, which has to be installed."""

import numpy as np

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

SUBSAMPLE = 5000  # points that scale, units and starts of the searches are taken from
CHUNK_ROWS = 1 << 16  # rows that are centred, or judged, at a time
FREQUENCIES = 10  # a component and dimension, by default
MARGIN = 1e-3  # of the box beyond the data, in their own units


def find_scale(rows, rng):
    """`estimate_scale` of rows (n, d), 1 where they are all equal."""
    return estimate_scale(rows, rng) if np.ptp(rows, axis=0).any() else 1.0


class SketchingEstimator(BaseEstimator):
    """What both share: the units, the frequencies and the sketch."""

    def partial_fit(self, X, y=None):
        """Add the points X (n, d) to the sketch; units and frequencies are those of the first call. Returns the estimator.

        The sketch is decoded when it is next asked for something.
        """
        first = not hasattr(self, "sketch_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=first)
        if first:
            self._begin(X)
        self._add(X)
        return self

    def _begin(self, X):
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        rows = (
            X if len(X) <= SUBSAMPLE else X[np.sort(rng.choice(len(X), SUBSAMPLE, replace=False))]
        )
        rows = rows.astype(np.float64)
        self._offset = rows.mean(axis=0).astype(X.dtype)
        rows -= self._offset
        self._unit = self._find_unit(rows)
        self._starts = rows / self._unit
        scale, m = self.scale, self.m
        if scale is None:
            scale = find_scale(self._starts, rng)
        if m is None:
            m = FREQUENCIES * self._count() * X.shape[1]
        self.sketch_ = Sketch(draw_frequencies(m, X.shape[1], scale, "adapted_radius", rng))
        self._low, self._high = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
        self._seed = int(rng.integers(2**63))

    def _add(self, X):
        for rows in gen_batches(len(X), CHUNK_ROWS):
            chunk = (X[rows] - self._offset) / self._unit.astype(X.dtype)
            self.sketch_.update(chunk)
            self._low, self._high = (
                np.minimum(self._low, chunk.min(axis=0)),
                np.maximum(self._high, chunk.max(axis=0)),
            )
        self._decoded = None

    def _decode(self):
        """What the decoder of the class makes of the sketch, in the units of the sketch; kept until points are added."""
        check_is_fitted(self, "sketch_")
        if self._decoded is None:
            box = self._low - MARGIN, self._high + MARGIN
            # The matrices of L-BFGS-B are small: BLAS threads would only wait for one another, several times as long.
            with threadpool_limits(1, "blas"):
                self._decoded = self._decoder(
                    self.sketch_, self._count(), *box, self._seed, self.n_init, self._starts
                )
        return self._decoded

    def _check(self, X):
        check_is_fitted(self, "sketch_")
        return validate_data(self, X, dtype=(np.float64, np.float32), reset=False)

    def _start_again(self, X):
        self.__dict__.pop("sketch_", None)
        return SketchingEstimator.partial_fit(self, X)._decode()


class SketchedKMeans(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, SketchingEstimator
):
    """k-means from a sketch: one pass over the data, then none (arXiv 1610.08738).

    Parameters
    ----------
    n_clusters : int
    m : int, optional
        Frequencies; by default 10 n_clusters d, the number that usually suffices.
    scale : float, optional
        Of the frequencies, in units of the root mean square deviation of the data; by default estimated from 5000 points.
    n_init : int
        Pursuits for every width of clusters that `decode_kmeans` tries.
    compute_labels : bool
        Whether `fit` goes through the data once more for `labels_`.
    random_state : int, RandomState or None

    Attributes
    ----------
    cluster_centers_ : array (n_clusters, d)
    weights_ : array (n_clusters,)
        Share of the points in every cluster.
    labels_ : array (n,)
    sketch_ : Sketch
        Of the data less their mean, over their root mean square deviation, both of 5000 points.
    n_features_in_ : int

    Notes
    -----
    Extra memory: a few chunks of 65536 rows, and that of `decode_kmeans`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcl.estimators import SketchedKMeans
    >>> x = np.repeat([[0.0, 0.0], [9.0, 9.0]], 100, axis=0) + np.random.default_rng(0).standard_normal((200, 2))
    >>> model = SketchedKMeans(2, random_state=0).fit(x)
    >>> bool(8.5 < model.cluster_centers_.max() < 9.5), model.predict(x).shape
    (True, (200,))
    """

    _decoder = staticmethod(decode_kmeans)

    def __init__(
        self, n_clusters=8, *, m=None, scale=None, n_init=1, compute_labels=True, random_state=None
    ):
        self.n_clusters, self.m, self.scale, self.n_init = n_clusters, m, scale, n_init
        self.compute_labels, self.random_state = compute_labels, random_state

    def _count(self):
        return self.n_clusters

    def _find_unit(self, rows):
        return np.full(
            rows.shape[1], np.sqrt(rows.var(axis=0).mean()) or 1.0
        )  # one for all: distances keep their meaning

    def fit(self, X, y=None):
        """Sketch X (n, d) and find its clusters. Returns the estimator."""
        self._start_again(X)
        if self.compute_labels:
            self.labels_ = self.predict(X)
        return self

    @property
    def cluster_centers_(self):
        """Centres, (n_clusters, d)."""
        return self._decode()[0] * self._unit + self._offset

    @property
    def weights_(self):
        """Shares of the clusters, (n_clusters,)."""
        return self._decode()[1]

    @property
    def _n_features_out(self):
        return self.n_clusters

    def predict(self, X):
        """Index of the closest centre, (n,)."""
        X = self._check(X)
        return pairwise_distances_argmin(X, self.cluster_centers_.astype(X.dtype)).astype(np.int32)

    def transform(self, X):
        """Distances to the centres, (n, n_clusters)."""
        X = self._check(X)
        return pairwise_distances(X, self.cluster_centers_.astype(X.dtype))

    def score(self, X, y=None):
        """Minus the sum of squared distances to the closest centres."""
        X = self._check(X)
        distances = pairwise_distances_argmin_min(X, self.cluster_centers_.astype(X.dtype))[1]
        return -float(np.square(distances, dtype=np.float64).sum())


class SketchedGaussianMixture(DensityMixin, SketchingEstimator):
    """A mixture of Gaussians with diagonal covariances from a sketch: one pass over the data (arXiv 1606.02838).

    Parameters
    ----------
    n_components : int
    m : int, optional
        Frequencies; by default 10 n_components d.
    scale : float, optional
        Of the frequencies, in units of the standard deviations of the features; by default estimated from 5000 points.
    n_init : int
        As of `SketchedKMeans`.
    random_state : int, RandomState or None

    Attributes
    ----------
    weights_, means_, covariances_ : arrays (k,), (k, d), (k, d)
    sketch_ : Sketch
        Of the features less their means, over their standard deviations, both of 5000 points.
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

    def __init__(self, n_components=1, *, m=None, scale=None, n_init=1, random_state=None):
        self.n_components, self.m, self.scale, self.n_init = n_components, m, scale, n_init
        self.random_state = random_state

    def _count(self):
        return self.n_components

    def _find_unit(self, rows):
        deviations = rows.std(axis=0)
        return np.where(deviations > 0, deviations, 1.0)

    def fit(self, X, y=None):
        """Sketch X (n, d) and find its mixture. Returns the estimator."""
        self._start_again(X)
        return self

    def fit_predict(self, X, y=None):
        """The most probable component of every point of X, (n,), after `fit`."""
        return self.fit(X).predict(X)

    @property
    def weights_(self):
        """Weights of the components, (k,)."""
        return self._decode().weights

    @property
    def means_(self):
        """Means, (k, d)."""
        return self._decode().means * self._unit + self._offset

    @property
    def covariances_(self):
        """Diagonals of the covariances, (k, d)."""
        return np.diagonal(self._decode().covariances, axis1=1, axis2=2) * self._unit**2

    def _judge(self, name, X):
        """What the method `name` of scikit-learn's mixture says of X, by chunks."""
        X, model = self._check(X), GaussianMixture(self.n_components, covariance_type="diag")
        model.weights_, model.means_, model.covariances_ = (
            self.weights_,
            self.means_,
            self.covariances_,
        )
        model.precisions_cholesky_ = 1 / np.sqrt(self.covariances_)
        return np.concatenate(
            [getattr(model, name)(X[rows]) for rows in gen_batches(len(X), CHUNK_ROWS)]
        )

    def predict(self, X):
        """The most probable component, (n,)."""
        return self._judge("predict", X)

    def predict_proba(self, X):
        """Probabilities of the components, (n, k)."""
        return self._judge("predict_proba", X)

    def score_samples(self, X):
        """Log-density, (n,)."""
        return self._judge("score_samples", X)

    def score(self, X, y=None):
        """Mean log-density."""
        return float(self.score_samples(X).mean())
