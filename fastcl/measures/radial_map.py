"""The radial map that makes a Gaussian scale mixture standard normal.

If v = r u has a uniform direction u and a radius r with distribution function F, the vector
``T(v) = u F_chi^-1(F(r))`` is standard normal: its radius follows the chi distribution with d
degrees of freedom. log r -> log F_chi^-1(F(r)) and its inverse are tabulated as piecewise cubics.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

N_NODES = 2000
TINY = np.finfo(np.float64).tiny


@np.errstate(under="ignore")
def radial_tables(scales: NDArray, weights: NDArray, dim: int) -> tuple[NDArray, NDArray]:
    """Tables for `evaluate_table`: log r -> log of the mapped radius, and its inverse.

    v is N(0, scale_j^2 I) in `dim` dimensions with probability weight_j; scales, weights (J,).
    """
    r = np.geomspace(1e-4 * scales.min(), 40 * np.sqrt(dim) * scales.max(), N_NODES)
    ratios = (r[:, None] / scales) ** 2
    below = scipy.special.logsumexp(scipy.stats.chi2.logcdf(ratios, dim), b=weights, axis=1)
    above = scipy.special.logsumexp(scipy.stats.chi2.logsf(ratios, dim), b=weights, axis=1)
    kept = np.minimum(below, above) > -600  # smaller probabilities would underflow
    below, above, r = below[kept], above[kept], r[kept]
    from_below = scipy.stats.chi.ppf(np.exp(below), dim)
    t = np.where(below < above, from_below, scipy.stats.chi.isf(np.exp(above), dim))
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(t)) > 1e-12 * t[1:]])
    kept = rising & np.isfinite(t) & (t > 0)
    log_r, log_t = np.log(r[kept]), np.log(t[kept])
    return _table(log_r, log_t), _table(log_t, log_r)


def _table(x: NDArray, y: NDArray) -> NDArray:
    """A piecewise cubic as (5, n): n nodes, then the coefficients, highest power first."""
    cubic = scipy.interpolate.PchipInterpolator(x, y)
    return np.vstack([cubic.x, np.pad(cubic.c, [(0, 0), (0, 1)])])


def evaluate_table(table: NDArray, value: NDArray) -> tuple[NDArray, NDArray]:
    """(values, slopes) of a tabulated cubic; beyond its ends the slope is 1, its limit."""
    nodes = table[0]
    inside = np.clip(value, nodes[0], nodes[-1])
    piece = np.clip(np.searchsorted(nodes, inside, side="right") - 1, 0, len(nodes) - 2)
    start, cube, square, slope, constant = (row[piece] for row in table)
    rest = inside - start
    values = ((cube * rest + square) * rest + slope) * rest + constant
    slopes = np.where(inside == value, (3 * cube * rest + 2 * square) * rest + slope, 1)
    return values + (value - inside), slopes


def map_radii(v: NDArray, table: NDArray) -> NDArray:
    """v (n, d), with the log-radius of every row mapped by a table."""
    log_radius = np.log(np.maximum(np.linalg.norm(v, axis=1, keepdims=True), TINY))
    return v * np.exp(evaluate_table(table, log_radius)[0] - log_radius)


def pull_back(v: NDArray, gradient: NDArray, table: NDArray) -> NDArray:
    """Chain rule for `map_radii`: the gradient at v (n, d), from the one at the mapped points."""
    radius = np.maximum(np.linalg.norm(v, axis=1, keepdims=True), TINY)
    log_radius = np.log(radius)
    value, slope = evaluate_table(table, log_radius)  # slope = d log T / d log r
    outwards = v / radius
    along = (outwards * gradient).sum(axis=1, keepdims=True)
    return np.exp(value - log_radius) * (gradient + (slope - 1) * along * outwards)
