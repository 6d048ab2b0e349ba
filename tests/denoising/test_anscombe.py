"""Counts: the Anscombe transform has noise of variance one, and its inverse has no bias."""

import numpy as np
import pytest
from bounds import assert_within
from pictures import photograph, psnr

import fastcl
from fastcl.denoising.anscombe import (
    MAX_MEAN,
    _table,
    anscombe,
    denoise_poisson,
    inverse_anscombe,
)

N = 200_000


def draws(mean, gain, readout):
    rng = np.random.default_rng(int(100 * mean))
    return gain * rng.poisson(mean / gain, N) + readout * rng.standard_normal(N)


@pytest.mark.parametrize(("gain", "readout"), [(1, 0), (1, 0.4), (1, 3), (0.2, 0.1), (7, 10)])
@pytest.mark.parametrize("counts", [0.05, 0.5, 2, 9, 60, 70, 400])
def test_the_inverse_of_the_mean_is_the_mean(gain, readout, counts):
    values = anscombe(draws(gain * counts, gain, readout), gain, readout)
    error = values.std() / np.sqrt(N)
    mean = values.mean()
    low, high = inverse_anscombe(np.array([mean - 4 * error, mean + 4 * error]), gain, readout)
    assert low <= gain * counts <= high


@pytest.mark.parametrize("readout", [0, 1, 5])
@pytest.mark.parametrize("mean", [4, 20, 300])
def test_the_noise_has_variance_one(mean, readout):
    assert anscombe(draws(mean, 1, readout), 1, readout).std() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("s", [0, 0.3, 2, 20])
def test_the_table_rises_and_meets_the_expansion(s):
    means, expected = _table(s)
    assert (np.diff(expected) > 0).all()
    assert means[-1] > 0.98 * MAX_MEAN
    assert means[-1] == pytest.approx(expected[-1] ** 2 / 4 - 1 / 8 - s**2, abs=3e-3)
    assert inverse_anscombe(np.array([0.0, expected[0]]), 1, s).tolist() == [0, 0]


def test_a_gain_is_a_unit():
    y = np.array([0.0, 1, 5, 200])
    np.testing.assert_allclose(anscombe(3 * y, 3, 1.5), anscombe(y, 1, 0.5))
    np.testing.assert_allclose(inverse_anscombe(y, 3, 1.5), 3 * inverse_anscombe(y, 1, 0.5))


@pytest.mark.parametrize(("gain", "readout"), [(1, 0), (0.01, 0), (2, 3)])
@pytest.mark.parametrize("peak", [10, 100])
def test_a_photograph_of_counts_is_denoised(trained, peak, gain, readout):
    clean = gain * peak * photograph(21, (60, 60))
    rng = np.random.default_rng(1)
    counts = gain * rng.poisson(clean / gain) + readout * rng.standard_normal(clean.shape)
    model = trained.models["reference"]
    found = denoise_poisson(model, counts, gain, readout)
    scale = gain * peak
    assert psnr(clean / scale, found / scale) > psnr(clean / scale, counts / scale) + 6
    # Biases of the algebraic inverse are a quarter of a count.
    assert abs(found.mean() - counts.mean()) < 0.01 * scale


def test_types_of_numbers_and_devices(backend):
    counts = np.random.default_rng(0).poisson(5, (8, 9))

    def halve(noisy, sigma):
        assert 0 <= float(noisy.min()) < float(noisy.max()) <= 1 >= sigma
        return noisy / 2

    expected = denoise_poisson(halve, counts)
    np.testing.assert_array_equal(denoise_poisson(halve, counts.astype(np.uint8)), expected)
    found = denoise_poisson(halve, backend.array(counts.astype(np.float32)))
    assert found.dtype == np.float32
    assert_within(backend.host(found), expected, 1e-4)


def test_a_dark_photograph_stays_dark():
    found = denoise_poisson(lambda noisy, sigma: noisy, np.zeros((6, 6), int))
    assert_within(found, 0, 1e-12)


def test_bad_counts_are_refused():
    for counts, options, message in [
        ([[1.0, -1.0]], {}, "counts must not be negative, got -1: subtract no background"),
        ([[1.0, np.nan]], {}, "counts holds NaN"),
        ([], {}, "counts is empty"),
        ([1.0], {"gain": 0}, "gain must be above zero"),
        ([1.0], {"readout": -1}, "readout must be zero or above"),
    ]:
        with pytest.raises(ValueError, match=message):
            denoise_poisson(lambda noisy, sigma: noisy, counts, **options)
    with pytest.raises(TypeError, match="counts must be real"):
        denoise_poisson(fastcl.denoise, [1j])
    with pytest.raises(TypeError, match="readout must be a number"):
        denoise_poisson(fastcl.denoise, [1.0], readout="1")
