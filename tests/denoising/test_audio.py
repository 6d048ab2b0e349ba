"""Sound: the three bands, the noise in each, and denoising against Wiener's estimate."""

import numpy as np
import pytest
from bounds import assert_within
from scipy.signal import butter, lfilter

import fastcl
from fastcl.denoising import audio
from fastcl.denoising.audio import CUTOFFS

EPS = np.finfo(float).eps
RATES = [7600, 16000, 44100, 192000]  # the first is just above twice the larger cutoff


def impulse_responses(rate, n=1 << 15):
    """Impulse responses of the bands (n, 3), from transfer functions; n lets them die out."""
    impulse = np.zeros(n)
    impulse[0] = 1
    (b1, a1), (b2, a2) = (butter(4, cutoff, fs=rate) for cutoff in CUTOFFS)
    low = lfilter(b1, a1, impulse)
    middle = lfilter(b2, a2, impulse - low)
    return np.stack([low, middle, impulse - low - middle], axis=1)


@pytest.mark.parametrize("rate", RATES)
def test_bands_add_up_to_the_signal(rng, rate):
    signal = rng.standard_normal(5000)
    bands = fastcl.split_bands(signal, rate)
    assert bands.shape == (5000, 3)
    assert bands.dtype == np.float64
    # Two subtractions and two additions.
    assert_within(bands.sum(axis=1), signal, 4 * EPS * np.abs(bands).sum(axis=1))


@pytest.mark.parametrize("rate", RATES)
def test_bands_are_the_signal_convolved_with_the_impulse_responses(rng, rate):
    signal = rng.standard_normal(400)
    expected = np.stack(
        [np.convolve(signal, h)[:400] for h in impulse_responses(rate, 400).T], axis=1
    )
    # At low frequency the coefficients of a transfer function of order four cancel to
    # (2500 pi / rate)^4.
    np.testing.assert_allclose(fastcl.split_bands(signal, rate), expected, rtol=0, atol=1e-8)


def test_low_tones_go_to_the_first_band_and_high_ones_to_the_last():
    rate, time = 16000, np.arange(16000) / 16000
    for band, frequency in [(0, 300), (2, 7000)]:
        energies = (
            fastcl.split_bands(np.sin(2 * np.pi * frequency * time), rate)[1000:] ** 2
        ).mean(axis=0)
        assert np.argmax(energies) == band
    # At the first cutoff a Butterworth filter passes half the power.
    low = fastcl.split_bands(np.sin(2 * np.pi * CUTOFFS[0] * time), rate)[1000:, 0]
    np.testing.assert_allclose((low**2).mean() / 0.5, 0.5, rtol=1e-3)


def test_bands_follow_the_cutoffs(rng):
    signal = rng.standard_normal(1000)
    scaled = fastcl.split_bands(signal, 32000, cutoffs=(2 * CUTOFFS[0], 2 * CUTOFFS[1]))
    np.testing.assert_allclose(scaled, fastcl.split_bands(signal, 16000), rtol=0, atol=1e-10)


