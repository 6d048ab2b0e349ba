"""Masks, blurs and linear operators against dense matrices, and their adjoints."""

import re

import numpy as np
import pytest
from bounds import assert_within
from scipy import ndimage, signal, sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from fastcl.denoising import data_terms
from fastcl.denoising.data_terms import data_term, inner

# (shape, shape of a kernel)
SIZES = [((12,), (3,)), ((7, 8), (4, 3)), ((7, 8), (1, 2)), ((4, 5, 6), (2, 3, 2))]


def dense(function, shape):
    """The matrix of a linear function of arrays of a shape."""
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.stack([function(unit).ravel() for unit in units], axis=1)


@pytest.mark.parametrize(("shape", "size"), SIZES, ids=str)
def test_a_periodic_blur_is_that_of_ndimage(shape, size, rng):
    x, kernel = rng.random(shape), rng.random(size)
    y = ndimage.convolve(x, kernel, mode="wrap")
    term = data_term(y, kernel, "periodic", None, None)
    assert_within(term.forward(x), y, 1e-13 * kernel.size)


@pytest.mark.parametrize(("shape", "size"), SIZES, ids=str)
def test_a_valid_blur_is_that_of_signal(shape, size, rng):
    x, kernel = rng.random(shape), rng.random(size)
    y = signal.convolve(x, kernel, "valid")
    term = data_term(y, kernel, "valid", None, None)
    assert term.start.shape == shape
    assert_within(term.forward(x), y, 1e-13 * kernel.size)


TERMS = {
    "mask": lambda y, rng: data_term(y, rng.random(y.shape) < 0.5, "periodic", None, None),
    "periodic": lambda y, rng: data_term(y, rng.random((2, 3)), "periodic", None, None),
    "valid": lambda y, rng: data_term(y, rng.random((2, 3)), "valid", None, None),
    "matrix": lambda y, rng: data_term(y, rng.random((y.size, 15)), "periodic", (3, 5), None),
    "sparse": lambda y, rng: data_term(
        y, sparse.random(y.size, 15, 0.3, rng=1, format="csr"), "periodic", (3, 5), None
    ),
    "operator": lambda y, rng: data_term(
        y, aslinearoperator(rng.random((y.size, y.size))), "periodic", None, None
    ),
}


@pytest.mark.parametrize("weight", [0.05, 3.0])
@pytest.mark.parametrize("name", TERMS)
def test_the_step_towards_the_data_is_the_dense_solution(name, weight, rng, monkeypatch):
    monkeypatch.setattr(data_terms, "TOLERANCE", 1e-9)
    y = rng.random((5, 6))
    term = TERMS[name](y, rng)
    v = rng.random(term.start.shape)
    r = rng.random(y.shape)
    left, right = inner(term.forward(v), r), inner(v, term.adjoint(r))
    assert left == pytest.approx(right, rel=1e-12)
    matrix = dense(term.forward, v.shape)
    normal = matrix.T @ matrix + weight * np.eye(v.size)
    expected = np.linalg.solve(normal, matrix.T @ term.y.ravel() + weight * v.ravel())
    assert_within(term.nearest(v, weight).ravel(), expected, 1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_an_operator_acts_on_every_channel(axis, rng, monkeypatch):
    monkeypatch.setattr(data_terms, "TOLERANCE", 1e-9)
    channels = rng.random((3, 6, 7))
    y = np.moveaxis(channels, 0, axis)
    kernel, matrix, mask = rng.random((2, 3)), rng.random((42, 42)), rng.random((6, 7)) < 0.5
    for operator in (kernel, matrix, mask):
        term = data_term(y, operator, "periodic", None, axis)
        found = term.forward(y), term.adjoint(y), term.nearest(2 * y, 0.5)
        for channel, one in enumerate(channels):
            alone = data_term(one, operator, "periodic", None, None)
            expected = alone.forward(one), alone.adjoint(one), alone.nearest(2 * one, 0.5)
            for a, b in zip(found, expected, strict=True):
                assert_within(np.take(a, channel, axis), b, 1e-6 * max(1, np.abs(b).max()))


def test_unknown_samples_start_as_the_nearest_of_their_channel():
    y = np.array([[1.0, np.nan, np.nan, np.nan, 2.0], [np.nan, np.nan, 7.0, np.nan, np.nan]])
    start = data_term(y, ~np.isnan(y), "periodic", None, 0).start
    assert start[1].tolist() == [7.0] * 5
    assert start[0, [0, 1, 3, 4]].tolist() == [1, 1, 2, 2]


def test_an_operator_with_fewer_data_than_unknowns_starts_at_its_scale(rng):
    x = 0.5 + 0.1 * rng.random(40)
    matrix = rng.random((20, 40)) * 100
    term = data_term(matrix @ x, matrix, "periodic", (40,), None)
    assert 0.4 < term.start.mean() < 0.7


def test_the_weight_may_be_zero(rng):
    y = rng.random((8, 9))
    known = rng.random(y.shape) < 0.5
    v = rng.random(y.shape)
    found = data_term(y, known, "periodic", None, None).nearest(v, 0.0)
    assert_within(found, np.where(known, y, v), 2e-6)
    blur = data_term(y, np.array([[1.0, 1.0]]), "periodic", None, None)  # blind to one frequency
    assert np.isfinite(blur.nearest(v, 0.0)).all()


Y = np.full((6, 7), 0.5)


@pytest.mark.parametrize(
    ("y", "operator", "options", "message"),
    [
        (Y, np.ones((5, 7), bool), {}, "operator of type bool and shape (5, 7) does not fit y"),
        (Y, np.zeros((6, 7), bool), {}, "nothing is known"),
        (np.where(Y == 0.5, np.nan, Y), np.ones((6, 7), bool), {}, "y where it is known holds NaN"),
        (Y, np.eye(6, 7), {}, "looks like a mask: pass it in bool"),
        (Y, np.full((6, 7), 255, np.uint8), {}, "looks like a mask: pass it in bool"),
        (np.ones((6, 7, 3)), np.ones((6, 7, 1)), {"channel_axis": 2}, "looks like a mask"),
        (np.full((6, 7), np.inf), np.ones((2, 2)), {}, "y holds NaN or infinity"),
        (Y, np.ones((3, 8)), {}, "must have shape (42, 42)"),
        (Y, np.ones((2, 2, 2)), {}, "does not fit y (6, 7)"),
        (Y, np.full((2, 2), np.nan), {}, "operator holds NaN or infinity"),
        (Y, np.ones((42, 30)), {}, "pass the shape of x as shape"),
        (Y, np.ones((42, 30)), {"shape": (6, 6)}, "must have shape (42, 36)"),
        (Y, np.ones((2, 2)), {"channel_axis": 2}, "channel_axis 2 is none of the axes"),
    ],
)
def test_what_does_not_fit_is_refused(y, operator, options, message):
    arguments = {"shape": None, "channel_axis": None} | options
    with pytest.raises(ValueError, match=re.escape(message)):
        data_term(y, operator, "periodic", **arguments)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (np.ones((42, 42), complex), "operator must be real"),
        (aslinearoperator(np.ones((42, 42), complex)), "stack its real and imaginary parts"),
        (LinearOperator((42, 42), matvec=lambda x: x, dtype=float), "operator must define rmatvec"),
        ("blur", "operator"),
    ],
)
def test_operators_of_another_kind_are_refused(operator, message):
    with pytest.raises(TypeError, match=message):
        data_term(Y, operator, "periodic", None, None)
