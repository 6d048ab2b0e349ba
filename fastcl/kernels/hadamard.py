"""Feature sums and their adjoint where D frequencies at a time are the rows of scales x H signs H signs H signs.

H is the Walsh-Hadamard matrix, D a power of two: the D phases of a point take 3 log2(D) additions each instead of d
multiply-adds.  Lanes are points and rows are coordinates, so that the butterflies need no shuffles: a pass takes up to 16 rows
into registers, does up to four levels there, and D x 16 lanes stay in the first-level cache up to D = 256 or so.
Every frequency keeps one sum a lane; the lanes of a sum are added in float64, at the latest when 256 points went into each.
The work is cut into tasks by n and m alone, whose results are combined in order.
"""

import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from .features import AT_ONCE, ROWS, emit_sincos, pack_lanes
from .lanes import VECTOR_BYTES, WIDE_REGISTERS, Lanes, jit, jit_parallel
from .tile import empty_aligned, zeros_aligned

LEVELS = (
    4 if WIDE_REGISTERS else 3
)  # of a pass at most: its 2^LEVELS rows and their differences fit the registers
VECTORS = 2  # vectors of points that are transformed together: their sums meet in registers before they go to memory
GROUP = 2048  # frequencies whose sums, one a lane, stay in the second-level cache while a task passes over its points


def make_pass(levels, signed):
    """An intrinsic f(source, signs, out, row, step): `levels` levels of butterflies on 2^levels rows of one vector each.

    The rows row, row + step, ... of source, times their signs where `signed`, go to the same rows of out.
    """

    @intrinsic
    def butterfly_pass(typingctx, source, signs, out, row, step):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            source, signs, out = (
                emit.array(*pair) for pair in zip(signature.args[:3], arguments[:3], strict=True)
            )
            (row, step), column = arguments[3:], emit.index(0)
            rows = [builder.add(row, builder.mul(step, emit.index(i))) for i in range(1 << levels)]
            values = [emit.load(source, r, column) for r in rows]
            if signed:
                values = [
                    emit.multiply(value, emit.load_everywhere(signs, r))
                    for value, r in zip(values, rows, strict=True)
                ]
            for level in range(levels):
                half = 1 << level
                for i in range(1 << levels):
                    if not i & half:
                        a, b = values[i], values[i + half]
                        values[i], values[i + half] = builder.fadd(a, b), builder.fsub(a, b)
            for value, r in zip(values, rows, strict=True):
                emit.store(value, out, r, column)
            return context.get_dummy_value()

        return types.none(source, signs, out, types.intp, types.intp), codegen

    return butterfly_pass


signed_pass_2, signed_pass_3, signed_pass_4 = (make_pass(levels, True) for levels in (2, 3, 4))
pass_2, pass_3, pass_4 = (make_pass(levels, False) for levels in (2, 3, 4))


@jit
def transform(
    source, signs, levels, out
):  # source, out (D, lanes), signs (D,), levels of every pass: out = H (signs source)
    step = 1
    for place in range(levels.size):
        count, first = levels[place], place == 0
        for start in range(0, out.shape[0], step << count):
            for row in range(start, start + step):
                if count == 4 and first:
                    signed_pass_4(source, signs, out, row, step)
                elif count == 4:
                    pass_4(out, signs, out, row, step)
                elif count == 3 and first:
                    signed_pass_3(source, signs, out, row, step)
                elif count == 3:
                    pass_3(out, signs, out, row, step)
                elif count == 2 and first:
                    signed_pass_2(source, signs, out, row, step)
                else:
                    pass_2(out, signs, out, row, step)
        step <<= count


@jit
def transform_thrice(
    points, signs, levels, out
):  # points, out (V, D, lanes), signs (3, D): out = H S_0 H S_1 H S_2 points
    for v in range(points.shape[0]):
        transform(points[v], signs[2], levels, out[v])
        transform(out[v], signs[1], levels, out[v])
        transform(out[v], signs[0], levels, out[v])


