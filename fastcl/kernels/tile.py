"""Matrix products on tiles that stay in cache: the building block of phases and of the MLP.

In Numba, `np.dot` would call a threaded BLAS from inside a parallel region, and its result could
depend on the number of threads. These products run on one thread, in a fixed order.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from .lanes import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, Lanes, jit
from .threads import parallel, share

NARROW_ROWS = 8  # rows of a tile that is one vector wide: enough sums to hide their latency
BLOCK_ROWS = 256  # rows of a product that one thread takes at a time
DEPTH = 128  # terms that are added at a time: those of a tile's columns fit the first-level cache


def make_tile_product(height, width):
    """An intrinsic f(a, b, out, extra, i, j) for `height` rows by `width` vectors of a product.

    For the rows r from i on and the columns c from j on, it is the loop

        total = start
        for k in range(terms):
            total += a[r, k] * b[k, c]
        out[r, c] = finish(total)

    where the type of `extra` decides what start and finish are:

        None                            out += a b
        0                               out = a b
        (bias (columns,), bound)        out = max(bias + a b, bound)
        kept, an array shaped as out    out = a b where kept > 0, else 0

    `a` may have any strides; rows of `b`, `out` and the rest are contiguous. No bounds are checked.
    """

    @intrinsic
    def tile_product(typingctx, a, b, out, extra, i, j):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            a, b, out = (
                emit.array(*pair) for pair in zip(signature.args[:3], arguments[:3], strict=True)
            )
            lines = [emit.plus(arguments[4], r) for r in range(height)]
            columns = [emit.plus(arguments[5], v * emit.count) for v in range(width)]
            places = [(line, column) for line in lines for column in columns]

            def add_term(k, sums):
                values = [emit.load(b, k, column) for column in columns]
                factors = [emit.load_everywhere(a, line, k) for line in lines]
                products = [(factor, value) for factor in factors for value in values]
                return [
                    emit.multiply_add(*product, total)
                    for product, total in zip(products, sums, strict=True)
                ]

            starts, finish = emit_ends(emit, signature.args[3], arguments[3], out, places)
            sums = emit.loop(emit.index(0), emit.length(a, 1), 1, starts, add_term)
            for total, place in zip(sums, places, strict=True):
                emit.store(finish(total, place), out, *place)
            return context.get_dummy_value()

        return types.none(a, b, out, extra, types.intp, types.intp), codegen

    return tile_product


def emit_ends(emit, kind, extra, out, places):
    """(the start values of the sums of a tile, a function that finishes them), for `extra`."""
    if isinstance(kind, types.NoneType):
        return [emit.load(out, *place) for place in places], lambda total, place: total
    if isinstance(kind, types.BaseTuple):
        bias = emit.array(kind[0], emit.builder.extract_value(extra, 0))
        bound = emit.everywhere(emit.builder.extract_value(extra, 1))
        starts = [emit.load(bias, column) for _, column in places]
        return starts, lambda total, place: emit.largest(bound, total)
    zero = emit.constant(0.0)
    if isinstance(kind, types.Integer):
        return [zero] * len(places), lambda total, place: total
    kept = emit.array(kind, extra)

    def finish(total, place):
        return emit.where_positive(emit.load(kept, *place), total, zero)

    return [zero] * len(places), finish


@jit
def empty_aligned(size, like):
    # An uninitialised array (size,) of the type of `like`, aligned to a cache line: a vector across
    # two lines costs double.
    buffer = np.empty(size + 64 // like.itemsize, like.dtype)
    start = (-buffer.ctypes.data % 64) // like.itemsize
    return buffer[start : start + size]


@jit
def zeros_aligned(size, like):
    # Zeros (size,) of the type of `like`, aligned to a cache line.
    buffer = empty_aligned(size, like)
    buffer[:] = 0
    return buffer


@jit
def empty_matrix(rows, columns, like):
    # An uninitialised matrix (rows, columns), like empty_aligned.
    return empty_aligned(rows * columns, like).reshape(rows, columns)


@jit
def zeros_matrix(rows, columns, like):
    # Zeros (rows, columns), like zeros_aligned.
    return zeros_aligned(rows * columns, like).reshape(rows, columns)


tile_product = make_tile_product(TILE_ROWS, TILE_VECTORS)
tile_product_three = make_tile_product(TILE_ROWS, 3)
tile_product_two = make_tile_product(TILE_ROWS, 2)
tile_product_narrow = make_tile_product(NARROW_ROWS, 1)
tile_product_row = make_tile_product(1, TILE_VECTORS)
tile_product_row_narrow = make_tile_product(1, 1)


@jit
def add_product(a, b, out):
    # out += a b, with vectors along c
    # a (r, s) of any strides, b (s, c), out (r, c)
    rows, terms, columns = a.shape[0], a.shape[1], out.shape[1]
    narrow = VECTOR_BYTES // a.itemsize
    full = columns - columns % narrow
    multiply_tiles(a, b, out, None, full)
    left = columns - full
    if left:  # the last columns, padded to one vector
        b_edge, out_edge = np.zeros((terms, narrow), b.dtype), np.zeros((rows, narrow), out.dtype)
        for k in range(terms):
            for j in range(left):
                b_edge[k, j] = b[k, full + j]
        for i in range(rows):
            for j in range(left):
                out_edge[i, j] = out[i, full + j]
        multiply_tiles(a, b_edge, out_edge, None, narrow)
        for i in range(rows):
            for j in range(left):
                out[i, full + j] = out_edge[i, j]


@jit
def set_product(a, b, out, extra):
    # out = a b, max(bias + a b, bound), or a b where kept > 0: `extra` as in make_tile_product, not
    # None
    # a (r, s), b (s, c), out (r, c), c at least one vector
    columns, narrow = out.shape[1], VECTOR_BYTES // a.itemsize
    multiply_tiles(a, b, out, extra, columns - columns % narrow)
    if columns % narrow:  # some columns are computed twice, with the same result
        multiply_columns(a, b, out, extra, columns - narrow)


@jit
def multiply_tiles(a, b, out, extra, columns):
    # Multiplies all tiles of the first `columns` columns, which are whole vectors.
    narrow = VECTOR_BYTES // a.itemsize
    wide = columns - columns % (TILE_VECTORS * narrow)
    full = a.shape[0] - a.shape[0] % TILE_ROWS
    for j in range(0, wide, TILE_VECTORS * narrow):
        for i in range(0, full, TILE_ROWS):
            tile_product(a, b, out, extra, i, j)
        for i in range(full, a.shape[0]):
            tile_product_row(a, b, out, extra, i, j)
    left = (columns - wide) // narrow  # vectors
    if left == 1:
        multiply_columns(a, b, out, extra, wide)
    elif left > 1:
        for i in range(0, full, TILE_ROWS):
            if left == 2:
                tile_product_two(a, b, out, extra, i, wide)
            else:
                tile_product_three(a, b, out, extra, i, wide)
        for i in range(full, a.shape[0]):
            for j in range(wide, columns, narrow):
                tile_product_row_narrow(a, b, out, extra, i, j)


@jit
def multiply_columns(a, b, out, extra, j):
    # Multiplies all tiles of the vector of columns that starts at j.
    full = a.shape[0] - a.shape[0] % NARROW_ROWS
    for i in range(0, full, NARROW_ROWS):
        tile_product_narrow(a, b, out, extra, i, j)
    for i in range(full, a.shape[0]):
        tile_product_row_narrow(a, b, out, extra, i, j)


@parallel(jit, cost=lambda a, b, out: a.size * b.shape[1])
def product(tasks, a, b, out):
    # out = a b, in blocks of rows
    # a (n, s), b (s, c), out (n, c)
    for block in share(tasks, (a.shape[0] + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start, end = block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, a.shape[0])
        out[start:end] = 0
        for k in range(0, a.shape[1], DEPTH):
            add_product(a[start:end, k : k + DEPTH], b[k : k + DEPTH], out[start:end])


def make_dot_tile(height):
    """An intrinsic f(a, b, out, i, j): `height` dot products, with vectors along the terms.

    It is the loop

        for r in range(i, i + height):
            out[r, j] = sum(a[r, k] * b[j, k] for k in range(terms))

    with one sum per lane, then the sum of the lanes, then the terms beyond the last full vector.
    """

    @intrinsic
    def dot_tile(typingctx, a, b, out, i, j):
        def codegen(context, builder, signature, arguments):
            a, b, out = zip(signature.args[:3], arguments[:3], strict=True)
            vectors = Lanes(context, builder, signature.args[0].dtype)
            numbers = Lanes(context, builder, signature.args[0].dtype, scalar=True)
            terms = vectors.length(vectors.array(*a), 1)
            full = builder.and_(terms, vectors.index(-vectors.count))
            sums, start = [vectors.constant(0.0)] * height, vectors.index(0)
            for emit, stop in ((vectors, full), (numbers, terms)):
                rows, row, target = emit.array(*a), emit.array(*b), emit.array(*out)
                lines = [emit.plus(arguments[3], r) for r in range(height)]

                def add_term(k, sums, emit=emit, rows=rows, row=row, lines=lines):
                    value = emit.load(row, arguments[4], k)
                    return [
                        emit.multiply_add(emit.load(rows, line, k), value, s)
                        for line, s in zip(lines, sums, strict=True)
                    ]

                sums, start = emit.loop(start, stop, emit.count, sums, add_term), stop
                if emit is vectors:
                    sums = [emit.total(s) for s in sums]
            for line, total in zip(lines, sums, strict=True):
                numbers.store(total, target, line, arguments[4])
            return context.get_dummy_value()

        return types.none(a, b, out, types.intp, types.intp), codegen

    return dot_tile


dot_tile = make_dot_tile(TILE_ROWS)
dot_tile_row = make_dot_tile(1)


@jit
def dot_rows(a, b, out):
    # out = a b^T, with vectors along s, for few columns c
    # a (r, s), b (c, s), out (r, c)
    full = a.shape[0] - a.shape[0] % TILE_ROWS
    for i in range(0, full, TILE_ROWS):
        for j in range(b.shape[0]):
            dot_tile(a, b, out, i, j)
    for i in range(full, a.shape[0]):
        for j in range(b.shape[0]):
            dot_tile_row(a, b, out, i, j)
