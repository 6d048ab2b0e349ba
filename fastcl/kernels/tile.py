"""Matrix products on tiles that stay in cache: the building block of phases and of the MLP.

Numba's own `np.dot` would call a threaded BLAS from inside a parallel region, and its bits could follow the
thread count.  These products run on one thread and in a fixed order.
"""

import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from .lanes import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, Lanes, jit, jit_parallel, jit_reduce

BLOCK_ROWS = 256  # rows of a product that one thread takes at a time


def make_tile_product(rows, vectors):
    """An intrinsic f(a, b, out, i, j): out[i:i+rows, j:j+lanes] += a[i:i+rows] @ b[:, j:j+lanes], vectors x vector lanes.

    `a` may have any strides; `b` and `out` are contiguous along their columns, and no bounds are checked.
    """

    @intrinsic
    def tile_product(typingctx, a, b, out, i, j):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            a, b, out = (emit.array(*pair) for pair in zip(signature.args[:3], arguments[:3], strict=True))
            lines = [emit.plus(arguments[3], r) for r in range(rows)]
            columns = [emit.plus(arguments[4], v * emit.count) for v in range(vectors)]
            places = [(line, column) for line in lines for column in columns]

            def add_term(k, sums):
                values = [emit.load(b, k, column) for column in columns]
                factors = [emit.load_everywhere(a, line, k) for line in lines]
                products = [(factor, value) for factor in factors for value in values]
                return [emit.multiply_add(*product, total) for product, total in zip(products, sums, strict=True)]

            starts = [emit.load(out, *place) for place in places]
            sums = emit.loop(emit.index(0), emit.length(a, 1), 1, starts, add_term)
            for total, place in zip(sums, places, strict=True):
                emit.store(total, out, *place)
            return context.get_dummy_value()

        return types.none(a, b, out, types.intp, types.intp), codegen

    return tile_product


@jit
def empty_aligned(size, like):  # (size,) of the type of `like`, on a cache line: vectors that straddle two cost double
    buffer = np.empty(size + 64 // like.itemsize, like.dtype)
    start = (-buffer.ctypes.data % 64) // like.itemsize
    return buffer[start : start + size]


@jit
def zeros_aligned(size, like):
    buffer = empty_aligned(size, like)
    buffer[:] = 0
    return buffer


tile_product = make_tile_product(TILE_ROWS, TILE_VECTORS)
tile_product_narrow = make_tile_product(TILE_ROWS, 1)
tile_product_row = make_tile_product(1, TILE_VECTORS)
tile_product_row_narrow = make_tile_product(1, 1)


@jit
def add_product(a, b, out):  # a (r, s) of any strides, b (s, c), out (r, c): out += a b, lanes along c
    rows, terms, columns = a.shape[0], a.shape[1], out.shape[1]
    narrow = VECTOR_BYTES // a.itemsize
    wide = TILE_VECTORS * narrow
    rows_full, columns_wide, columns_full = rows - rows % TILE_ROWS, columns - columns % wide, columns - columns % narrow
    for j in range(0, columns_wide, wide):
        for i in range(0, rows_full, TILE_ROWS):
            tile_product(a, b, out, i, j)
        for i in range(rows_full, rows):
            tile_product_row(a, b, out, i, j)
    for j in range(columns_wide, columns_full, narrow):
        for i in range(0, rows_full, TILE_ROWS):
            tile_product_narrow(a, b, out, i, j)
        for i in range(rows_full, rows):
            tile_product_row_narrow(a, b, out, i, j)
    left = columns - columns_full
    if left:  # the last columns, padded to one vector
        b_edge, out_edge = np.zeros((terms, narrow), b.dtype), np.zeros((rows, narrow), out.dtype)
        b_edge[:, :left] = b[:, columns_full:]
        for i in range(0, rows_full, TILE_ROWS):
            tile_product_narrow(a, b_edge, out_edge, i, 0)
        for i in range(rows_full, rows):
            tile_product_row_narrow(a, b_edge, out_edge, i, 0)
        for i in range(rows):
            for j in range(left):
                out[i, columns_full + j] += out_edge[i, j]


@jit_parallel
def product(a, b, out):  # a (n, s), b (s, c), out (n, c): out = a b, by blocks of rows
    for block in prange((a.shape[0] + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start, end = block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, a.shape[0])
        out[start:end] = 0
        add_product(a[start:end], b, out[start:end])


@jit_reduce
def dot_rows(a, b, out):  # a (r, s), b (c, s), out (r, c): out = a b^T, lanes along s; for few columns c
    for i in range(a.shape[0]):
        a0 = a[i]
        for j in range(b.shape[0]):
            b0 = b[j]
            total = a0[0] * b0[0]
            for k in range(1, a.shape[1]):
                total += a0[k] * b0[k]
            out[i, j] = total
