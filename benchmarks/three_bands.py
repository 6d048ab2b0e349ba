"""The sound of the public code that preceded arXiv 2310.03085: a signal as points of three bands.

A signal is split into three bands that add up to it, so that every sample is a point of three
coordinates. The density of these points is learned from their sketch, and denoises each of them.
It runs nothing by itself: `sound.py` compares it with the sound of the package.
"""

import numpy as np
import scipy

import fastcl
from fastcl.learning.loop import learn_network

# Hz, of the two low-pass filters.
CUTOFFS = (2500.0, 3750.0)
ORDER = 4
RESPONSE_POINTS = 8192  # frequencies at which the response of a filter is sampled


def split_bands(signal, rate):
    """Split a signal (n,) into bands (n, 3) that add up to it.

    The first is the signal after a fourth-order Butterworth low-pass filter at the first cutoff,
    the second is the rest after one at the second cutoff, and the third is what is left.
    """
    first, second = _filters(rate)
    low = scipy.signal.sosfilt(first, signal)
    middle = scipy.signal.sosfilt(second, signal - low)
    return np.stack([low, middle, signal - low - middle], axis=1)


def band_noise(sigma, rate):
    """Standard deviation (3,) in the bands of white noise with standard deviation `sigma`.

    It follows from the frequency response of the filters.
    """
    h1, h2 = (
        scipy.signal.sosfreqz(sections, RESPONSE_POINTS, whole=True)[1]
        for sections in _filters(rate)
    )
    responses = np.stack([h1, (1 - h1) * h2, (1 - h1) * (1 - h2)])
    return sigma * np.sqrt((np.abs(responses) ** 2).mean(axis=1))


def _filters(rate):
    return [scipy.signal.butter(ORDER, cutoff, fs=rate, output="sos") for cutoff in CUTOFFS]


def learn_bands(signal, rate, m=1000, n_iter=1500, rng=None):
    """Learn a network, the density of the three bands of a clean signal, from their sketch.

    The reference measure is a Gaussian scale mixture with the covariance of the bands. The
    frequencies are drawn in coordinates in which this covariance is the identity, as the bands
    differ in size by orders of magnitude.
    """
    rng = np.random.default_rng(rng)
    bands = split_bands(signal, rate)
    reference = fastcl.GaussianScaleMixture.fit(bands)
    values, vectors = np.linalg.eigh(reference.covariance)
    whitening = vectors / np.sqrt(values)
    omega = np.asarray(fastcl.draw_frequencies(m, 3, 1.0, rng=rng)) @ whitening.T
    # A normalised density learns more of its own note and less that holds for another one.
    settings = {"log_scale": "learned", "widths": (64, 128), "n_points": 2048, "n_iter": n_iter}
    sketch = fastcl.sketch(bands, omega)
    return learn_network(sketch, reference, dtype=np.float64, rng=rng, **settings).prior


def denoise_bands(prior, signal, sigma, rate, estimator="mean"):
    """Denoise a signal (n,): the sum of its denoised bands."""
    bands, noise = split_bands(signal, rate), band_noise(sigma, rate)
    return fastcl.denoise(prior, bands, noise, estimator=estimator).sum(axis=1)


def verify(rate=16000):
    """AssertionError unless the bands, their noise and their denoising are what they should be."""
    rng = np.random.default_rng(0)
    signal = 0.3 * rng.standard_normal(200_000)
    bands = split_bands(signal, rate)
    np.testing.assert_allclose(bands.sum(axis=1), signal, rtol=0, atol=1e-14)
    # White noise has the level of each band, to about four standard errors.
    np.testing.assert_allclose(bands.std(axis=0), band_noise(0.3, rate), rtol=0.02)
    time = np.arange(rate) / rate
    for band, frequency in [(0, 300), (2, 7000)]:
        tone = split_bands(np.sin(2 * np.pi * frequency * time), rate)[1000:]
        assert np.argmax((tone**2).mean(axis=0)) == band
    # Under a Gaussian, every band is scaled by Wiener's gain.
    variances = np.array([0.5, 0.02, 0.003])
    gains = variances / (variances + band_noise(0.2, rate) ** 2)
    clean = denoise_bands(fastcl.Gaussian(np.zeros(3), np.diag(variances)), signal, 0.2, rate)
    np.testing.assert_allclose(clean, bands @ gains, rtol=0, atol=1e-12)
