"""Frequencies that tell the data from a reference measure, found on a subsample before the pass over all data."""

import numpy as np

from ..backend import kernel
from ..fourier.operator import FeatureOperator
from ..measures.base import ReferenceMeasure
from ..priors.chains import Chains
from ..priors.max_entropy import MaxEntropyPrior, ascend
from ..priors.metric import WhitenedMetric
from ..progress import progress_bar
from ..validation import as_count, as_generator, as_points
from .optimizers import Adam, Cosine

ROUNDS = (
    8  # of the search: each adds its share of the frequencies and fits the density to all so far
)
CANDIDATES = 5  # drawn for every frequency that a round keeps
RADII = (0.5, 3.5)  # of the candidates, per standard deviation of the reference
SPARSE = (
    2,
    3,
    5,
)  # coordinates of the candidates, beside dense ones, in more than DENSE dimensions
DENSE = 10
CHAINS = 8192
SCORED = 50_000  # points that candidates are scored on
BATCH = 8192  # points of one gradient
ASCENT, ASCENT_STEP = 20, 0.1  # steps that each chosen candidate climbs its score, and their length
FIT, FIT_STEP = 25, 0.1  # steps of maximum entropy a round
REFINE = 200  # steps of the likelihood on all frequencies and coefficients together
REFINE_STEPS = (0.005, 0.002)  # of the frequencies, and of the coefficients
RIDGE = 0.01


def adapt_frequencies(x, m, reference, rng=None, progress=False):
    """Choose m frequencies at which the data differ from a reference measure.

    Eight rounds of a search, then a refinement. A round draws candidates, scores each by the squared difference between
    the moments of the data and of the density fitted so far over their variance, lets the best climb their score, and
    fits the maximum-entropy density to the moments of all frequencies so far. The refinement climbs the likelihood of
    the points in frequencies and coefficients together. Only the frequencies are returned: what is learned later is
    learned from the sketch of all data at these.

    Parameters
    ----------
    x : array (n, d)
        A subsample of the data, in the coordinates that will be sketched: some ten thousand points.
    m : int
        Number of frequencies.
    reference : reference measure
        Of x, with a standard deviation near one in every direction, such as N(0, I) for points that `gaussianise` gave.
    rng : int or numpy.random.Generator, optional
    progress : bool

    Returns
    -------
    float64 array (m, d), radians per unit of x.

    Raises
    ------
    TypeError, ValueError
        x not finite, empty, or of another dimension than the reference.

    Notes
    -----
    Memory: that of `max_entropy`, and one copy of x in float32.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.random.default_rng(0).choice([-1.0, 1.0], (5000, 1)) + 0.2 * np.random.default_rng(1).standard_normal((5000, 1))
    >>> fastcl.adapt_frequencies(x, 16, fastcl.Gaussian([0.0], [[1.0]]), rng=0).shape
    (16, 1)
    """
    if not isinstance(reference, ReferenceMeasure):
        raise TypeError(f"reference must be a reference measure, got {type(reference).__name__}")
    x = as_points(x, "x", reference.dim)
    with np.errstate(
        over="ignore"
    ):  # what float32 cannot hold becomes infinite, and is refused as such
        x = as_points(x.astype(np.float32), "x")
    m, rng = as_count(m, "m"), as_generator(rng)
    chains = Chains(reference, CHAINS, rng)
    omega, c = np.empty((0, x.shape[1])), np.empty(0, np.complex128)
    shares = np.diff(np.round(np.linspace(0, m, min(ROUNDS, m) + 1)).astype(int))
    with progress_bar(progress, len(shares) + 2, "frequencies", "round") as bar:
        for share in shares:
            candidates = _draw(share * CANDIDATES, x.shape[1], rng)
            scores = _scores(x[:SCORED], chains.points, candidates)
            best = candidates[np.sort(np.argsort(-scores, kind="stable")[:share])]
            omega = np.concatenate([omega, _climb_score(x, chains.points, best, rng)])
            c = np.concatenate([c, np.zeros(share)])
            z = _moments(x, FeatureOperator.pack(omega, np.dtype(np.float32)))
            metric = WhitenedMetric(omega, reference, RIDGE)
            prior = MaxEntropyPrior(omega, c, reference)
            c = ascend(prior, z, metric, chains, FIT_STEP, FIT).c
            bar.update(1)
        omega = _refine(x, omega, c, chains, rng)
        bar.update(2)
    return omega


