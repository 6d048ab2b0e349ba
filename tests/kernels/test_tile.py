"""Matrix products on tiles, against the triple loop."""

import naive
import numpy as np
import pytest
from bounds import assert_within

from fastcl.backend import empty_aligned, product
from fastcl.kernels import tile

DTYPES = [np.float32, np.float64]
# Rows around the tile of 4, columns around vectors of 4 to 16 lanes and around tiles of 2 or 4
# vectors, and no terms at all.
SHAPES = [
    (1, 1, 1),
    (3, 2, 5),
    (4, 3, 8),
    (5, 0, 7),
    (8, 9, 16),
    (7, 31, 33),
    (31, 17, 64),
    (33, 5, 100),
    (2, 257, 31),
]


def product_error(a, b, out, dtype):
    """The sum starts from `out`, in any order: terms + 1 roundings of at most eps / 2."""
    magnitudes = naive.matrix_product(np.abs(a), np.abs(b)) + np.abs(out)
    return (a.shape[1] + 1) * np.finfo(dtype).eps * magnitudes


@pytest.mark.again(
    "narrow_vectors", dtype=np.float32, rows=33, terms=5, columns=100, transposed=True
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "terms", "columns"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_add_product_adds_the_product_to_out(rng, dtype, rows, terms, columns, transposed):
    a = rng.standard_normal((terms, rows) if transposed else (rows, terms)).astype(dtype)
    a = a.T if transposed else a
    b = rng.standard_normal((terms, columns)).astype(dtype)
    start = rng.standard_normal((rows, columns)).astype(dtype)
    out = start.copy()
    tile.add_product(a, b, out)
    assert_within(out, start + naive.matrix_product(a, b), product_error(a, b, start, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 24, 35, 48, 67])
def test_the_product_of_a_matrix_with_itself_is_bitwise_symmetric(rng, dtype, columns):
    a = rng.standard_normal((1000, columns)).astype(dtype)
    found = product(a.T, a)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_product_stays_within_out(rng, dtype):
    a, b = rng.standard_normal((7, 3)).astype(dtype), rng.standard_normal((3, 37)).astype(dtype)
    buffer = np.full(64 + 7 * 37 + 64, 5, dtype)
    tile.add_product(a, b, buffer[64:-64].reshape(7, 37))
    assert (buffer[:64] == 5).all()
    assert (buffer[-64:] == 5).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "terms", "columns"),
    [(rows, terms, columns) for rows, terms, columns in SHAPES if terms],
)
def test_dot_rows_overwrites_out_with_the_product_by_the_transpose(
    rng, dtype, rows, terms, columns
):
    a, b = (
        rng.standard_normal((rows, terms)).astype(dtype),
        rng.standard_normal((columns, terms)).astype(dtype),
    )
    out = np.full((rows, columns), np.nan, dtype)
    tile.dot_rows(a, b, out)
    assert_within(out, naive.matrix_product(a, b.T), product_error(a, b.T, 0, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_scratch_arrays_start_on_a_cache_line(dtype):
    like = np.zeros(1, dtype)
    for size in (1, 7, 64, 1021):  # held at once, so that they cannot share one lucky address
        arrays = [tile.empty_aligned(size, like) for _ in range(5)] + [
            empty_aligned((size,), dtype) for _ in range(5)
        ]
        zeros = tile.zeros_aligned(size, like)
        assert (zeros == 0).all()
        for array in [*arrays, zeros]:
            assert array.ctypes.data % 64 == 0
            assert (array.shape, array.dtype) == ((size,), dtype)
            array[:] = 1  # and every element is there


def test_aligned_array_of_two_dimensions_is_contiguous():
    array = empty_aligned((3, 5), np.float32)
    assert (array.shape, array.flags.c_contiguous, array.ctypes.data % 64) == ((3, 5), True, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "terms", "columns"), [(1, 1, 1), (257, 3, 31), (1021, 35, 64)])
def test_the_parallel_product_has_the_bits_of_one_tile_after_another(
    rng, on_threads, dtype, rows, terms, columns
):
    a, b = (
        rng.standard_normal((rows, terms)).astype(dtype),
        rng.standard_normal((terms, columns)).astype(dtype),
    )
    expected = np.zeros((rows, columns), dtype)
    tile.add_product(a, b, expected)
    for result in on_threads(lambda: product(a, b)):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "terms", "columns"), SHAPES)
def test_the_product_is_where_the_rows_are_and_in_their_type(
    rng, backend, dtype, rows, terms, columns
):
    a, b = rng.standard_normal((rows, terms)).astype(dtype), rng.standard_normal((terms, columns))
    expected, error = naive.matrix_product(a, b.astype(dtype)), product_error(a, b, 0, dtype)
    for given in (
        b,
        b.astype(dtype),
        np.asfortranarray(b),
    ):  # brought beside a, on the host or on a device
        for left in (backend.array(a), backend.array(a.T.copy()).T):
            out = backend.host(product(left, given))
            assert out.dtype == dtype
            assert_within(out, expected, error)
