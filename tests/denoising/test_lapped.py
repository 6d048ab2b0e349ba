"""The lapped transform against its formula, and the filter in long frames against plain loops."""

import numpy as np
import pytest
from bounds import assert_within

from fastcl.denoising import lapped as module
from fastcl.denoising.lapped import (
    OVERLAP,
    choose_bins,
    empirical_wiener,
    frame_count,
    lapped,
    unlapped,
)

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


def wiener_by_loops(noisy, pilot, size):
    hop, out = size // OVERLAP, np.zeros(noisy.size + 2 * size)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
    padded, guide = np.pad(noisy, size), np.pad(pilot, size)
    padded, guide = (np.pad(each, (0, size)) for each in (padded, guide))
    for start in range(0, noisy.size + size, hop):
        frame = slice(start, start + size)
        power = np.abs(np.fft.rfft(guide[frame] * window)) ** 2
        gains = power / (power + (window**2).sum())
        clean = np.fft.irfft(gains * np.fft.rfft(padded[frame] * window), size) * window
        out[frame] += clean[: max(out.size - start, 0)]
    return out[size:-size] / (OVERLAP / 2)


@pytest.mark.parametrize("chunk", [1, 500, 1 << 20])
@pytest.mark.parametrize(("size", "length"), [(8, 1), (16, 31), (64, 1021), (256, 100)])
def test_the_filter_is_that_of_plain_loops(monkeypatch, rng, size, length, chunk):
    monkeypatch.setattr(module, "CHUNK_VALUES", chunk)
    noisy, pilot = rng.standard_normal((2, 3, length))
    expected = [wiener_by_loops(*each, size) for each in zip(noisy, pilot, strict=True)]
    found = empirical_wiener(noisy, pilot, [size])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(noisy).max())


def test_the_filter_keeps_what_the_pilot_has_and_nothing_else(rng):
    noisy = rng.standard_normal((1, 2000))
    assert_within(empirical_wiener(noisy, 1e9 * noisy, [64, 256]), noisy, 1e-12)
    assert not empirical_wiener(noisy, 0 * noisy, [64, 256]).any()


def test_the_frames_of_the_filter_suit_the_pilot():
    n = 4000
    tone = 3 * np.sin(0.3 * np.arange(n))[None]
    clicks = np.zeros((1, n))
    clicks[0, 50::700] = 15
    for pilot, best in [(tone, 512), (clicks, 32)]:
        chosen = empirical_wiener(pilot, pilot, [32, 128, 512])
        np.testing.assert_array_equal(chosen, empirical_wiener(pilot, pilot, [best]))
