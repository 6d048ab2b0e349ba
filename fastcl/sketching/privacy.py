"""Differentially private release of a sketch: noise on its sums, and what that gives away."""

import copy

import numpy as np

from ..validation import as_choice, as_generator, as_positive

GRID = 2.0**-16  # the sums are rounded to its multiples; the noise is whole ones
MAX_STEPS = (
    2**56
)  # scale of the noise on the grid: products with the small factors of the sampler must fit 64 bits


def release(sketch, epsilon, delta=0.0, mechanism="laplace", rng=None):
    """A copy of a sketch with noise on its sums, such that hardly anything follows about any one point.

    Neighbouring data sets differ in one point, replaced by any other, so the number of points is public; the release is
    (epsilon, delta)-differentially private. `learn` and all else that takes a sketch takes it as it is.

    Parameters
    ----------
    sketch : Sketch
        Raw, with at least one point. What was spent is entered in its `spent`: save it again where it lives in a file.
    epsilon : float
        Above zero.
    delta : float
        Zero for "laplace", between 0 and 1 for "gaussian"; well below one over the number of points.
    mechanism : "laplace" or "gaussian"
        "gaussian" adds far less noise where there are many frequencies: its deviation grows like sqrt(m), not like m.
    rng : int or numpy.random.Generator, optional
        The seed is the secret: whoever knows it can take the noise off. By default it comes from the operating system.

    Returns
    -------
    Sketch
        Its `privacy` is (epsilon, delta). It has no `domain`, which may follow from the data: set one that is public.

    Raises
    ------
    TypeError, ValueError
        A sketch that is empty, released, or in which the same data were counted twice or beside a released sketch; epsilon
        or delta out of range.

    Notes
    -----
    Sensitivities, of the 2 m real numbers in the sums. Replacing a point adds ``exp(-i a) - exp(-i b)`` to a sum, a complex
    number of modulus at most 2, whose parts have |Re| + |Im| at most ``2 sqrt(2)``, as |cos| + |sin| <= sqrt(2). Hence
    at most ``2 sqrt(2) m`` in the L1 norm and ``2 sqrt(m)`` in the L2 norm. Both are tight: a = b + pi attains the second and,
    with b = pi/4, the first, at one frequency; for frequencies that are independent over the rationals there are points
    that come as near as one likes at all of them at once. Quantised features have levels u, v with largest u + v and
    root of u^2 + v^2 that `Quantiser.highest_levels` lists, and twice these times m and sqrt(m).

    Laplace noise has the scale (L1) / epsilon; Gaussian noise the least deviation by the exact formula of Balle and Wang, arXiv
    1805.06530. Real numbers drawn in floating point betray the noise in their low bits (Mironov, "On significance of the
    least significant bits for differential privacy", 2012): here sums are rounded to multiples of 2^-16, which adds at most
    as much a number to the sensitivities (nothing to those of quantised features), and the noise is whole multiples. That of
    "laplace" is discrete and drawn without any rounding (Canonne, Kamath and Steinke, arXiv 2004.00010), that of "gaussian" is a
    normal number of double precision rounded to a multiple, for which nothing is proven about the bits.

    Not accounted for: rounding within the sums themselves, which one point may change too (none for quantised features; by
    the direct kernels about 1e-5 of a point, 4e-3 at the very worst, in float32; by finufft up to the accuracy times the
    number of points: sketch with ``method="direct"``); whatever else was taken from the data, as a scale of the
    frequencies by `estimate_scale`; and the generator of NumPy, which is not a cryptographic one.

    The account: every raw sketch has a random identity from its first point on, which merges, copies and files keep. Merged
    releases of different data have the largest epsilon and delta of both (parallel composition); those that share an
    identity have their sum (sequential composition), point by point. Merged with a raw sketch, a release becomes a sketch
    whose privacy is None. Of the same points sketched twice nothing is known here, nor of releases by other copies of the raw
    sketch until they are merged.

    By Chatalic, Schellekens, Houssiau, de Montjoye, Jacques and Gribonval, "Compressive learning with privacy guarantees",
    Information and Inference 11(1), 2022. Memory: some 200 bytes a frequency.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sk = fastcl.sketch(np.zeros((10_000, 1)), [[1.0], [2.0]])
    >>> private = fastcl.release(sk, epsilon=1.0)
    >>> private.privacy, sk.spent, bool(np.abs(private.values - 1).max() < 0.1)
    ((1.0, 0.0), (1.0, 0.0), True)
    """
    ledger = getattr(sketch, "_ledger", None)
    if ledger is None:
        raise TypeError(f"sketch must be a Sketch, got {type(sketch).__name__}")
    epsilon = as_positive(epsilon, "epsilon")
    as_choice(mechanism, "mechanism", ("laplace", "gaussian"))
    if mechanism == "laplace" and delta != 0:
        raise ValueError(
            f"delta must be 0 for Laplace noise, got {delta}: mechanism='gaussian' takes one"
        )
    if mechanism == "gaussian" and not 0 < as_positive(delta, "delta") < 1:
        raise ValueError(f"delta must be between 0 and 1, got {delta}")
    if sketch.count == 0:
        raise ValueError("the sketch is empty: there is nothing to release")
    if ledger.state != "raw":
        raise ValueError(
            f"the sketch is {ledger.state}, it holds noise already: release the raw one again, which is accounted for"
        )
    if ledger.repeated:
        raise ValueError(
            "the sketch counts the same data twice, it was merged with itself: release its parts"
        )
    rng = as_generator(rng)
    total = np.rint(np.stack([sketch._total.real, sketch._total.imag]) / GRID)
    steps = noise_steps(sketch, epsilon, delta, mechanism)
    if steps >= MAX_STEPS:
        raise ValueError(f"epsilon is too small for {len(sketch.omega)} frequencies, got {epsilon}")
    if mechanism == "laplace":
        noise = draw_discrete_laplace(int(np.ceil(steps)), total.size, rng).reshape(total.shape)
    else:
        noise = np.rint(steps * rng.standard_normal(total.shape))
    released = copy.copy(sketch)
    released._packed, released.domain, released.pass_state = {}, None, None
    released._total = GRID * ((total[0] + noise[0]) + 1j * (total[1] + noise[1]))
    released._ledger = ledger.copy()
    released._ledger.state, released._ledger.spent = (
        "released",
        dict.fromkeys(ledger.spent, (epsilon, float(delta))),
    )
    ledger.add(epsilon, float(delta))
    return released


