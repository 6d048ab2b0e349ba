"""Densities take points (n, d) or one point (d,), whoever wrote them."""

import numpy as np
import pytest
from laplace import Laplace

import fastcl

NORMAL = fastcl.Gaussian([0.0, 0.0], np.eye(2))
WIDE = fastcl.GaussianScaleMixture(np.eye(2), [0.5, 2.0], [0.5, 0.5])
MAX_ENTROPY = fastcl.MaxEntropyPrior([[1.0, 0.5]], [0.3], NORMAL)


class Own(fastcl.Prior):
    """It is written for points (n, d) alone."""

    dim = 2

    def energy_and_grad(self, x):
        assert x.ndim == 2
        assert x.dtype.kind == "f"
        return (x**4).sum(axis=1), 4 * x**3


class Cheaper(Own):
    def energy(self, x):
        assert x.ndim == 2
        return super().energy(x)


DENSITIES = {
    "box": fastcl.Box([-1, -1], [1, 1]),
    "mixture": fastcl.GaussianMixture([0.5, 0.5], [[0, 0], [1, 1]], [np.eye(2)] * 2),
    "scale mixture": WIDE,
    "own measure": Laplace(2),
    "network": fastcl.MLPPrior(2, (4,), rng=0),
    "network over a measure": fastcl.MLPPrior(2, (4,), rng=0, reference=NORMAL),
    "maximum entropy": MAX_ENTROPY,
    "gaussianised": fastcl.GaussianisedPrior(MAX_ENTROPY, WIDE),
    "own prior": Own(),
    "own energy": Cheaper(),
}
METHODS = ["energy", "energy_grad", "energy_and_grad", "log_density", "log_density_grad"]
CASES = [(name, m) for name, density in DENSITIES.items() for m in METHODS if hasattr(density, m)]


@pytest.mark.parametrize("x", [np.array([0.25, 0.5]), [0.25, 0.5], np.array([0.25, 0.5], "f4")])
@pytest.mark.parametrize(("name", "method"), CASES)
def test_one_point_gives_what_it_gives_among_others(name, method, x):
    call = getattr(DENSITIES[name], method)
    one, several = call(x), call(np.array([x, x]))
    if method != "energy_and_grad":
        one, several = (one,), (several,)
    for part, parts in zip(one, several, strict=True):
        assert np.shape(part) == parts.shape[1:]
        assert part.dtype == parts.dtype
        np.testing.assert_array_equal(part, parts[0])


@pytest.mark.parametrize(("name", "method"), CASES)
def test_points_of_another_dimension_are_refused(name, method):
    for x in (1.0, np.zeros(3), np.zeros((2, 3)), np.zeros((0, 2)), np.zeros((1, 1, 2))):
        with pytest.raises(ValueError, match=r"^x "):
            getattr(DENSITIES[name], method)(x)


def test_one_point_in_one_dimension():
    normal = fastcl.Gaussian([0.0], [[1.0]])
    assert np.shape(normal.log_density([0.5])) == ()
    with pytest.raises(ValueError, match=r"pass x\[:, None\]"):
        normal.log_density([0.5, 1.0])


def test_an_own_energy_gets_floats():
    np.testing.assert_array_equal(Own().energy([[10_000, 0]]), [1e16])  # integers would overflow


@pytest.mark.parametrize(
    ("energy", "gradient", "message"),
    [
        (lambda x: x**2, lambda x: 2 * x, r"energy_and_grad must return .* \(\d+,\).*\(\d+, 2\)$"),
        (lambda x: 0.0, lambda x: 2 * x, r"energy_and_grad must return .* \(\d+,\).*\(\)$"),
        (lambda x: x[:, 0], lambda x: x[:, 0], r"energy_and_grad must return .* \(\d+, 2\)"),
    ],
)
def test_results_of_the_wrong_shape_are_named(energy, gradient, message):
    class Wrong(fastcl.Prior):
        dim = 2

        def energy_and_grad(self, x):
            return energy(x), gradient(x)

    x = np.ones((5, 2))
    calls = [
        lambda: Wrong().energy(x),
        lambda: Wrong().log_density(x[0]),
        lambda: fastcl.denoise(Wrong(), x, 0.1),
        lambda: fastcl.denoise(Wrong(), x, 0.1, estimator="mean"),
        lambda: Wrong().sample(3, domain=fastcl.Box([0, 0], [1, 1])),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"Wrong.{message}"):
            call()
