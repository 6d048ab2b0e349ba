"""Feature sums and their adjoint for D frequencies at a time, the rows of S H S_0 H S_1 H S_2.

H is the Walsh-Hadamard matrix of size D, a power of two; S_0 to S_2 are diagonal matrices of signs,
and S is one of scales. Each of the D phases of a point takes 3 log2(D) additions instead of d
multiply-adds.

Vectors run along points and rows are coordinates, so the butterflies need no shuffles. A pass loads
up to 16 rows into registers and does up to four levels there; the D vectors stay in the first-level
cache up to about D = 256. Every frequency keeps one sum per vector lane. The lanes of a sum are
added in float64, at the latest when each has taken ROWS points. The tasks depend on n and m alone,
and their results are combined in order.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from .features import AT_ONCE, ROWS, pack_columns
from .lanes import VECTOR_BYTES, WIDE_REGISTERS, Lanes, jit
from .sincos import emit_sincos
from .threads import parallel, share
from .tile import empty_aligned, zeros_aligned

LEVELS = 4 if WIDE_REGISTERS else 3  # levels per pass, at most: 2^LEVELS rows fit the registers
VECTORS = 2  # vectors of points transformed together, whose features are added in registers
GROUP = 2048  # frequencies per task: their sums, one per lane, stay in the second-level cache


def make_pass(levels, signed):
    """An intrinsic f(source, signs, out, row, step): `levels` levels of butterflies.

    It takes the 2^levels rows row, row + step, ... of source, one vector each, to the same rows of
    out. It is the loop

        v = [source[row + i * step] * (signs[row + i * step] if signed else 1) for i in range(n)]
        for level in range(levels):
            for i in range(n):
                if not i & 2**level:
                    v[i], v[i + 2**level] = v[i] + v[i + 2**level], v[i] - v[i + 2**level]
        for i in range(n):
            out[row + i * step] = v[i]

    with n = 2**levels.
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
def transform(source, signs, levels, out):
    # out = H (signs source)
    # source, out (D, lanes), signs (D,), levels (passes,): the number of levels of each pass
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
def transform_thrice(points, signs, levels, out):
    # out = H S_0 H S_1 H S_2 points
    # points, out (V, D, lanes), signs (3, D)
    for v in range(points.shape[0]):
        transform(points[v], signs[2], levels, out[v])
        transform(out[v], signs[1], levels, out[v])
        transform(out[v], signs[0], levels, out[v])


@jit
def pack_vectors(x, start, points):
    # points[v, k, j] = x[start + v lanes + j, k]; rows of points from d on stay zero
    # x (n, d), points (V, D, lanes)
    for v in range(points.shape[0]):
        first = start + v * points.shape[2]
        pack_columns(x[first:], points[v])


# ---- the sum -------------------------------------------------------------------------------------


@intrinsic
def add_features(typingctx, values, scales, w, real, imag, last):
    """Adds the features of VECTORS vectors of points, one sum per lane.

    It is the loop

        for i in range(last):
            for v in range(VECTORS):
                phase = 2 * pi * scales[i] * values[v, i]
                real[i] += w[v * lanes :] * cos(phase)
                imag[i] += w[v * lanes :] * sin(phase)

    where every line holds for all lanes of a vector.
    """

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
                sincos = emit_sincos(emit, phases[start : start + AT_ONCE], sine=True)
                for v, (sign, *pair) in enumerate(zip(*sincos, strict=True), start):
                    weight = emit.flip_sign(weights[v], sign)
                    sums = [
                        emit.multiply_add(weight, value, total)
                        for value, total in zip(pair, sums, strict=True)
                    ]
            emit.store(sums[0], real, i, first)
            emit.store(sums[1], imag, i, first)
            return carried

        emit.loop(emit.index(0), arguments[5], 1, [], add_row)
        return context.get_dummy_value()

    return types.none(values, scales, w, real, imag, types.intp), codegen


@jit
def add_lanes(real, imag, total):
    # total += the sums over the lanes of real and of -imag, which are then set to zero
    # real, imag (blocks D, lanes), total (blocks, 2, D) float64
    for i in range(real.shape[0]):
        block, row = i // total.shape[2], i % total.shape[2]
        # Sums in registers: in memory, every addition would wait for the one before.
        re, im = 0.0, 0.0
        for lane in range(real.shape[1]):
            re += real[i, lane]
            im += imag[i, lane]
        total[block, 0, row] += re
        total[block, 1, row] -= im
    real[:] = 0
    imag[:] = 0


