"""Where the sketch looks: laws of the random frequencies, and their scale estimated from the data."""

import numpy as np
import scipy

from ..backend import to_device_of, to_host
from ..validation import as_choice, as_count, as_generator, as_points, as_positive, as_rows
from .features import feature_sum
from .radii import LAWS, draw_free, draw_radii
from .seeded import SeededFrequencies
from .structured import HadamardFrequencies, HarmonicFrequencies, as_harmonics

STRUCTURES = (None, "harmonic", "hadamard", "seeded")


def draw_frequencies(m, dim, scale, law="folded_gaussian", rng=None, structure=None, harmonics=4):
    """Draw m random frequencies in `dim` dimensions.

    Parameters
    ----------
    m : int
        Number of frequencies, at least 1.
    dim : int
        Dimension d of the points.
    scale : float
        Length, in the units of x, of the finest structure to be seen: radii are proportional to 1 / scale.
    law : {"folded_gaussian", "gaussian", "adapted_radius"}
        "gaussian": independent N(0, 1 / scale^2) coordinates. The two others have uniform directions and a radius of
        density proportional to exp(-r^2 / 2), respectively sqrt(r^2 + r^4 / 4) exp(-r^2 / 2), over scale; they keep
        low radii when d is large (Keriven et al., "Sketching for large-scale learning of mixture models",
        arXiv 1606.02838).
    rng : int or numpy.random.Generator, optional
    structure : {None, "harmonic", "hadamard", "seeded"}
        None: all frequencies are independent. "harmonic": m / K independent ones and their multiples 1..K, for few
        dimensions; the law draws the base frequencies, of radii divided by (K + 1) / 2, so that the mean radius of the
        whole set is that of the law: the multiples reach further out than the law, and closer to zero.
        "hadamard": the radii of the law, in directions that are rows of random Hadamard blocks, for dimensions from 64 or
        so; below, it is correct and as fast as None. "seeded": independent ones, rounded to single precision, of which files
        keep the seed alone (`SeededFrequencies`).
    harmonics : int
        K of the structure "harmonic", from 2 to 16; m is a multiple of it.

    Returns
    -------
    float64 array (m, d), radians per unit of x; with a structure, what every function takes in the place of this array.

    Raises
    ------
    TypeError, ValueError
        m, dim or scale not above zero; an unknown law or structure; harmonics beyond 2..16, or m not a multiple of them.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.draw_frequencies(1000, dim=2, scale=0.03, rng=0).shape
    (1000, 2)
    """
    m, dim = as_count(m, "m"), as_count(dim, "dim")
    scale = as_positive(scale, "scale")
    as_choice(law, "law", LAWS)
    as_choice(structure, "structure", STRUCTURES)
    harmonics = as_harmonics(harmonics)
    rng = as_generator(rng)
    if structure == "harmonic":
        if m % harmonics:
            raise ValueError(f"m must be a multiple of harmonics = {harmonics}, got {m}")
        return HarmonicFrequencies(
            draw_free(m // harmonics, dim, (harmonics + 1) / 2 * scale, law, rng), harmonics
        )
    if structure == "seeded":
        return SeededFrequencies(m, dim, scale, law, int(rng.integers(2**63)))
    if structure == "hadamard":
        return HadamardFrequencies.draw(draw_radii(m, dim, law, rng) / scale, dim, rng)
    return draw_free(m, dim, scale, law, rng)


def estimate_scale(x, rng=None, n_points=5000, m=1000):
    """Estimate a `scale` for `draw_frequencies` from a small sub-sketch of the data.

    The modulus of the sketch of clustered data decays like exp(-scale^2 r^2 / 2) with the radius r of the frequency;
    the decay is fitted to the largest moduli in 30 rings, three times, each time at radii that suit the last fit.

    Parameters
    ----------
    x : array (n, d)
        Points; a random `n_points` of them are read.
    rng : int or numpy.random.Generator, optional
    n_points, m : int
        Points and frequencies of the sub-sketch, of these at least 90.

    Returns
    -------
    float
        Standard deviation of the finest clusters, in units of x; too large where the clusters are few and regularly
        placed, for the modulus then vanishes at whole rings of frequencies.

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
    x = as_rows(x, "x")
    if len(x) > n_points:
        x = x[to_device_of(np.sort(rng.choice(len(x), n_points, replace=False)), x)]
    x = as_points(to_host(x), "x").astype(np.float64)
    x = x - x.mean(axis=0)
    scale = float(np.sqrt(x.var(axis=0).mean()))
    if scale == 0:
        raise ValueError("x has no spread: all points are equal")
    floor = 2 / np.sqrt(
        len(x)
    )  # the modulus that a finite sample has even where the true one is zero
    for _ in range(3):
        omega = draw_frequencies(m, x.shape[1], scale, "adapted_radius", rng)
        radii = np.linalg.norm(omega, axis=1)
        modulus = np.abs(feature_sum(x, omega, method="direct")) / len(x)
        rings = np.array_split(np.argsort(radii), 30)
        r = np.array([radii[ring[np.argmax(modulus[ring])]] for ring in rings])
        peak = np.array([modulus[ring].max() for ring in rings])
        use = peak > floor
        if use.sum() < 3:
            break
        log_scale = _fit_decay(r[use], peak[use], np.log(scale))
        scale = float(np.exp(log_scale))
    return scale


def _fit_decay(r, modulus, log_scale):
    """The log of the scale whose decay is nearest to the moduli (k,) at radii r (k,), from a first guess on."""

    def residuals(s):
        return np.exp(-np.exp(2 * s) * r**2 / 2) - modulus

    return scipy.optimize.least_squares(residuals, [log_scale], method="lm").x[0]
