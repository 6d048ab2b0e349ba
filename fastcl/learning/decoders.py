"""Clusters and mixtures from a sketch alone: the atoms whose weighted moments come closest to it (arXiv 1606.02838)."""

import numpy as np
import scipy

from ..backend import product
from ..fourier.features import feature_adjoint
from ..measures.box import Box
from ..measures.mixtures import GaussianMixture
from ..sketching.sketch import Sketch
from ..validation import as_count, as_generator, as_points

CLIMBS = 8  # ascents of one search for an atom, each from the best of its share of the candidates
CANDIDATES = 4096  # random points of one search that the kernels score at once
SPREADS = (
    0.0,
    0.6,
    0.9,
    1.2,
    1.5,
)  # tried widths of all clusters, times the root mean square radius of the frequencies
NARROWEST = 0.02  # likewise, of any Gaussian
CLIMB_STEPS, REFINE_STEPS, FINAL_STEPS = (
    50,
    100,
    2000,
)  # at most, of L-BFGS-B: one atom, all atoms after each search, at the end
RIDGE = 1e-10  # of the Gram matrix of the normalised atoms, two of which may coincide
MIN_WEIGHT = 1e-9  # of a Gaussian, relative to all: a mixture takes positive weights only


class SphericalAtoms:
    """Moments ``exp(-i <omega, c> - spread^2 |omega|^2 / 2)``: clusters of one given width, Diracs where it is zero.

    Parameters of atoms are one row each, here their centres (k, d).
    """

    def __init__(self, omega, low, high, spread=0.0):
        self.omega, self.axes, self.low, self.high = omega, omega.T.copy(), low, high
        self.moduli = np.exp((omega**2).sum(axis=1) * spread**2 / -2)

    def damping(self, params):
        """Moduli of the moments, (k, m) or what broadcasts to it."""
        return self.moduli

    def moments(self, params):
        """(real parts (k, m), imaginary parts (k, m)) of the moments of every atom."""
        # einsum, not BLAS: the bits of the result then follow no number of threads.
        phases, damping = (
            np.einsum("kd,dm->km", params[:, : len(self.axes)], self.axes),
            self.damping(params),
        )
        return np.cos(phases) * damping, np.sin(phases) * -damping

    def correlations(self, params, moments, residual):
        """(Re <moments, residual> of every atom (k,), its gradient in the parameters (k, p))."""
        real, imag = moments
        values = (real * residual.real + imag * residual.imag).sum(axis=1)
        slopes = real * residual.imag - imag * residual.real
        return values, -np.einsum("km,dm->kd", slopes, self.axes)


class Gaussians(SphericalAtoms):
    """Moments ``exp(-i <omega, mean> - <omega^2, variance> / 2)``; parameters are means and log-variances, (k, 2 d)."""

    def __init__(self, omega, low, high):
        narrowest = np.full(len(low), 2 * np.log(NARROWEST) - np.log(len(low)))
        widest = np.maximum(2 * np.log((high - low) / 2), narrowest + 1)
        super().__init__(omega, np.concatenate([low, narrowest]), np.concatenate([high, widest]))
        self.squares = self.axes**2

    def start(self, centres, spread):
        """The parameters of atoms of one spread at `centres` (k, d)."""
        log_variances = np.full(centres.shape, 2 * np.log(max(spread, 1e-300)))
        return np.clip(np.concatenate([centres, log_variances], axis=1), self.low, self.high)

    def variances(self, params):
        """Variances (k, d)."""
        return np.exp(params[:, len(self.axes) :])

    def damping(self, params):
        """Moduli of the moments, (k, m)."""
        return np.exp(np.einsum("kd,dm->km", self.variances(params), self.squares) / -2)

    def correlations(self, params, moments, residual):
        """As of `SphericalAtoms`."""
        values, in_means = super().correlations(params, moments, residual)
        shares = moments[0] * residual.real + moments[1] * residual.imag
        in_logs = np.einsum("km,dm->kd", shares, self.squares) * self.variances(params) / -2
        return values, np.concatenate([in_means, in_logs], axis=1)


def minimise(function, start, low, high, steps):
    """(where `function`, that gives a value and its gradient, is least between bounds (q,), its value there), by L-BFGS-B."""
    bounds = np.stack([low, high], axis=1)
    found = scipy.optimize.minimize(
        function,
        start,
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-12},
    )
    return found.x, found.fun


def minus_correlation(centre, atoms, residual):
    """(-Re <atom, residual>, gradient (d,)), at one centre (d,); all blobs of one spread have one norm."""
    value, slope = atoms.correlations(centre[None], atoms.moments(centre[None]), residual)
    return -value[0], -slope[0]


