"""Distributions of frequencies against closed-form moments, and the estimate of the scale."""

import numpy as np
import pytest
from bounds import assert_within
from scipy.special import gamma, gammaincc

import fastcl
from fastcl.fourier.radii import DISTRIBUTIONS


def upper_gamma(a, x):
    return gamma(a) * gammaincc(a, x)


def adapted_moments():
    """E r^2 and E r^4 for a density proportional to r sqrt(1 + r^2 / 4) exp(-r^2 / 2).

    With s = 1 + r^2 / 4 that is sqrt(s) exp(-2 s) ds on s > 1, with incomplete gamma functions as
    moments.
    """
    s1, s2 = (upper_gamma(1.5 + k, 2) / (2**k * upper_gamma(1.5, 2)) for k in (1, 2))
    return 4 * (s1 - 1), 16 * (s2 - 2 * s1 + 1)


def radius_moments(law, dim):
    """E r^2 and E r^4 of the radius at scale 1: chi^2 moments, of `dim` or 1 degrees of freedom."""
    if law == "adapted_radius":
        return adapted_moments()
    k = dim if law == "gaussian" else 1
    return k, k * (k + 2)


def assert_mean(samples, expected):
    """The mean over the first axis is within 5 standard errors, exceeded by chance once in 10^6."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert_within(samples.mean(axis=0), expected, 5 * error)


@pytest.mark.parametrize("law", DISTRIBUTIONS)
@pytest.mark.parametrize("dim", [1, 2, 16])
def test_distributions_have_their_moments(law, dim):
    omega = fastcl.draw_frequencies(20_000, dim, scale=0.5, law=law, rng=3)
    assert (omega.shape, omega.dtype) == ((20_000, dim), np.float64)
    radii = np.linalg.norm(omega, axis=1) * 0.5
    for power, moment in zip((2, 4), radius_moments(law, dim), strict=True):
        assert_mean(radii**power, moment)
    directions = omega / np.linalg.norm(omega, axis=1, keepdims=True)
    assert_mean(directions, 0)
    if dim > 1:
        # Uniform on the sphere: no correlation, second moments 1 / d, independent of the radius.
        assert_mean(directions[:, 0] * directions[:, 1], 0)
        assert_mean(directions**2, 1 / dim)
        assert_mean(radii[:, None] * directions, 0)


@pytest.mark.parametrize("law", DISTRIBUTIONS)
def test_radii_are_proportional_to_one_over_scale(law):
    one, quarter = (fastcl.draw_frequencies(50, 3, scale, law, rng=0) for scale in (1, 0.25))
    assert np.array_equal(quarter, 4 * one)


@pytest.mark.parametrize("law", DISTRIBUTIONS)
def test_a_seed_and_its_generator_draw_the_same(law):
    first = fastcl.draw_frequencies(50, 3, 1.0, law, rng=7)
    assert np.array_equal(first, fastcl.draw_frequencies(50, 3, 1.0, law, rng=np.int64(7)))
    generator = np.random.default_rng(7)
    assert np.array_equal(first, fastcl.draw_frequencies(50, 3, 1.0, law, rng=generator))
    # By now the generator has moved on.
    assert not np.array_equal(first, fastcl.draw_frequencies(50, 3, 1.0, law, rng=generator))
    assert not np.array_equal(first, fastcl.draw_frequencies(50, 3, 1.0, law, rng=8))
    assert not np.array_equal(
        fastcl.draw_frequencies(50, 3, 1.0, law), fastcl.draw_frequencies(50, 3, 1.0, law)
    )


GOOD = {"m": 3, "dim": 2, "scale": 1.0, "law": "gaussian", "rng": 0}


@pytest.mark.parametrize(
    ("name", "bad", "error"),
    [
        ("m", 0, ValueError), ("m", -1, ValueError), ("m", 2.0, TypeError), ("m", True, TypeError),
        ("m", "3", TypeError), ("dim", 0, ValueError), ("dim", None, TypeError),
        ("dim", 2.5, TypeError), ("scale", 0, ValueError), ("scale", -1.0, ValueError),
        ("scale", np.nan, ValueError), ("scale", np.inf, ValueError), ("scale", "1", TypeError),
        ("scale", None, TypeError), ("scale", 1j, TypeError), ("scale", True, TypeError),
        ("law", "uniform", ValueError), ("law", None, ValueError), ("rng", -1, ValueError),
        ("rng", "0", TypeError), ("rng", 0.5, TypeError),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(name, bad, error):
    with pytest.raises(error, match=rf"(^|\W){name}\W"):
        fastcl.draw_frequencies(**GOOD | {name: bad})


# ---- the scale ----------------------------------------------------------------------------------


def clusters(rng, n, dim, spread, scale):
    """Points of standard deviation `scale` around five centres drawn in a cube of side `spread`."""
    centres = rng.uniform(-spread / 2, spread / 2, (5, dim))
    return centres[rng.integers(5, size=n)] + scale * rng.standard_normal((n, dim))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("dim", "spread", "scale"), [(1, 0.0, 1.0), (2, 0.0, 0.1), (5, 0.0, 3.0), (5, 4.0, 0.4)]
)
def test_scale_of_clusters_is_found(rng, dim, spread, scale, dtype):
    """A finite sample lifts the magnitudes that are fitted, so the estimate is good to a fifth."""
    x = clusters(rng, 20_000, dim, spread, scale).astype(dtype)
    assert abs(np.log(fastcl.estimate_scale(x, rng=0) / scale)) < 0.2
    assert abs(np.log(fastcl.estimate_scale(x, rng=0, of="clusters") / scale)) < 0.2


def trefoil(rng, n):
    t = rng.uniform(0, 2 * np.pi, n)
    flat = np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t)
    return np.column_stack([*flat, -np.sin(3 * t)])


def half_circles(rng, n):
    angle, second = rng.uniform(0, np.pi, n), rng.integers(2, size=n)
    sign = 1 - 2 * second
    return np.column_stack([sign * np.cos(angle) + second, sign * np.sin(angle) + second / 2])


def spiral(rng, n):
    t = rng.random(n)
    return 0.9 * t[:, None] * np.column_stack([np.cos(3 * np.pi * t), np.sin(3 * np.pi * t)])


def sphere(rng, n):
    x = rng.standard_normal((n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("shape", "noise"), [(trefoil, 0.03), (half_circles, 0.08), (spiral, 0.02), (sphere, 0.05)]
)
def test_scale_of_a_thin_set_is_its_thickness(rng, shape, noise):
    x = shape(rng, 20_000)
    x = x + noise * rng.standard_normal(x.shape)
    assert abs(np.log(fastcl.estimate_scale(x, rng=0) / noise)) < 0.5


@pytest.mark.parametrize(("count", "dim", "scale"), [(30, 2, 0.02), (20, 5, 0.1), (20, 20, 0.1)])
def test_scale_of_many_clusters_is_that_of_one(rng, count, dim, scale):
    centres = rng.uniform(-1, 1, (count, dim))
    x = centres[rng.integers(count, size=20_000)] + scale * rng.standard_normal((20_000, dim))
    assert abs(np.log(fastcl.estimate_scale(x, rng=0) / scale)) < 0.5


@pytest.mark.parametrize("levels", [2, 10, 256])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_scale_of_whole_numbers_is_not_below_their_distance(rng, levels, dim):
    x = rng.integers(levels, size=(20_000, dim)).astype(float)
    assert 0.2 < fastcl.estimate_scale(x, rng=0) <= 1.05 * x.std()


@pytest.mark.parametrize("unit", [1e-200, 1e150])
def test_scale_is_found_in_extreme_units(rng, unit):
    x = unit * rng.standard_normal((2000, 2))
    assert abs(np.log(fastcl.estimate_scale(x, rng=0) / unit)) < 0.3


def test_an_outlier_leaves_the_scale_alone(rng):
    x = 0.1 * rng.standard_normal((4000, 2))
    scale = fastcl.estimate_scale(x, rng=0)
    x[0] = 1e6
    assert abs(np.log(fastcl.estimate_scale(x, rng=0) / scale)) < 0.3


def test_scale_is_in_the_units_of_x(rng):
    x = clusters(rng, 2000, 2, 1.0, 0.1)
    scale = fastcl.estimate_scale(x, rng=0)
    # The same fit in other units; it stops at a relative change of sqrt(eps) in the residual.
    assert abs(fastcl.estimate_scale(256 * x, rng=0) / (256 * scale) - 1) < 1e-6
    # A shift is taken out, except for the digits that the shifted points have lost.
    assert abs(fastcl.estimate_scale(x + 1000, rng=0) / scale - 1) < 1e-6


def test_scale_follows_from_the_seed(rng):
    x = clusters(rng, 8000, 2, 1.0, 0.1)
    assert fastcl.estimate_scale(x, rng=4) == fastcl.estimate_scale(x, rng=np.random.default_rng(4))
    assert fastcl.estimate_scale(x, rng=4) != fastcl.estimate_scale(x, rng=5)


def test_scale_reads_a_subsample_of_a_memory_map(tmp_path, rng):
    x = clusters(rng, 8000, 2, 1.0, 0.1)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert fastcl.estimate_scale(mapped, rng=4) == fastcl.estimate_scale(x, rng=4)


def test_scale_takes_few_points():
    assert np.isfinite(fastcl.estimate_scale([[0.0], [1.0]], rng=0))


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("x", {"x": np.ones((5, 2))}, ValueError),
        ("x", {"x": np.ones((1, 2))}, ValueError),
        ("x", {"x": np.zeros((0, 2))}, ValueError),
        ("x", {"x": np.zeros(5)}, ValueError),
        ("x", {"x": np.full((5, 2), np.nan)}, ValueError),
        ("x", {"x": np.zeros((5, 2), complex)}, TypeError),
        ("x", {"x": [[1.0, 2.0], [3.0]]}, ValueError),
        ("x", {"x": None}, TypeError),
        ("rng", {"rng": "0"}, TypeError),
        ("m", {"m": 0}, ValueError),
        ("n_points", {"n_points": 0}, ValueError),
        ("n_points", {"n_points": 1.5}, TypeError),
        ("n_points", {"n_points": "5"}, TypeError),
        ("of", {"of": "curves"}, ValueError),
    ],
)
def test_bad_arguments_of_the_estimate_are_named(name, arguments, error):
    with pytest.raises(error, match=rf"(^|\W){name}\W"):
        fastcl.estimate_scale(**{"x": np.eye(7), "rng": 0} | arguments)
