"""Feature sums and their adjoint where K frequencies are the multiples 1..K of one base: one sine and cosine serves K.

The tiles are those of features.py with bases in the place of frequencies.  Of a base only cos a and sin a are computed;
the rest follows by Chebyshev's recurrence, cos((k + 1) a) = 2 cos(a) cos(k a) - cos((k - 1) a), the same for sines.
The sum starts it at w, w cos a and 0, w sin a, so that every harmonic is added as it comes; the adjoint runs it backwards
(Clenshaw) on the real and imaginary parts of the coefficients.  Operations that share the multiplying pipes, a base:
d + 10 + 2 K of either map, where K frequencies of the direct kernels take K (d + 12) and K (d + 6); as many additions go
to other pipes.  An error of cos a reaches harmonic k at most k^2 times as large, and that only near whole and half turns.
K is the length of a tuple, so that it is known where the recurrence is unrolled.
"""

import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from .features import AT_ONCE, ROWS, emit_phases, emit_sincos, pack_lanes
from .lanes import VECTOR_BYTES, Lanes, jit, jit_parallel
from .tile import empty_aligned, zeros_aligned

SUM_ROWS = 4  # points of a tile of the sum: against one vector of bases, as its 2 K sums fill the registers
ADJOINT_ROWS, ADJOINT_VECTORS = 2, 1  # bases and vectors of points of a tile of the adjoint


def emit_first_harmonics(emit, phases):
    """(2 cos a, cos a, sin a) of every vector of phases in turns."""
    for sign, cosine, sine in zip(*emit_sincos(emit, phases, sine=True), strict=True):
        cosine = emit.flip_sign(cosine, sign)
        yield emit.builder.fadd(cosine, cosine), cosine, emit.flip_sign(sine, sign)


def emit_multiply_subtract(emit, a, b, c):
    """a b - c, fused where the processor can."""
    return emit.builder.fsub(emit.multiply(a, b), c, flags=("contract",))


# ---- the sum: rows are points, lanes are bases ------------------------------------------------------------------


