"""Feature sums and their adjoint, fused: phase, argument reduction, sine and cosine, sum.

Both maps are one loop over tiles of 4 rows (points of the sum, frequencies of the adjoint) against
vectors of columns (frequencies of the sum, points of the adjoint), for any dimension: the phases of
a tile build up in registers as a matrix product, and leave them only as sums. Frequencies and
phases are in turns (sincos.py). The adjoint needs no sines: Re(c exp(i a)) = |c| cos(a + arg c).

Operations per pair on the pipes that multiply: d + 12 for the sum, d + 6 for the adjoint. Argument
reduction and signs go to other pipes.

The tasks depend on n and m alone and are combined in order, so the number of threads cannot change
the result. Partial sums are in the working precision over ROWS terms and in float64 beyond.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from .lanes import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, Lanes, jit
from .sincos import emit_sincos
from .threads import parallel, share
from .tile import empty_aligned, zeros_aligned

BLOCK_WIDTH = 256  # columns of a block, all of which use the rows that a task loads
ROWS = 256  # rows added in the working precision before they go to the float64 total
MAX_PARTS = 64  # partial sums of one call: bounds the memory, and the threads that share a block
AT_ONCE = 2  # vectors whose sines and cosines are interleaved: hides latency, fits the registers


@jit
def pack_columns(source, out):
    # out[k, j] = source[j, k], zeros beyond the last row
    # source (n, d), of which at most block_width rows are taken, out (d, block_width)
    width = min(out.shape[1], source.shape[0])
    for k in range(source.shape[1]):
        for j in range(width):
            out[k, j] = source[j, k]
        for j in range(width, out.shape[1]):
            out[k, j] = 0


def frequency_blocks(freqs):
    """Frequencies (m, d) as (blocks, d, block_width), for `feature_sum`: zeros beyond m."""
    m, dim = freqs.shape
    count = -(-m // BLOCK_WIDTH)
    block_width = 16 * -(-m // (16 * count))
    blocks = empty_aligned(count * dim * block_width, freqs).reshape(count, dim, block_width)
    for block in range(count):
        pack_columns(freqs[block * block_width :], blocks[block])
    return blocks


def rows_per_part(n, blocks):
    """Rows per part of n points: parts of full tiles, nearly equal so that no thread waits."""
    part_rows = -(-n // min(-(-n // ROWS), MAX_PARTS))
    tile = ROWS if part_rows > ROWS else TILE_ROWS
    return tile * -(-part_rows // tile)


def points_per_block(n):
    """Points per block of the adjoint."""
    return BLOCK_WIDTH if n > 8 * BLOCK_WIDTH else 64


def emit_phases(emit, rows, columns, lines, places, starts):
    """`starts` plus the products of some rows with some vectors of columns, one per pair.

    It takes rows (r, d) at the indices `lines`, columns (d, L) at the indices `places`. The loop is

        for k in range(d):
            phases = [rows[i, k] * columns[k, j] + phase for (i, j), phase in zip(pairs, phases)]
    """

    def add_axis(k, phases):
        values = [emit.load(columns, k, place) for place in places]
        factors = [emit.load_everywhere(rows, line, k) for line in lines]
        products = [(factor, value) for factor in factors for value in values]
        return [
            emit.multiply_add(*product, phase)
            for product, phase in zip(products, phases, strict=True)
        ]

    return emit.loop(emit.index(0), emit.length(rows, 1), 1, starts, add_axis)


# ---- the sum: rows are points, columns are frequencies -------------------------------------------


def make_sum_tile(height, width):
    """An intrinsic f(x, w, freqs, real, imag, first, last, j) for a tile of the sum.

    It takes `height` points at a time, which divides last - first, and `width` vectors of
    frequencies from column j on. It is the loop

        for i in range(first, last):
            for l in range(j, j + width * lanes):
                phase = sum(x[i, k] * freqs[k, l] for k in range(d))
                real[l] += w[i] * cos(2 * pi * phase)
                imag[l] += w[i] * sin(2 * pi * phase)
    """

    @intrinsic
    def sum_tile(typingctx, x, w, freqs, real, imag, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            x, w, freqs, real, imag = (
                emit.array(*pair) for pair in zip(signature.args[:5], arguments[:5], strict=True)
            )
            first, last, j = arguments[5:]
            columns = [emit.plus(j, v * emit.count) for v in range(width)]
            zeros = [emit.constant(0.0)] * (height * width)

            def add_points(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(emit, x, freqs, lines, columns, zeros)
                for start in range(0, height * width, AT_ONCE):
                    sincos = emit_sincos(emit, phases[start : start + AT_ONCE], sine=True)
                    for place, (sign, cosine, sine) in enumerate(zip(*sincos, strict=True), start):
                        r, v = divmod(place, width)
                        weight = emit.flip_sign(emit.load_everywhere(w, lines[r]), sign)
                        sums[v] = emit.multiply_add(weight, cosine, sums[v])
                        sums[width + v] = emit.multiply_add(weight, sine, sums[width + v])
                return sums

            places = [(part, column) for part in (real, imag) for column in columns]
            starts = [emit.load(*place) for place in places]
            sums = emit.loop(first, last, height, starts, add_points)
            for total, place in zip(sums, places, strict=True):
                emit.store(total, *place)
            return context.get_dummy_value()

        return types.none(x, w, freqs, real, imag, types.intp, types.intp, types.intp), codegen

    return sum_tile


sum_tile = make_sum_tile(TILE_ROWS, TILE_VECTORS)
sum_tile_narrow = make_sum_tile(TILE_ROWS, 1)
sum_tile_row = make_sum_tile(1, TILE_VECTORS)
sum_tile_row_narrow = make_sum_tile(1, 1)


@jit
def add_points(x, w, freqs, real, imag):
    # real_l += sum_i w_i cos(2 pi <freqs_l, x_i>), imag_l += the same with sines
    # x (r, d), w (r,), freqs (d, L), real, imag (L,); L full vectors
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, real.size - real.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        sum_tile(x, w, freqs, real, imag, 0, full, j)
        sum_tile_row(x, w, freqs, real, imag, full, rows, j)
    for j in range(wide, real.size, narrow):
        sum_tile_narrow(x, w, freqs, real, imag, 0, full, j)
        sum_tile_row_narrow(x, w, freqs, real, imag, full, rows, j)


@jit
def sum_part(x, weights, freqs, total):
    # feature_sum over all rows, for one block of frequencies
    # x (r, d), weights (r,) or (0,), freqs (d, block_width), total (2, block_width) float64
    real, imag = zeros_aligned(freqs.shape[1], x), zeros_aligned(freqs.shape[1], x)
    ones = np.ones(ROWS, x.dtype)
    total[:] = 0
    for start in range(0, x.shape[0], ROWS):
        end = min(start + ROWS, x.shape[0])
        real[:] = 0
        imag[:] = 0
        w = weights[start:end] if weights.size else ones[: end - start]
        add_points(x[start:end], w, freqs, real, imag)
        for j in range(real.size):
            total[0, j] += real[j]
            total[1, j] -= imag[j]


@parallel(jit, cost=lambda x, *rest: 10 * len(x) * rest[-1][0].size)
def feature_sum(tasks, x, weights, freqs, part_rows, partial):
    # sum_i weights_i exp(-2 pi i <freqs_l, x_i>) over the rows i of a part: real, imaginary
    # x (n, d), weights (n,) or (0,) for ones, freqs (blocks, d, block_width) in turns,
    # partial (parts, blocks, 2, block_width) float64
    parts, blocks = partial.shape[0], partial.shape[1]
    for task in share(tasks, parts * blocks):
        part, block = task // blocks, task % blocks
        first, last = part * part_rows, (part + 1) * part_rows
        sum_part(x[first:last], weights[first:last], freqs[block], partial[part, block])


@jit
def add_parts(partial, out):
    # out = sum over the parts, in order, of real + i imag
    # partial (parts, blocks, 2, block_width), out (m,) complex128
    width = partial.shape[3]
    for i in range(out.size):
        block, j = i // width, i % width
        real, imag = 0.0, 0.0
        for part in range(partial.shape[0]):
            real += partial[part, block, 0, j]
            imag += partial[part, block, 1, j]
        out[i] = complex(real, imag)


# ---- the adjoint: rows are frequencies, columns are points ---------------------------------------


def make_adjoint_tile(height, width):
    """An intrinsic f(freqs, amplitudes, phase_offsets, x, out, first, last, j) for the adjoint.

    It takes `height` frequencies at a time, which divides last - first, and `width` vectors of
    points from column j on. It is the loop

        for l in range(first, last):
            for i in range(j, j + width * lanes):
                phase = sum(freqs[l, k] * x[k, i] for k in range(d)) + phase_offsets[l]
                out[i] += amplitudes[l] * cos(2 * pi * phase)
    """

    @intrinsic
    def adjoint_tile(typingctx, freqs, amplitudes, phase_offsets, x, out, first, last, j):
        def codegen(context, builder, signature, values):
            emit = Lanes(context, builder, signature.args[0].dtype)
            freqs, amplitudes, phase_offsets, x, out = (
                emit.array(*p) for p in zip(signature.args[:5], values[:5], strict=True)
            )
            first, last, j = values[5:]
            columns = [emit.plus(j, v * emit.count) for v in range(width)]
            zeros = [emit.constant(0.0)] * (height * width)

            def add_frequencies(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(emit, freqs, x, lines, columns, zeros)

                def add_offset(r, v):
                    offset = emit.load_everywhere(phase_offsets, lines[r])
                    return builder.fadd(phases[r * width + v], offset)

                places = [divmod(place, width) for place in range(height * width)]
                for start in range(0, height * width, AT_ONCE):
                    tile = places[start : start + AT_ONCE]
                    shifted = [add_offset(r, v) for r, v in tile]
                    signs, cosines, _ = emit_sincos(emit, shifted, sine=False)
                    for (r, v), sign, cosine in zip(tile, signs, cosines, strict=True):
                        amplitude = emit.load_everywhere(amplitudes, lines[r])
                        amplitude = emit.flip_sign(amplitude, sign)
                        sums[v] = emit.multiply_add(amplitude, cosine, sums[v])
                return sums

            starts = [emit.load(out, column) for column in columns]
            sums = emit.loop(first, last, height, starts, add_frequencies)
            for total, column in zip(sums, columns, strict=True):
                emit.store(total, out, column)
            return context.get_dummy_value()

        arrays = (freqs, amplitudes, phase_offsets, x, out)
        return types.none(*arrays, types.intp, types.intp, types.intp), codegen

    return adjoint_tile


adjoint_tile = make_adjoint_tile(TILE_ROWS, TILE_VECTORS)
adjoint_tile_narrow = make_adjoint_tile(TILE_ROWS, 1)
adjoint_tile_row = make_adjoint_tile(1, TILE_VECTORS)
adjoint_tile_row_narrow = make_adjoint_tile(1, 1)


@jit
def add_frequencies(freqs, amplitudes, phase_offsets, x, out):
    # out_i += sum_l amplitudes_l cos(2 pi (<freqs_l, x_i> + phase_offsets_l))
    # freqs (r, d), amplitudes, phase_offsets (r,), x (d, L), out (L,); L full vectors
    rows, narrow = freqs.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, out.size - out.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        adjoint_tile(freqs, amplitudes, phase_offsets, x, out, 0, full, j)
        adjoint_tile_row(freqs, amplitudes, phase_offsets, x, out, full, rows, j)
    for j in range(wide, out.size, narrow):
        adjoint_tile_narrow(freqs, amplitudes, phase_offsets, x, out, 0, full, j)
        adjoint_tile_row_narrow(freqs, amplitudes, phase_offsets, x, out, full, rows, j)


@jit
def adjoint_block(x, freqs, amplitudes, phase_offsets, block_width, out):
    # feature_adjoint for up to block_width points
    points = empty_aligned(x.shape[1] * block_width, x).reshape(x.shape[1], block_width)
    pack_columns(x, points)
    part, total = zeros_aligned(block_width, x), np.zeros(block_width, np.float64)
    for start in range(0, freqs.shape[0], ROWS):
        end = min(start + ROWS, freqs.shape[0])
        part[:] = 0
        add_frequencies(
            freqs[start:end], amplitudes[start:end], phase_offsets[start:end], points, part
        )
        for j in range(block_width):
            total[j] += part[j]
    for i in range(out.size):
        out[i] = total[i]


@parallel(jit, cost=lambda x, freqs, *_: len(x) * (freqs.size + 12 * len(freqs)))
def feature_adjoint(tasks, x, freqs, amplitudes, phase_offsets, block_width, out):
    # out_i = sum_l amplitudes_l cos(2 pi (<freqs_l, x_i> + phase_offsets_l))
    # x (n, d), freqs (m, d) in turns, amplitudes (m,), phase_offsets (m,) in turns, out (n,)
    for block in share(tasks, (x.shape[0] + block_width - 1) // block_width):
        first, last = block * block_width, (block + 1) * block_width
        points, values = x[first:last], out[first:last]
        adjoint_block(points, freqs, amplitudes, phase_offsets, block_width, values)


# ---- for both ------------------------------------------------------------------------------------


@jit
def column_magnitudes(x, out):
    # out_k = max_i |x_ik|; returns False if some x_ik is not finite
    # x (n, d), out (d,) float64
    out[:] = 0
    finite = True
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            magnitude = abs(x[i, k])
            finite &= magnitude < np.inf
            out[k] = max(out[k], magnitude)
    return finite
