"""Differentially private release of a sketch: how much noise its sums need, and why.

By Chatalic, Schellekens, Houssiau, de Montjoye, Jacques and Gribonval, "Compressive learning with
privacy guarantees", Information and Inference 11(1), 2022. Data sets are neighbours if they differ
in one point, which is replaced by any other; the number of points is public.

**Sensitivity.** The sums are 2 m real numbers. Replacing a point adds
``exp(-i a) - exp(-i b)`` to a sum: a complex number of modulus at most 2, with |Re| + |Im| at most
``2 sqrt(2)``, since |cos| + |sin| <= sqrt(2). The sums thus change by at most ``2 sqrt(2) m`` in
the L1 norm and ``2 sqrt(m)`` in the L2 norm. Both bounds are tight. At one frequency, a = b + pi
attains the second and, with b = pi / 4, the first; if the frequencies are independent over the
rationals, there are points that come arbitrarily close at all frequencies at once. For quantised
features, whose levels (u, v) `Quantiser.highest_levels` lists, the bounds are twice the largest
u + v, times m, and twice the largest sqrt(u^2 + v^2), times sqrt(m).

**Noise.** Laplace noise has the scale (L1 sensitivity) / epsilon. Gaussian noise has the smallest
standard deviation that the exact formula of Balle and Wang allows, arXiv 1805.06530. Noise drawn in
floating point gives itself away in the low bits of a sum (Mironov, "On significance of the least
significant bits for differential privacy", 2012). Sums are therefore rounded to multiples of 2^-16,
which adds at most 2^-16 per number to the sensitivities (and nothing to those of quantised
features), and the noise is an integer times 2^-16. For "laplace" these integers are discrete
Laplace numbers, drawn without any rounding (Canonne, Kamath and Steinke, arXiv 2004.00010). For
"gaussian" they are rounded double-precision normal numbers, and nothing is proven about their bits.

**Not accounted for:**

- Rounding inside the sums, which replacing a point may change too. It is zero for quantised
  features; for the direct kernels in float32 about 1e-5 of a point, 4e-3 in the very worst case;
  for finufft up to the accuracy times the number of points, so sketch with ``method="direct"``.
- Whatever else was derived from the data, such as a scale of the frequencies from
  `estimate_scale`.
- NumPy's random number generator, which is not cryptographically secure.

How releases add up is in the module `accountant`. Memory: about 200 bytes per frequency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..locks import STATE_LOCK
from ..validation import as_choice, as_generator, as_positive
from .sketch import Sketch

GRID = 2.0**-16  # the sums are rounded to multiples of it, and so is the noise
# Largest scale of the noise in steps of the grid: times the small factors in the sampler, it must
# fit into 64 bits.
MAX_STEPS = 2**56


def release(
    sketch: Sketch,
    epsilon: float,
    delta: float = 0.0,
    mechanism: str = "laplace",
    *,
    rng: int | np.random.Generator | None = None,
) -> Sketch:
    """A copy of a sketch with noise on its sums that is (epsilon, delta)-differentially private.

    It reveals hardly anything about any one point; the number of points is public. `learn` and
    everything else that takes a sketch also takes a release. Merged releases of different data
    have the larger epsilon and delta, merged releases of the same data their sum, and a release
    merged with a raw sketch has no guarantee. The module `fastcl.sketching.privacy` has the proofs,
    and lists what is not accounted for.

    Parameters
    ----------
    sketch : Sketch
        A raw sketch with at least one point. The release is added to its `spent`: if it is kept in
        a file, save it again.
    epsilon : float
        Above zero: the smaller, the more private, and the more noise.
    delta : float
        Zero for "laplace"; between 0 and 1 for "gaussian", and it should be well below 1 over the
        number of points.
    mechanism : "laplace" or "gaussian"
        With many frequencies "gaussian" adds far less noise: its standard deviation grows like
        sqrt(m) instead of m.
    rng : int or numpy.random.Generator, optional
        Draws the noise. Keep the seed secret: whoever knows it can subtract the noise. By default
        it comes from the operating system.

    Returns
    -------
    Sketch
        The release: its `privacy` is (epsilon, delta). It has no `domain`, because that of the
        sketch may depend on the data: set one that is public.

    Raises
    ------
    TypeError, ValueError
        A sketch that is empty or released, or that counts the same data twice or together with a
        release; epsilon or delta out of range.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sk = fastcl.sketch(np.zeros((10_000, 1)), [[1.0], [2.0]])
    >>> private = fastcl.release(sk, epsilon=1.0)
    >>> private.privacy, sk.spent, bool(np.abs(private.values - 1).max() < 0.1)
    ((1.0, 0.0), (1.0, 0.0), True)

    A second release of the same data adds to what was spent, and both together guarantee the sum:

    >>> second = fastcl.release(sk, epsilon=0.5)
    >>> second.privacy, sk.spent, (private + second).privacy
    ((0.5, 0.0), (1.5, 0.0), (1.5, 0.0))
    """
    if not isinstance(sketch, Sketch):
        raise TypeError(f"sketch must be a Sketch, got {type(sketch).__name__}")
    epsilon = as_positive(epsilon, "epsilon")
    as_choice(mechanism, "mechanism", ("laplace", "gaussian"))
    if mechanism == "laplace" and delta != 0:
        raise ValueError(
            f"delta must be 0 for Laplace noise, got {delta}: mechanism='gaussian' takes one"
        )
    if mechanism == "gaussian" and not 0 < as_positive(delta, "delta") < 1:
        raise ValueError(f"delta must be between 0 and 1, got {delta}")
    _check_raw(sketch)
    rng = as_generator(rng)
    sums, count = sketch.sums
    total = np.rint(np.stack([sums.real, sums.imag]) / GRID)
    if sketch.noise is not None:
        raise ValueError("sketch has noise removed, which would magnify that of the release")
    steps = noise_steps(sketch, epsilon, delta, mechanism)
    if steps >= MAX_STEPS:
        raise ValueError(f"epsilon is too small for {len(sketch.omega)} frequencies, got {epsilon}")
    if mechanism == "laplace":
        noise = draw_discrete_laplace(int(np.ceil(steps)), total.size, rng).reshape(total.shape)
    else:
        noise = np.rint(steps * rng.standard_normal(total.shape))
    real, imag = total + noise
    with STATE_LOCK:
        accountant = sketch.accountant.spend(epsilon, float(delta))
    return sketch.with_sums(GRID * (real + 1j * imag), count, accountant)


def _check_raw(sketch: Sketch) -> None:
    """ValueError unless the sketch has raw points, each of them counted once."""
    if sketch.count == 0:
        raise ValueError("the sketch is empty: there is nothing to release")
    if sketch.accountant.state != "raw":
        raise ValueError(
            f"the sketch is {sketch.accountant.state} and holds noise already: "
            "release the raw sketch again, which keeps account of what it spends"
        )
    if sketch.accountant.repeated:
        raise ValueError(
            "the sketch counts the same data twice, because it was merged with itself: "
            "release its parts"
        )


def sensitivity(sketch: Sketch) -> tuple[float, float]:
    """The largest (L1, L2) norm of the change of the sums if one point is replaced."""
    m = len(sketch.omega)
    if sketch.quantiser is None:
        return 2 * np.sqrt(2) * m, 2 * np.sqrt(m)
    levels = sketch.quantiser.highest_levels
    return 2.0 * levels.sum(axis=1).max() * m, 2 * np.sqrt((levels**2).sum(axis=1).max() * m)


def noise_steps(sketch: Sketch, epsilon: float, delta: float, mechanism: str) -> float:
    """The scale of the Laplace noise, or the std of the Gaussian noise, in steps of the grid."""
    first, second = sensitivity(sketch)
    # Rounding moves each of the 2 m numbers by up to half a step for either of two neighbours; sums
    # of quantised features are integers and do not move.
    rounded = 0 if sketch.quantiser is not None else 2 * len(sketch.omega)
    if mechanism == "laplace":
        return (first / GRID + rounded) / epsilon
    return (second / GRID + np.sqrt(rounded)) * gaussian_std(epsilon, delta)


def gaussian_delta(epsilon: float, std: float) -> float:
    """The smallest delta for Gaussian noise of `std`, in units of the sensitivity.

    See theorem 8 of arXiv 1805.06530.
    """
    from scipy.special import log_ndtr

    above = log_ndtr(0.5 / std - epsilon * std)
    below = epsilon + log_ndtr(-0.5 / std - epsilon * std)
    return float(-np.exp(above) * np.expm1(below - above))


def gaussian_std(epsilon: float, delta: float) -> float:
    """The smallest std, in units of the sensitivity, that is (epsilon, delta)-private."""
    from scipy.optimize import brentq

    def excess(log_std: float) -> float:
        # A delta that underflows is below any that was asked for, but its logarithm must be finite.
        return np.log(max(gaussian_delta(epsilon, np.exp(log_std)), 1e-320)) - np.log(delta)

    low = high = 0.0
    while excess(low) < 0:
        low -= 1
    while excess(high) > 0:
        high += 1
    root = low if low == high else brentq(excess, low, high, xtol=1e-12)
    return float(np.exp(root + 1e-9))  # on the private side of the root


def draw_discrete_laplace(scale: int, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Integers k with probability proportional to exp(-|k| / scale), from uniform integers alone.

    Nothing is rounded (arXiv 2004.00010).
    """
    drawn = np.empty(0, np.int64)
    while len(drawn) < size:
        rest = rng.integers(scale, size=2 * size)
        rest = rest[_happens(rest, scale, rng)]
        whole = np.zeros_like(rest)
        running = np.arange(len(rest))
        while len(running):
            running = running[_happens(np.full(len(running), 1), 1, rng)]
            whole[running] += 1
        value = rest + scale * whole
        negative = rng.integers(2, size=len(rest)) == 1
        kept = ~(negative & (value == 0))  # otherwise zero would count for both signs
        drawn = np.concatenate([drawn, np.where(negative, -value, value)[kept]])
    return drawn[:size].astype(np.float64)


def _happens(
    numerators: NDArray[np.int64], denominator: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Independent events of probability exp(-numerator / denominator), numerator <= denominator.

    Let gamma be the fraction, and try events of probability gamma / 1, gamma / 2, gamma / 3, ...
    until one fails: its number is odd with probability exp(-gamma).
    """
    odd = np.zeros(len(numerators), bool)
    running = np.arange(len(numerators))
    k = 1
    while len(running):
        success = rng.integers(denominator * k, size=len(running)) < numerators[running]
        odd[running[~success]] = k % 2 == 1
        running = running[success]
        k += 1
    return odd
