"""Clusters and mixtures from a sketch alone: atoms whose weighted moments come closest to it.

The pursuit is CLOMPR (arXiv 1606.02838): find the atom that correlates best with the residual, add
it, replace the weakest if there are too many, and refine all atoms and weights together.

Products are the library's own, not those of BLAS, so that results do not depend on the number of
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..backend import product
from ..fourier.features import feature_adjoint
from ..measures.box import Box
from ..measures.mixtures import GaussianMixture
from ..sketching.sketch import Sketch
from ..validation import as_count, as_generator, as_points
from .atoms import Gaussians, SphericalAtoms

N_ASCENTS = 8  # ascents per search for an atom, each from the best of its part of the candidates
CANDIDATES = 4096  # random points per search, scored by the kernels at once
# Common widths of all clusters that are tried, in units of 1 / (root mean square of the |omega_l|).
SPREADS = (0.0, 0.6, 0.9, 1.2, 1.5)
# Steps of L-BFGS-B, at most.
ASCENT_STEPS = 50  # for one atom
REFINE_STEPS = 100  # for all atoms, after each search
FINAL_STEPS = 2000  # for all atoms, at the end
RIDGE = 1e-10  # added to the Gram matrix of the normalised atoms, two of which may coincide
MIN_WEIGHT = 1e-9  # of a Gaussian, relative to all: a mixture takes positive weights only

Run = tuple[float, NDArray, NDArray, float]  # spread, centres (k, d), weights (k,), cost


def minimise(
    function: Callable[[NDArray], tuple[float, NDArray]],
    start: NDArray,
    low: NDArray,
    high: NDArray,
    steps: int,
) -> tuple[NDArray, float]:
    """(minimiser (q,) between bounds, value) of a function that returns a value and a gradient.

    By L-BFGS-B.
    """
    found = scipy.optimize.minimize(
        function,
        start,
        jac=True,
        bounds=np.stack([low, high], axis=1),
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-12},
    )
    return found.x, found.fun


def minus_correlation(
    centre: NDArray, atoms: SphericalAtoms, residual: NDArray
) -> tuple[float, NDArray]:
    """(-Re <atom, residual>, gradient (d,)) for one centre (d,).

    Spherical atoms of one spread all have the same norm, so it needs no normalisation.
    """
    value, slope = atoms.correlations(centre[None], atoms.moments(centre[None]), residual)
    return -value[0], -slope[0]


def mismatch(theta: NDArray, atoms: SphericalAtoms, z: NDArray) -> tuple[float, NDArray]:
    """(mean over frequencies of |z - sum_j weight_j moments_j|^2, its gradient).

    theta holds the parameters of the k atoms, then k times their weights.
    """
    k = len(theta) // (len(atoms.low) + 1)
    params, weights = theta[:-k].reshape(k, -1), theta[-k:] / k
    moments = atoms.moments(params)
    residual = z - mixed(moments, weights)
    values, slopes = atoms.correlations(params, moments, residual)
    gradient = np.concatenate([(weights[:, None] * slopes).ravel(), values / k])
    return np.mean(np.abs(residual) ** 2), gradient * (-2 / len(z))


def mixed(moments: tuple[NDArray, NDArray], weights: NDArray) -> NDArray:
    """sum_j weight_j moments_j, (m,) complex."""
    real, imag = (np.einsum("k,km->m", weights, part) for part in moments)
    return real + 1j * imag


def fit_weights(atoms: SphericalAtoms, centres: NDArray, z: NDArray) -> NDArray:
    """Non-negative weights (k,) for which the sum of the atoms is closest to z."""
    parts = np.concatenate(atoms.moments(centres), axis=1)
    scale = max(np.linalg.norm(atoms.amplitudes), 1e-300)
    parts, z = parts / scale, z / scale
    gram = product(parts, parts.T) + RIDGE * np.eye(len(parts))
    aims = product(parts, np.concatenate([z.real, z.imag])[:, None])
    root = np.linalg.cholesky(gram)
    return scipy.optimize.nnls(root.T, np.linalg.solve(root, aims)[:, 0])[0]


def find_centre(
    atoms: SphericalAtoms,
    residual: NDArray,
    starts: NDArray | None,
    rng: np.random.Generator,
) -> NDArray:
    """The centre (d,) of the atom found to correlate best with the residual."""
    if starts is None:
        points = rng.uniform(atoms.low, atoms.high, (CANDIDATES, len(atoms.low)))
    else:
        points = starts[rng.integers(len(starts), size=min(CANDIDATES, N_ASCENTS * len(starts)))]
    scores = feature_adjoint(points, atoms.omega, residual * atoms.amplitudes, method="direct")
    best = points[0]
    lowest = np.inf
    # Ascents from the overall best candidates would all climb the same hill.
    for part in np.array_split(np.arange(len(points)), N_ASCENTS):
        centre, value = minimise(
            lambda c: minus_correlation(c, atoms, residual),
            points[part[np.argmax(scores[part])]],
            atoms.low,
            atoms.high,
            ASCENT_STEPS,
        )
        if value < lowest:
            best, lowest = centre, value
    return best


def refine(
    atoms: SphericalAtoms, params: NDArray, weights: NDArray, z: NDArray, steps: int
) -> tuple[NDArray, NDArray, float]:
    """(parameters (k, p), weights (k,), cost) after descending the mismatch in all of them."""
    k = len(params)
    low = np.concatenate([np.tile(atoms.low, k), np.zeros(k)])
    high = np.concatenate([np.tile(atoms.high, k), np.full(k, np.inf)])
    start = np.concatenate([params.ravel(), k * weights])
    theta, cost = minimise(lambda theta: mismatch(theta, atoms, z), start, low, high, steps)
    return theta[:-k].reshape(k, -1), theta[-k:] / k, cost


def clompr(
    atoms: SphericalAtoms,
    z: NDArray,
    k: int,
    starts: NDArray | None,
    rng: np.random.Generator,
) -> tuple[NDArray, NDArray, float]:
    """(centres (k, d), weights (k,), cost), by matching pursuit with replacement."""
    centres, weights = np.empty((0, len(atoms.low))), np.empty(0)
    for _ in range(2 * k):
        residual = z - mixed(atoms.moments(centres), weights)
        centres = np.concatenate([centres, find_centre(atoms, residual, starts, rng)[None]])
        if len(centres) > k:  # the new atom replaces the least needed one
            centres = np.delete(centres, np.argmin(fit_weights(atoms, centres, z)), axis=0)
        weights = fit_weights(atoms, centres, z)
        centres, weights, _ = refine(atoms, centres, weights, z, REFINE_STEPS)
    return refine(atoms, centres, weights, z, FINAL_STEPS)


class Decoder:
    """What to look for, and the sketch in units that make its frequencies comparable.

    Moments are multiplied by the square roots of their weights, those of the sketch. In these units
    every coordinate of the frequencies has mean square 1, and the box is centred: far from the
    origin, steps of the searches would be lost in rounding.
    """

    def __init__(
        self,
        sketch: Sketch,
        k: int,
        low: ArrayLike | None,
        high: ArrayLike | None,
        starts: ArrayLike | None,
        name: str,
    ) -> None:
        if not isinstance(sketch, Sketch):
            raise TypeError(f"sketch must be a fastcl.Sketch, got {type(sketch).__name__}")
        self.k = as_count(k, name)
        box = _search_box(sketch, low, high)
        omega = np.asarray(sketch.omega)
        self.centre = box.centre
        self.roots = np.sqrt(sketch.weights)
        self.z = self.roots * sketch.values * np.exp(1j * (omega * self.centre).sum(axis=1))
        lengths = np.sqrt((omega**2).mean(axis=0))
        self.unit = 1 / np.where(lengths > 0, lengths, 1)
        self.omega = omega * self.unit
        self.high = (box.high - self.centre) / self.unit
        self.low = -self.high
        self.starts = None
        if starts is not None:
            points = as_points(starts, "starts", sketch.dim).astype(np.float64)
            self.starts = np.clip((points - self.centre) / self.unit, self.low, self.high)

    def runs(self, n_init: int, rng: np.random.Generator) -> Iterator[Run]:
        """The results of `n_init` pursuits for every spread."""
        for spread in np.repeat(SPREADS, n_init) / np.sqrt(len(self.low)):
            atoms = SphericalAtoms(self.omega, self.low, self.high, self.roots, spread)
            yield spread, *clompr(atoms, self.z, self.k, self.starts, rng)


def _search_box(sketch: Sketch, low: ArrayLike | None, high: ArrayLike | None) -> Box:
    """The box from low to high, by default the domain of the sketch."""
    if low is None and high is None:
        if not isinstance(sketch.domain, Box):
            raise ValueError("low and high are missing: the sketch has no box as its domain")
        low, high = sketch.domain.low, sketch.domain.high
    if low is None or high is None:
        raise ValueError("low and high must be given together")
    box = Box(low, high)
    if box.dim != sketch.dim:
        raise ValueError(f"low and high have dimension {box.dim}, the sketch {sketch.dim}")
    return box


@np.errstate(under="ignore")
def decode_kmeans(
    sketch: Sketch,
    n_clusters: int,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    rng: Any = None,
    n_init: int = 1,
    starts: ArrayLike | None = None,
) -> tuple[NDArray, NDArray]:
    """Centres of clusters from a sketch alone.

    The sketch is matched by the moments of `n_clusters` clusters of one common width. The best of
    five widths is kept, one of which is zero: the source takes clusters to be points, which puts
    the centres wrong if the frequencies resolve the width.

    Parameters
    ----------
    sketch : Sketch
        With 5 to 10 times n_clusters x d frequencies, drawn with law "adapted_radius" at the scale
        that ``estimate_scale(x, of="clusters")`` gives.
    n_clusters : int
    low, high : array (d,), optional
        Corners of a box that holds the centres, in units of x; by default those of `sketch.domain`
        if that is a box.
    rng : int or numpy.random.Generator, optional
    n_init : int
        Pursuits per width; the result that matches the sketch best is kept.
    starts : array (s, d), optional
        Points from which searches start, such as a subsample of the data; by default uniform in the
        box.

    Returns
    -------
    centres : float64 array (n_clusters, d)
    weights : float64 array (n_clusters,)
        Not negative, with sum 1.

    Raises
    ------
    TypeError, ValueError
        No sketch, an empty one, a box that is missing or of another dimension, counts below 1.

    Notes
    -----
    Keriven, Tremblay, Traonmilin and Gribonval, "Compressive K-means", arXiv 1610.08738; the
    pursuit is CLOMPR of Keriven, Bourrier, Gribonval and Perez, arXiv 1606.02838. Memory: about ten
    arrays of n_clusters x m numbers. The result is bitwise identical for any number of threads.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal((400, 1))
    >>> x = np.repeat([[-1.0], [1.0]], [300, 100], axis=0) + noise
    >>> omega = fastcl.draw_frequencies(30, dim=1, scale=0.2, law="adapted_radius", rng=0)
    >>> sk = fastcl.sketch(x, omega)
    >>> centres, weights = fastcl.decode_kmeans(sk, 2, low=[-2.0], high=[2.0], rng=0)
    >>> sorted(zip(centres[:, 0].round(1).tolist(), weights.round(1).tolist()))
    [(-1.0, 0.7), (1.0, 0.3)]
    """
    decoder = Decoder(sketch, n_clusters, low, high, starts, "n_clusters")
    n_init = as_count(n_init, "n_init")
    runs = decoder.runs(n_init, as_generator(rng))
    _, centres, weights, _ = min(runs, key=lambda run: run[-1])
    centres = np.clip(centres, decoder.low, decoder.high) * decoder.unit + decoder.centre
    return centres, weights / weights.sum()


@np.errstate(under="ignore")
def decode_mixture(
    sketch: Sketch,
    n_components: int,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    rng: Any = None,
    n_init: int = 1,
    starts: ArrayLike | None = None,
) -> GaussianMixture:
    """A mixture of Gaussians with diagonal covariances from a sketch alone.

    Each result that `decode_kmeans` compares is the start of a descent in all means, variances and
    weights; the mixture that matches the sketch best is kept.

    Parameters
    ----------
    sketch : Sketch
        With at least 10 times n_components x d frequencies, drawn as for `decode_kmeans`.
    n_components : int
    low, high, rng, n_init, starts : optional
        As in `decode_kmeans`; the box holds the means.

    Returns
    -------
    GaussianMixture

    Raises
    ------
    TypeError, ValueError
        As in `decode_kmeans`.

    Notes
    -----
    Keriven, Bourrier, Gribonval and Perez, "Sketching for large-scale learning of mixture models",
    arXiv 1606.02838. Memory and reproducibility are those of `decode_kmeans`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> truth = fastcl.GaussianMixture([0.7, 0.3], [[-1.0], [1.0]], [[[0.04]], [[0.09]]])
    >>> omega = fastcl.draw_frequencies(40, dim=1, scale=0.2, law="adapted_radius", rng=0)
    >>> sk = fastcl.sketch(truth.sample(20000, rng=0), omega)
    >>> found = fastcl.decode_mixture(sk, 2, low=[-3.0], high=[3.0], rng=0)
    >>> sorted(np.sqrt(found.covariances.ravel()).round(1).tolist())
    [0.2, 0.3]
    """
    decoder = Decoder(sketch, n_components, low, high, starts, "n_components")
    n_init = as_count(n_init, "n_init")
    atoms = Gaussians(decoder.omega, decoder.low, decoder.high, decoder.roots)
    found = (
        refine(atoms, atoms.start(centres, spread), weights, decoder.z, FINAL_STEPS)
        for spread, centres, weights, _ in decoder.runs(n_init, as_generator(rng))
    )
    params, weights, _ = min(found, key=lambda run: run[-1])
    weights = np.maximum(weights, MIN_WEIGHT * weights.sum())
    covariances = np.eye(sketch.dim) * (atoms.variances(params) * decoder.unit**2)[:, None, :]
    means = params[:, : sketch.dim] * decoder.unit + decoder.centre
    return GaussianMixture(weights, means, covariances)
