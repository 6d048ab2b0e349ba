"""Small data sets with a known distribution, for demonstrations, benchmarks and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..measures.mixtures import GaussianMixture
from ..validation import as_count, as_generator, as_positive


def make_spiral(
    n: int,
    noise: float = 0.02,
    turns: float = 1.5,
    rng: int | np.random.Generator | None = None,
) -> NDArray[np.float64]:
    """Noisy points along a spiral in [-1, 1]^2.

    They are ``0.9 t (cos(2 pi turns t), sin(2 pi turns t))``, t uniform in [0, 1], plus noise.

    Parameters
    ----------
    n : int
        Number of points.
    noise : float
        Standard deviation of the Gaussian noise.
    turns : float
        Number of turns from the centre to the end.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    float64 array (n, 2)
    """
    n = as_count(n, "n")
    noise = as_positive(noise, "noise")
    rng = as_generator(rng)
    t = rng.random(n)
    angle = 2 * np.pi * turns * t
    return (0.9 * t * [np.cos(angle), np.sin(angle)]).T + noise * rng.standard_normal((n, 2))


def two_gaussians(dim: int = 2) -> GaussianMixture:
    """Two equal round Gaussians of std 0.1, centred on the diagonal 0.4 either way from 0."""
    dim = as_count(dim, "dim")
    centre = np.full(dim, 0.4 / np.sqrt(dim))
    return GaussianMixture([0.5, 0.5], [centre, -centre], [0.01 * np.eye(dim)] * 2)
