"""The lapped transform against its formula, and the choice of its frames."""

import numpy as np
import pytest
from bounds import assert_within

from fastcl.denoising.lapped import choose_bins, frame_count, lapped, unlapped

EPS = np.finfo(float).eps
CASES = [(2, 0, 1), (4, 1, 3), (4, 2, 31), (6, 3, 257), (16, 5, 1021), (128, 64, 300), (128, 0, 1)]


@pytest.mark.parametrize(("bins", "shift", "length"), CASES)
def test_coefficients_follow_the_formula(rng, bins, shift, length):
    signal = rng.standard_normal(length)
    found = lapped(signal, bins, shift)
    assert found.shape == (frame_count(length, bins), bins)
    t, k = np.arange(2 * bins) + 0.5, np.arange(bins) + 0.5
    waves = np.cos(np.pi / bins * np.outer(k, t + bins / 2))
    waves *= np.sqrt(2 / bins) * np.sin(np.pi * t / (2 * bins))
    padded = np.zeros((len(found) + 1) * bins)
    padded[2 * bins + shift : 2 * bins + shift + length] = signal
    expected = [waves @ padded[n * bins : (n + 2) * bins] for n in range(len(found))]
    # A cosine transform takes a few rotations for every factor of the length.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(signal).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("bins", "shift", "length"), CASES)
def test_the_transform_is_orthonormal_and_has_an_inverse(rng, bins, shift, length, dtype):
    signals = rng.standard_normal((2, length)).astype(dtype)
    coefficients = lapped(signals, bins, shift)
    back = unlapped(coefficients, shift, length)
    assert (coefficients.dtype, back.dtype, back.shape) == (dtype, dtype, signals.shape)
    bound = 100 * np.finfo(dtype).eps * np.abs(signals).max()
    assert_within(back, signals, bound)
    np.testing.assert_allclose((coefficients**2).sum(), (signals**2).sum(), rtol=bound)
    # The adjoint of an orthonormal transform is its inverse.
    others = rng.standard_normal(coefficients.shape).astype(dtype)
    left, right = (coefficients * others).sum(), (signals * unlapped(others, shift, length)).sum()
    assert abs(left - right) <= 100 * np.finfo(dtype).eps * np.abs(coefficients * others).sum()


def test_long_frames_are_chosen_for_a_tone_and_short_ones_for_clicks(rng):
    n, sigma = 4000, np.array([0.1])
    noise = 0.1 * rng.standard_normal((1, n))
    candidates = [32, 128, 512]
    tone = np.sin(0.3 * np.arange(n))[None] + noise
    clicks = noise.copy()
    clicks[0, ::700] += 4
    assert choose_bins(tone, sigma, candidates) == 512
    assert choose_bins(clicks, sigma, candidates) == 32
    # Windows longer than the signal do not count.
    assert choose_bins(tone[:, :1000], sigma, candidates) < 512
    assert choose_bins(tone[:, :10], sigma, candidates) == 32
