"""Random frequencies for a sketch, and an estimate of their scale from the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..backend import to_device_of, to_host
from ..validation import as_choice, as_count, as_generator, as_points, as_positive, as_rows
from .features import feature_sum
from .radii import DISTRIBUTIONS, draw_free, draw_radii
from .seeded import SeededFrequencies
from .structured import Frequencies, HadamardFrequencies, HarmonicFrequencies, as_harmonics

STRUCTURES = (None, "harmonic", "hadamard", "seeded")


def draw_frequencies(
    m: int,
    dim: int,
    scale: float,
    law: str = "folded_gaussian",
    rng: Any = None,
    structure: str | None = None,
    harmonics: int = 4,
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

    Returns
    -------
    float64 array (m, d), or structured frequencies
        Radians per unit of x. Every function that takes an array of frequencies takes structured
        ones too.

    Raises
    ------
    TypeError, ValueError
        m, dim or scale not above zero; an unknown law or structure; harmonics outside 2..16, or m
        not a multiple of it.

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
    harmonics = as_harmonics(harmonics)
    rng = as_generator(rng)
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


@np.errstate(under="ignore")
def estimate_scale(x: ArrayLike, rng: Any = None, n_points: int = 5000, m: int = 1000) -> float:
    """Estimate a `scale` for `draw_frequencies` from a small sketch of some of the data.

    The magnitudes of a sketch of clustered data decay like exp(-scale^2 r^2 / 2), where r is the
    radius of the frequency. This decay is fitted to the largest magnitude in each of 30 rings of
    frequencies; the fit is repeated three times, each time with frequencies drawn at the scale
    found before.

    Parameters
    ----------
    x : array (n, d)
        Points; at most `n_points` of them are read, chosen at random.
    rng : int or numpy.random.Generator, optional
        Seed or generator that chooses the points and draws the frequencies.
    n_points, m : int
        Number of points and of frequencies in the small sketch; m is at least 90.

    Returns
    -------
    float
        Standard deviation of the finest clusters, in units of x. It is too large for curves and
        other connected shapes, up to ten times: look at `fastcl.plots.plot_frequencies`, and halve
        the scale until the magnitudes at the largest radii reach the noise floor. It is also too
        large if the clusters are few and regularly placed, because the sketch then vanishes at
        whole rings of frequencies.

    Raises
    ------
    TypeError, ValueError
        x not finite, empty, or without any spread; n_points or m too small.

    Notes
    -----
    Keriven et al., arXiv 1606.02838.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = 0.1 * np.random.default_rng(0).standard_normal((20000, 2))
    >>> 0.08 < fastcl.estimate_scale(x, rng=0) < 0.12
    True
    """
    rng = as_generator(rng)
    n_points, m = as_count(n_points, "n_points"), as_count(m, "m", least=90)
    rows = as_rows(x, "x")
    if len(rows) > n_points:
        chosen = np.sort(rng.choice(len(rows), n_points, replace=False))
        rows = rows[to_device_of(chosen, rows)]
    points = as_points(to_host(rows), "x").astype(np.float64)
    points = points - points.mean(axis=0)
    scale = float(np.sqrt(points.var(axis=0).mean()))
    if scale == 0:
        raise ValueError("x has no spread: all points are equal")
    # Sampling noise: the magnitudes that n points have where the true sketch is zero.
    floor = 2 / np.sqrt(len(points))
    for _ in range(3):
        omega = draw_frequencies(m, points.shape[1], scale, "adapted_radius", rng)
        radii = np.linalg.norm(omega, axis=1)
        magnitudes = np.abs(feature_sum(points, omega, method="direct")) / len(points)
        rings = np.array_split(np.argsort(radii), 30)
        r = np.array([radii[ring[np.argmax(magnitudes[ring])]] for ring in rings])
        peak = np.array([magnitudes[ring].max() for ring in rings])
        use = peak > floor
        if use.sum() < 3:
            break
        log_scale = _fit_decay(r[use], peak[use], np.log(scale))
        scale = float(np.exp(log_scale))
    return scale


def _fit_decay(r: NDArray, magnitudes: NDArray, log_scale: float) -> float:
    """The log-scale that best fits magnitudes (k,) at radii r (k,); `log_scale` is the guess."""

    def residuals(s: NDArray) -> NDArray:
        return np.exp(-np.exp(2 * s) * r**2 / 2) - magnitudes

    return scipy.optimize.least_squares(residuals, [log_scale], method="lm").x[0]
