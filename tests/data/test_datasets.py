"""The data sets have the distributions that their docstrings give."""

import numpy as np
import pytest

from fastcl.data.datasets import SCALE, make_song, make_spiral, two_gaussians


@pytest.mark.parametrize("turns", [1.5, 3.0])
def test_spiral_without_noise_is_the_curve(turns):
    x = make_spiral(2000, noise=1e-12, turns=turns, rng=0)
    t = np.hypot(x[:, 0], x[:, 1]) / 0.9
    angle = 2 * np.pi * turns * t
    np.testing.assert_allclose(x, 0.9 * (t * [np.cos(angle), np.sin(angle)]).T, atol=1e-10)
    # t is uniform: by Kolmogorov and Smirnov, P(sqrt(n) D > 2.5) = 2 exp(-2 2.5^2) = 7e-6.
    assert np.abs(np.sort(t) - (np.arange(2000) + 0.5) / 2000).max() * np.sqrt(2000) < 2.5


def test_noise_of_the_spiral_is_added_in_both_coordinates():
    # The same seed draws the same t.
    noise = make_spiral(20_000, noise=0.1, rng=1) - make_spiral(20_000, noise=1e-12, rng=1)
    # Five standard errors, 1 / sqrt(2 n) of the std and 1 / sqrt(n) of the mean.
    np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=5 / np.sqrt(40_000))
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 * 0.1 / np.sqrt(20_000))


def test_spiral_follows_the_seed():
    x = make_spiral(10, rng=3)
    assert (x.shape, x.dtype) == ((10, 2), np.float64)
    np.testing.assert_array_equal(x, make_spiral(10, rng=np.random.default_rng(3)))
    assert (x != make_spiral(10, rng=4)).any()


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"n": 0}, ValueError, "n"),
        ({"n": 2.5}, TypeError, "n"),
        ({"noise": -1}, ValueError, "noise"),
        ({"rng": "0"}, TypeError, "rng"),
    ],
)
def test_bad_arguments_of_the_spiral_are_named(arguments, error, name):
    with pytest.raises(error, match=f"^{name} "):
        make_spiral(**{"n": 5} | arguments)


def test_a_song_holds_the_harmonics_of_its_notes():
    rate = 8000
    song = make_song(4, rate, rng=0)
    assert (song.shape, song.dtype, np.abs(song).max()) == ((4 * rate,), np.float64, 1)
    # In frames of 128 ms the lines of a tone are 8 Hz wide; vibrato moves them by one per cent.
    frames = np.lib.stride_tricks.sliding_window_view(song, 1024)[::512]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) ** 2
    frequencies = np.fft.rfftfreq(1024, 1 / rate)
    loud = spectra[spectra.sum(axis=1) > 0.1 * spectra.sum(axis=1).max()]
    combs = []
    for pitch in SCALE:
        distance = np.abs(frequencies - pitch * np.round(frequencies / pitch))
        is_line = (distance < 8 + 0.01 * frequencies) & (frequencies > 100) & (frequencies < 1000)
        combs.append(loud[:, is_line].sum(axis=1) / loud.sum(axis=1))
    # Most frames lie within one note; the others hold two, or a hiss.
    assert np.median(np.max(combs, axis=0)) > 0.75
    silent = np.abs(song) < 1e-9
    assert 0.02 < silent.mean() < 0.5


def test_a_song_follows_the_seed():
    song = make_song(0.5, 8000, rng=3)
    np.testing.assert_array_equal(song, make_song(0.5, 8000, rng=np.random.default_rng(3)))
    assert (song != make_song(0.5, 8000, rng=4)).any()
    for bad, name in ((0, "seconds"), (-1.0, "seconds"), (np.inf, "seconds")):
        with pytest.raises(ValueError, match=f"^{name} "):
            make_song(bad)
    with pytest.raises(TypeError, match=r"^rate "):
        make_song(1, 8000.5)


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_two_gaussians_stand_on_the_diagonal(dim):
    mixture = two_gaussians(dim)
    assert mixture.dim == dim
    np.testing.assert_allclose(mixture.weights, 0.5)
    np.testing.assert_allclose(np.linalg.norm(mixture.means, axis=1), 0.4)
    np.testing.assert_allclose(mixture.means[0], -mixture.means[1])
    assert np.ptp(mixture.means, axis=1).max() == 0
    np.testing.assert_allclose(mixture.covariances, np.tile(0.1**2 * np.eye(dim), (2, 1, 1)))
    x = mixture.sample(1000, rng=0)
    assert (np.abs(x) < 1).all()  # at least six standard deviations away
    # Along the diagonal every point is about +0.4 or -0.4. Each sign has half of them, up to five
    # standard deviations of a coin.
    along = x.sum(axis=1) / np.sqrt(dim)
    assert (np.abs(np.abs(along) - 0.4) < 0.5).all()
    assert abs((along > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(1000)


@pytest.mark.parametrize("dim", [0, -1, 2.5, None])
def test_two_gaussians_of_no_dimension_are_refused(dim):
    with pytest.raises((ValueError, TypeError), match="dim"):
        two_gaussians(dim)


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.2])
def test_songs_of_nothing_but_rests_are_silent(seconds):
    peaks = {np.abs(make_song(seconds, rng=seed)).max() for seed in range(30)}
    assert peaks <= {0.0, 1.0}
