"""Markov chains that follow a density while it is being learned, and the mass of a density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import DTypeLike, NDArray

from ..backend import product
from ..measures.box import Box, Domain, check_domain
from ..measures.mixtures import Gaussian
from ..progress import progress_bar
from ..validation import as_count, as_float_dtype, as_generator, check_lengths
from .base import Prior

ACCEPTANCE = 0.35  # target acceptance rate, towards which Metropolis steps adapt their length
HMC_ACCEPTANCE = 0.8  # the same for Hamiltonian steps
MIN_STEP = 0.02  # smallest length of the proposals
N_LEAPFROG = 3  # gradients per Hamiltonian step
MAX_GRADIENT = 1e6  # gradients are clipped here to keep the motion finite; any kick is valid
JITTER = 0.2  # relative jitter of Hamiltonian step lengths, lest one match a period of the motion
KEPT = 0.8  # share of the effective sample size that every step of the annealing keeps
MOVES = 30  # steps of every chain per step of the annealing
WARM_UP = 60  # steps before the first samples are taken
THIN = 4  # steps between two samples of a chain
N_CHAINS = 4096  # chains that samples are taken from, at most


class Chains:
    """Points that follow ``q exp(-energy)``, by steps that would leave the reference q invariant.

    While the energy changes slowly, as in learning, one step per change is enough to keep up.
    Unlike importance weights on points of q, chains work however far the density is from q.
    `hmc_step` follows the gradient of the energy; it needs a single Gaussian as the reference, and
    goes much further than `metropolis_step`, which works on any domain.

    Parameters
    ----------
    domain : Box or ReferenceMeasure
        The chains start from its distribution.
    n_points : int
        Number of chains.
    rng : int or numpy.random.Generator, optional
    dtype : numpy dtype
        Type of the points.

    Attributes
    ----------
    points : array (n_points, d)
        The current states of the chains.
    step : float
        Length of the proposals, in (0, 1], which adapts to an acceptance rate of 0.35, or of 0.8
        for `hmc_step`.

    Raises
    ------
    TypeError, ValueError
        No domain; one whose spread the type of the points cannot square; n_points below 1; an rng
        that is neither a generator nor a seed.

    Notes
    -----
    Cotter et al., "MCMC methods for functions: modifying old algorithms to make them faster",
    arXiv 1202.0709; Beskos et al., "Hybrid Monte Carlo on Hilbert spaces", Stochastic Processes and
    their Applications 2011.

    Examples
    --------
    >>> import fastcl
    >>> chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 2000, rng=0)
    >>> for _ in range(60):
    ...     energy = chains.metropolis_step(lambda x: -2 * x[:, 0])  # from N(0, 1) to N(2, 1)
    >>> bool(abs(chains.points.mean() - 2) < 0.15)
    True
    """

    def __init__(
        self, domain: Domain, n_points: int, rng: Any = None, dtype: DTypeLike = np.float32
    ) -> None:
        check_domain(domain)
        self.domain = domain
        self.rng = as_generator(rng)
        check_lengths(
            domain.walk_scale, f"the spread of the {type(domain).__name__}", as_float_dtype(dtype)
        )
        self.points = domain.sample(as_count(n_points, "n_points"), self.rng, dtype)
        self.step = 0.7

    def __repr__(self) -> str:
        return f"Chains(domain={self.domain}, n_points={len(self.points)})"

    @np.errstate(under="ignore")
    def metropolis_step(
        self,
        energy: Callable[[NDArray], NDArray],
        here: NDArray | None = None,
        factor: float = 1.0,
    ) -> NDArray:
        """One Metropolis step under ``factor * energy``; returns the new energies (n,).

        `here` (n,) are the energies at the points before the step, if they are known.
        """
        here = energy(self.points) if here is None else here
        trial, log_ratio = self.domain.propose(self.points, self.step, self.rng)
        there = energy(trial)
        taken = self._take(trial, factor * (here - there) + log_ratio, ACCEPTANCE)
        return np.where(taken, there, here)

    @np.errstate(under="ignore")
    def hmc_step(
        self,
        prior: Prior,
        here: tuple[NDArray, NDArray] | None = None,
        factor: float = 1.0,
    ) -> tuple[NDArray, NDArray]:
        """One step of Hamiltonian Monte Carlo under ``factor * prior.energy``, for q a Gaussian.

        The motion under the reference alone is a rotation, which is exact; the energy acts by kicks
        between rotations. `here` and the result are the energies (n,) and their gradients (n, d)
        before and after the step.
        """
        domain, x = self.domain, self.points
        if not isinstance(domain, Gaussian):
            raise TypeError(f"hmc_step needs a Gaussian as the domain, got {domain!r}")
        here = prior.energy_and_grad(x) if here is None else here
        centre = domain.centre.astype(x.dtype)
        velocity = domain.sample(len(x), self.rng, x.dtype) - centre
        angle = self.step * (1 + JITTER * (2 * self.rng.random() - 1))
        cos, sin = x.dtype.type(np.cos(angle)), x.dtype.type(np.sin(angle))
        kick = (-factor * angle / 2 * domain.covariances[0]).astype(x.dtype)

        def hamiltonian(energy: NDArray) -> NDArray:
            kinetic = domain.log_density(centre + velocity)
            return factor * energy - domain.log_density(x) - kinetic

        def kicked(gradient: NDArray) -> NDArray:
            return velocity + product(np.clip(gradient, -MAX_GRADIENT, MAX_GRADIENT), kick)

        (energy, gradient), before = here, hamiltonian(here[0])
        for _ in range(N_LEAPFROG):
            velocity = kicked(gradient)
            offset = x - centre
            x = centre + cos * offset + sin * velocity
            velocity = cos * velocity - sin * offset
            energy, gradient = prior.energy_and_grad(x)
            velocity = kicked(gradient)
        taken = self._take(x, before - hamiltonian(energy), HMC_ACCEPTANCE)
        gradients = np.where(taken[:, None], gradient, here[1])
        return np.where(taken, energy, here[0]), gradients

    def advance(
        self, prior: Prior, here: tuple | None = None, factor: float = 1.0
    ) -> tuple[NDArray, ...]:
        """`hmc_step` for a Gaussian reference, `metropolis_step` for any other domain.

        `here` and the result are tuples whose first entry holds the energies.
        """
        if isinstance(self.domain, Gaussian):
            return self.hmc_step(prior, here, factor)
        energies = None if here is None else here[0]
        return (self.metropolis_step(prior.energy, energies, factor),)

    @np.errstate(under="ignore")
    def _take(self, trial: NDArray, log_ratio: NDArray, acceptance: float) -> NDArray:
        """Accept or reject the trial points, adapt the step; returns which were accepted (n,)."""
        taken = np.log(self.rng.random(len(trial))) < log_ratio
        self.points = np.where(taken[:, None], trial, self.points)
        change = np.exp(0.3 * (taken.mean() - acceptance))
        self.step = float(np.clip(self.step * change, MIN_STEP, 1))
        return taken

    @np.errstate(under="ignore")
    def resample(self, weights: NDArray) -> NDArray:
        """Resample the points by weights (n,), systematically; returns the indices kept (n,)."""
        levels = (np.arange(len(weights)) + self.rng.random()) / len(weights)
        cumulative = np.cumsum(weights / weights.sum())
        kept = np.minimum(np.searchsorted(cumulative, levels), len(weights) - 1)
        self.points = self.points[kept]
        return kept


def log_normaliser(
    prior: Prior, domain: Box | None = None, n_points: int = 8192, rng: Any = 0
) -> float:
    """Logarithm of the mass of an unnormalised density, by annealing chains towards it.

    Parameters
    ----------
    prior : Prior
        The density.
    domain : Box, optional
        Needed for a prior without a reference measure: the box that the mass is taken over.
    n_points : int
        Number of chains.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    float
        ``log E_q exp(log_scale - energy)`` with the reference q; for a box, q is the uniform
        distribution on it and the logarithm of its volume is added. Subtract the result from
        ``prior.log_density(x)`` to get a normalised log-density.

    Raises
    ------
    TypeError, ValueError
        No box for a prior without a reference, or a domain for one with a reference; n_points
        below 1.

    Notes
    -----
    Neal, "Annealed importance sampling", Statistics and Computing 2001, with resampling. The spread
    over several seeds shows the error; the mass of a mode that no chain finds is missed.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> q = fastcl.Gaussian([0.0], [[1.0]])
    >>> prior = fastcl.MaxEntropyPrior([[1.0]], [1.0], q)  # q exp(cos x)
    >>> round(fastcl.log_normaliser(prior, n_points=4096), 2)
    0.69
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"prior must be a fastcl.Prior, got {type(prior).__name__}")
    start = _start(prior, domain)
    total = prior.log_scale + (start.log_volume if isinstance(start, Box) else 0.0)
    return float(_anneal(prior, Chains(start, n_points, rng), total))


