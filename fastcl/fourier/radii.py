"""Distributions of random frequencies; `draw_frequencies` defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DISTRIBUTIONS = ("gaussian", "folded_gaussian", "adapted_radius")


def draw_free(m: int, dim: int, scale: float, law: str, rng: np.random.Generator) -> NDArray:
    """m independent frequencies (m, d) with the distribution `law` in `dim` dimensions."""
    directions = rng.standard_normal((m, dim))
    if law == "gaussian":
        return directions / scale
    radii = draw_radii(m, dim, law, rng)
    return directions * (radii / (scale * np.linalg.norm(directions, axis=1)))[:, None]


def draw_radii(m: int, dim: int, law: str, rng: np.random.Generator) -> NDArray:
    """m radii with the distribution `law` in `dim` dimensions, at scale 1."""
    if law == "gaussian":
        return np.sqrt(rng.chisquare(dim, m))
    return np.abs(rng.standard_normal(m)) if law == "folded_gaussian" else _adapted_radii(m, rng)


def _adapted_radii(m: int, rng: np.random.Generator) -> NDArray:
    """m radii with density ~ sqrt(r^2 + r^4 / 4) exp(-r^2 / 2), by inversion on a fine grid."""
    r = np.linspace(0, 8, 8001)
    cumulative = np.cumsum(np.sqrt(r**2 + r**4 / 4) * np.exp(-(r**2) / 2))
    return np.interp(rng.random(m) * cumulative[-1], cumulative, r)
