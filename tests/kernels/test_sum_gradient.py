"""sum_gradient, which differentiates sums of exponentials, and the energy built on it."""

import naive
import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl.backend import kernel

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}

# Rows come in blocks of 128, columns in tiles of 32 and sums of 256: sizes on either side of these,
# with every dimension.
TABLE = [
    (np.float32, 1, 1, 1),
    (np.float32, 3, 257, 2),
    (np.float32, 31, 300, 3),
    (np.float32, 33, 31, 8),
    (np.float32, 257, 33, 17),
    (np.float32, 300, 257, 35),
    (np.float32, 33, 1, 35),
    (np.float32, 1, 300, 8),
    (np.float64, 1, 3, 3),
    (np.float64, 3, 1, 35),
    (np.float64, 31, 33, 1),
    (np.float64, 33, 257, 17),
    (np.float64, 257, 300, 2),
    (np.float64, 300, 31, 8),
    (np.float64, 300, 3, 1),
    (np.float64, 31, 257, 35),
]
over_table = pytest.mark.parametrize(("dtype", "r", "s", "d"), TABLE)


def make_problem(dtype, r, s, d):
    """Rows, columns, and a complex factor for each; phases of a turn or so."""
    rng = np.random.default_rng([r, s, d])
    rows = rng.standard_normal((r, d)).astype(dtype)
    columns = (rng.standard_normal((s, d)) / np.sqrt(d)).astype(dtype)
    factors = [
        (rng.standard_normal(n) + 1j * rng.standard_normal(n)).astype(np.complex64) for n in (r, s)
    ]
    return rows, columns, *factors


def sum_gradient(rows, columns, row, column):
    """(values, gradient) by the kernel, for arrays of one type, into outputs that hold NaN."""
    parts = [
        np.ascontiguousarray(part, rows.dtype)
        for part in (row.real, row.imag, column.real, column.imag)
    ]
    values, out = np.full(len(rows), np.nan, rows.dtype), np.full_like(rows, np.nan)
    kernel("sum_gradient", like=rows)(rows, columns, *parts, values, out)
    return values, out


def naive_sum_gradient(rows, columns, row, column):
    """sum_s Re e_is and sum_s Re(i e_is) columns_s.

    e_is = row_i column_s exp(2 pi i <rows_i, columns_s>)
    """
    rows, columns = rows.astype(np.float64), columns.astype(np.float64)
    values, out = np.zeros(len(rows)), np.zeros_like(rows)
    for i in range(len(rows)):
        for s in range(len(columns)):
            factor = row[i].astype(np.complex128) * column[s]
            term = factor * np.exp(2j * np.pi * (rows[i] @ columns[s]))
            values[i] += term.real
            out[i] += (1j * term).real * columns[s]
    return values, out


def bound(rows, columns, row, column, eps):
    """(r,) and (r, d): how far rounding may move the kernel.

    An exponential and its addition to the sum err by `naive.feature_error` per unit of coefficient,
    in the sine and in the cosine. The coefficients row_i column_s are two products and a sum, the
    term two products and a difference, and its product with columns_s one more rounding: five, all
    of at most the product of the sums of the magnitudes.
    """
    magnitudes = [
        np.abs(part.real) + np.abs(part.imag).astype(np.float64) for part in (row, column)
    ]
    error = naive.feature_error(rows, 2 * np.pi * columns.astype(np.float64), eps) + 5 * eps
    each = error * magnitudes[0][:, None] * magnitudes[1]
    return each.sum(axis=1), each @ np.abs(columns.astype(np.float64))


@over_table
def test_values_and_gradient_are_those_of_the_loop(dtype, r, s, d):
    rows, columns, row, column = make_problem(dtype, r, s, d)
    arguments = rows, columns, row, column
    tolerances = bound(*arguments, EPS[dtype])
    for found, exact, allowed in zip(
        sum_gradient(*arguments), naive_sum_gradient(*arguments), tolerances, strict=True
    ):
        assert_within(found, exact, allowed)
        # The bound grows with the length of the sum, and the sum with its root: even so the bound
        # would refuse a wrong sign.
        assert np.median(allowed) < 0.01 * np.median(np.abs(exact))