def _start(prior: Prior, domain: Box | None) -> Domain:
    """Where the chains of a prior start: its reference, or the box that it needs without one."""
    if prior.reference is not None:
        if domain not in (None, prior.reference):
            raise ValueError("domain is for a prior without a reference measure: leave it out")
        return prior.reference
    if not isinstance(domain, Box):
        raise ValueError(f"domain must be a Box for a prior without a reference, got {domain!r}")
    return domain


@np.errstate(under="ignore")
def _anneal(prior: Prior, chains: Chains, total: float = 0.0) -> float:
    """Bring chains from their domain to the density; returns the log-mass, added to `total`."""
    here: tuple | None = None
    factor = 0.0
    while factor < 1:
        energy = (prior.energy(chains.points) if here is None else here[0]).astype(np.float64)
        step = _largest_step(energy, 1 - factor)
        factor = 1.0 if step == 1 - factor else factor + step
        log_weights = -step * energy
        total += scipy.special.logsumexp(log_weights) - np.log(len(energy))
        chains.resample(np.exp(log_weights - log_weights.max()))
        here = None
        for _ in range(MOVES if factor < 1 else 0):
            here = chains.advance(prior, here, factor)
    return total


def draw_samples(
    prior: Prior,
    n: int,
    rng: Any = None,
    dtype: DTypeLike = np.float32,
    domain: Box | None = None,
    n_chains: int = N_CHAINS,
    progress: bool = False,
) -> NDArray:
    """n points (n, d) that nearly follow the density of a prior: see `Prior.sample`.

    Chains start from the reference and follow the density while its energy is switched on. In a
    box, which is further from the density, they are also resampled on the way, so that every mode
    gets its share. Then every fourth state is kept.
    """
    n = as_count(n, "n")
    start = _start(prior, domain)
    in_box = isinstance(start, Box)
    count = n_chains if in_box else min(n, n_chains)
    chains = Chains(start, count, rng, as_float_dtype(dtype))
    if in_box:
        _anneal(prior, chains)
        chains.points = chains.rng.permutation(chains.points)  # copies of a point are neighbours
    here: tuple | None = None
    states = -(-n // count)
    with progress_bar(progress, WARM_UP + THIN * (states - 1), "samples", "step") as bar:
        for k in range(WARM_UP):
            here = chains.advance(prior, here, 1.0 if in_box else min(1.0, 2 * (k + 1) / WARM_UP))
            bar.update(1)
        taken = [chains.points]
        while len(taken) < states:
            for _ in range(THIN):
                here = chains.advance(prior, here)
                bar.update(1)
            taken.append(chains.points)
    return np.concatenate(taken)[:n]


def _largest_step(energy: NDArray, most: float) -> float:
    """The largest step, up to `most`, whose effective sample size is a share KEPT of the points."""
    energy = energy - energy.min()  # so that the logarithms below do not cancel

    def effective(step: float) -> float:
        once = scipy.special.logsumexp(-step * energy)
        twice = scipy.special.logsumexp(-2 * step * energy)
        return np.exp(2 * once - twice) / len(energy)

    if effective(most) >= KEPT:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        if effective(middle) >= KEPT:
            low = middle
        else:
            high = middle
    return high
