"""Feature sums and their adjoint for frequencies that are the multiples 1..K of base frequencies.

The tiles are those of features.py, with bases in place of frequencies. For each base only cos a and
sin a are computed; the rest follows by Chebyshev's recurrence

    cos((k + 1) a) = 2 cos(a) cos(k a) - cos((k - 1) a)

and the same for sines. The sum starts the recurrence at w, w cos a for cosines and at 0, w sin a
for sines, and adds every harmonic as it comes. The adjoint runs it backwards (Clenshaw) on the real
and imaginary parts of the coefficients. In harmonic k, an error of cos a is amplified by at most
k^2, and by that much only near whole and half turns.

Operations per base on the pipes that multiply: d + 10 + 2 K for either map, where the direct
kernels take K (d + 12) and K (d + 6) for the same K frequencies; as many additions go to other
pipes.

K is passed as the length of a tuple, so that it is known when the recurrence is compiled and
unrolled.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from .features import AT_ONCE, ROWS, emit_phases, pack_columns
from .lanes import VECTOR_BYTES, Lanes, jit
from .sincos import emit_sincos
from .threads import parallel, share
from .tile import empty_aligned, zeros_aligned

SUM_ROWS = 4  # points in a tile of the sum, by one vector of bases: 2 K sums fill the registers
ADJOINT_ROWS = 2  # bases in a tile of the adjoint
ADJOINT_VECTORS = 1  # vectors of points in a tile of the adjoint


def emit_first_harmonics(emit, phases):
    """(2 cos a, cos a, sin a) of every vector of phases in turns."""
    for sign, cosine, sine in zip(*emit_sincos(emit, phases, sine=True), strict=True):
        cosine = emit.flip_sign(cosine, sign)
        yield emit.builder.fadd(cosine, cosine), cosine, emit.flip_sign(sine, sign)


def emit_multiply_subtract(emit, a, b, c):
    """a b - c, fused where the processor can."""
    return emit.builder.fsub(emit.multiply(a, b), c, flags=("contract",))


# ---- the sum: rows are points, columns are bases -------------------------------------------------


def make_sum_tile(height):
    """An intrinsic f(x, w, freqs, harmonics, real, imag, first, last, j) for a tile of the sum.

    It takes `height` points at a time, which divides last - first, and one vector of bases from
    column j on. It is the loop

        for i in range(first, last):
            for l in range(j, j + lanes):
                phase = 2 * pi * sum(x[i, k] * freqs[k, l] for k in range(d))
                for k in range(1, len(harmonics) + 1):
                    real[k - 1, l] += w[i] * cos(k * phase)
                    imag[k - 1, l] += w[i] * sin(k * phase)

    where the recurrence gives the cosines and sines of k * phase.
    """

    @intrinsic
    def sum_tile(typingctx, x, w, freqs, harmonics, real, imag, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit, count = Lanes(context, builder, signature.args[0].dtype), len(signature.args[3])
            pairs = list(zip(signature.args, arguments, strict=True))
            x, w, freqs, real, imag = (emit.array(*pairs[place]) for place in (0, 1, 2, 4, 5))
            first, last, j = arguments[6:]
            zeros = [emit.constant(0.0)] * height

            def add_harmonics(sums, weight, twice, cosine, sine):
                before = [weight, emit.constant(0.0)]
                now = [emit.multiply(weight, cosine), emit.multiply(weight, sine)]
                for k in range(count):
                    for part in range(2):
                        sums[2 * k + part] = builder.fadd(sums[2 * k + part], now[part])
                    after = [
                        emit_multiply_subtract(emit, twice, n, b)
                        for n, b in zip(now, before, strict=True)
                    ]
                    before, now = now, after

            def add_points(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(emit, x, freqs, lines, [j], zeros)
                for start in range(0, height, AT_ONCE):
                    first_harmonics = emit_first_harmonics(emit, phases[start : start + AT_ONCE])
                    for r, (twice, cosine, sine) in enumerate(first_harmonics, start):
                        weight = emit.load_everywhere(w, lines[r])
                        add_harmonics(sums, weight, twice, cosine, sine)
                return sums

            places = [(part, emit.index(k), j) for k in range(count) for part in (real, imag)]
            starts = [emit.load(*place) for place in places]
            sums = emit.loop(first, last, height, starts, add_points)
            for total, place in zip(sums, places, strict=True):
                emit.store(total, *place)
            return context.get_dummy_value()

        arrays = (x, w, freqs, harmonics, real, imag)
        return types.none(*arrays, types.intp, types.intp, types.intp), codegen

    return sum_tile


sum_tile = make_sum_tile(SUM_ROWS)
sum_tile_row = make_sum_tile(1)


@jit
def add_points(x, w, freqs, harmonics, real, imag):
    # real_kl += sum_i w_i cos(2 pi k <freqs_l, x_i>), imag_kl += the same with sines, k = 1..K
    # x (r, d), w (r,), freqs (d, L), real, imag (K, L); L full vectors
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full = rows - rows % SUM_ROWS
    for j in range(0, real.shape[1], narrow):
        sum_tile(x, w, freqs, harmonics, real, imag, 0, full, j)
        sum_tile_row(x, w, freqs, harmonics, real, imag, full, rows, j)


@jit
def sum_part(x, weights, freqs, harmonics, total):
    # harmonic_sum over all rows, for one block of frequencies
    # x (r, d), weights (r,) or (0,), freqs (d, block_width), total (K, 2, block_width) float64
    count, width = total.shape[0], freqs.shape[1]
    real = zeros_aligned(count * width, x).reshape(count, width)
    imag = zeros_aligned(count * width, x).reshape(count, width)
    ones = np.ones(ROWS, x.dtype)
    total[:] = 0
    for start in range(0, x.shape[0], ROWS):
        end = min(start + ROWS, x.shape[0])
        real[:] = 0
        imag[:] = 0
        w = weights[start:end] if weights.size else ones[: end - start]
        add_points(x[start:end], w, freqs, harmonics, real, imag)
        for k in range(count):
            for j in range(width):
                total[k, 0, j] += real[k, j]
                total[k, 1, j] -= imag[k, j]


@parallel(jit, cost=lambda x, *rest: 5 * len(x) * rest[-1][0].size)
def harmonic_sum(tasks, x, weights, freqs, harmonics, part_rows, partial):
    # sum_i weights_i exp(-2 pi i k <freqs_l, x_i>), k = 1..K, over the rows i of a part: real,
    # imaginary
    # x (n, d), weights (n,) or (0,) for ones, freqs (blocks, d, block_width) in turns, harmonics a
    # tuple of K zeros, partial (parts, blocks, K, 2, block_width) float64
    parts, blocks = partial.shape[0], partial.shape[1]
    for task in share(tasks, parts * blocks):
        part, block = task // blocks, task % blocks
        first, last = part * part_rows, (part + 1) * part_rows
        w, total = weights[first:last], partial[part, block]
        sum_part(x[first:last], w, freqs[block], harmonics, total)


# ---- the adjoint: rows are bases, columns are points ---------------------------------------------


def emit_clenshaw(emit, coefficients, line, count, twice):
    """(b_1, b_2) of b_k = coefficients_k + 2 cos(a) b_(k + 1) - b_(k + 2), with b_k = 0 for k > K.

    coefficients (r, K) at the row `line`, K = count, twice = 2 cos(a).
    """
    above, now = None, emit.load_everywhere(coefficients, line, emit.index(count - 1))
    for k in reversed(range(count - 1)):
        coefficient = emit.load_everywhere(coefficients, line, emit.index(k))
        if above is None:
            above, now = now, emit.multiply_add(twice, now, coefficient)
        else:
            rest = emit.builder.fsub(above, coefficient)
            above, now = now, emit_multiply_subtract(emit, twice, now, rest)
    return now, above


def make_adjoint_tile(height, width):
    """An intrinsic f(freqs, harmonics, real, imag, x, out, first, last, j) for the adjoint.

    It takes `height` bases at a time, which divides last - first, and `width` vectors of points
    from column j on. It is the loop

        for l in range(first, last):
            for i in range(j, j + width * lanes):
                phase = 2 * pi * sum(freqs[l, k] * x[k, i] for k in range(d))
                for k in range(1, len(harmonics) + 1):
                    out[i] += real[l, k - 1] * cos(k * phase) - imag[l, k - 1] * sin(k * phase)

    where the sum over k is computed by Clenshaw's recurrence.
    """

    @intrinsic
    def adjoint_tile(typingctx, freqs, harmonics, real, imag, x, out, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit, count = Lanes(context, builder, signature.args[0].dtype), len(signature.args[1])
            pairs = list(zip(signature.args, arguments, strict=True))
            freqs, real, imag, x, out = (emit.array(*pairs[place]) for place in (0, 2, 3, 4, 5))
            first, last, j = arguments[6:]
            columns = [emit.plus(j, v * emit.count) for v in range(width)]
            zeros = [emit.constant(0.0)] * (height * width)

            def add_bases(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(emit, freqs, x, lines, columns, zeros)
                for start in range(0, height * width, AT_ONCE):
                    first_harmonics = emit_first_harmonics(emit, phases[start : start + AT_ONCE])
                    for place, (twice, cosine, sine) in enumerate(first_harmonics, start):
                        r, v = divmod(place, width)
                        a, above = emit_clenshaw(emit, real, lines[r], count, twice)
                        b, _ = emit_clenshaw(emit, imag, lines[r], count, twice)
                        taken = emit.multiply_add(b, sine, above)
                        added = emit_multiply_subtract(emit, a, cosine, taken)
                        sums[v] = builder.fadd(sums[v], added)
                return sums

            starts = [emit.load(out, column) for column in columns]
            sums = emit.loop(first, last, height, starts, add_bases)
            for total, column in zip(sums, columns, strict=True):
                emit.store(total, out, column)
            return context.get_dummy_value()

        arrays = (freqs, harmonics, real, imag, x, out)
        return types.none(*arrays, types.intp, types.intp, types.intp), codegen

    return adjoint_tile


adjoint_tile = make_adjoint_tile(ADJOINT_ROWS, ADJOINT_VECTORS)
adjoint_tile_row = make_adjoint_tile(1, ADJOINT_VECTORS)


@jit
def add_bases(freqs, harmonics, real, imag, x, out):
    # out_i += sum_l sum_k real_lk cos(2 pi k <freqs_l, x_i>) - imag_lk sin(2 pi k <freqs_l, x_i>)
    # freqs (r, d), real, imag (r, K), x (d, L), out (L,); L full tiles
    rows = freqs.shape[0]
    full = rows - rows % ADJOINT_ROWS
    for j in range(0, out.size, ADJOINT_VECTORS * (VECTOR_BYTES // x.itemsize)):
        adjoint_tile(freqs, harmonics, real, imag, x, out, 0, full, j)
        adjoint_tile_row(freqs, harmonics, real, imag, x, out, full, rows, j)


@jit
def adjoint_block(x, freqs, harmonics, real, imag, block_width, out):
    # harmonic_adjoint for up to block_width points
    points = empty_aligned(x.shape[1] * block_width, x).reshape(x.shape[1], block_width)
    pack_columns(x, points)
    part, total = zeros_aligned(block_width, x), np.zeros(block_width, np.float64)
    for start in range(0, freqs.shape[0], ROWS):
        end = min(start + ROWS, freqs.shape[0])
        part[:] = 0
        add_bases(freqs[start:end], harmonics, real[start:end], imag[start:end], points, part)
        for j in range(block_width):
            total[j] += part[j]
    for i in range(out.size):
        out[i] = total[i]


@parallel(jit, cost=lambda x, freqs, harmonics, real, *_: len(x) * (freqs.size + 6 * real.size))
def harmonic_adjoint(tasks, x, freqs, harmonics, real, imag, block_width, out):
    # out_i = sum_l sum_k real_lk cos(2 pi k <freqs_l, x_i>) - imag_lk sin(2 pi k <freqs_l, x_i>)
    # x (n, d), freqs (g, d) in turns, harmonics a tuple of K zeros, real, imag (g, K), out (n,)
    for block in share(tasks, (x.shape[0] + block_width - 1) // block_width):
        first, last = block * block_width, (block + 1) * block_width
        points, values = x[first:last], out[first:last]
        adjoint_block(points, freqs, harmonics, real, imag, block_width, values)
