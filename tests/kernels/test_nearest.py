"""The nearest patches against loops and a sort, and the exponential against NumPy's."""

import numpy as np
import pytest
from bounds import assert_within

from fastcl.kernels.exponential import VECTORS, exponentiate_row
from fastcl.kernels.lanes import jit
from fastcl.kernels.nearest import COLUMNS, choose_least, patch_distances

DTYPES = [np.float32, np.float64]


@jit
def exponentiate(rows, shifts, totals):
    for i in range(rows.shape[0]):
        exponentiate_row(rows, i, shifts, totals)


@pytest.mark.again("narrow_vectors", dtype=np.float32)
@pytest.mark.parametrize("dtype", DTYPES)
def test_exponentials_are_right_to_two_ulps(rng, dtype):
    columns = 2 * 16 * VECTORS
    least = np.log(np.finfo(dtype).tiny)
    x = (least * rng.random((50, columns)) ** 3).astype(dtype)
    x[0], x[1], x[2] = 0, 1.001 * least, -np.inf
    x[3] = np.nan  # counts as no density at all
    shifts, totals = rng.random(columns).astype(dtype), np.zeros(columns, dtype)
    rows = x + shifts
    difference = (rows - shifts).astype(np.longdouble)
    expected = np.exp(difference, where=difference > least, out=np.zeros(x.shape, np.longdouble))
    exponentiate(rows, shifts, totals)
    assert (rows[1:4] == 0).all()
    assert_within(rows, expected, 2 * np.finfo(dtype).eps * expected)
    assert_within(totals, expected.sum(axis=0), 60 * np.finfo(dtype).eps * expected.sum(axis=0))


@pytest.mark.again("narrow_vectors", dtype=np.float32, rows=5, row=29)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "row"), [(1, 1), (4, 16), (5, 29), (11, 33)])
def test_distances_are_those_of_loops(rng, dtype, rows, row):
    signal = rng.standard_normal(1000 + COLUMNS).astype(dtype)
    offsets = np.array([0, 1, 7, 30, 31], np.uint64)
    starts = np.sort(rng.choice(1000 - row - 31, rows, replace=False))
    starts[-1] = 1000 - row - 31  # the last patch ends where the signal does
    values = rng.standard_normal(5).astype(dtype)
    columns = -(-row // COLUMNS) * COLUMNS
    found = np.full((rows, columns), -7, dtype)
    patch_distances(signal, starts, row, offsets, values, found)
    places = starts[:, None, None] + np.arange(row)[:, None] + offsets.astype(int)
    expected = np.square(signal[places].astype(np.float64) - values).sum(axis=2)
    assert_within(found[:, :row], expected, 8 * np.finfo(dtype).eps * expected)
    assert (found[:, row:] == np.inf).all()


@pytest.mark.again("narrow_vectors", dtype=np.float32, scale=1.0)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e20])
def test_the_nearest_patches_are_chosen(rng, dtype, scale):
    distances = (scale * rng.random(20 * COLUMNS)).astype(dtype)
    distances[:30] = np.inf
    own = 100
    distances[own] = 0
    for wanted in (1, 2, 40, distances.size - 30, distances.size):
        chosen = np.empty(wanted, np.int64)
        found = choose_least(distances.copy(), own, distances.size - 30, chosen)
        expected = np.argsort(distances, kind="stable")[: min(wanted, distances.size - 30)]
        assert set(chosen[:found]) == set(expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [2.0, 33.3, 1e30])
def test_equal_distances_are_chosen_in_order_and_the_patch_itself_always(dtype, value):
    distances = np.full(4 * COLUMNS, value, dtype)
    chosen = np.empty(5, np.int64)
    assert choose_least(distances.copy(), 50, distances.size, chosen) == 5
    assert chosen.tolist() == [0, 1, 2, 3, 50]
    assert choose_least(0 * distances, 50, distances.size, chosen) == 5
    assert chosen.tolist() == [0, 1, 2, 3, 50]
