"""Sound: a signal split into three bands, so that every sample is a point of three coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..backend import product
from ..fourier.frequencies import draw_frequencies
from ..learning.loop import learn, learn_network
from ..measures.base import ReferenceMeasure
from ..measures.scale_mixtures import GaussianScaleMixture
from ..priors.base import Prior
from ..sketching.data_set import sketch
from ..validation import as_generator, as_positive, as_vector, check_settings
from .vectors import denoise

# Hz, of the two low-pass filters, as in the public code that preceded arXiv 2310.03085.
CUTOFFS = (2500.0, 3750.0)
ORDER = 4
RESPONSE_POINTS = 8192  # frequencies at which the response of a filter is sampled


def split_bands(signal: ArrayLike, rate: float, cutoffs: tuple[float, float] = CUTOFFS) -> NDArray:
    """Split a signal into three bands that add up to it.

    The first band is the signal after a fourth-order Butterworth low-pass filter at the first
    cutoff, the second is the rest after one at the second cutoff, and the third is what is left.

    Parameters
    ----------
    signal : array (n,)
    rate : float
        Samples per second, above twice the larger cutoff.
    cutoffs : (float, float)
        Hz.

    Returns
    -------
    float64 array (n, 3)

    Raises
    ------
    TypeError, ValueError
        A signal that is empty, not finite or not 1-D; a rate too low for the cutoffs.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> signal = np.sin(np.arange(100.0))
    >>> bands = fastcl.split_bands(signal, rate=16000)
    >>> bands.shape, bool(np.allclose(bands.sum(axis=1), signal))
    ((100, 3), True)
    """
    signal = as_vector(signal, "signal")
    if signal.size == 0:
        raise ValueError("signal is empty")
    first, second = _filters(rate, cutoffs)
    low = scipy.signal.sosfilt(first, signal)
    middle = scipy.signal.sosfilt(second, signal - low)
    return np.stack([low, middle, signal - low - middle], axis=1)


def band_noise(sigma: float, rate: float, cutoffs: tuple[float, float] = CUTOFFS) -> NDArray:
    """Standard deviation in each band of white noise with standard deviation `sigma`.

    It follows from the frequency response of the filters.

    Parameters
    ----------
    sigma : float
        In units of the signal.
    rate, cutoffs
        As in `split_bands`.

    Returns
    -------
    float64 array (3,)

    Raises
    ------
    TypeError, ValueError
        sigma not above zero; a rate too low for the cutoffs.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.band_noise(1.0, rate=16000).round(2)
    array([0.56, 0.86, 1.39])
    """
    h1, h2 = (
        scipy.signal.sosfreqz(sections, RESPONSE_POINTS, whole=True)[1]
        for sections in _filters(rate, cutoffs)
    )
    responses = np.stack([h1, (1 - h1) * h2, (1 - h1) * (1 - h2)])
    return as_positive(sigma, "sigma") * np.sqrt((np.abs(responses) ** 2).mean(axis=1))


def _filters(rate: float, cutoffs: tuple[float, float]) -> list[NDArray]:
    rate = as_positive(rate, "rate")
    if not 0 < cutoffs[0] < cutoffs[1] < rate / 2:
        raise ValueError(
            f"cutoffs must rise and stay below half the rate of {rate:g} Hz, got {cutoffs}"
        )
    return [scipy.signal.butter(ORDER, cutoff, fs=rate, output="sos") for cutoff in cutoffs]


def denoise_audio(
    prior: Prior | ReferenceMeasure,
    signal: ArrayLike,
    sigma: float,
    rate: float,
    strength: float = 1.0,
    estimator: str = "mean",
    cutoffs: tuple[float, float] = CUTOFFS,
    **settings: Any,
) -> NDArray:
    """Denoise a signal through its three bands.

    Parameters
    ----------
    prior : Prior or ReferenceMeasure
        Of dimension 3: the density of the bands (`split_bands`) of clean signals with the same
        scale and rate.
    signal : array (n,)
        The clean signal plus white noise.
    sigma : float
        Standard deviation of the noise, in units of the signal.
    rate : float
        Samples per second.
    strength, estimator, **settings
        As in `denoise`.
    cutoffs : (float, float)
        Hz; those with which the prior was learned.

    Returns
    -------
    float64 array (n,)

    Raises
    ------
    TypeError, ValueError
        As in `split_bands` and `denoise`.

    Notes
    -----
    The bands are those of the public code that preceded arXiv 2310.03085. The noise in each band is
    that of `band_noise`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> note = np.sin(0.3 * np.arange(4000.0))
    >>> prior = fastcl.learn_audio_prior(note, rate=16000, m=50, n_iter=2, rng=0)
    >>> fastcl.denoise_audio(prior, note[:100], sigma=0.2, rate=16000, n_samples=64).shape
    (100,)
    """
    if not isinstance(prior, (Prior, ReferenceMeasure)):
        raise TypeError(
            "prior must be a fastcl.Prior or a reference measure of dimension 3, "
            f"got {type(prior).__name__}"
        )
    if prior.dim != 3:
        raise ValueError(f"prior must have dimension 3, one per band, got {prior.dim}")
    bands = split_bands(signal, rate, cutoffs)
    noise = band_noise(sigma, rate, cutoffs)
    return denoise(prior, bands, noise, strength, estimator, **settings).sum(axis=1)


def learn_audio_prior(
    signal: ArrayLike,
    rate: float,
    m: int = 1000,
    *,
    widths: Sequence[int] = (64, 128),
    n_points: int = 2048,
    n_iter: int = 1500,
    rng: Any = None,
    cutoffs: tuple[float, float] = CUTOFFS,
    **settings: Any,
) -> Prior:
    """Learn the density of the three bands of a clean signal from their sketch.

    The reference measure is a Gaussian scale mixture with the covariance of the bands. The
    frequencies are drawn in coordinates in which this covariance is the identity, as the bands
    differ in size by orders of magnitude.

    Parameters
    ----------
    signal : array (n,)
        Clean sound, on the scale of the signals that will be denoised.
    rate : float
        Samples per second.
    m : int
        Number of frequencies.
    widths : sequence of int
        Hidden layers of the network.
    n_points, n_iter, rng, **settings
        As in `learn`; by default the log-scale is learned and the optimiser is
        ``Adam(1e-3, schedule=Cosine(n_iter))``.
    cutoffs : (float, float)
        Hz.

    Returns
    -------
    MLPPrior
        Of dimension 3, with its reference.

    Raises
    ------
    TypeError, ValueError
        As in `split_bands`.
    """
    check_settings(settings | {"n_points": n_points, "n_iter": n_iter}, learn)
    rng = as_generator(rng)
    bands = split_bands(signal, rate, cutoffs)
    reference = GaussianScaleMixture.fit(bands)
    values, vectors = np.linalg.eigh(reference.covariance)
    whitening = vectors / np.sqrt(values)
    omega = product(np.asarray(draw_frequencies(m, 3, 1.0, rng=rng)), whitening.T)
    # A normalised density learns more of its own note and less that holds for another one.
    settings.setdefault("log_scale", "learned")
    settings |= {"widths": widths, "n_points": n_points, "n_iter": n_iter, "rng": rng}
    return learn_network(sketch(bands, omega), reference, dtype=np.float64, **settings).prior
