"""Frequencies at which data differ from a reference measure, chosen on a subsample of the data.

Eight rounds of a search are followed by a refinement. Each round draws candidates and scores them
by the squared difference between the moments of the data and of the density fitted so far, divided
by the variance of a moment of that density. The best candidates ascend their scores, and the
maximum-entropy density is fitted to the moments at all frequencies so far. The refinement then
ascends the likelihood of the points in frequencies and coefficients together.

Only the frequencies are returned: what is learned later is learned from the sketch of all data at
these frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import kernel, typical_rows
from ..fourier.operator import PackedOperator
from ..measures.base import ReferenceMeasure
from ..priors.chains import Chains
from ..priors.max_entropy import MaxEntropyPrior, ascend
from ..priors.metric import WhitenedMetric
from ..progress import progress_bar
from ..validation import as_count, as_generator, as_points
from .optimizers import Adam, Cosine

RADII = (0.5, 3.5)  # norms of the candidates, per standard deviation of the reference
SPARSE = (2, 3, 5)  # non-zero coordinates of the sparse candidates, in more than DENSE dimensions
DENSE = 10  # up to this dimension every candidate is dense
ASCENT_STEP = 0.1  # step size of the ascent of the scores
FIT_STEP = 0.1  # step size of the maximum-entropy fits
REFINE_STEPS = (0.005, 0.002)  # step sizes of the refinement: frequencies, coefficients
RIDGE = 0.01  # ridge of the metric of the fits
MIN_VARIANCE = 1e-3  # added to the variance of a moment, which vanishes at frequency zero


@dataclass(frozen=True)
class SearchEffort:
    """How long `adapt_frequencies` searches; its time is about in proportion to each of these.

    Attributes
    ----------
    rounds : int
        Rounds of the search.
    candidates : int
        Candidates drawn per frequency that a round keeps.
    chains : int
        Markov chains that follow the fitted density.
    scored : int
        Points on which candidates are scored, at most.
    batch : int
        Points per gradient.
    ascent_steps : int
        Steps in which the chosen candidates ascend their scores.
    fit_steps : int
        Steps of the maximum-entropy fit in each round.
    refine_steps : int
        Steps of the refinement.
    """

    rounds: int = 8
    candidates: int = 5
    chains: int = 4096
    scored: int = 50_000
    batch: int = 4096
    ascent_steps: int = 20
    fit_steps: int = 15
    refine_steps: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            as_count(value, name)


EFFORT = SearchEffort()  # the default


@np.errstate(under="ignore")
def adapt_frequencies(
    x: ArrayLike,
    m: int,
    reference: ReferenceMeasure,
    rng: Any = None,
    progress: bool = False,
    *,
    effort: SearchEffort | None = None,
) -> NDArray:
    """Choose m frequencies at which the data differ from a reference measure.

    Candidates are drawn, scored by how much the moments of the data differ from those of the
    density fitted so far, and moved to where they differ most, in eight rounds; a refinement of all
    frequencies follows.

    Parameters
    ----------
    x : array (n, d)
        A subsample of the data, in the coordinates that will be sketched: some ten thousand points.
    m : int
        Number of frequencies.
    reference : ReferenceMeasure
        A measure near x with a standard deviation near one in every direction, such as N(0, I) for
        points that `gaussianise` returned.
    rng : int or numpy.random.Generator, optional
    progress : bool
    effort : fastcl.learning.adaptive.SearchEffort, optional
        How long to search.

    Returns
    -------
    float64 array (m, d)
        In radians per unit of x.

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
    >>> rng = np.random.default_rng(0)
    >>> x = rng.choice([-1.0, 1.0], (5000, 1)) + 0.2 * rng.standard_normal((5000, 1))
    >>> fastcl.adapt_frequencies(x, 16, fastcl.Gaussian([0.0], [[1.0]]), rng=0).shape
    (16, 1)
    """
    if not isinstance(reference, ReferenceMeasure):
        raise TypeError(f"reference must be a reference measure, got {type(reference).__name__}")
    x = as_points(x, "x", reference.dim)
    with np.errstate(over="ignore"):  # values that overflow float32 become infinite: refused below
        x = as_points(x.astype(np.float32), "x")
    m = as_count(m, "m")
    rng = as_generator(rng)
    effort = EFFORT if effort is None else effort
    chains = Chains(reference, effort.chains, rng)
    omega = np.empty((0, x.shape[1]))
    c = np.empty(0, np.complex128)
    totals = np.round(np.linspace(0, m, min(effort.rounds, m) + 1)).astype(int)
    in_rounds = (len(totals) - 1) * (effort.ascent_steps + effort.fit_steps)
    n_steps = in_rounds + effort.refine_steps
    with progress_bar(progress, n_steps, "frequencies", "step") as bar:
        for n_new in np.diff(totals):
            candidates = _draw(n_new * effort.candidates, x.shape[1], rng)
            scores = _scores(typical_rows(x, effort.scored), chains.points, candidates)
            best = candidates[np.sort(np.argsort(-scores, kind="stable")[:n_new])]
            best = _ascend_scores(x, chains.points, best, effort, rng, bar)
            omega = np.concatenate([omega, best])
            c = np.concatenate([c, np.zeros(n_new)])
            z = _moments(x, PackedOperator.pack(omega, np.dtype(np.float32)))
            metric = WhitenedMetric(omega, reference, RIDGE)
            prior = MaxEntropyPrior(omega, c, reference)
            c = ascend(prior, z, metric, chains, FIT_STEP, effort.fit_steps).c
            bar.update(effort.fit_steps)
        omega = _refine(x, omega, c, reference, chains, effort, rng, bar)
    return omega


def _draw(n: int, dim: int, rng: np.random.Generator) -> NDArray:
    """n candidates (n, d), sparse ones first; their norms are uniform in RADII."""
    directions = rng.standard_normal((n, dim))
    if dim > DENSE:
        counts = (*SPARSE, dim)
        active = np.repeat(counts, -(-n // len(counts)))[:n]
        order = rng.permuted(np.tile(np.arange(dim), (n, 1)), axis=1)
        directions[order >= active[:, None]] = 0
    return directions * (rng.uniform(*RADII, n) / np.linalg.norm(directions, axis=1))[:, None]


def _moments(x: NDArray, operator: PackedOperator) -> NDArray:
    """mean_i exp(-i <omega_l, x_i>), (m,)."""
    return operator.sum(x, np.full(len(x), 1 / len(x), x.dtype))


def _scores(x: NDArray, points: NDArray, omega: NDArray) -> NDArray:
    """Squared difference of the moments of x and `points`, over the variance at `points`, (m,)."""
    operator = PackedOperator.pack(omega, x.dtype)
    expected = _moments(points, operator)
    return np.abs(_moments(x, operator) - expected) ** 2 / _variances(expected)


def _variances(expected: NDArray) -> NDArray:
    """Variances (m,) of exp(-i <omega_l, x>) with these means."""
    return 1 - np.abs(expected) ** 2 + MIN_VARIANCE


def _batch(x: NDArray, effort: SearchEffort, rng: np.random.Generator) -> NDArray:
    return x[rng.integers(len(x), size=effort.batch)]


def _ascend_scores(
    x: NDArray,
    points: NDArray,
    omega: NDArray,
    effort: SearchEffort,
    rng: np.random.Generator,
    bar: Any,
) -> NDArray:
    """The frequencies (m, d) after some steps up the gradient of their scores.

    Each step takes a batch of x and one of the points.
    """
    omega = omega.copy()
    optimizer = Adam(ASCENT_STEP)
    for _ in range(effort.ascent_steps):
        data = _batch(x, effort, rng)
        model = _batch(points, effort, rng)
        operator = PackedOperator.pack(omega, x.dtype)
        expected = _moments(model, operator)
        residual = _moments(data, operator) - expected
        variance = _variances(expected)
        gradient = _moment_gradient(data, operator, residual / variance)
        by_variance = expected * (np.abs(residual) / variance) ** 2
        gradient -= _moment_gradient(model, operator, residual / variance - by_variance)
        optimizer.update(omega.reshape(-1), -2 * gradient.reshape(-1))
        bar.update(1)
    return omega


def _moment_gradient(x: NDArray, operator: PackedOperator, rho: NDArray) -> NDArray:
    """Gradient (m, d) in omega of ``Re(conj(rho_l) mean_i exp(-i <omega_l, x_i>))``, rho fixed."""
    freqs = operator.freqs
    gradient = np.empty_like(freqs)
    real, imag = (np.ascontiguousarray(part, x.dtype) for part in (rho.real, rho.imag))
    weights = np.full(len(x), 1 / len(x), x.dtype)
    zeros = np.zeros(len(x), x.dtype)
    values = np.empty(len(freqs), x.dtype)
    kernel("sum_gradient", like=x)(freqs, x, real, imag, weights, zeros, values, gradient)
    return gradient.astype(np.float64)


def _refine(
    x: NDArray,
    omega: NDArray,
    c: NDArray,
    reference: ReferenceMeasure,
    chains: Chains,
    effort: SearchEffort,
    rng: np.random.Generator,
    bar: Any,
) -> NDArray:
    """The frequencies (m, d) after some steps up the likelihood of x in omega and c."""
    shape, size, m = omega.shape, omega.size, len(c)
    theta = np.concatenate([omega.reshape(-1), c.real, c.imag])
    schedule = Cosine(effort.refine_steps)
    of_omega, of_c = (Adam(step, beta2=0.99, schedule=schedule) for step in REFINE_STEPS)
    for _ in range(effort.refine_steps):
        omega = theta[:size].reshape(shape)
        c = theta[size : size + m] + 1j * theta[size + m :]
        prior = MaxEntropyPrior(omega, c, reference)
        chains.advance(prior)
        data = _batch(x, effort, rng)
        model = _batch(chains.points, effort, rng)
        operator = prior.operator(x.dtype)
        gradient = _moment_gradient(data, operator, c) - _moment_gradient(model, operator, c)
        residual = _moments(data, operator) - _moments(model, operator)
        of_omega.update(theta[:size], -gradient.reshape(-1))
        of_c.update(theta[size:], -np.concatenate([residual.real, residual.imag]))
        bar.update(1)
    return theta[:size].reshape(shape).copy()
