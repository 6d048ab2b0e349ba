"""Markov chains that follow a density while it is being learned, and the mass of a density."""

import numpy as np
import scipy

from ..backend import product
from ..measures.mixtures import Gaussian
from ..validation import as_count, as_generator

ACCEPTANCE, FLOW_ACCEPTANCE = (
    0.35,
    0.8,
)  # shares of the proposals that the steps of `metropolis_step` and `hmc_step` are steered towards
MIN_STEP = 0.02
N_LEAPFROG = 3  # gradients of one flow
STEEPEST = 1e6  # gradients are clipped here: a kick may be any function of the place, and the motion must stay finite
JITTER = 0.2  # of the step of a flow, relative: none may fit a period of the motion
KEPT = 0.8  # share of the effective points that one step of the annealing keeps
MOVES = 30  # of every chain at each step of the annealing
WARM_UP, THIN = 60, 4  # moves before the first samples are taken, and between two takes


class Chains:
    """Points that follow ``q exp(-energy)`` by steps which would leave the reference q, or the box, invariant.

    While the energy changes slowly, as it does in learning, one step a change is enough to keep up with it: unlike
    importance weights on points of q, chains work at any distance from q. `hmc_step` follows the gradient of the energy, where
    the reference is one Gaussian, and goes much further than the Metropolis steps of `metropolis_step`, which any domain has.

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
        Of the proposals, in (0, 1]; steered towards an acceptance of 0.35, or of 0.8 for `hmc_step`.

    Raises
    ------
    TypeError, ValueError
        n_points below 1, or no generator or seed.

    Notes
    -----
    Cotter et al., "MCMC methods for functions: modifying old algorithms to make them faster", arXiv 1202.0709; Beskos et
    al., "Hybrid Monte Carlo on Hilbert spaces", Stochastic Processes and their Applications 2011.

    Examples
    --------
    >>> import fastcl
    >>> chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 2000, rng=0)
    >>> for _ in range(60):
    ...     energy = chains.metropolis_step(lambda x: -2 * x[:, 0])  # the density moves from N(0, 1) to N(2, 1)
    >>> bool(abs(chains.points.mean() - 2) < 0.15)
    True
    """

    def __init__(self, domain, n_points, rng=None, dtype=np.float32):
        self.domain, self.rng = domain, as_generator(rng)
        self.points = domain.sample(as_count(n_points, "n_points"), self.rng, dtype)
        self.step = 0.7

    def __repr__(self):
        return f"Chains(domain={self.domain}, n_points={len(self.points)})"

    def metropolis_step(self, energy, here=None, factor=1.0):
        """One Metropolis step under ``factor * energy``; the energies (n,) at the points, `here` being those before it."""
        here = energy(self.points) if here is None else here
        trial, log_ratio = self.domain.propose(self.points, self.step, self.rng)
        there = energy(trial)
        taken = self._take(trial, factor * (here - there) + log_ratio, ACCEPTANCE)
        return np.where(taken, there, here)

    def hmc_step(self, prior, here=None, factor=1.0):
        """A step of Hamiltonian Monte Carlo, for a Gaussian reference, under ``factor * prior.energy``.

        The motion under the reference alone is a rotation, done exactly; the energy acts by kicks between rotations.
        `here` and the result are the energies (n,) and their gradients (n, d) at the points before and after.
        """
        domain, x = self.domain, self.points
        here = prior.energy_and_grad(x) if here is None else here
        centre = domain.centre.astype(x.dtype)
        velocity = domain.sample(len(x), self.rng, x.dtype) - centre
        angle = self.step * (1 + JITTER * (2 * self.rng.random() - 1))
        cos, sin = x.dtype.type(np.cos(angle)), x.dtype.type(np.sin(angle))
        kick = (-factor * angle / 2 * domain.covariances[0]).astype(x.dtype)

        def hamiltonian(energy):
            return factor * energy - domain.log_density(x) - domain.log_density(centre + velocity)

        def kicked(gradient):
            return velocity + product(np.clip(gradient, -STEEPEST, STEEPEST), kick)

        (energy, gradient), before = here, hamiltonian(here[0])
        for _ in range(N_LEAPFROG):
            velocity = kicked(gradient)
            x, velocity = (
                centre + cos * (x - centre) + sin * velocity,
                cos * velocity - sin * (x - centre),
            )
            energy, gradient = prior.energy_and_grad(x)
            velocity = kicked(gradient)
        taken = self._take(x, before - hamiltonian(energy), FLOW_ACCEPTANCE)
        return np.where(taken, energy, here[0]), np.where(taken[:, None], gradient, here[1])

    def advance(self, prior, here=None, factor=1.0):
        """`hmc_step` where the reference is Gaussian, `metropolis_step` elsewhere; `here` and the result are tuples, energies first."""
        if isinstance(self.domain, Gaussian):
            return self.hmc_step(prior, here, factor)
        return (self.metropolis_step(prior.energy, here and here[0], factor),)

    def _take(self, trial, log_ratio, acceptance):
        """Move to the trial points that are accepted, and steer the step; which were taken (n,)."""
        taken = np.log(self.rng.random(len(trial))) < log_ratio
        self.points = np.where(taken[:, None], trial, self.points)
        self.step = float(
            np.clip(self.step * np.exp(0.3 * (taken.mean() - acceptance)), MIN_STEP, 1)
        )
        return taken

    def resample(self, weights):
        """Keep every point in proportion to its weight (n,), by systematic sampling; the indices kept (n,)."""
        levels = (np.arange(len(weights)) + self.rng.random()) / len(weights)
        kept = np.minimum(
            np.searchsorted(np.cumsum(weights / weights.sum()), levels), len(weights) - 1
        )
        self.points = self.points[kept]
        return kept


