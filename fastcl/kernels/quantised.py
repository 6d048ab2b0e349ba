"""Sums of quantised features: whole levels of the cosine and the sine of a phase, added exactly.

The tiles are those of features.py, and a phase starts from the dither instead of zero, which costs nothing.  One bit needs
neither cosine nor sine: their signs follow from the quarter of the turn that the phase is in.  With an eighth of a turn taken
off, the nearest multiple of 1/4 tells it, and adding a large constant leaves its number in the lowest bits; that many signs
below zero are counted as integers, six operations a pair for both.  More bits round the cosine and the sine of the reduced phase
to a level, before their common sign: the quantiser is odd.
Levels are odd integers below 2^bits, and sums of 256 of them exact in the working precision, so the result is the same
however the points are cut into parts.
"""

from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from .features import AT_ONCE, ROWS, emit_phases, emit_waves
from .lanes import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, Lanes, jit, jit_parallel
from .tile import zeros_aligned


def emit_signs_below(emit, phase):
    """Two vectors of integers, 2 where the cosine or the sine of a phase in turns, less 1/8, is below zero; else 0."""
    builder = emit.builder
    # Above this constant numbers are the multiples of 1/4: the sum ends in the number of the quarter, modulo 4.
    rounder = emit.constant(1.5 * 2.0 ** (21 if emit.bytes == 4 else 50))
    quarter = builder.bitcast(builder.fadd(phase, rounder), emit.bits_type)
    one, two = (ir.Constant(emit.bits_type, [value] * emit.count) for value in (1, 2))
    return builder.and_(builder.add(quarter, one), two), builder.and_(quarter, two)


def emit_levels(emit, wave, scale, highest):
    """The odd integer 2 floor(scale wave) + 1 of a vector of cosines, up to 2 highest + 1 and from minus that on."""
    builder = emit.builder
    rounder, half = emit.constant(1.5 * 2.0 ** (23 if emit.bytes == 4 else 52)), emit.constant(-0.5)
    shifted = builder.fadd(emit.multiply_add(wave, scale, half), rounder)
    floor = builder.fsub(shifted, rounder)
    lowest = builder.fsub(emit.constant(-1.0), highest)
    floor = builder.select(builder.fcmp_ordered(">", floor, highest), highest, floor)
    floor = builder.select(builder.fcmp_ordered("<", floor, lowest), lowest, floor)
    return emit.multiply_add(floor, emit.constant(2.0), emit.constant(1.0))


