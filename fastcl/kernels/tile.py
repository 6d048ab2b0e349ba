"""Matrix products on tiles that stay in cache: the building block of wide phases and of the MLP.

Numba's own `np.dot` would call a threaded BLAS from inside a parallel region, and its bits could follow the
thread count.  These products run on one thread and in a fixed order.  The innermost loop is written in LLVM's
vector types, because the accumulators must stay in registers and no loop of scalars was seen to make LLVM do so.
"""

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

# Multiplications and additions may fuse, nothing else may move: the same source gives the same bits.
CONTRACT = {"contract", "nsz"}
# Dot products run along the vector lanes, which needs the sum to be split over them.
REDUCE = CONTRACT | {"reassoc"}

jit = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=CONTRACT)
jit_reduce = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=REDUCE)
jit_parallel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=CONTRACT, parallel=True)

# A tile of ROWS x VECTORS accumulators must fit the registers: 16 of 32 with AVX-512, 8 of 16 without.
WIDE_REGISTERS = llvm.get_host_cpu_features().get("avx512f", False)
VECTOR_BYTES = 64 if WIDE_REGISTERS else 32
ROWS = 4
VECTORS = 4 if WIDE_REGISTERS else 2
BLOCK_ROWS = 256  # rows of a product that one thread takes at a time


def make_tile_product(rows, vectors):
    """An intrinsic f(a, b, out, i, j): out[i:i+rows, j:j+lanes] += a[i:i+rows] @ b[:, j:j+lanes], vectors x vector lanes.

    `a` may have any strides; `b` and `out` are contiguous along their columns, and no bounds are checked.
    """

    @intrinsic
    def tile_product(typingctx, a, b, out, i, j):
        def codegen(context, builder, signature, arguments):
            a_type = signature.args[0]
            a_array, b_array, out_array = (
                make_array(t)(context, builder, value) for t, value in zip(signature.args[:3], arguments[:3], strict=True)
            )
            scalar = context.get_data_type(a_type.dtype)
            size = a_type.dtype.bitwidth // 8
            lanes = VECTOR_BYTES // size
            vector = ir.VectorType(scalar, lanes)
            index = ir.IntType(64)
            i, j = arguments[3], arguments[4]

            def address(array, row, column):  # byte arithmetic: a may be a transposed view
                strides = cgutils.unpack_tuple(builder, array.strides, 2)
                offset = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
                base = builder.bitcast(array.data, ir.IntType(8).as_pointer())
                return builder.gep(base, [offset])

            def load_vector(pointer):
                return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=size)

            def constant(value):
                return ir.Constant(index, value)

            targets = [
                [address(out_array, builder.add(i, constant(r)), builder.add(j, constant(v * lanes))) for v in range(vectors)]
                for r in range(rows)
            ]
            starts = [[load_vector(pointer) for pointer in row] for row in targets]
            terms = cgutils.unpack_tuple(builder, a_array.shape, 2)[1]

            entry = builder.block
            loop, done = builder.append_basic_block("terms"), builder.append_basic_block("terms.done")
            builder.cbranch(builder.icmp_signed(">", terms, constant(0)), loop, done)
            builder.position_at_end(loop)
            k = builder.phi(index)
            k.add_incoming(constant(0), entry)
            sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
            b_vectors = [load_vector(address(b_array, k, builder.add(j, constant(v * lanes)))) for v in range(vectors)]
            updated = []
            for r in range(rows):
                pointer = builder.bitcast(address(a_array, builder.add(i, constant(r)), k), scalar.as_pointer())
                first = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), builder.load(pointer), ir.Constant(ir.IntType(32), 0)
                )
                mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
                coefficient = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)
                products = [builder.fmul(coefficient, b_vectors[v], flags=("contract",)) for v in range(vectors)]
                updated.append([builder.fadd(sums[r][v], products[v], flags=("contract",)) for v in range(vectors)])
            k_next = builder.add(k, constant(1))
            k.add_incoming(k_next, loop)
            for r in range(rows):
                for v in range(vectors):
                    sums[r][v].add_incoming(starts[r][v], entry)
                    sums[r][v].add_incoming(updated[r][v], loop)
            builder.cbranch(builder.icmp_signed("<", k_next, terms), loop, done)
            builder.position_at_end(done)
            for r in range(rows):
                for v in range(vectors):
                    result = builder.phi(vector)
                    result.add_incoming(starts[r][v], entry)
                    result.add_incoming(updated[r][v], loop)
                    starts[r][v] = result
            for r in range(rows):
                for v in range(vectors):
                    builder.store(starts[r][v], builder.bitcast(targets[r][v], vector.as_pointer()), align=size)
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


tile_product = make_tile_product(ROWS, VECTORS)
tile_product_narrow = make_tile_product(ROWS, 1)
tile_product_row = make_tile_product(1, VECTORS)
tile_product_row_narrow = make_tile_product(1, 1)


@jit
def add_product(a, b, out):  # a (r, s) of any strides, b (s, c), out (r, c): out += a b, lanes along c
    rows, terms, columns = a.shape[0], a.shape[1], out.shape[1]
    narrow = VECTOR_BYTES // a.itemsize
    wide = VECTORS * narrow
    rows_full, columns_wide, columns_full = rows - rows % ROWS, columns - columns % wide, columns - columns % narrow
    for j in range(0, columns_wide, wide):
        for i in range(0, rows_full, ROWS):
            tile_product(a, b, out, i, j)
        for i in range(rows_full, rows):
            tile_product_row(a, b, out, i, j)
    for j in range(columns_wide, columns_full, narrow):
        for i in range(0, rows_full, ROWS):
            tile_product_narrow(a, b, out, i, j)
        for i in range(rows_full, rows):
            tile_product_row_narrow(a, b, out, i, j)
    left = columns - columns_full
    if left:  # the last columns, padded to one vector
        b_edge, out_edge = np.zeros((terms, narrow), b.dtype), np.zeros((rows, narrow), out.dtype)
        b_edge[:, :left] = b[:, columns_full:]
        for i in range(0, rows_full, ROWS):
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
