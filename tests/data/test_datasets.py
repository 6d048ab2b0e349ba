"""The data sets have the distributions that their docstrings give."""

import numpy as np
import pytest

from fastcl.data.datasets import make_spiral, two_gaussians


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
