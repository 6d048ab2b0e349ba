"""Clusters and mixtures from exact sketches and from sketches of points."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fastcl
from fastcl.learning import decoders

MEANS = np.array([[-2.0, 0.0], [1.5, 2.0], [1.0, -2.0]])
STDS = np.array([[0.3, 0.5], [0.4, 0.3], [0.2, 0.4]])
WEIGHTS = np.array([0.5, 0.3, 0.2])
LOW, HIGH = [-5.0, -5.0], [5.0, 5.0]


@pytest.fixture(autouse=True)
def one_thread_of_blas():
    """The small matrices of L-BFGS-B take several times as long on more threads."""
    with threadpool_limits(1, "blas"):
        yield


def exact_sketch(variances, m=150):
    """The closed-form sketch of the mixture with variances (3, 2), which may be zero."""
    sk = fastcl.Sketch(fastcl.draw_frequencies(m, 2, 0.4, "adapted_radius", rng=1))
    parts = np.exp(-1j * sk.omega @ MEANS.T - sk.omega**2 @ variances.T / 2)
    return sk.add_sums((WEIGHTS * parts).sum(axis=1), 1)


def order(means):
    """The index of the true mean nearest to each of `means`, no two the same."""
    nearest = np.linalg.norm(means[:, None] - MEANS, axis=2).argmin(axis=1)
    assert sorted(nearest) == [0, 1, 2]
    return nearest


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_the_clusters_of_an_exact_sketch_are_recovered(spread):
    sk = exact_sketch(np.full((3, 2), spread**2))
    centres, weights = decoders.decode_kmeans(sk, 3, LOW, HIGH, rng=0)
    # Points are matched to the accuracy of the descent; a width that is not tried is not.
    tolerance = 1e-4 if spread == 0 else 0.02
    np.testing.assert_allclose(centres, MEANS[order(centres)], atol=tolerance)
    np.testing.assert_allclose(weights, WEIGHTS[order(centres)], atol=tolerance)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_the_mixture_of_an_exact_sketch_is_recovered():
    found = fastcl.decode_mixture(exact_sketch(STDS**2), 3, LOW, HIGH, rng=0)
    rows = order(found.means)
    np.testing.assert_allclose(found.means, MEANS[rows], atol=1e-3)
    np.testing.assert_allclose(found.weights, WEIGHTS[rows], atol=1e-3)
    np.testing.assert_allclose(found.covariances, np.eye(2) * STDS[rows][:, None] ** 2, atol=1e-3)


def test_the_domain_of_the_sketch_is_the_box_and_starts_may_be_given():
    sk = exact_sketch(np.zeros((3, 2)))
    sk.domain = fastcl.Box(LOW, HIGH)
    given = fastcl.decode_kmeans(sk, 3, LOW, HIGH, rng=0)
    for mine, theirs in zip(fastcl.decode_kmeans(sk, 3, rng=0), given, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    centres, _ = fastcl.decode_kmeans(sk, 3, rng=0, starts=MEANS + 0.1)
    order(centres)


def test_structured_frequencies_are_decoded_too():
    omega = fastcl.draw_frequencies(160, 2, 0.4, "adapted_radius", rng=1, structure="harmonic")
    x = np.repeat(MEANS, [500, 300, 200], axis=0)
    order(fastcl.decode_kmeans(fastcl.sketch(x, omega), 3, LOW, HIGH, rng=0)[0])


@pytest.mark.parametrize("make", [decoders.SphericalAtoms, decoders.Gaussians])
def test_gradients_against_central_differences(make, rng):
    omega, z = rng.standard_normal((37, 3)), rng.standard_normal(37) + 1j * rng.standard_normal(37)
    roots = rng.uniform(0, 1, 37)
    atoms, step = make(omega, np.full(3, -4.0), np.full(3, 4.0), roots), 1e-5
    k, p = 4, len(atoms.low)
    functions = [
        (
            lambda theta: decoders.mismatch(theta, atoms, z),
            np.concatenate([rng.uniform(-1, 1, k * p), rng.uniform(1, 2, k)]),
        )
    ]
    if make is decoders.SphericalAtoms:
        functions.append(
            (lambda centre: decoders.minus_correlation(centre, atoms, z), rng.uniform(-1, 1, p))
        )
    for function, theta in functions:
        direction = rng.standard_normal(theta.size)
        change = (function(theta + step * direction)[0] - function(theta - step * direction)[0]) / (
            2 * step
        )
        # Rounding: values of up to a hundred, so 1e-14 over a step of 1e-5. Truncation: third
        # derivatives of thousands times 1e-10.
        assert function(theta)[1] @ direction == pytest.approx(change, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("decode", [fastcl.decode_kmeans, fastcl.decode_mixture])
def test_results_do_not_depend_on_threads(decode, on_threads):
    sk = exact_sketch(STDS**2, m=60)
    found = on_threads(lambda: decode(sk, 2, LOW, HIGH, rng=0))
    if decode is fastcl.decode_mixture:
        found = [(result.weights, result.means, result.covariances) for result in found]
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("decode", [fastcl.decode_kmeans, fastcl.decode_mixture])
@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (TypeError, "sketch must be", {"sketch": np.zeros(3)}),
        (ValueError, "sketch is empty", {"sketch": fastcl.Sketch(np.ones((3, 2)))}),
        (ValueError, "n_c.* at least 1", {"k": 0}),
        (ValueError, "low and high are missing", {"low": None, "high": None}),
        (ValueError, "given together", {"low": None}),
        (ValueError, "dimension 1, the sketch 2", {"low": [0.0], "high": [1.0]}),
        (ValueError, "low must be below high", {"low": HIGH, "high": LOW}),
        (ValueError, "n_init must be at least 1", {"n_init": 0}),
        (ValueError, "starts must have 2 columns", {"starts": np.zeros((4, 3))}),
        (TypeError, "rng must be", {"rng": "0"}),
    ],
)
def test_bad_arguments_are_refused(decode, error, match, change):
    arguments = {
        "sketch": exact_sketch(STDS**2, 9),
        "k": 2,
        "low": LOW,
        "high": HIGH,
    } | change
    with pytest.raises(error, match=match):
        decode(arguments.pop("sketch"), arguments.pop("k"), **arguments)
