"""Sound: a signal split into three bands, so that every sample becomes a point of three coordinates."""

import numpy as np
import scipy

from ..backend import product
from ..fourier.frequencies import draw_frequencies
from ..learning.loop import learn
from ..learning.optimizers import Adam, Cosine
from ..measures.base import ReferenceMeasure
from ..measures.scale_mixtures import GaussianScaleMixture
from ..priors.base import Prior
from ..priors.mlp import MLPPrior
from ..sketching.sketch import sketch
from ..validation import as_generator, as_positive, as_vector
from .vectors import denoise

CUTOFFS = (
    2500.0,
    3750.0,
)  # Hz, of the two low-pass filters, as in the public code before arXiv 2310.03085.
ORDER = 4


def split_bands(signal, rate, cutoffs=CUTOFFS):
    """Split a signal into three bands that add up to it.

    The first band is the signal through a fourth-order Butterworth low-pass filter at the first cutoff, the second the
    rest through one at the second cutoff, the third what is left.

    Parameters
    ----------
    signal : array (n,)
    rate : float
        Samples a second, above twice the larger cutoff.
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


def band_noise(sigma, rate, cutoffs=CUTOFFS):
    """Standard deviation (3,) in every band of white noise of standard deviation `sigma`.

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
        scipy.signal.sosfreqz(sections, 8192, whole=True)[1] for sections in _filters(rate, cutoffs)
    )
    responses = np.stack([h1, (1 - h1) * h2, (1 - h1) * (1 - h2)])
    return as_positive(sigma, "sigma") * np.sqrt((np.abs(responses) ** 2).mean(axis=1))


def _filters(rate, cutoffs):
    rate = as_positive(rate, "rate")
    if not 0 < cutoffs[0] < cutoffs[1] < rate / 2:
        raise ValueError(
            f"cutoffs must rise and stay below half the rate of {rate:g} Hz, got {cutoffs}"
        )
    return [scipy.signal.butter(ORDER, cutoff, fs=rate, output="sos") for cutoff in cutoffs]


def denoise_audio(
    prior, signal, sigma, rate, strength=1.0, estimator="mean", cutoffs=CUTOFFS, **settings
):
    """Denoise a signal through its three bands.

    Parameters
    ----------
    prior : MLPPrior or reference measure
        Of dimension 3: the density of the bands (`split_bands`) of clean signals of the same scale and rate.
    signal : array (n,)
        The clean signal plus white noise.
    sigma : float
        Standard deviation of the noise, in units of the signal.
    rate : float
        Samples a second.
    strength, estimator, **settings
        As in `denoise`.
    cutoffs : (float, float)
        Hz; those that the prior was learned with.

    Returns
    -------
    float64 array (n,)

    Raises
    ------
    TypeError, ValueError
        As `split_bands` and `denoise`.

    Notes
    -----
    The bands are those of the public code that preceded arXiv 2310.03085. The noise of a band follows from the response
    of its filters.

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
            f"prior must be an MLPPrior or a reference measure of dimension 3, got {type(prior).__name__}"
        )
    if prior.dim != 3:
        raise ValueError(f"prior must have dimension 3, one for each band, got {prior.dim}")
    bands = split_bands(signal, rate, cutoffs)
    return denoise(
        prior, bands, band_noise(sigma, rate, cutoffs), strength, estimator, **settings
    ).sum(axis=1)


def learn_audio_prior(
    signal,
    rate,
    m=1000,
    widths=(64, 128),
    n_points=2048,
    n_iter=1500,
    rng=None,
    cutoffs=CUTOFFS,
    **settings,
):
    """Learn the density of the three bands of a clean signal from their sketch.

    The reference measure is a Gaussian scale mixture with the covariance of the bands; the frequencies follow from a
    white cloud of the same covariance, since the bands differ in size by orders of magnitude.

    Parameters
    ----------
    signal : array (n,)
        Clean sound, of the scale of what will be denoised.
    rate : float
        Samples a second.
    m : int
        Number of frequencies.
    widths : sequence of int
        Hidden layers of the network.
    n_points, n_iter, rng, **settings
        As in `learn`, but that the method is "unbiased" and the optimiser ``Adam(1e-3, schedule=Cosine(n_iter))`` by default.
    cutoffs : (float, float)
        Hz.

    Returns
    -------
    MLPPrior
        Of dimension 3, with its reference.

    Raises
    ------
    TypeError, ValueError
        As `split_bands`.
    """
    rng = as_generator(rng)
    bands = split_bands(signal, rate, cutoffs)
    reference = GaussianScaleMixture.fit(bands)
    values, vectors = np.linalg.eigh(reference.covariance)
    whitening = vectors / np.sqrt(values)
    omega = product(draw_frequencies(m, 3, 1.0, rng=rng), whitening.T)
    prior = MLPPrior(3, widths, rng=rng, reference=reference, dtype=np.float64)
    prior.initialise_on(reference, rng=rng)
    settings.setdefault("optimizer", Adam(1e-3, schedule=Cosine(n_iter)))
    settings.setdefault(
        "method", "unbiased"
    )  # "normalised" learns more of its note and keeps less for another one
    return learn(
        prior, sketch(bands, omega), n_points=n_points, n_iter=n_iter, rng=rng, **settings
    ).prior