@jit
def pack_vectors(
    x, start, points
):  # x (n, d), rows start.. -> points (V, D, lanes), whose rows from d on stay zeros
    for v in range(points.shape[0]):
        first = start + v * points.shape[2]
        pack_lanes(x, min(first, x.shape[0]), points.shape[2], points[v])


# ---- the sum ----------------------------------------------------------------------------------------------------


@intrinsic
def adjoint_polar(typingctx, values, scales, w, real, imag, last):
    """real[i] += sum over vectors of w cos(2 pi scales_i values[v, i]), imag[i] += the same of sines, rows i < last."""

    def codegen(context, builder, signature, arguments):
        emit = Lanes(context, builder, signature.args[0].dtype)
        values, scales, w, real, imag = (
            emit.array(*p) for p in zip(signature.args[:5], arguments[:5], strict=True)
        )
        columns = [emit.index(v * emit.count) for v in range(VECTORS)]
        weights = [emit.load(w, column) for column in columns]

        def add_row(i, carried):
            scale, first = emit.load_everywhere(scales, i), emit.index(0)
            phases = [
                emit.multiply(emit.load(values, emit.index(v), i, first), scale)
                for v in range(VECTORS)
            ]
            sums = [emit.load(real, i, first), emit.load(imag, i, first)]
            for start in range(0, VECTORS, AT_ONCE):
                waves = zip(
                    *emit_sincos(emit, phases[start : start + AT_ONCE], sine=True), strict=True
                )
                for v, (sign, cosine, sine) in enumerate(waves, start):
                    weight = emit.flip_sign(weights[v], sign)
                    sums = [
                        emit.multiply_add(weight, wave, total)
                        for wave, total in zip((cosine, sine), sums, strict=True)
                    ]
            emit.store(sums[0], real, i, first)
            emit.store(sums[1], imag, i, first)
            return carried

        emit.loop(emit.index(0), arguments[5], 1, [], add_row)
        return context.get_dummy_value()

    return types.none(values, scales, w, real, imag, types.intp), codegen


@jit
def add_lanes(
    real, imag, total
):  # real, imag (blocks D, lanes) -> zeros, total (blocks, 2, D) float64
    for i in range(real.shape[0]):
        block, row = i // total.shape[2], i % total.shape[2]
        re, im = (
            0.0,
            0.0,
        )  # in registers: through memory every addition would wait for the one before
        for lane in range(real.shape[1]):
            re += real[i, lane]
            im += imag[i, lane]
        total[block, 0, row] += re
        total[block, 1, row] -= im
    real[:] = 0
    imag[:] = 0


