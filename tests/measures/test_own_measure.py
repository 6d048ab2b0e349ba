"""A user's measure needs only dim, sample, log_density and sketch to be used like the package's."""

import numpy as np
import pytest
from laplace import Laplace
from scipy.integrate import quad

import fastcl


def test_default_gradient_is_that_of_the_log_density():
    x = np.random.default_rng(0).standard_normal((50, 3)) + 0.1
    np.testing.assert_allclose(Laplace(3).log_density_grad(x), -np.sign(x), atol=1e-8)


def test_default_pair_sketches_are_sketches_at_differences_and_sums():
    measure = Laplace(2)
    omega = np.random.default_rng(0).standard_normal((5, 2))
    minus, plus = measure.pair_sketches(omega)
    for i, j in np.ndindex(5, 5):
        expected = measure.sketch(np.stack([omega[i] - omega[j], omega[i] + omega[j]]))
        np.testing.assert_allclose([minus[i, j], plus[i, j]], expected, rtol=1e-14)


@pytest.mark.parametrize("y", [-2.0, 0.5, 4.0])
def test_posterior_mean_agrees_with_quadrature(y):
    def posterior(x):
        return np.exp(-abs(x) - (x - y) ** 2 / 2)

    options = {"points": [0.0], "epsabs": 1e-12}
    mass = quad(posterior, -12, 12, **options)[0]
    expected = quad(lambda x: x * posterior(x), -12, 12, **options)[0] / mass
    found = fastcl.denoise(Laplace(1), [[y]], sigma=1.0, estimator="mean", n_samples=4096)
    assert abs(found[0, 0] - expected) < 0.01


def test_map_estimate_is_soft_thresholding():
    y = np.array([[3.0], [-2.5], [0.2]])
    found = fastcl.denoise(Laplace(1), y, sigma=1.0, n_iter=200)
    np.testing.assert_allclose(found[:2], [[2.0], [-1.5]], atol=1e-6)
    # Near the kink, central differences take points from both sides.
    assert abs(found[2, 0]) < 0.05


def test_a_max_entropy_prior_over_it_is_learned_and_denoises():
    q = Laplace(2)
    rng = np.random.default_rng(0)
    clusters = 1.5 * np.sign(rng.standard_normal((20_000, 2)))
    x = clusters + 0.3 * rng.standard_normal((20_000, 2))
    sk = fastcl.sketch(x, fastcl.draw_frequencies(40, 2, 0.5, rng=1))
    prior = fastcl.max_entropy(sk, q, n_points=2000, n_iter=80, rng=0)
    gain = (prior.log_density(x) - q.log_density(x)).mean() - fastcl.log_normaliser(prior)
    assert gain > 0.5
    y = x[:200] + 0.5 * rng.standard_normal((200, 2))
    clean = fastcl.denoise(prior, y, sigma=0.5, estimator="mean")
    assert ((clean - x[:200]) ** 2).mean() < 0.6 * ((y - x[:200]) ** 2).mean()


class Shifted(Laplace):
    """The same, one-sided and of another scale: its support and its unit are its own."""

    def __init__(self, scale):
        super().__init__(1)
        self.scale = scale

    def sample(self, n, rng=None, dtype=np.float64):
        return (self.scale * np.random.default_rng(rng).exponential(size=(n, 1))).astype(dtype)

    def log_density(self, x):
        x = np.asarray(x)[:, 0]
        return np.where(x >= 0, -x / self.scale - np.log(self.scale), -np.inf)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_gradient_is_taken_in_the_unit_of_the_measure(scale):
    x = scale * np.array([[0.5], [3.0]])
    np.testing.assert_allclose(Shifted(scale).log_density_grad(x), -1 / scale, rtol=1e-6)


def test_the_gradient_is_zero_outside_the_support():
    np.testing.assert_array_equal(Shifted(1.0).log_density_grad([[-5], [-1]]), 0.0)


def test_sketches_with_domains_that_cannot_be_compared_merge_without_one():
    parts = [fastcl.sketch(np.ones((3, 2)), np.ones((4, 2))) for _ in range(2)]
    for part in parts:
        part.domain = Laplace(2)
    assert (parts[0] + parts[1]).domain is None
    parts[1].domain = parts[0].domain
    assert (parts[0] + parts[1]).domain is parts[0].domain