def mismatch(theta, atoms, z):
    """(mean over frequencies of |z - sum_j weight_j moments_j|^2, gradient), theta the parameters and k times the weights."""
    k = len(theta) // (len(atoms.low) + 1)
    params, weights = theta[:-k].reshape(k, -1), theta[-k:] / k
    moments = atoms.moments(params)
    residual = z - mixed(moments, weights)
    values, slopes = atoms.correlations(params, moments, residual)
    gradient = np.concatenate([(weights[:, None] * slopes).ravel(), values / k])
    return np.mean(np.abs(residual) ** 2), gradient * (-2 / len(z))


def mixed(moments, weights):
    """sum_j weight_j moments_j, (m,) complex."""
    return np.einsum("k,km->m", weights, moments[0]) + 1j * np.einsum(
        "k,km->m", weights, moments[1]
    )


def fit_weights(atoms, centres, z):
    """Non-negative weights (k,) of blobs whose sum is closest to z."""
    parts = np.concatenate(atoms.moments(centres), axis=1)
    scale = max(np.linalg.norm(atoms.moduli), 1e-300)
    parts, z = parts / scale, z / scale
    # Least squares by the Gram matrix: the products are the library's, so that bits do not follow the threads of BLAS.
    gram = product(parts, parts.T) + RIDGE * np.eye(len(parts))
    aims = product(parts, np.concatenate([z.real, z.imag])[:, None])
    root = np.linalg.cholesky(gram)
    return scipy.optimize.nnls(root.T, np.linalg.solve(root, aims)[:, 0])[0]


def find_centre(atoms, residual, starts, rng):
    """The centre (d,) of a blob that correlates with the residual as well as any that was found."""
    if starts is None:
        points = rng.uniform(atoms.low, atoms.high, (CANDIDATES, len(atoms.low)))
    else:
        points = starts[rng.integers(len(starts), size=min(CANDIDATES, CLIMBS * len(starts)))]
    scores = feature_adjoint(points, atoms.omega, residual * atoms.moduli, method="direct")
    best, least = None, np.inf
    for share in np.array_split(
        np.arange(len(points)), CLIMBS
    ):  # the best of all together would climb the same hill
        start = points[share[np.argmax(scores[share])]]
        centre, value = minimise(
            lambda c: minus_correlation(c, atoms, residual),
            start,
            atoms.low,
            atoms.high,
            CLIMB_STEPS,
        )
        if value < least:
            best, least = centre, value
    return best


def refine(atoms, params, weights, z, steps):
    """(parameters (k, p), weights (k,), cost) after a descent of the mismatch in all of them."""
    k = len(params)
    low, high = (
        np.concatenate([np.tile(bound, k), np.full(k, edge)])
        for bound, edge in ((atoms.low, 0), (atoms.high, np.inf))
    )
    start = np.concatenate([params.ravel(), k * weights])
    theta, cost = minimise(lambda theta: mismatch(theta, atoms, z), start, low, high, steps)
    return theta[:-k].reshape(k, -1), theta[-k:] / k, cost


def clompr(atoms, z, k, starts, rng):
    """(centres (k, d), weights (k,), cost): orthogonal matching pursuit with replacement, every step refined."""
    centres, weights = np.empty((0, len(atoms.low))), np.empty(0)
    for _ in range(2 * k):
        residual = z - mixed(atoms.moments(centres), weights)
        centres = np.concatenate([centres, find_centre(atoms, residual, starts, rng)[None]])
        if len(centres) > k:  # the new atom takes the place of the one that is needed least
            centres = np.delete(centres, np.argmin(fit_weights(atoms, centres, z)), axis=0)
        centres, weights, _ = refine(
            atoms, centres, fit_weights(atoms, centres, z), z, REFINE_STEPS
        )
    return refine(atoms, centres, weights, z, FINAL_STEPS)


class Decoder:
    """A sketch in units in which every coordinate of its frequencies has mean square 1, and what is sought in it."""

    def __init__(self, sketch, k, low, high, starts, name):
        if not isinstance(sketch, Sketch):
            raise TypeError(f"sketch must be a fastcl.Sketch, got {type(sketch).__name__}")
        self.k, self.z = as_count(k, name), sketch.values
        if low is None and high is None:
            if not isinstance(sketch.domain, Box):
                raise ValueError("low and high are missing: the sketch has no box as its domain")
            low, high = sketch.domain.low, sketch.domain.high
        if low is None or high is None:
            raise ValueError("low and high must be given together")
        box, omega = Box(low, high), np.asarray(sketch.omega)
        if box.dim != sketch.dim:
            raise ValueError(f"low and high have dimension {box.dim}, the sketch {sketch.dim}")
        lengths = np.sqrt((omega**2).mean(axis=0))
        self.unit = 1 / np.where(lengths > 0, lengths, 1)
        self.omega, self.low, self.high = (
            omega * self.unit,
            box.low / self.unit,
            box.high / self.unit,
        )
        self.starts = None
        if starts is not None:
            starts = as_points(starts, "starts", sketch.dim).astype(np.float64)
            self.starts = np.clip(starts / self.unit, self.low, self.high)

    def runs(self, n_init, rng):
        """(spread, centres, weights, cost) of `n_init` pursuits for every spread."""
        for spread in np.repeat(SPREADS, n_init) / np.sqrt(len(self.low)):
            yield (
                spread,
                *clompr(
                    SphericalAtoms(self.omega, self.low, self.high, spread),
                    self.z,
                    self.k,
                    self.starts,
                    rng,
                ),
            )