@jit_parallel
def hadamard_sum(x, weights, signs, scales, levels, part_rows, partial):
    # x (n, d), weights (n,) or (0,) for ones, signs (blocks, 3, D), scales (blocks, D) in turns,
    # levels of every pass, partial (parts, blocks, 2, D) float64
    parts, blocks, size = partial.shape[0], partial.shape[1], signs.shape[2]
    share, narrow = max(1, GROUP // size), VECTOR_BYTES // x.itemsize
    groups, lanes = (blocks + share - 1) // share, VECTORS * narrow
    for task in prange(parts * groups):
        part, first = task // groups, task % groups * share
        total = partial[part, first : min(first + share, blocks)]
        total[:] = 0
        rows = total.shape[0] * size
        real, imag = (
            zeros_aligned(rows * narrow, x).reshape(rows, narrow),
            zeros_aligned(rows * narrow, x).reshape(rows, narrow),
        )
        points = zeros_aligned(size * lanes, x).reshape(VECTORS, size, narrow)
        values = empty_aligned(size * lanes, x).reshape(VECTORS, size, narrow)
        w, terms, stop = empty_aligned(lanes, x), 0, min((part + 1) * part_rows, x.shape[0])
        for start in range(part * part_rows, stop, lanes):
            pack_vectors(x[:stop], start, points)
            for lane in range(lanes):
                if start + lane >= stop:
                    w[lane] = 0
                elif weights.size:
                    w[lane] = weights[start + lane]
                else:
                    w[lane] = 1
            for block in range(total.shape[0]):
                transform_thrice(points, signs[first + block], levels, values)
                begin, end = block * size, (block + 1) * size
                adjoint_polar(
                    values, scales[first + block], w, real[begin:end], imag[begin:end], size
                )
            terms += VECTORS
            if terms + VECTORS > ROWS:
                add_lanes(real, imag, total)
                terms = 0
        add_lanes(real, imag, total)


# ---- the adjoint ------------------------------------------------------------------------------------------------


@intrinsic
def add_cosines(typingctx, values, scales, amplitudes, phase_offsets, out, first, last):
    """out += sum_i moduli_i cos(2 pi (scales_i values[v, i] + arguments_i)) over the rows first..last, for every vector v."""

    def codegen(context, builder, signature, given):
        emit = Lanes(context, builder, signature.args[0].dtype)
        values, scales, amplitudes, phase_offsets, out = (
            emit.array(*p) for p in zip(signature.args[:5], given[:5], strict=True)
        )
        columns = [emit.index(v * emit.count) for v in range(VECTORS)]

        def add_row(i, sums):
            scale, argument, sums = (
                emit.load_everywhere(scales, i),
                emit.load_everywhere(phase_offsets, i),
                list(sums),
            )
            loaded = [emit.load(values, emit.index(v), i, emit.index(0)) for v in range(VECTORS)]
            phases = [emit.multiply_add(value, scale, argument) for value in loaded]
            for start in range(0, VECTORS, AT_ONCE):
                signs, cosines, _ = emit_sincos(emit, phases[start : start + AT_ONCE], sine=False)
                for v, (sign, cosine) in enumerate(zip(signs, cosines, strict=True), start):
                    modulus = emit.flip_sign(emit.load_everywhere(amplitudes, i), sign)
                    sums[v] = emit.multiply_add(modulus, cosine, sums[v])
            return sums

        sums = emit.loop(
            given[5], given[6], 1, [emit.load(out, column) for column in columns], add_row
        )
        for total, column in zip(sums, columns, strict=True):
            emit.store(total, out, column)
        return context.get_dummy_value()

    return types.none(
        values, scales, amplitudes, phase_offsets, out, types.intp, types.intp
    ), codegen


@jit_parallel
def hadamard_adjoint(x, signs, scales, levels, amplitudes, phase_offsets, rows, out):
    # x (n, d), signs (blocks, 3, D), scales, amplitudes, phase_offsets (blocks, D), the two last (in turns) of the coefficients, out (n,)
    size, narrow = signs.shape[2], VECTOR_BYTES // x.itemsize
    lanes = VECTORS * narrow
    for task in prange((x.shape[0] + rows - 1) // rows):
        points = zeros_aligned(size * lanes, x).reshape(VECTORS, size, narrow)
        values = empty_aligned(size * lanes, x).reshape(VECTORS, size, narrow)
        part, total = zeros_aligned(lanes, x), np.zeros(lanes, np.float64)
        for first in range(task * rows, min((task + 1) * rows, x.shape[0]), lanes):
            pack_vectors(x, first, points)
            total[:] = 0
            for block in range(signs.shape[0]):
                transform_thrice(points, signs[block], levels, values)
                for start in range(0, size, ROWS):
                    part[:] = 0
                    end = min(start + ROWS, size)
                    add_cosines(
                        values,
                        scales[block],
                        amplitudes[block],
                        phase_offsets[block],
                        part,
                        start,
                        end,
                    )
                    for lane in range(lanes):
                        total[lane] += part[lane]
            for lane in range(min(lanes, x.shape[0] - first)):
                out[first + lane] = total[lane]