def log_normaliser(prior, domain=None, n_points=8192, rng=0):
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

    Raises
    ------
    TypeError, ValueError
        No domain for a prior without a reference; n_points below 1.

    Notes
    -----
    Neal, "Annealed importance sampling", Statistics and Computing 2001, with resampling. The spread over seeds tells
    the error; a mode that no chain finds is missed.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> q = fastcl.Gaussian([0.0], [[1.0]])
    >>> prior = fastcl.MaxEntropyPrior([[1.0]], [1.0], q)  # q exp(cos x)
    >>> round(fastcl.log_normaliser(prior, n_points=4096), 2)
    0.69
    """
    domain = prior.reference if domain is None else domain
    if domain is None:
        raise ValueError("domain is needed for a prior without a reference measure")
    chains = Chains(domain, n_points, rng)
    here = (prior.energy(chains.points),)
    total, factor = prior.log_scale + (0.0 if domain.is_reference else np.log(domain.volume)), 0.0
    while factor < 1:
        energy = here[0].astype(np.float64)
        step = _largest_step(energy, 1 - factor)
        factor = 1.0 if step == 1 - factor else factor + step
        log_weights = -step * energy
        total += scipy.special.logsumexp(log_weights) - np.log(len(energy))
        chains.resample(np.exp(log_weights - log_weights.max()))
        here = None
        for _ in range(MOVES if factor < 1 else 0):
            here = chains.advance(prior, here, factor)
    return float(total)


def draw_samples(prior, n, rng=None, dtype=np.float32, n_chains=8192):
    """n points (n, d) that follow, up to what is left of the chains' memory, the density of a prior with a reference.

    Chains start from the reference and reach the density while its energy is switched on; then one state in four is kept.
    """
    chains, here = Chains(prior.reference, min(as_count(n, "n"), n_chains), rng, dtype), None
    for k in range(WARM_UP):
        here = chains.advance(prior, here, min(1.0, 2 * (k + 1) / WARM_UP))
    taken = [chains.points]
    while sum(map(len, taken)) < n:
        for _ in range(THIN):
            here = chains.advance(prior, here)
        taken.append(chains.points)
    return np.concatenate(taken)[:n]


def _largest_step(energy, most):
    """The largest step of the annealing, up to `most`, that keeps a share KEPT of the effective number of points."""

    def effective(step):
        return np.exp(
            2 * scipy.special.logsumexp(-step * energy)
            - scipy.special.logsumexp(-2 * step * energy)
        ) / len(energy)

    if effective(most) >= KEPT:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= KEPT else (low, middle)
    return high