def decode_kmeans(sketch, n_clusters, low=None, high=None, rng=None, n_init=1, starts=None):
    """Centres of clusters from a sketch alone.

    The sketch is matched by the moments of `n_clusters` clusters of one common width, which is chosen among five, zero among
    them: clusters that are points, as in the source, put their centres wrong where the frequencies resolve the width.

    Parameters
    ----------
    sketch : Sketch
        Of 5 to 10 (clusters x dimension) frequencies, law "adapted_radius", at the scale that `estimate_scale` gives.
    n_clusters : int
    low, high : array (d,), optional
        Corners of a box that holds the centres, units of x; by default of `sketch.domain`, where that is a box.
    rng : int or numpy.random.Generator, optional
    n_init : int
        Pursuits for every width; the result that matches the sketch best is kept.
    starts : array (s, d), optional
        Points among which searches start, such as a subsample of the data; by default uniform in the box.

    Returns
    -------
    (centres (n_clusters, d), weights (n_clusters,)), float64; weights are not negative and sum to 1.

    Raises
    ------
    TypeError, ValueError
        No sketch, an empty one, a box that is missing or of another dimension, counts below 1.

    Notes
    -----
    Keriven, Tremblay, Traonmilin and Gribonval, "Compressive K-means", arXiv 1610.08738; the pursuit is CLOMPR of Keriven,
    Bourrier, Gribonval and Perez, arXiv 1606.02838. Memory: ten or so arrays of n_clusters x m numbers. The same bits for any
    number of threads.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.repeat([[-1.0], [1.0]], [300, 100], axis=0) + 0.1 * np.random.default_rng(0).standard_normal((400, 1))
    >>> sk = fastcl.sketch(x, fastcl.draw_frequencies(30, dim=1, scale=0.2, law="adapted_radius", rng=0))
    >>> centres, weights = fastcl.decode_kmeans(sk, 2, low=[-2.0], high=[2.0], rng=0)
    >>> sorted(zip(centres[:, 0].round(1).tolist(), weights.round(1).tolist()))
    [(-1.0, 0.7), (1.0, 0.3)]
    """
    decoder, n_init, rng = (
        Decoder(sketch, n_clusters, low, high, starts, "n_clusters"),
        as_count(n_init, "n_init"),
        as_generator(rng),
    )
    _, centres, weights, _ = min(decoder.runs(n_init, rng), key=lambda run: run[-1])
    return np.clip(centres, decoder.low, decoder.high) * decoder.unit, weights / weights.sum()


def decode_mixture(sketch, n_components, low=None, high=None, rng=None, n_init=1, starts=None):
    """A mixture of Gaussians with diagonal covariances from a sketch alone.

    The clusters of one width that `decode_kmeans` tries are each the start of a descent in all means, variances and weights;
    the mixture that matches the sketch best is kept.

    Parameters
    ----------
    sketch : Sketch
        Of 10 or more (components x dimension) frequencies, as of `decode_kmeans`.
    n_components : int
    low, high, rng, n_init, starts : optional
        As of `decode_kmeans`; the box holds the means.

    Returns
    -------
    GaussianMixture

    Raises
    ------
    TypeError, ValueError
        As `decode_kmeans`.

    Notes
    -----
    Keriven, Bourrier, Gribonval and Perez, "Sketching for large-scale learning of mixture models", arXiv 1606.02838.
    Memory and bits: as of `decode_kmeans`.

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
    decoder, n_init = (
        Decoder(sketch, n_components, low, high, starts, "n_components"),
        as_count(n_init, "n_init"),
    )
    atoms, best = Gaussians(decoder.omega, decoder.low, decoder.high), (None, None, np.inf)
    for spread, centres, weights, _ in decoder.runs(n_init, as_generator(rng)):
        found = refine(atoms, atoms.start(centres, spread), weights, decoder.z, FINAL_STEPS)
        best = min(best, found, key=lambda run: run[-1])
    params, weights, _ = best
    weights = np.maximum(weights, MIN_WEIGHT * weights.sum())
    covariances = np.eye(sketch.dim) * (atoms.variances(params) * decoder.unit**2)[:, None, :]
    return GaussianMixture(weights, params[:, : sketch.dim] * decoder.unit, covariances)
