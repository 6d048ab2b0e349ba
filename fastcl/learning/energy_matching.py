"""Learning a network in function space: its energies follow those of a density along its chains.

Sketch matching moves the parameters of a network by the gradient of a few thousand moments, which
says little about most of them in more than a few dimensions. The density of maximum entropy with
the same moments takes the same steps in function space, where they are Newton's: its energy is
``-A* c``. A network learns that energy by regression, at the points of Markov chains that follow
the density: where they are, an error of the energies is an error of the density.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import files
from ..backend import is_device
from ..measures.base import ReferenceMeasure
from ..measures.box import Domain
from ..measures.counter_rng import Stream
from ..measures.mixtures import Gaussian
from ..priors.base import Prior
from ..priors.chains import Chains, log_normaliser
from ..priors.max_entropy import MaxEntropyPrior, max_entropy
from ..sketching.sketch import Sketch
from ..validation import as_points, as_positive, as_stored_count, as_vector
from .objective import Estimate, SketchMatching, backward, check_prior, forward

N_ITER = 200  # steps of maximum entropy
WARM_UP = 20  # moves of the chains before the first gradient
GRADIENTS = 6  # between two moves of the chains, each of which takes as long as some gradients


class Walk(NamedTuple):
    """A density, and chains that follow it: their points (n, d), and the energies there first."""

    density: MaxEntropyPrior
    points: NDArray
    here: tuple[NDArray, ...]
    step: float
    moves: int


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

    Attributes
    ----------
    walk : Walk or None
        The density and the chains at the latest gradient; None before the first.
    """

    def __init__(self, sketch: Sketch, domain: Domain, dtype: DTypeLike, n_points: int) -> None:
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
        self.walk: Walk | None = None

    def check(self, prior: Prior) -> None:
        """Raise an error unless this objective can drive `prior`."""
        check_prior(prior, self.domain)
        if is_device(prior.theta):
            raise TypeError("method 'chains' works on NumPy arrays only")

    def gradient(
        self,
        prior: Prior,
        method: str,
        points: int,
        stream: Stream,
        log_scale: str = "normalised",
    ) -> Estimate:
        """The variance and its gradient at the points that the chains have at a step."""
        walk = self._begin(stream.seed) if self.walk is None else self.walk
        while walk.moves < stream.step // GRADIENTS:
            walk = self._move(walk, stream.seed)
        self.walk = walk
        x = walk.points
        energy, state = forward(prior, x, self.dtype)
        difference = energy - walk.here[0]
        difference -= difference.mean(dtype=np.float64)
        gradient = backward(prior, (2 / len(x)) * difference, state, self.dtype)
        gradient[-1] = 0
        value = float(np.mean(np.square(difference), dtype=np.float64))
        return Estimate(value, gradient, prior.log_scale)

    def unit_mass_log_scale(self, prior: Prior, method: str, points: int, rng: Any = None) -> float:
        """The log-scale that gives the density mass one."""
        return prior.log_scale - log_normaliser(prior)

    # ---- the chains ---------------------------------------------------------------------------

    def _begin(self, seed: int) -> Walk:
        """Learn the density of maximum entropy, and bring chains to it."""
        rng = np.random.default_rng(seed)
        settings: dict[str, Any] = {"n_points": self.n_points, "n_iter": N_ITER, "rng": rng}
        density = max_entropy(self.sketch, self.domain, **settings)
        if density.interrupted:
            raise KeyboardInterrupt
        chains = Chains(self.domain, self.n_points, rng, self.dtype)
        here: tuple[NDArray, ...] | None = None
        for k in range(WARM_UP):
            here = chains.advance(density, here, min(1.0, 2 * (k + 1) / WARM_UP))
        return Walk(density, chains.points, here or (), chains.step, 0)

    def _move(self, walk: Walk, seed: int) -> Walk:
        """The chains one move later, whose random numbers depend on the seed and its number."""
        chains = Chains(self.domain, 1, Stream(seed, walk.moves).generator, self.dtype)
        chains.points, chains.step = walk.points, walk.step
        here = chains.advance(walk.density, walk.here)
        return Walk(walk.density, chains.points, here, chains.step, walk.moves + 1)

    # ---- the checkpoint -----------------------------------------------------------------------

    def state(self) -> files.Arrays:
        """What `load_state` needs to resume: name -> array."""
        walk = self.walk
        if walk is None:
            return {}
        here = dict(zip(("energies", "gradients"), walk.here, strict=False))
        numbers = {"step": walk.step, "moves": walk.moves}
        return {"c": walk.density.c, "points": walk.points} | here | numbers

    def load_state(self, arrays: files.Arrays, iteration: int) -> None:
        """Resume from the result of `state` after `iteration` steps.

        KeyError or ValueError if it is none.
        """
        if not arrays:
            return
        density = MaxEntropyPrior(self.sketch.omega, arrays["c"], self.domain)
        points = self._stored(arrays, "points")
        here = [as_vector(arrays["energies"], "energies", self.n_points, self.dtype)]
        if isinstance(self.domain, Gaussian):  # Hamiltonian steps
            here.append(self._stored(arrays, "gradients"))
        step, moves = as_positive(arrays["step"], "step"), as_stored_count(arrays["moves"], "moves")
        if step > 1 or moves > iteration // GRADIENTS:
            raise ValueError(f"chains cannot have taken {moves} moves of length {step:g}")
        self.walk = Walk(density, points, tuple(here), step, moves)

    def _stored(self, arrays: files.Arrays, name: str) -> NDArray:
        """The array of that name, of the shape of the points."""
        array = as_points(arrays[name], name, self.domain.dim)
        if len(array) != self.n_points:
            raise ValueError(f"{name} must have {self.n_points} rows, got {len(array)}")
        return array.astype(self.dtype, copy=False)


Objective = SketchMatching | EnergyMatching  # what `learn` descends
