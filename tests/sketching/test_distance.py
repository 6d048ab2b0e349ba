"""The distance of two sketches: its noise floor, its p-values, and what it refuses."""

import numpy as np
import pytest

import fastcl

N_RUNS = 150
CENTRES = np.array([[0.6, 0.3], [-0.5, 0.5], [-0.2, -0.7]])


def gaussian(n, dim, rng):
    return rng.standard_normal((n, dim))


def clusters(n, dim, rng):
    return CENTRES[rng.integers(3, size=n)] + 0.02 * rng.standard_normal((n, 2))


def heavy_tails(n, dim, rng):
    return rng.standard_t(3, (n, dim))


def results(draw, omega, n_a, n_b, rng):
    """Results for N_RUNS pairs of samples of one distribution: 5000 points are its stand-in."""
    omega = np.asarray(omega)
    features = np.exp(-1j * draw(5000, omega.shape[1], rng) @ omega.T)

    def sample(n):
        rows = features[rng.integers(len(features), size=n)]
        return fastcl.Sketch(omega).add_sums(rows.sum(axis=0), n)

    return [fastcl.distance(sample(n_a), sample(n_b)) for _ in range(N_RUNS)]


CASES = {  # draw, dim, m, scale, n_a, n_b
    "few correlated features": (gaussian, 1, 20, 1.0, 100, 100),
    "many correlated features": (gaussian, 2, 200, 0.5, 300, 100),
    "nearly independent features": (gaussian, 2, 100, 0.05, 100, 200),
    "many dimensions": (gaussian, 20, 100, 0.3, 200, 200),
    "three clusters": (clusters, 2, 50, 0.3, 200, 400),
    "three thin clusters": (clusters, 2, 100, 0.02, 200, 400),
    "heavy tails": (heavy_tails, 2, 100, 0.3, 200, 200),
    "harmonic frequencies": (clusters, 2, 100, 0.1, 200, 200),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_distributions_are_one_noise_floor_apart_and_seldom_rejected(case, rng):
    draw, dim, m, scale, n_a, n_b = CASES[case]
    structure = "harmonic" if case == "harmonic frequencies" else None
    omega = fastcl.draw_frequencies(m, dim, scale, structure=structure, rng=7)
    found = results(draw, omega, n_a, n_b, rng)
    ratios = np.array([each.distance for each in found])
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / np.sqrt(N_RUNS)
    p_values = np.array([each.p_value for each in found])
    for level in (0.01, 0.05, 0.2):  # within four standard errors
        excess = 4 * np.sqrt(level * (1 - level) / N_RUNS)
        assert (p_values < level).mean() < level + excess


def test_p_values_are_uniform_where_features_are_nearly_independent(rng):
    omega = fastcl.draw_frequencies(200, 2, 0.005, rng=7)
    p_values = [each.p_value for each in results(gaussian, omega, 300, 200, rng)]
    p_values = np.minimum(p_values, 0.9)  # beyond, they are rounded up to 1
    gap = np.abs(np.sort(p_values) - np.minimum(0.9, (np.arange(N_RUNS) + 0.5) / N_RUNS)).max()
    assert gap < 1.63 / np.sqrt(N_RUNS)  # Kolmogorov and Smirnov, at one per cent


def test_the_degrees_of_freedom_are_those_of_the_features(rng):
    """They are (sum of eigenvalues)^2 / sum of squares, of which the estimate may fall short."""
    for scale in (1.0, 0.3, 0.05, 0.005):
        omega = fastcl.draw_frequencies(200, 2, scale, rng=7)
        features = np.exp(-1j * gaussian(2000, 2, rng) @ omega.T)
        centred = features - features.mean(axis=0)
        gram = np.real(centred @ centred.conj().T)
        squares = (gram**2).sum() - (np.diag(gram) ** 2).sum()
        exact = np.trace(gram) ** 2 / squares
        sk = fastcl.Sketch(omega).add_sums(features.sum(axis=0), 2000)
        degrees = fastcl.distance(sk, sk).degrees
        assert 0.4 * exact < degrees < 1.2 * exact


@pytest.mark.parametrize("structure", [None, "harmonic"])
def test_other_distributions_are_told_apart(rng, structure):
    omega = fastcl.draw_frequencies(200, 2, 0.5, structure=structure, rng=0)
    sk = fastcl.sketch(rng.standard_normal((5000, 2)), omega)
    for other in (
        rng.normal([0.2, 0], 1, (5000, 2)),
        rng.standard_normal((5000, 2)) * [1.2, 1],
        rng.standard_t(5, (5000, 2)) * np.sqrt(3 / 5),
    ):
        found = fastcl.distance(sk, fastcl.sketch(other, omega))
        assert found.p_value < 1e-3
        assert found.distance > 2
        assert found.distance == found.squared / found.noise_floor


def test_the_distance_is_symmetric_and_zero_from_itself(rng):
    omega = fastcl.draw_frequencies(50, 2, 0.5, rng=0)
    a, b = (fastcl.sketch(rng.standard_normal((n, 2)), omega) for n in (300, 500))
    np.testing.assert_allclose(fastcl.distance(a, b), fastcl.distance(b, a), rtol=1e-9)
    assert fastcl.distance(a, a)[:3] == (0, 1, 0)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_few_frequencies_and_points_are_enough(rng, m):
    omega = fastcl.draw_frequencies(m, 3, 1.0, rng=0)
    a, b = (fastcl.sketch(rng.standard_normal((n, 3)), omega) for n in (1, 1))
    assert 0 < fastcl.distance(a, b).p_value <= 1
    constant = fastcl.sketch(np.full((10, 3), 2.0), omega)
    assert fastcl.distance(constant, constant)[:3] == (0, 1, 0)
    assert fastcl.distance(constant, fastcl.sketch(np.full((7, 3), 2.0), omega)).p_value > 0.99
    assert fastcl.distance(constant, fastcl.sketch(np.full((99, 3), 5.0), omega)).p_value < 1e-3


def test_what_cannot_be_compared_is_named(rng):
    x = rng.standard_normal((100, 2))
    omega = fastcl.draw_frequencies(20, 2, 1.0, rng=0)
    sk = fastcl.sketch(x, omega)
    with pytest.raises(TypeError, match=r"a must be a fastcl\.Sketch, got ndarray"):
        fastcl.distance(x, sk)
    with pytest.raises(TypeError, match=r"b must be a fastcl\.Sketch, got ndarray"):
        fastcl.distance(sk, x)
    with pytest.raises(ValueError, match="different frequencies"):
        fastcl.distance(sk, fastcl.sketch(x, 2 * omega))
    with pytest.raises(ValueError, match="b is empty"):
        fastcl.distance(sk, fastcl.Sketch(omega))
    with pytest.raises(ValueError, match="a has quantised features"):
        fastcl.distance(fastcl.sketch(x, omega, bits=1, rng=0), sk)
    release = fastcl.release(sk, 1.0, rng=0)
    for noisy in (release, release + fastcl.sketch(x + 1, omega)):
        with pytest.raises(ValueError, match="b holds the noise of a release"):
            fastcl.distance(sk, noisy)
