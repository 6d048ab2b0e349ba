"""Markov chains that follow a density while it is being learned, and the mass of a density."""

import numpy as np
from scipy.special import logsumexp

from .validation import as_count, as_generator

ACCEPTANCE = 0.35  # share of the proposals that the step is steered towards
LEAST_STEP = 0.02
KEPT = 0.8  # share of the effective points that one step of the annealing keeps
MOVES = 20  # of every chain at each step of the annealing
WARM_UP, THIN = 100, 10  # moves before the first samples are taken, and between two takes


class Chains:
    """Points that follow ``q exp(-energy)`` by Metropolis steps which leave the reference q, or the box, invariant.

    While the energy changes slowly, as it does in learning, one step a change is enough to keep up with it: unlike
    importance weights on points of q, chains work at any distance from q.

    Parameters
    ----------
    domain : Box or reference measure
        Its law is where the chains start.
    n_points : int
        Number of chains.
    rng : int or numpy.random.Generator, optional
    dtype : numpy dtype

    Attributes
    ----------
    points : array (n_points, d)
    step : float
        Of the proposals, in (0, 1]; steered towards an acceptance of 0.35.

    Notes
    -----
    Cotter et al., "MCMC methods for functions: modifying old algorithms to make them faster", arXiv 1202.0709.

    Examples
    --------
    >>> import fastcl
    >>> chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 2000, rng=0)
    >>> for _ in range(60):
    ...     energy = chains.move(lambda x: -2 * x[:, 0])  # the density moves from N(0, 1) to N(2, 1)
    >>> bool(abs(chains.points.mean() - 2) < 0.15)
    True
    """

    def __init__(self, domain, n_points, rng=None, dtype=np.float32):
        self.domain, self.rng = domain, as_generator(rng)
        self.points = domain.sample(as_count(n_points, "n_points"), self.rng, dtype)
        self.step = 0.7

    def move(self, energy, here=None, factor=1.0):
        """One Metropolis step under ``factor * energy``; the energies (n,) at the points, `here` being those before it."""
        here = energy(self.points) if here is None else here
        trial, log_ratio = self.domain.propose(self.points, self.step, self.rng)
        there = energy(trial)
        taken = np.log(self.rng.random(len(trial))) < factor * (here - there) + log_ratio
        self.points = np.where(taken[:, None], trial, self.points)
        self.step = float(np.clip(self.step * np.exp(0.3 * (taken.mean() - ACCEPTANCE)), LEAST_STEP, 1))
        return np.where(taken, there, here)

    def resample(self, weights):
        """Keep every point in proportion to its weight (n,), by systematic sampling; the indices kept (n,)."""
        levels = (np.arange(len(weights)) + self.rng.random()) / len(weights)
        kept = np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), levels), len(weights) - 1)
        self.points = self.points[kept]
        return kept


def log_mass(prior, domain=None, n_points=16384, rng=0):
    """Log of the mass of an unnormalised density, by annealing chains from its domain to it.

    Parameters
    ----------
    prior : MLPPrior, MaxEntropyPrior or GaussianisedPrior
    domain : Box, optional
        Needed for a prior without a reference measure.
    n_points : int
    rng : int or numpy.random.Generator

    Returns
    -------
    float
        ``log E_q exp(log_scale - energy)``, q the reference (the uniform law of the box, plus the logarithm of its
        volume): what has to be subtracted from ``prior.log_density(x)`` to make it a log-density.

    Notes
    -----
    Neal, "Annealed importance sampling", Statistics and Computing 2001, with resampling. The spread over seeds tells
    the error; a mode that no chain finds is missed.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> q = fastcl.Gaussian([0.0], [[1.0]])
    >>> prior = fastcl.MaxEntropyPrior([[1.0]], [1.0], q)  # q exp(cos x)
    >>> round(fastcl.log_mass(prior, n_points=4096), 2)
    0.69
    """
    domain = prior.reference if domain is None else domain
    if domain is None:
        raise ValueError("domain is needed for a prior without a reference measure")
    chains = Chains(domain, n_points, rng)
    energy = prior.energy(chains.points).astype(np.float64)
    total, factor = prior.log_scale + (0.0 if domain.is_reference else np.log(domain.volume)), 0.0
    while factor < 1:
        step = _largest_step(energy, 1 - factor)
        factor = 1.0 if step == 1 - factor else factor + step
        log_weights = -step * energy
        total += logsumexp(log_weights) - np.log(len(energy))
        energy = energy[chains.resample(np.exp(log_weights - log_weights.max()))]
        for _ in range(MOVES):
            energy = chains.move(prior.energy, energy, factor).astype(np.float64)
    return float(total)


def draw_samples(prior, n, rng=None, dtype=np.float32, n_chains=16384):
    """n points (n, d) that follow, up to what is left of the chains' memory, the density of a prior with a reference.

    Chains start from the reference and reach the density while its energy is switched on; then one state in ten is kept.
    """
    chains = Chains(prior.reference, min(as_count(n, "n"), n_chains), rng, dtype)
    for k in range(WARM_UP):
        chains.move(prior.energy, factor=min(1.0, 2 * (k + 1) / WARM_UP))
    taken = [chains.points]
    energy = prior.energy(chains.points)
    while sum(map(len, taken)) < n:
        for _ in range(THIN):
            energy = chains.move(prior.energy, energy)
        taken.append(chains.points)
    return np.concatenate(taken)[:n]


def _largest_step(energy, most):
    """The largest step of the annealing, up to `most`, that keeps a share KEPT of the effective number of points."""

    def effective(step):
        return np.exp(2 * logsumexp(-step * energy) - logsumexp(-2 * step * energy)) / len(energy)

    if effective(most) >= KEPT:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= KEPT else (low, middle)
    return high
