"""The distance of two sketches, and whether it is more than their samples explain.

The squared distance of two sketches of independent samples of one distribution is, for many points,
``(1/n_a + 1/n_b) sum_k lambda_k g_k^2``: g_k are standard normal, and lambda_k the eigenvalues of
the covariance of the 2 m real features. Their sum is ``sum_l 1 - |phi(omega_l)|^2``, which sketches
estimate without bias; phi is the characteristic function. The distribution is replaced by that of
a shifted and scaled chi-square with the same mean and variance (Pearson 1959). Its skewness is
SKEWNESS times that of equal eigenvalues: a little more than that of eigenvalues that fall in a
geometric series, for which the factor is 4 / 3 at most.

The variance needs the squared covariances of the features, which depend on |phi|^2 at differences
and sums of frequencies. There it is taken from the frequencies of the same length: |phi|^2 is
averaged over shells and interpolated in the squared length, from |phi(0)| = 1 on.
The negative term ``-2 Re(phi(omega_k - omega_l) conj(phi(omega_k)) phi(omega_l))``, of which
sketches say nothing, is replaced by its bound in the mean over all pairs, which makes the variance
too large rather than too small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from ..fourier.structured import same_frequencies
from .sketch import Sketch

N_PAIRS = 1 << 15  # pairs of frequencies over which covariances are averaged, at most
MAX_SHELLS = 20
SKEWNESS = 1.5  # of the distance, over that with equal eigenvalues
PER_SHELL = 8  # frequencies in a shell, at least


class Distance(NamedTuple):
    """What `distance` found.

    Attributes
    ----------
    distance : float
        The squared distance in noise floors: about 1 for samples of the same distribution.
    p_value : float
        How often samples of one distribution are at least so far apart.
    squared : float
        ``||z_a - z_b||^2``.
    noise_floor : float
        The mean of `squared` over samples of one distribution.
    degrees : float
        About how many independent numbers the sketch holds: 2 over the variance of `distance`.
    """

    distance: float
    p_value: float
    squared: float
    noise_floor: float
    degrees: float


def distance(a: Sketch, b: Sketch) -> Distance:
    """Compare two data sets by their sketches.

    Parameters
    ----------
    a, b : Sketch
        Of independent points, at the same frequencies.

    Returns
    -------
    Distance
        A named tuple: `distance` in noise floors, `p_value`, `squared`, `noise_floor`, `degrees`.

    Raises
    ------
    TypeError, ValueError
        Not sketches, or empty ones; different frequencies; quantised features; a sketch from which
        noise was removed; or a release, whose noise would count as a difference.

    Notes
    -----
    The p-value assumes independent points, some fifty at least in each sketch, and frequencies
    drawn independently with directions that do not depend on the data, as `draw_frequencies` draws
    them. It is meant to be too large rather than too small, above all for few or correlated
    features: over 168 settings of Gaussian, clustered, gridded and heavy-tailed points in 1 to 20
    dimensions, with 20 to 400 frequencies and 100 to 1500 points, 2.3 per cent of the p-values of
    equal distributions were below 0.05, and 0.3 per cent below 0.01. A distance far below one has
    the p-value 1. Points that both sketches count make the distance smaller. See the module for
    the derivation.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> rng = np.random.default_rng(0)
    >>> omega = fastcl.draw_frequencies(200, dim=2, scale=0.5, rng=0)
    >>> a, b, c = (
    ...     fastcl.sketch(rng.normal(mean, 1, (5000, 2)), omega) for mean in (0, 0, 0.2)
    ... )
    >>> fastcl.distance(a, b).p_value > 0.05, fastcl.distance(a, c).p_value < 1e-6
    (True, True)
    """
    _check(a, "a")
    _check(b, "b")
    if not same_frequencies(a.omega, b.omega):
        raise ValueError("a and b have different frequencies: sketch both with the same omega")
    n = a.count + b.count
    power = np.abs((a.total + b.total) / n) ** 2
    power = (n * power - 1) / (n - 1)  # its mean is |phi|^2
    squared = float((np.abs(a.values - b.values) ** 2).sum())
    variance = max(float((1 - power).sum()), len(power) * np.finfo(np.float64).eps)
    noise_floor = (1 / a.count + 1 / b.count) * variance
    covariances = _squared_covariances(np.asarray(a.omega), power)
    degrees = float(np.clip(variance**2 / max(covariances, 1e-300), 1, 2 * len(power)))
    ratio = squared / noise_floor
    shape = max(1.0, degrees / SKEWNESS**2)  # degrees of freedom of a chi-square with this skewness
    at = max(0.0, shape + (ratio - 1) * np.sqrt(shape * degrees))
    p_value = float(scipy.special.gammaincc(shape / 2, at / 2))
    return Distance(ratio, p_value, squared, noise_floor, degrees)


def _check(sketch: Sketch, name: str) -> None:
    if not isinstance(sketch, Sketch):
        raise TypeError(f"{name} must be a fastcl.Sketch, got {type(sketch).__name__}")
    if sketch.count == 0:
        raise ValueError(f"{name} is empty: update it with points first")
    if sketch.bits is not None:
        raise ValueError(f"{name} has quantised features: distances need sketches without bits")
    if sketch.noise is not None:
        raise ValueError(f"{name} has noise removed: compare the sketches of the noisy points")
    if sketch.accountant.state != "raw":
        raise ValueError(
            f"{name} holds the noise of a release, which would count as a difference: "
            "compare the raw sketches"
        )


def _squared_covariances(omega: NDArray, power: NDArray) -> float:
    """Sum of the squared covariances of the 2 m real features; power (m,) is |phi|^2 at omega."""
    m = len(omega)
    lengths = np.linalg.norm(omega, axis=1)
    shells = np.array_split(np.argsort(lengths), max(1, min(MAX_SHELLS, m // PER_SHELL)))
    squares = np.array([0.0] + [float(lengths[shell].mean()) ** 2 for shell in shells])
    means = np.array([1.0] + [max(0.0, float(power[shell].mean())) for shell in shells])

    def at(lengths: NDArray) -> NDArray:
        return np.interp(lengths**2, squares, means)

    variances = ((1 - power) ** 2).sum() + np.maximum(at(2 * lengths) - power**2, 0).sum()
    if m == 1:
        return variances / 2
    if m * (m - 1) // 2 <= N_PAIRS:
        one, other = np.triu_indices(m, 1)
    else:
        rng = np.random.default_rng(0)
        one = rng.integers(m, size=N_PAIRS)
        other = (one + rng.integers(1, m, size=N_PAIRS)) % m
    pairs = [at(np.linalg.norm(omega[one] + sign * omega[other], axis=1)) for sign in (-1, 1)]
    covariances = np.mean(pairs) - (power[one] * power[other]).mean()
    return float(variances / 2 + m * (m - 1) * max(float(covariances), 0.0))
