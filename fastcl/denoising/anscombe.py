"""Poisson data for a denoiser of Gaussian noise: the Anscombe transform, and its exact inverse.

A detector gives y = gain k + readout n, with k Poisson of mean x / gain and n standard normal. The
variance of y grows with x; that of f(y) = 2 sqrt(y / gain + 3 / 8 + s^2), s = readout / gain, is
close to 1. A denoiser of f(y) estimates E f(y), which is less than f(x), so that the algebraic
inverse of f is too dark by a quarter of a count. The exact unbiased inverse maps E f(y) to x.

Makitalo and Foi, "Optimal inversion of the Anscombe transformation in low-count Poisson image
denoising", IEEE TIP 2011; "Optimal inversion of the generalized Anscombe transformation for
Poisson-Gaussian noise", IEEE TIP 2013. They ship a table; here it is computed, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy

from ..backend import to_device_of
from ..validation import as_array, as_nonnegative, as_positive, work_dtype

MAX_MEAN = 64.0  # of the table, in counts; above it, three terms in powers of 1 / mean will do
STEP = 1 / 64  # between the square roots of the means in the table
NORMALS = np.linspace(-8, 8, 2001)  # quadrature over the readout noise


def anscombe(y: ArrayLike, gain: float = 1.0, readout: float = 0.0) -> NDArray:
    """The generalised Anscombe transform, after which the noise has variance close to 1."""
    y = _as_counts(y, "y")
    return _transform(y / as_positive(gain, "gain"), as_nonnegative(readout, "readout") / gain)


def inverse_anscombe(values: ArrayLike, gain: float = 1.0, readout: float = 0.0) -> NDArray:
    """The x >= 0 with E[anscombe(y)] = values for a y of mean x: the exact unbiased inverse."""
    values = _as_counts(values, "values")
    gain = as_positive(gain, "gain")
    s = as_nonnegative(readout, "readout") / gain
    means, expected = (to_device_of(array, values) for array in _table(s))
    small = np.interp(values, expected, means)  # 0 below the table
    large = values**2 / 4 - 1 / 8 - s**2
    counts = np.where(values < float(expected[-1]), small, large)
    return (gain * counts).astype(values.dtype)


def denoise_poisson(
    denoiser: Callable[[NDArray, float], NDArray],
    counts: ArrayLike,
    gain: float = 1.0,
    readout: float = 0.0,
) -> NDArray:
    """Denoise counts with a denoiser of Gaussian noise on values in [0, 1].

    Parameters
    ----------
    denoiser : callable
        ``denoiser(noisy, sigma)``, such as an image model.
    counts : array
        gain times Poisson numbers, and Gaussian noise of standard deviation `readout`. Integers are
        taken as they are.
    gain, readout : float
        In the units of `counts`: a photon adds `gain` to them.

    Returns
    -------
    float array, the estimated means in the units of `counts`, at least 0.

    Raises
    ------
    TypeError, ValueError
        Counts that are complex, not finite, or negative without readout noise; a gain not above
        zero; a negative readout.
    """
    counts = _as_counts(counts, "counts")
    if readout == 0 and counts.min() < 0:
        raise ValueError(
            f"counts must not be negative, got {float(counts.min()):g}: "
            "subtract no background, or pass the readout noise"
        )
    stable = anscombe(counts, gain, readout)
    low = float(stable.min())
    span = max(float(stable.max()) - low, 1.0)  # of one count at least
    clean = denoiser((stable - low) / span, 1 / span)
    return inverse_anscombe(clean * span + low, gain, readout)


def _as_counts(array: Any, name: str) -> NDArray:
    """`array` as finite floats."""
    array = as_array(array, name)
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    array = array.astype(work_dtype(array))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def _transform(counts: NDArray, s: float) -> NDArray:
    return 2 * np.sqrt(np.maximum(counts + 3 / 8 + s**2, 0))


@lru_cache(maxsize=8)
def _table(s: float) -> tuple[NDArray, NDArray]:
    """Means x of a count, and E f(y) for each, with readout noise of s counts."""
    means = np.arange(0, np.sqrt(MAX_MEAN), STEP) ** 2
    counts = np.arange(MAX_MEAN + 12 * np.sqrt(MAX_MEAN))
    log_probabilities = xlogy(counts, means[:, None]) - means[:, None] - gammaln(counts + 1)
    weights = np.exp(-(NORMALS**2) / 2)
    of_counts = _transform(counts[:, None] + s * NORMALS, s) @ weights / weights.sum()
    return means, np.exp(log_probabilities) @ of_counts