@pytest.mark.parametrize("d", [1, 3, 17])
def test_gradient_is_the_derivative_of_the_values_either_way_round(d):
    # F = Re sum_is row_i column_s exp(2 pi i <rows_i, columns_s>) moves with its rows and with its
    # columns.
    rows, columns, row, column = make_problem(np.float64, 33, 31, d)
    step, rng = 1e-5, np.random.default_rng(0)

    def value(rows, columns):
        return (row[:, None] * column * np.exp(2j * np.pi * rows @ columns.T)).real.sum()

    towards = rng.standard_normal(rows.shape), rng.standard_normal(columns.shape)
    slopes = [
        2 * np.pi * (sum_gradient(rows, columns, row, column)[1] * towards[0]).sum(),
        2 * np.pi * (sum_gradient(columns, rows, column, row)[1] * towards[1]).sum(),
    ]
    differences = [
        (value(rows + step * towards[0], columns) - value(rows - step * towards[0], columns))
        / (2 * step),
        (value(rows, columns + step * towards[1]) - value(rows, columns - step * towards[1]))
        / (2 * step),
    ]
    # Third derivatives are the magnitudes times (2 pi times a product of standard normal
    # vectors)^3. The sum of the magnitudes is rounded, and divided by the step: phases of a few
    # turns cost some tens of eps.
    magnitudes = np.abs(row).sum() * np.abs(column).sum()
    speeds = [
        2 * np.pi * np.abs(towards[0] @ columns.T).max(),
        2 * np.pi * np.abs(rows @ towards[1].T).max(),
    ]
    for slope, difference, speed in zip(slopes, differences, speeds, strict=True):
        tolerance = magnitudes * (step**2 * speed**3 / 6 + 100 * EPS[np.float64] / step)
        assert abs(slope - difference) <= tolerance
        assert abs(slope) > 10 * tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_do_not_know_their_block(dtype):
    rows, columns, row, column = make_problem(dtype, 259, 300, 3)
    values, whole = sum_gradient(rows, columns, row, column)
    for i in (0, 127, 128, 258):
        value, alone = sum_gradient(rows[i : i + 1], columns, row[i : i + 1], column)
        np.testing.assert_array_equal(value, values[i : i + 1])
        np.testing.assert_array_equal(alone, whole[i : i + 1])


# ---- the energy of a maximum-entropy prior -------------------------------------------------------


def make_prior(d, m=33):
    rng = np.random.default_rng([d, m])
    c = rng.standard_normal(m) + 1j * rng.standard_normal(m)
    return fastcl.MaxEntropyPrior(
        rng.standard_normal((m, d)), c, fastcl.Gaussian(np.zeros(d), np.eye(d))
    )


@pytest.mark.parametrize("d", [1, 2, 3, 8, 35])
def test_max_entropy_gradient_is_the_directional_derivative(d):
    prior, step, rng = make_prior(d), 1e-5, np.random.default_rng(1)
    x, towards = rng.standard_normal((31, d)), rng.standard_normal((31, d))
    energy, gradient = prior.energy_and_grad(x)
    difference = (prior.energy(x + step * towards) - prior.energy(x - step * towards)) / (2 * step)
    # As above: a third derivative of at most sum |c| <omega, v>^3, and rounding of that sum, phases
    # included, over the step.
    magnitudes, speed = np.abs(prior.c).sum(), np.abs(towards @ prior.omega.T).max()
    tolerance = magnitudes * (step**2 * speed**3 / 6 + 100 * EPS[np.float64] / step)
    slope = (gradient * towards).sum(axis=1)
    assert_within(slope, difference, tolerance)
    assert np.median(np.abs(slope)) > 1e3 * tolerance
    # Both sum the same terms in another order: sum |c| times a few eps, for phases of a few turns.
    assert_within(energy, prior.energy(x), 100 * EPS[np.float64] * magnitudes)
    np.testing.assert_array_equal(gradient, prior.energy_grad(x))


@pytest.mark.parametrize("d", [2, 17])
def test_max_entropy_gradient_in_float32_is_that_in_float64(d):
    prior = make_prior(d)
    x = np.random.default_rng(2).standard_normal((33, d)).astype(np.float32)
    energy, gradient = prior.energy_and_grad(x)
    assert energy.dtype == gradient.dtype == np.float32
    exact = prior.energy_grad(x.astype(np.float64))
    # The coefficients are rounded to float32 as well; that and the last rounding are 2 more.
    error = naive.feature_error(x, prior.omega, EPS[np.float32]) + 7 * EPS[np.float32]
    allowed = (error * (np.abs(prior.c.real) + np.abs(prior.c.imag))) @ np.abs(prior.omega)
    assert_within(gradient, exact, allowed)


# ---- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "r", "s", "d"), [(np.float32, 300, 257, 8), (np.float64, 257, 300, 17)]
)
def test_number_of_threads_does_not_change_a_bit(on_threads, dtype, r, s, d):
    problem = make_problem(dtype, r, s, d)
    one, two = on_threads(lambda: sum_gradient(*problem))
    for part, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(part, other)
