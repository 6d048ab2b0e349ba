"""Learning a network in function space: its energies follow those of a density along its chains.

Sketch matching moves the parameters of a network by the gradient of a few thousand moments, which
says little about most of them in more than a few dimensions. The density of maximum entropy with
the same moments takes the same steps in function space, where they are Newton's: its energy is
``-A* c``. A network learns that energy by regression, at the points of Markov chains that follow
the density: where they are, an error of the energies is an error of the density.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import is_device
from ..measures.base import ReferenceMeasure
from ..measures.box import Domain
from ..priors.base import Prior
from ..priors.chains import Chains, log_normaliser
from ..priors.max_entropy import MaxEntropyPrior, max_entropy
from ..sketching.sketch import Sketch
from .objective import Estimate, backward, check_prior, forward

N_ITER = 200  # steps of maximum entropy
WARM_UP = 20  # moves of the chains before the first gradient
GRADIENTS = 6  # between two moves of the chains, each of which takes as long as some gradients


class EnergyMatching:
    """The variance of ``R_theta - R``, R the energy of maximum entropy, over points of its density.

    That density is learned from the sketch at the first gradient. Memory: that of `max_entropy`.

    Parameters
    ----------
    sketch : Sketch
    domain : reference measure
        Of the prior.
    dtype : numpy dtype
        Working precision, that of the prior.
    n_points : int
        Number of chains, all of which are the points of every gradient.
    seed : int
    """

    def __init__(
        self, sketch: Sketch, domain: Domain, dtype: DTypeLike, n_points: int, seed: int
    ) -> None:
        if not isinstance(sketch, Sketch):
            raise TypeError(f"sketch must be a fastcl.Sketch, got {type(sketch).__name__}")
        if not isinstance(domain, ReferenceMeasure):
            raise ValueError(
                "method 'chains' is for a prior with a reference measure: in a box take 'unbiased'"
            )
        if domain.dim != sketch.dim:
            raise ValueError(f"domain has dimension {domain.dim}, the sketch {sketch.dim}")
        self.domain = domain
        self.sketch = sketch
        self.dtype = np.dtype(dtype)
        self.n_points = n_points
        self.rng = np.random.default_rng(seed)
        self.density: MaxEntropyPrior | None = None
        self.here: tuple[NDArray, ...] = ()  # energies at the points of the chains first
        self.taken = 0

    def check(self, prior: Prior) -> None:
        """Raise an error unless this objective can drive `prior`."""
        check_prior(prior, self.domain)
        if is_device(prior.theta):
            raise TypeError("method 'chains' works on NumPy arrays only")

    def gradient(
        self, prior: Prior, method: str, points: int, rng: Any = None, log_scale: str = "normalised"
    ) -> Estimate:
        """The variance and its gradient at the current points of the chains."""
        if self.density is None:
            self.density = self._begin()
        elif self.taken % GRADIENTS == 0:
            self.here = self.chains.advance(self.density, self.here)
        self.taken += 1
        x = self.chains.points
        energy, state = forward(prior, x, self.dtype)
        difference = energy - self.here[0]
        difference -= difference.mean(dtype=np.float64)
        gradient = backward(prior, (2 / len(x)) * difference, state, self.dtype)
        gradient[-1] = 0
        value = float(np.mean(np.square(difference), dtype=np.float64))
        return Estimate(value, gradient, prior.log_scale)

    def unit_mass_log_scale(self, prior: Prior, method: str, points: int, rng: Any = None) -> float:
        """The log-scale that gives the density mass one."""
        return prior.log_scale - log_normaliser(prior)

    def _begin(self) -> MaxEntropyPrior:
        """Learn the density of maximum entropy, and bring chains to it."""
        settings: dict[str, Any] = {"n_points": self.n_points, "n_iter": N_ITER, "rng": self.rng}
        density = max_entropy(self.sketch, self.domain, **settings)
        if density.interrupted:
            raise KeyboardInterrupt
        self.chains = Chains(self.domain, self.n_points, self.rng, self.dtype)
        here = None
        for k in range(WARM_UP):
            here = self.chains.advance(density, here, min(1.0, 2 * (k + 1) / WARM_UP))
        self.here = here or ()
        return density