@parallel(jit, cost=lambda x, weights, signs, scales, *_: 40 * len(x) * scales.size)
def hadamard_sum(tasks, x, weights, signs, scales, levels, part_rows, partial):
    # sum_i weights_i exp(-2 pi i scales_l (H S_0 H S_1 H S_2 x_i)_l) over the rows i of a part:
    # real, imaginary
    # x (n, d), weights (n,) or (0,) for ones, signs (blocks, 3, D), scales (blocks, D) in turns,
    # levels (passes,), partial (parts, blocks, 2, D) float64
    parts, blocks, size = partial.shape[0], partial.shape[1], signs.shape[2]
    narrow = VECTOR_BYTES // x.itemsize
    lanes = VECTORS * narrow
    group_blocks = max(1, GROUP // size)
    groups = (blocks + group_blocks - 1) // group_blocks
    for task in share(tasks, parts * groups):
        part, first = task // groups, task % groups * group_blocks
        total = partial[part, first : min(first + group_blocks, blocks)]
        total[:] = 0
        rows = total.shape[0] * size
        real = zeros_aligned(rows * narrow, x).reshape(rows, narrow)
        imag = zeros_aligned(rows * narrow, x).reshape(rows, narrow)
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
                add_features(
                    values, scales[first + block], w, real[begin:end], imag[begin:end], size
                )
            terms += VECTORS
            if terms + VECTORS > ROWS:
                add_lanes(real, imag, total)
                terms = 0
        add_lanes(real, imag, total)


# ---- the adjoint ---------------------------------------------------------------------------------


@intrinsic
def add_cosines(typingctx, values, scales, amplitudes, phase_offsets, out, first, last):
    """Adds the cosines of some frequencies at VECTORS vectors of points.

    It is the loop

        for i in range(first, last):
            for v in range(VECTORS):
                phase = 2 * pi * (scales[i] * values[v, i] + phase_offsets[i])
                out[v * lanes :] += amplitudes[i] * cos(phase)

    where every line holds for all lanes of a vector.
    """

    def codegen(context, builder, signature, given):
        emit = Lanes(context, builder, signature.args[0].dtype)
        values, scales, amplitudes, phase_offsets, out = (
            emit.array(*p) for p in zip(signature.args[:5], given[:5], strict=True)
        )
        columns = [emit.index(v * emit.count) for v in range(VECTORS)]

        def add_row(i, sums):
            scale = emit.load_everywhere(scales, i)
            offset = emit.load_everywhere(phase_offsets, i)
            sums = list(sums)
            loaded = [emit.load(values, emit.index(v), i, emit.index(0)) for v in range(VECTORS)]
            phases = [emit.multiply_add(value, scale, offset) for value in loaded]
            for start in range(0, VECTORS, AT_ONCE):
                signs, cosines, _ = emit_sincos(emit, phases[start : start + AT_ONCE], sine=False)
                for v, (sign, cosine) in enumerate(zip(signs, cosines, strict=True), start):
                    amplitude = emit.flip_sign(emit.load_everywhere(amplitudes, i), sign)
                    sums[v] = emit.multiply_add(amplitude, cosine, sums[v])
            return sums

        starts = [emit.load(out, column) for column in columns]
        sums = emit.loop(given[5], given[6], 1, starts, add_row)
        for total, column in zip(sums, columns, strict=True):
            emit.store(total, out, column)
        return context.get_dummy_value()

    arrays = (values, scales, amplitudes, phase_offsets, out)
    return types.none(*arrays, types.intp, types.intp), codegen


@parallel(jit, cost=lambda x, signs, scales, *_: 40 * len(x) * scales.size)
def hadamard_adjoint(tasks, x, signs, scales, levels, amplitudes, phase_offsets, rows, out):
    # out_i = sum_l amplitudes_l cos(2 pi (scales_l (H S_0 H S_1 H S_2 x_i)_l + phase_offsets_l))
    # x (n, d), signs (blocks, 3, D), scales, amplitudes, phase_offsets (blocks, D), scales and
    # phase_offsets in turns, levels (passes,), rows: points per task, out (n,)
    size, narrow = signs.shape[2], VECTOR_BYTES // x.itemsize
    lanes = VECTORS * narrow
    for task in share(tasks, (x.shape[0] + rows - 1) // rows):
        points = zeros_aligned(size * lanes, x).reshape(VECTORS, size, narrow)
        values = empty_aligned(size * lanes, x).reshape(VECTORS, size, narrow)
        part, total = zeros_aligned(lanes, x), np.zeros(lanes, np.float64)
        for first in range(task * rows, min((task + 1) * rows, x.shape[0]), lanes):
            pack_vectors(x, first, points)
            total[:] = 0
            for block in range(signs.shape[0]):
                transform_thrice(points, signs[block], levels, values)
                offsets = phase_offsets[block]
                for start in range(0, size, ROWS):
                    part[:] = 0
                    end = min(start + ROWS, size)
                    add_cosines(values, scales[block], amplitudes[block], offsets, part, start, end)
                    for lane in range(lanes):
                        total[lane] += part[lane]
            for lane in range(min(lanes, x.shape[0] - first)):
                out[first + lane] = total[lane]