def _draw(n, dim, rng):
    """n candidates (n, d): directions with few coordinates, and dense ones; radii uniform in RADII."""
    directions = rng.standard_normal((n, dim))
    if dim > DENSE:
        active = np.concatenate(
            [np.full(-(-n // (len(SPARSE) + 1)), count) for count in (*SPARSE, dim)]
        )[:n]
        order = rng.permuted(np.tile(np.arange(dim), (n, 1)), axis=1)
        directions[order >= active[:, None]] = 0
    return directions * (rng.uniform(*RADII, n) / np.linalg.norm(directions, axis=1))[:, None]


def _moments(x, packed):
    return packed.sum(x, np.full(len(x), 1 / len(x), x.dtype))


def _scores(x, points, omega):
    """Squared difference of the moments of x and of `points` over their variance at the points, (m,)."""
    packed = FeatureOperator.pack(omega, x.dtype)
    expected = _moments(points, packed)
    return np.abs(_moments(x, packed) - expected) ** 2 / _variances(expected)


def _variances(expected):
    return 1 - np.abs(expected) ** 2 + 1e-3


def _climb_score(x, points, omega, rng):
    """The frequencies after ASCENT steps up the gradient of their scores, each on a batch of x and one of the points."""
    omega, optimizer = omega.copy(), Adam(ASCENT_STEP)
    for _ in range(ASCENT):
        data, model = (
            x[rng.integers(len(x), size=BATCH)],
            points[rng.integers(len(points), size=BATCH)],
        )
        packed = FeatureOperator.pack(omega, x.dtype)
        expected = _moments(model, packed)
        residual, variance = _moments(data, packed) - expected, _variances(expected)
        gradient = _moment_gradient(data, packed, residual / variance)
        gradient -= _moment_gradient(
            model, packed, residual / variance - expected * (np.abs(residual) / variance) ** 2
        )
        optimizer.update(omega.reshape(-1), -2 * gradient.reshape(-1))
    return omega


def _moment_gradient(x, packed, rho):
    """Gradient (m, d) in omega of ``Re(conj(rho_l) mean_i exp(-i <omega_l, x_i>))``, rho held fixed."""
    gradient = np.empty_like(packed.freqs)
    real, imag = (np.ascontiguousarray(part, x.dtype) for part in (rho.real, rho.imag))
    weights, zeros = np.full(len(x), 1 / len(x), x.dtype), np.zeros(len(x), x.dtype)
    values = np.empty(len(gradient), x.dtype)
    kernel("sum_gradient", like=x)(packed.freqs, x, real, imag, weights, zeros, values, gradient)
    return gradient.astype(np.float64)


def _refine(x, omega, c, chains, rng):
    """The frequencies after REFINE steps up the likelihood of x in frequencies and coefficients."""
    size = omega.size
    theta = np.concatenate([omega.reshape(-1), c.real, c.imag])
    optimizers = [Adam(step, beta2=0.99, schedule=Cosine(REFINE)) for step in REFINE_STEPS]
    for _ in range(REFINE):
        omega, c = (
            theta[:size].reshape(omega.shape),
            theta[size : size + len(c)] + 1j * theta[size + len(c) :],
        )
        prior = MaxEntropyPrior(omega, c, chains.domain)
        chains.advance(prior)
        data, model = (
            x[rng.integers(len(x), size=BATCH)],
            chains.points[rng.integers(len(chains.points), size=BATCH)],
        )
        packed = prior.operator(x.dtype)
        gradient = _moment_gradient(data, packed, c) - _moment_gradient(model, packed, c)
        residual = _moments(data, packed) - _moments(model, packed)
        optimizers[0].update(theta[:size], -gradient.reshape(-1))
        optimizers[1].update(theta[size:], -np.concatenate([residual.real, residual.imag]))
    return theta[:size].reshape(omega.shape).copy()