def sensitivity(sketch):
    """The largest change of the sums when one point is replaced, in the L1 and in the L2 norm."""
    m = len(sketch.omega)
    if sketch._quantiser is None:
        return 2 * np.sqrt(2) * m, 2 * np.sqrt(m)
    levels = sketch._quantiser.highest_levels
    return 2.0 * levels.sum(axis=1).max() * m, 2 * np.sqrt((levels**2).sum(axis=1).max() * m)


def noise_steps(sketch, epsilon, delta, mechanism):
    """The scale of the Laplace noise or the deviation of the Gaussian noise on the sums, in steps of the grid."""
    first, second = sensitivity(sketch)
    numbers = (
        0 if sketch._quantiser is not None else 2 * len(sketch.omega)
    )  # that rounding moves, by half a step each time
    if mechanism == "laplace":
        return (first / GRID + numbers) / epsilon
    return (second / GRID + np.sqrt(numbers)) * gaussian_deviation(epsilon, delta)


def gaussian_delta(epsilon, deviation):
    """The least delta of Gaussian noise of this deviation a unit of sensitivity (arXiv 1805.06530, theorem 8)."""
    from scipy.special import log_ndtr

    above = log_ndtr(0.5 / deviation - epsilon * deviation)
    below = epsilon + log_ndtr(-0.5 / deviation - epsilon * deviation)
    return float(-np.exp(above) * np.expm1(below - above))


def gaussian_deviation(epsilon, delta):
    """The least deviation, a unit of sensitivity, of Gaussian noise that is (epsilon, delta)-private."""
    from scipy.optimize import brentq

    def excess(logarithm):
        # the logarithm of a delta that underflows is far below any that is asked for
        return np.log(max(gaussian_delta(epsilon, np.exp(logarithm)), 1e-320)) - np.log(delta)

    low = high = 0.0
    while excess(low) < 0:
        low -= 1
    while excess(high) > 0:
        high += 1
    root = low if low == high else brentq(excess, low, high, xtol=1e-12)
    return float(np.exp(root + 1e-9))  # on the private side of the root


def draw_discrete_laplace(scale, size, rng):
    """Integers k with probabilities in proportion to exp(-|k| / scale), scale an int, drawn from integers alone (2004.00010)."""
    drawn = np.empty(0, np.int64)
    while len(drawn) < size:
        rest = rng.integers(scale, size=2 * size)
        rest = rest[_happens(rest, scale, rng)]
        whole = np.zeros_like(rest)
        going = np.arange(len(rest))
        while len(going):
            going = going[_happens(np.full(len(going), 1), 1, rng)]
            whole[going] += 1
        value, negative = rest + scale * whole, rng.integers(2, size=len(rest)) == 1
        kept = ~(negative & (value == 0))  # zero would else be counted for both signs
        drawn = np.concatenate([drawn, np.where(negative, -value, value)[kept]])
    return drawn[:size].astype(np.float64)


def _happens(numerators, denominator, rng):
    """Events of probability exp(-numerator / denominator) each, numerators up to the denominator."""
    odd, going, k = np.zeros(len(numerators), bool), np.arange(len(numerators)), 1
    while len(
        going
    ):  # the number of the first failure among events of probability gamma / k is odd that often
        success = rng.integers(denominator * k, size=len(going)) < numerators[going]
        odd[going[~success]] = k % 2 == 1
        going, k = going[success], k + 1
    return odd