@pytest.mark.parametrize("rate", RATES)
def test_noise_of_a_band_is_the_energy_of_its_impulse_response(rate):
    expected = np.sqrt((impulse_responses(rate) ** 2).sum(axis=0))
    # The squared frequency response is smooth on the scale at which it is sampled: its mean over
    # the circle converges faster than any power, and the responses are good to 1e-8 as above.
    np.testing.assert_allclose(fastcl.band_noise(0.3, rate), 0.3 * expected, rtol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_noise_of_a_band_is_that_of_filtered_white_noise(rng, rate):
    n = 100_000
    bands = fastcl.split_bands(0.3 * rng.standard_normal(n), rate)
    expected = fastcl.band_noise(0.3, rate)
    for k, response in enumerate(impulse_responses(rate).T):
        correlation = np.fft.irfft(np.abs(np.fft.rfft(response, 2 * response.size)) ** 2)
        # The variance of a mean of squares of Gaussians is 2 sum of squared correlations over n.
        error = 0.3**2 * np.sqrt(2 * (correlation**2).sum() / n)
        assert abs((bands[:, k] ** 2).mean() - expected[k] ** 2) <= 5 * error
        assert error < 0.05 * expected[k] ** 2


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_denoising_under_a_gaussian_scales_every_band_by_wieners_gain(rng, estimator):
    rate, sigma, variances = 16000, 0.2, np.array([0.5, 0.02, 0.003])
    signal = rng.standard_normal(500)
    prior = fastcl.Gaussian(np.zeros(3), np.diag(variances))
    bands = fastcl.split_bands(signal, rate)
    gains = variances / (variances + sigma**2 * (impulse_responses(rate) ** 2).sum(axis=0))
    denoised = fastcl.denoise_audio(prior, signal, sigma, rate, estimator=estimator)
    assert (denoised.dtype, denoised.shape) == (np.float64, (500,))
    # The gain inherits the accuracy of the noise level, tested above.
    np.testing.assert_allclose(
        denoised, bands @ gains, rtol=0, atol=2e-6 * np.abs(bands).sum(axis=1).max()
    )


def test_denoising_uses_the_correlation_of_the_bands(rng):
    covariance = np.array([[0.5, 0.1, 0.0], [0.1, 0.1, 0.02], [0.0, 0.02, 0.05]])
    signal, noise = rng.standard_normal(100), np.diag(fastcl.band_noise(0.3, 16000) ** 2)
    expected = (
        fastcl.split_bands(signal, 16000) @ np.linalg.inv(covariance + noise) @ covariance
    ).sum(axis=1)
    denoised = fastcl.denoise_audio(fastcl.Gaussian(np.zeros(3), covariance), signal, 0.3, 16000)
    np.testing.assert_allclose(denoised, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_a_network_denoises_as_it_does_the_rows_of_the_bands(rng, estimator):
    prior, signal = fastcl.MLPPrior(3, (8,), rng=0), rng.standard_normal(50)
    settings = {"strength": 0.5, "estimator": estimator, "n_samples": 32, "n_iter": 5, "rng": 1}
    bands = fastcl.denoise(
        prior, fastcl.split_bands(signal, 16000), fastcl.band_noise(0.2, 16000), **settings
    )
    np.testing.assert_array_equal(
        fastcl.denoise_audio(prior, signal, 0.2, 16000, **settings), bands.sum(axis=1)
    )


GAUSSIAN = fastcl.Gaussian(np.zeros(3), np.eye(3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rate": 7500}, ValueError, "half the rate of 7500"),
        ({"rate": 0}, ValueError, "rate must be above zero"),
        ({"rate": np.nan}, ValueError, "rate must be"),
        ({"rate": "16000"}, TypeError, "rate must be a number"),
        ({"signal": np.zeros((9, 1))}, ValueError, r"signal must have shape \(n,\)"),
        ({"signal": []}, ValueError, "signal is empty"),
        ({"signal": [0.0, np.nan]}, ValueError, "signal holds NaN"),
        ({"signal": "a"}, TypeError, "signal must hold numbers"),
        ({"sigma": 0}, ValueError, "sigma must be above zero"),
        ({"sigma": -1.0}, ValueError, "sigma"),
        ({"sigma": None}, TypeError, "sigma"),
        ({"strength": 0}, ValueError, "strength"),
        ({"estimator": "median"}, ValueError, "estimator"),
        ({"prior": None}, TypeError, "prior must be"),
        ({"prior": fastcl.MLPPrior(2, (4,), rng=0)}, ValueError, "have dimension 3.*got 2"),
        ({"prior": fastcl.Gaussian([0.0], [[1.0]])}, ValueError, "prior must have dimension 3"),
        ({"prior": fastcl.Box(-np.ones(3), np.ones(3))}, TypeError, "prior must be"),
        ({"cutoffs": (3000.0, 2000.0)}, ValueError, "cutoffs"),
        ({"cutoffs": (0.0, 2000.0)}, ValueError, "cutoffs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_bad_arguments_are_named(change, error, message):
    good = {"prior": GAUSSIAN, "signal": np.zeros(10), "sigma": 0.1, "rate": 16000}
    with pytest.raises(error, match=message):
        fastcl.denoise_audio(**good | change)


@pytest.mark.parametrize(
    ("settings", "error"), [({"n_iters": 1}, TypeError), ({"n_points": 0}, ValueError)]
)
def test_settings_of_learning_are_checked_before_the_sketch(monkeypatch, settings, error):
    monkeypatch.setattr(audio, "sketch", lambda *given: pytest.fail("sketched"))
    with pytest.raises(error, match=next(iter(settings))):
        fastcl.learn_audio_prior(np.sin(np.arange(4000.0)), rate=16000, m=20, **settings)
