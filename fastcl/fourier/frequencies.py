"""Random frequencies for a sketch, and an estimate of their scale from the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..backend import to_device_of, to_host
from ..validation import (
    as_choice,
    as_count,
    as_generator,
    as_points,
    as_positive,
    as_rows,
    check_lengths,
)
from .features import feature_sum
from .noise import MAX_ERROR, Noise
from .radii import DISTRIBUTIONS, draw_free, draw_radii
from .seeded import SeededFrequencies
from .structured import Frequencies, HadamardFrequencies, HarmonicFrequencies, as_harmonics

STRUCTURES = (None, "harmonic", "hadamard", "seeded")
SCALES = ("finest", "clusters")
MAX_POWER = 1.25  # of a quantised feature; that of a plain one is 1
MAX_DRAWS = 100  # rounds in which frequencies are sought that noise leaves resolved
RINGS = 30  # groups of frequencies of about the same radius
# Radii at which a scale is sought, times the standard deviation of the points.
WIDEST, FINEST = 0.5, 1e4


def draw_frequencies(
    m: int,
    dim: int,
    scale: float,
    law: str = "folded_gaussian",
    rng: Any = None,
    structure: str | None = None,
    harmonics: int = 4,
    noise: Any = None,
    n_points: int | None = None,
) -> Frequencies:
    """Draw m random frequencies in `dim` dimensions.

    Parameters
    ----------
    m : int
        Number of frequencies, at least 1.
    dim : int
        Dimension d of the points.
    scale : float
        Length, in units of x, of the finest structure that the sketch should resolve: radii are
        proportional to 1 / scale.
    law : {"folded_gaussian", "gaussian", "adapted_radius"}
        Distribution of the frequencies. "gaussian": independent N(0, 1 / scale^2) coordinates.
        The other two have uniform directions and radii r / scale, where the density of r is
        proportional to exp(-r^2 / 2) ("folded_gaussian") or to sqrt(r^2 + r^4 / 4) exp(-r^2 / 2)
        ("adapted_radius"); they still draw low radii if d is large (Keriven et al., "Sketching for
        large-scale learning of mixture models", arXiv 1606.02838).
    rng : int or numpy.random.Generator, optional
        Seed or generator; by default every call draws other frequencies.
    structure : {None, "harmonic", "hadamard", "seeded"}
        None: all frequencies are independent. "harmonic", for few dimensions: m / K independent
        base frequencies and their multiples 1..K. The radii of the bases are divided by
        (K + 1) / 2, so that the mean radius of all frequencies is that of `law`; some reach further
        out, and some closer to zero. "hadamard", for about 64 dimensions and more: radii from
        `law`, and the rows of random Hadamard blocks as directions; in fewer dimensions it is
        correct, and as fast as None. "seeded": independent frequencies, rounded to single
        precision; files keep only their seed (`SeededFrequencies`).
    harmonics : int
        K for "harmonic", from 2 to 16; m must be a multiple of it.
    noise : float, array (d,), array (d, d), Box or ReferenceMeasure, optional
        Noise in the points, as in `Sketch.deconvolve`: no frequency is drawn that is lost in it
        among `n_points` points. Without a structure only.
    n_points : int, optional
        How many points will be sketched.

    Returns
    -------
    float64 array (m, d), or structured frequencies
        Radians per unit of x. Every function that takes an array of frequencies takes structured
        ones too.

    Raises
    ------
    TypeError, ValueError
        m, dim or scale not above zero; a scale outside 1e-150..1e150, or 1e-18..1e18 for "seeded";
        an unknown law or structure; harmonics outside 2..16, or m not a multiple of it; noise
        without n_points, with a structure, or in which nearly all frequencies are lost.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.draw_frequencies(1000, dim=2, scale=0.03, rng=0).shape
    (1000, 2)

    Structured frequencies go wherever an array would:

    >>> omega = fastcl.draw_frequencies(1000, dim=2, scale=0.03, rng=0, structure="harmonic")
    >>> omega
    HarmonicFrequencies(m=1000, dim=2, harmonics=4)
    >>> fastcl.sketch([[0.1, 0.2], [0.3, 0.4]], omega).values.shape
    (1000,)
    """
    m, dim = as_count(m, "m"), as_count(dim, "dim")
    scale = as_positive(scale, "scale")
    as_choice(law, "law", DISTRIBUTIONS)
    as_choice(structure, "structure", STRUCTURES)
    check_lengths(scale, "scale", np.float32 if structure == "seeded" else np.float64)
    harmonics = as_harmonics(harmonics)
    rng = as_generator(rng)
    if (noise is None) != (n_points is None):
        raise ValueError("noise and n_points must be given together")
    if noise is not None:
        if structure is not None:
            raise ValueError(f"noise is for frequencies without a structure, not {structure!r}")
        known, n_points = Noise(noise, dim), as_count(n_points, "n_points")
        return _draw_resolved(m, dim, scale, law, rng, known, n_points)
    if structure == "harmonic":
        if m % harmonics:
            raise ValueError(f"m must be a multiple of harmonics = {harmonics}, got {m}")
        base = draw_free(m // harmonics, dim, (harmonics + 1) / 2 * scale, law, rng)
        return HarmonicFrequencies(base, harmonics)
    if structure == "seeded":
        return SeededFrequencies(m, dim, scale, law, int(rng.integers(2**63)))
    if structure == "hadamard":
        return HadamardFrequencies.draw(draw_radii(m, dim, law, rng) / scale, dim, rng)
    return draw_free(m, dim, scale, law, rng)


def _draw_resolved(
    m: int,
    dim: int,
    scale: float,
    law: str,
    rng: np.random.Generator,
    noise: Noise,
    n_points: int,
) -> NDArray:
    """m frequencies (m, d) of a law, those that are lost in the noise of n points left out."""
    # So that the noise adds at most MAX_ERROR to the standard errors, see `Sketch.deconvolve`.
    drawn, least = [np.empty((0, dim))], 1 / np.sqrt(1 + MAX_ERROR**2 * n_points / MAX_POWER)
    for _ in range(MAX_DRAWS):
        omega = draw_free(m, dim, scale, law, rng)
        drawn.append(omega[np.abs(noise.moments(omega)) >= least])
        if sum(map(len, drawn)) >= m:
            return np.concatenate(drawn)[:m]
    raise ValueError(
        f"noise hides nearly all frequencies of scale {scale:g} from {n_points} points: take a "
        "larger scale"
    )


@np.errstate(under="ignore")
def estimate_scale(
    x: ArrayLike, rng: Any = None, n_points: int = 5000, m: int = 1000, of: str = "finest"
) -> float:
    """Estimate a `scale` for `draw_frequencies` from a small sketch of some of the data.

    Parameters
    ----------
    x : array (n, d)
        Points; at most `n_points` of them are read, chosen at random.
    rng : int or numpy.random.Generator, optional
        Seed or generator that chooses the points and draws the frequencies.
    n_points, m : int
        Number of points and of frequencies in the small sketch; m is at least 90.
    of : {"finest", "clusters"}
        "finest": of the finest structure, which `learn` needs. "clusters": of the widest shapes
        that may serve as clusters, which `decode_kmeans` and `decode_mixture` need.

    Returns
    -------
    float
        In units of x. "finest": the standard deviation of clusters, or that across a curve or a
        surface; of several, nearly the smallest that `n_points` points show. Structure below 1e-3
        of the standard deviation of x is not found, nor is that of a few out of many directions:
        look at `fastcl.plots.plot_frequencies`, and halve the scale until the magnitudes at the
        largest radii reach the noise floor. "clusters": nearly the same for a few clusters, and up
        to ten times as much for curves, surfaces and many clusters.

    Raises
    ------
    TypeError, ValueError
        x not finite, empty, or without any spread; n_points or m too small; an unknown `of`.

    Notes
    -----
    "finest": over the directions of a frequency of radius r, the mean of ``|z|^2`` falls like
    ``r^-k exp(-scale^2 r^2)`` for clusters (k = 0), curves (k = 1) and surfaces (k = 2) of this
    standard deviation or thickness. k and the scale are fitted from a tenth of the radius at which
    the mean sinks into the sampling noise. "clusters": ``exp(-scale^2 r^2 / 2)`` is fitted to the
    largest magnitude in each of 30 rings of frequencies (Keriven et al., arXiv 1606.02838).

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> angle = 2 * np.pi * np.random.default_rng(0).random(20000)
    >>> circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> x = circle + 0.05 * np.random.default_rng(1).standard_normal((20000, 2))
    >>> 0.04 < fastcl.estimate_scale(x, rng=0) < 0.06
    True
    """
    rng = as_generator(rng)
    n_points, m = as_count(n_points, "n_points"), as_count(m, "m", least=3 * RINGS)
    as_choice(of, "of", SCALES)
    rows = as_rows(x, "x")
    if len(rows) > n_points:
        chosen = np.sort(rng.choice(len(rows), n_points, replace=False))
        rows = rows[to_device_of(chosen, rows)]
    points = as_points(to_host(rows), "x").astype(np.float64)
    exponent = int(np.frexp(np.abs(points).max())[1])
    points = np.ldexp(points, -exponent)  # by a power of two, so that nothing is rounded
    unit = float(np.abs(points - points[0]).max())
    if unit == 0:
        raise ValueError("x has no spread: all points are equal")
    points = (points - points[0]) / unit  # so that no square overflows or vanishes
    std = float(np.sqrt(points.var(axis=0).mean()))
    if of == "clusters":
        scale = _cluster_scale(points - points.mean(axis=0), std, m, rng)
        return math.ldexp(unit * scale, exponent)
    points -= np.median(points, axis=0)
    squares = np.square(points).mean(axis=1)
    typical = float(np.sqrt(np.median(squares))) or std  # outliers hardly change the first
    scale = min(typical * _finest_scale(points / typical, m, rng), std)
    return math.ldexp(unit * scale, exponent)


def _cluster_scale(points: NDArray, std: float, m: int, rng: np.random.Generator) -> float:
    """The scale of centred points (n, d) by the largest magnitudes: those of the widest shapes."""
    scale = std
    floor = 2 / np.sqrt(len(points))  # magnitudes that n points have where the true sketch is zero
    for _ in range(3):
        omega = draw_frequencies(m, points.shape[1], scale, "adapted_radius", rng)
        radii = np.linalg.norm(omega, axis=1)
        magnitudes = np.abs(feature_sum(points, omega, method="direct")) / len(points)
        rings = np.array_split(np.argsort(radii), RINGS)
        r = np.array([radii[ring[np.argmax(magnitudes[ring])]] for ring in rings])
        peak = np.array([magnitudes[ring].max() for ring in rings])
        use = peak > floor
        if use.sum() < 3:
            break
        scale = _fit_gaussian(r[use], peak[use], scale)
    return scale


def _fit_gaussian(r: NDArray, magnitudes: NDArray, scale: float) -> float:
    """The scale for which exp(-scale^2 r^2 / 2) is nearest to `magnitudes`; `scale` is a guess."""

    def residuals(s: NDArray) -> NDArray:
        return np.exp(-np.exp(2 * s) * r**2 / 2) - magnitudes

    fit = scipy.optimize.least_squares(residuals, [np.log(scale)], method="lm")
    return float(np.exp(fit.x[0]))


def _finest_scale(points: NDArray, m: int, rng: np.random.Generator) -> float:
    """The scale of points (n, d) that are about 1 from their median in every coordinate."""
    low, high = WIDEST, FINEST
    r, power, error = _ring_powers(points, low, high, m, rng)
    noise = power[-5:].mean()  # 1 / n, and more if some points are equal, as they are on a lattice
    threshold = np.maximum(noise * (1 + 5 * error), 1.5 * power[-5:].max())
    noisy = power < threshold
    gaps = np.flatnonzero(noisy[:-2] & noisy[1:-1] & noisy[2:])  # beyond, a lattice is seen again
    high = r[gaps[0] if len(gaps) else RINGS - 1]
    for start in (0.0, 0.1):
        low = max(low, start * high)
        r, power, error = _ring_powers(points, low, high, m, rng)
        above = np.flatnonzero(power > noise * (1 + 5 * error))
        last = max(above[-1] + 1 if len(above) else 0, 3)
        high = r[min(last, RINGS - 1)]
    return _fit_decay(r[:last], power[:last] - noise, noise, error[:last], points.shape[1])


def _ring_powers(
    points: NDArray, low: float, high: float, m: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray]:
    """(radii, means of |z|^2 over frequencies of about that radius, relative errors of the means).

    All are (RINGS,).
    """
    radii = np.geomspace(low, high, m)
    directions = rng.standard_normal((m, points.shape[1]))
    omega = directions * (radii / np.linalg.norm(directions, axis=1))[:, None]
    power = np.abs(feature_sum(points, omega, method="direct") / len(points)) ** 2
    rings = np.array_split(np.arange(m), RINGS)
    r = np.array([radii[ring].mean() for ring in rings])
    means = np.array([power[ring].mean() for ring in rings])
    independent = np.full(RINGS, m / RINGS)
    if points.shape[1] == 1:  # in one dimension, moments less than about 2 apart are alike
        independent = np.clip(np.gradient(r) / 2, 1, independent)
    return r, means, 1 / np.sqrt(independent)


def _fit_decay(r: NDArray, power: NDArray, noise: float, error: NDArray, dim: int) -> float:
    """The scale for which ``A r^-k exp(-scale^2 r^2)``, 0 <= k <= dim, is nearest to `power`."""
    power = np.maximum(power, noise * error)
    # Relative errors: those of the mean over a ring, and as much as the formula may be wrong by.
    weights = 1 / np.hypot((1 + noise / power) * error, 0.1)
    terms = np.stack([np.ones_like(r), -np.log(r), -(r**2)], axis=1)
    fit = scipy.optimize.lsq_linear(
        terms * weights[:, None],
        np.log(power) * weights,
        bounds=([-np.inf, 0, 0], [np.inf, dim, np.inf]),
    )
    return max(float(np.sqrt(fit.x[2])), 1 / float(r[-1]))