def make_sum_tile(height):
    """An intrinsic f(x, w, freqs, harmonics, real, imag, first, last, j), `height` points by one vector of bases.

    real[k - 1, j:] += sum_i w_i cos(2 pi k <x_i, freqs>), imag[k - 1, j:] += the same sum of sines, k = 1..len(harmonics).
    """

    @intrinsic
    def sum_tile(typingctx, x, w, freqs, harmonics, real, imag, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit, count = Lanes(context, builder, signature.args[0].dtype), len(signature.args[3])
            pairs = list(zip(signature.args, arguments, strict=True))
            x, w, freqs, real, imag = (emit.array(*pairs[place]) for place in (0, 1, 2, 4, 5))
            first, last, j = arguments[6:]

            def add_points(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(emit, x, freqs, lines, [j], [emit.constant(0.0)] * height)
                for start in range(0, height, AT_ONCE):
                    waves = emit_first_harmonics(emit, phases[start : start + AT_ONCE])
                    for r, (twice, cosine, sine) in enumerate(waves, start):
                        weight = emit.load_everywhere(w, lines[r])
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
                return sums

            places = [(part, emit.index(k), j) for k in range(count) for part in (real, imag)]
            sums = emit.loop(
                first, last, height, [emit.load(*place) for place in places], add_points
            )
            for total, place in zip(sums, places, strict=True):
                emit.store(total, *place)
            return context.get_dummy_value()

        return types.none(
            x, w, freqs, harmonics, real, imag, types.intp, types.intp, types.intp
        ), codegen

    return sum_tile


sum_tile = make_sum_tile(SUM_ROWS)
sum_tile_row = make_sum_tile(1)


@jit
def add_points(
    x, w, freqs, harmonics, real, imag
):  # x (r, d), w (r,), freqs (d, L), real, imag (K, L), L full vectors
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full = rows - rows % SUM_ROWS
    for j in range(0, real.shape[1], narrow):
        sum_tile(x, w, freqs, harmonics, real, imag, 0, full, j)
        sum_tile_row(x, w, freqs, harmonics, real, imag, full, rows, j)


@jit_parallel
def harmonic_sum(x, weights, freqs, harmonics, part_rows, partial):
    # x (n, d), weights (n,) or (0,) for ones, freqs (blocks, d, L), harmonics a tuple of K zeros,
    # partial (parts, blocks, K, 2, L) float64
    parts, blocks, count, lanes = (
        partial.shape[0],
        partial.shape[1],
        partial.shape[2],
        freqs.shape[2],
    )
    for task in prange(parts * blocks):
        part, block = task // blocks, task % blocks
        real, imag = (
            zeros_aligned(count * lanes, x).reshape(count, lanes),
            zeros_aligned(count * lanes, x).reshape(count, lanes),
        )
        ones, total = np.ones(ROWS, x.dtype), partial[part, block]
        total[:] = 0
        stop = min((part + 1) * part_rows, x.shape[0])
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            real[:] = 0
            imag[:] = 0
            w = weights[start:end] if weights.size else ones[: end - start]
            add_points(x[start:end], w, freqs[block], harmonics, real, imag)
            for k in range(count):
                for j in range(lanes):
                    total[k, 0, j] += real[k, j]
                    total[k, 1, j] -= imag[k, j]


# ---- the adjoint: rows are bases, lanes are points --------------------------------------------------------------


def make_adjoint_tile(height, width):
    """An intrinsic f(freqs, harmonics, real, imag, x, out, first, last, j), `height` bases by `width` vectors of points.

    out[j:] += sum_l sum_k real_lk cos(2 pi k <turns_l, x>) - imag_lk sin(2 pi k <turns_l, x>) over the bases first..last.
    """

    @intrinsic
    def adjoint_tile(typingctx, freqs, harmonics, real, imag, x, out, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit, count = Lanes(context, builder, signature.args[0].dtype), len(signature.args[1])
            pairs = list(zip(signature.args, arguments, strict=True))
            freqs, real, imag, x, out = (emit.array(*pairs[place]) for place in (0, 2, 3, 4, 5))
            first, last, j = arguments[6:]
            columns = [emit.plus(j, v * emit.count) for v in range(width)]

            def clenshaw(coefficients, line, twice):
                """(b_1, b_2) of b_k = coefficient_k + 2 cos(a) b_(k + 1) - b_(k + 2)."""
                above, now = None, emit.load_everywhere(coefficients, line, emit.index(count - 1))
                for k in reversed(range(count - 1)):
                    coefficient = emit.load_everywhere(coefficients, line, emit.index(k))
                    if above is None:
                        above, now = now, emit.multiply_add(twice, now, coefficient)
                    else:
                        above, now = (
                            now,
                            emit_multiply_subtract(
                                emit, twice, now, builder.fsub(above, coefficient)
                            ),
                        )
                return now, above

            def add_bases(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(
                    emit, freqs, x, lines, columns, [emit.constant(0.0)] * (height * width)
                )
                for start in range(0, height * width, AT_ONCE):
                    waves = emit_first_harmonics(emit, phases[start : start + AT_ONCE])
                    for place, (twice, cosine, sine) in enumerate(waves, start):
                        r, v = divmod(place, width)
                        (a, above), (b, _) = (
                            clenshaw(part, lines[r], twice) for part in (real, imag)
                        )
                        taken = emit.multiply_add(b, sine, above)
                        sums[v] = builder.fadd(
                            sums[v], emit_multiply_subtract(emit, a, cosine, taken)
                        )
                return sums

            sums = emit.loop(
                first, last, height, [emit.load(out, column) for column in columns], add_bases
            )
            for total, column in zip(sums, columns, strict=True):
                emit.store(total, out, column)
            return context.get_dummy_value()

        return types.none(
            freqs, harmonics, real, imag, x, out, types.intp, types.intp, types.intp
        ), codegen

    return adjoint_tile


adjoint_tile = make_adjoint_tile(ADJOINT_ROWS, ADJOINT_VECTORS)
adjoint_tile_row = make_adjoint_tile(1, ADJOINT_VECTORS)


@jit
def add_bases(
    freqs, harmonics, real, imag, x, out
):  # freqs (r, d), real, imag (r, K), x (d, L), out (L,), L full tiles
    rows = freqs.shape[0]
    full = rows - rows % ADJOINT_ROWS
    for j in range(0, out.size, ADJOINT_VECTORS * (VECTOR_BYTES // x.itemsize)):
        adjoint_tile(freqs, harmonics, real, imag, x, out, 0, full, j)
        adjoint_tile_row(freqs, harmonics, real, imag, x, out, full, rows, j)


@jit_parallel
def harmonic_adjoint(x, freqs, harmonics, real, imag, lanes, out):
    # x (n, d), freqs (g, d), harmonics a tuple of K zeros, real, imag (g, K) of the coefficients, out (n,)
    for block in prange((x.shape[0] + lanes - 1) // lanes):
        first, last = block * lanes, min((block + 1) * lanes, x.shape[0])
        points = empty_aligned(x.shape[1] * lanes, x).reshape(x.shape[1], lanes)
        pack_lanes(x, first, lanes, points)
        part, total = zeros_aligned(lanes, x), np.zeros(lanes, np.float64)
        for start in range(0, freqs.shape[0], ROWS):
            end = min(start + ROWS, freqs.shape[0])
            part[:] = 0
            add_bases(freqs[start:end], harmonics, real[start:end], imag[start:end], points, part)
            for j in range(lanes):
                total[j] += part[j]
        for i in range(first, last):
            out[i] = total[i - first]
