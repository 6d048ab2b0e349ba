"""What is made from a caller's arrays keeps none of them, and writes to none of them."""

import copy

import numpy as np
import pytest

import fastcl
from fastcl.priors.metric import WhitenedMetric

EYE = np.eye(2)
NORMAL = fastcl.Gaussian([0.0, 0.0], EYE)
TRANSFORM = fastcl.PatchTransform(2, np.eye(4)[:, 1:3], np.ones(2))
DITHER = np.linspace(0, 6, 5)


def trained(theta):
    prior = fastcl.MLPPrior(2, (3,), rng=0, dtype=np.float64)
    prior.theta = theta
    return prior


MAKERS = {  # what is made, and the arrays it is made from
    "box": (fastcl.Box, [np.zeros(2), np.ones(2)]),
    "gaussian": (fastcl.Gaussian, [np.zeros(2), EYE]),
    "mixture": (
        fastcl.GaussianMixture,
        [np.full(2, 0.5), np.arange(4.0).reshape(2, 2), np.stack([EYE, EYE])],
    ),
    "scale mixture": (
        fastcl.GaussianScaleMixture,
        [EYE, np.array([1.0, 2.0]), np.full(2, 0.5)],
    ),
    "mixture of scale mixtures": (
        fastcl.MixtureOfScaleMixtures,
        [np.stack([EYE, EYE]), np.array([1.0, 2.0]), np.full((2, 2), 0.25)],
    ),
    "maximum entropy": (
        lambda omega, c: fastcl.MaxEntropyPrior(omega, c, NORMAL),
        [np.ones((3, 2)), np.full(3, 0.1 + 0.1j)],
    ),
    "network": (trained, [np.linspace(0, 1, 18)]),
    "metric": (lambda omega: WhitenedMetric(omega, NORMAL), [np.arange(6.0).reshape(3, 2)]),
    "harmonic": (lambda base: fastcl.HarmonicFrequencies(base, 2), [np.ones((3, 2))]),
    "hadamard": (
        lambda signs, radii: fastcl.HadamardFrequencies(signs, radii, 16),
        [np.ones((1, 3, 16), np.int8), np.full(5, 2.0)],
    ),
    "sketch": (lambda omega, x: fastcl.sketch(x, omega), [np.ones((3, 2)), np.ones((4, 2))]),
    "quantised sketch": (
        lambda omega, dither: fastcl.Sketch(omega, bits=1, dither=dither).update(EYE),
        [np.ones((5, 2)), DITHER.copy()],
    ),
    "sums": (
        lambda total: fastcl.Sketch(np.ones((3, 2))).add_sums(total, 2),
        [np.ones(3, np.complex128)],
    ),
    "patches": (
        lambda axes, stds: fastcl.PatchTransform(2, axes, stds),
        [np.eye(4)[:, 1:3].copy(), np.ones(2)],
    ),
    "image model": (
        lambda precisions: fastcl.SignalModel(TRANSFORM, NORMAL, precisions=precisions),
        [np.array([1.0, 2.0])],
    ),
}


def state(thing):
    return copy.deepcopy(thing.to_arrays() if hasattr(thing, "to_arrays") else vars(thing))


@pytest.mark.parametrize("name", MAKERS)
def test_it_does_not_change_with_the_callers_arrays(name):
    make, arrays = MAKERS[name]
    arrays = [array.copy() for array in arrays]
    thing, kept = make(*arrays), [array.copy() for array in arrays]
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)
    before = state(thing)
    for array in arrays:
        array *= -3
    after = state(thing)
    assert before.keys() == after.keys()
    for key, part in before.items():
        np.testing.assert_array_equal(part, after[key], err_msg=key)


@pytest.mark.parametrize("name", MAKERS)
def test_it_takes_arrays_that_are_read_only(name):
    make, arrays = MAKERS[name]
    arrays = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    make(*arrays)