def make_tile(height, width, one_bit):
    """An intrinsic f(x, turns, dither, half, real, imag, first, last, j), `height` points by `width` vectors of frequencies.

    real[j:] += the levels of the cosines of <x_i, turns> + dither, in turns, over the points first..last, imag[j:] likewise of
    the sines; `half` of the levels are above zero, one where `one_bit`.
    """

    @intrinsic
    def quantised_tile(typingctx, x, turns, dither, half, real, imag, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            x, turns, dither = (emit.array(*pair) for pair in zip(signature.args[:3], arguments[:3], strict=True))
            real, imag = (emit.array(*pair) for pair in zip(signature.args[4:6], arguments[4:6], strict=True))
            first, last, j = arguments[6:]
            columns = [emit.plus(j, v * emit.count) for v in range(width)]
            places = [(part, column) for part in (real, imag) for column in columns]
            starts = [emit.load(dither, column) for column in columns]
            if one_bit:
                starts = [builder.fsub(start, emit.constant(0.125)) for start in starts]
            scale = emit.everywhere(arguments[3])
            highest = builder.fsub(scale, emit.constant(1.0))

            def count_signs(i, counts):
                lines, counts = [emit.plus(i, r) for r in range(height)], list(counts)
                phases = emit_phases(emit, x, turns, lines, columns, starts * height)
                for place, phase in enumerate(phases):
                    v = place % width
                    for slot, below in zip((v, width + v), emit_signs_below(emit, phase), strict=True):
                        counts[slot] = builder.add(counts[slot], below)
                return counts

            def add_levels(i, sums):
                lines, sums = [emit.plus(i, r) for r in range(height)], list(sums)
                phases = emit_phases(emit, x, turns, lines, columns, starts * height)
                for start in range(0, height * width, AT_ONCE):
                    waves = zip(*emit_waves(emit, phases[start : start + AT_ONCE], sine=True), strict=True)
                    for place, (sign, cosine, sine) in enumerate(waves, start):
                        v = place % width
                        for slot, wave in ((v, cosine), (width + v, sine)):
                            level = emit.flip_sign(emit_levels(emit, wave, scale, highest), sign)
                            sums[slot] = builder.fadd(sums[slot], level)
                return sums

            if not one_bit:
                sums = emit.loop(first, last, height, [emit.load(*place) for place in places], add_levels)
                for total, place in zip(sums, places, strict=True):
                    emit.store(total, *place)
                return context.get_dummy_value()
            none = ir.Constant(emit.bits_type, [0] * emit.count)
            counts = emit.loop(first, last, height, [none] * len(places), count_signs)
            points = emit.everywhere(builder.sitofp(builder.sub(last, first), emit.number))
            for count, place in zip(counts, places, strict=True):
                level = builder.fsub(points, builder.sitofp(count, emit.type))  # one for every point, less two below zero
                emit.store(builder.fadd(emit.load(*place), level), *place)
            return context.get_dummy_value()

        return types.none(x, turns, dither, half, real, imag, types.intp, types.intp, types.intp), codegen

    return quantised_tile


sign_tile, sign_tile_narrow = make_tile(TILE_ROWS, TILE_VECTORS, True), make_tile(TILE_ROWS, 1, True)
sign_tile_row, sign_tile_row_narrow = make_tile(1, TILE_VECTORS, True), make_tile(1, 1, True)
level_tile, level_tile_narrow = make_tile(TILE_ROWS, TILE_VECTORS, False), make_tile(TILE_ROWS, 1, False)
level_tile_row, level_tile_row_narrow = make_tile(1, TILE_VECTORS, False), make_tile(1, 1, False)


@jit
def add_signs(x, turns, dither, half, real, imag):  # x (r, d), turns (d, L), dither, real, imag (L,), L full vectors
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, real.size - real.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        sign_tile(x, turns, dither, half, real, imag, 0, full, j)
        sign_tile_row(x, turns, dither, half, real, imag, full, rows, j)
    for j in range(wide, real.size, narrow):
        sign_tile_narrow(x, turns, dither, half, real, imag, 0, full, j)
        sign_tile_row_narrow(x, turns, dither, half, real, imag, full, rows, j)


@jit
def add_levels(x, turns, dither, half, real, imag):  # as above
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, real.size - real.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        level_tile(x, turns, dither, half, real, imag, 0, full, j)
        level_tile_row(x, turns, dither, half, real, imag, full, rows, j)
    for j in range(wide, real.size, narrow):
        level_tile_narrow(x, turns, dither, half, real, imag, 0, full, j)
        level_tile_row_narrow(x, turns, dither, half, real, imag, full, rows, j)


@jit_parallel
def quantised_sum(x, turns, dither, half, part_rows, partial):
    # x (n, d), turns (blocks, d, L), dither (blocks, 1, L) in turns, half 2^(bits - 1) of the type of x,
    # partial (parts, blocks, 2, L) float64
    parts, blocks = partial.shape[0], partial.shape[1]
    for task in prange(parts * blocks):
        part, block = task // blocks, task % blocks
        real, imag = zeros_aligned(turns.shape[2], x), zeros_aligned(turns.shape[2], x)
        total = partial[part, block]
        total[:] = 0
        stop = min((part + 1) * part_rows, x.shape[0])
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            real[:] = 0
            imag[:] = 0
            if half == 1:
                add_signs(x[start:end], turns[block], dither[block, 0], half, real, imag)
            else:
                add_levels(x[start:end], turns[block], dither[block, 0], half, real, imag)
            for j in range(real.size):
                total[0, j] += real[j]
                total[1, j] -= imag[j]
