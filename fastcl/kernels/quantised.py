"""Sums of quantised features: integer levels of the cosine and the sine of a phase, by counting.

The tiles are those of features.py. A phase starts from the dither instead of zero, which costs
nothing. Adding a large constant to a number leaves its rounded value in the lowest bits. These bits
are added up as integers, and the contribution of the constant is subtracted at the end. No level is
ever computed: it is one plus twice a count, or one minus a count.

One bit needs neither cosine nor sine, because their signs follow from the quarter of the turn that
the phase is in. After an eighth of a turn is subtracted, that quarter is the nearest multiple of
1/4: six operations per pair for both signs. More bits round the cosine and the sine of the reduced
phase, seven operations more. The result is the same however the points are cut into parts.
"""

from numba import types
from numba.extending import intrinsic

from .features import AT_ONCE, ROWS, emit_phases
from .lanes import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, Lanes, jit
from .sincos import emit_sincos
from .threads import parallel, share
from .tile import zeros_aligned


def make_tile(height, width):
    """An intrinsic f(x, freqs, half, real, imag, first, last, j) for a tile of the sum.

    It takes `height` points at a time, which divides last - first, and `width` vectors of
    frequencies from column j on. It is the loop

        for i in range(first, last):
            for l in range(j, j + width * lanes):
                phase = 2 * pi * (freqs[d, l] + sum(x[i, k] * freqs[k, l] for k in range(d)))
                real[l] += level(cos(phase))
                imag[l] += level(sin(phase))

    with level(c) = 2 floor(half c) + 1, at most 2 half - 1; or the sign of c if `half` is None.
    """

    @intrinsic
    def quantised_tile(typingctx, x, freqs, half, real, imag, first, last, j):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            x, freqs = (
                emit.array(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True)
            )
            real, imag = (
                emit.array(*pair) for pair in zip(signature.args[3:5], arguments[3:5], strict=True)
            )
            first, last, j = arguments[5:]
            columns = [emit.plus(j, v * emit.count) for v in range(width)]
            if half == types.none:
                counter = SignCounter(emit)
            else:
                counter = LevelCounter(emit, emit.everywhere(arguments[2]))

            def start_of(column):
                return counter.start(emit.load(freqs, emit.length(x, 1), column))  # the dither

            starts = [start_of(column) for column in columns]

            def count_points(i, counts):
                lines, counts = [emit.plus(i, r) for r in range(height)], list(counts)
                phases = emit_phases(emit, x, freqs, lines, columns, starts * height)
                for start in range(0, height * width, AT_ONCE):
                    pairs = counter.counts(phases[start : start + AT_ONCE])
                    for place, (cosine, sine) in enumerate(pairs, start):
                        v = place % width
                        counts[v] = builder.add(counts[v], cosine)
                        counts[width + v] = builder.add(counts[width + v], sine)
                return counts

            counts = emit.loop(first, last, height, [emit.whole(0)] * (2 * width), count_points)
            points = emit.everywhere(builder.trunc(builder.sub(last, first), emit.bits))
            places = [(part, column) for part in (real, imag) for column in columns]
            for count, (part, column) in zip(counts, places, strict=True):
                levels = builder.sitofp(counter.levels(count, points), emit.type)
                emit.store(builder.fadd(emit.load(part, column), levels), part, column)
            return context.get_dummy_value()

        return types.none(x, freqs, half, real, imag, types.intp, types.intp, types.intp), codegen

    return quantised_tile


class SignCounter:
    """Counts 2 for every cosine, or sine, below zero."""

    def __init__(self, emit):
        self.emit = emit
        # Floating-point numbers of this size are 1/4 apart: the lowest bits of a sum with the
        # constant are the number of the quarter, modulo 4.
        self.rounder = emit.constant(1.5 * 2.0 ** (21 if emit.bytes == 4 else 50))

    def start(self, dither):
        """The value from which a phase is accumulated."""
        return self.emit.builder.fsub(dither, self.emit.constant(0.125))

    def counts(self, phases):
        """For each vector of phases, what (cosine, sine) add to their counts."""
        builder, pairs = self.emit.builder, []
        one, two = self.emit.whole(1), self.emit.whole(2)
        for phase in phases:
            quarter = builder.bitcast(builder.fadd(phase, self.rounder), self.emit.bits_type)
            pairs.append((builder.and_(builder.add(quarter, one), two), builder.and_(quarter, two)))
        return pairs

    def levels(self, count, points):
        """The sum of the levels of `points` points, from their count."""
        return self.emit.builder.sub(points, count)


class LevelCounter:
    """Counts floor(half c), from -half to half - 1, plus the bits of a constant each time."""

    def __init__(self, emit, half):
        self.emit = emit
        # Floating-point numbers of this size are 1 apart: the lowest bits of a sum with the
        # constant are those of the floor.
        self.rounder = emit.constant(1.5 * 2.0 ** (23 if emit.bytes == 4 else 52))
        # A cosine of 1, or slightly above by rounding, must still fall into the highest level.
        below_one = emit.constant(1 - 2.0 ** (-21 if emit.bytes == 4 else -50))
        self.scale = emit.multiply(half, below_one)

    def start(self, dither):
        """The value from which a phase is accumulated."""
        return dither

    def counts(self, phases):
        """For each vector of phases, what (cosine, sine) add to their counts."""
        emit, builder, pairs = self.emit, self.emit.builder, []
        for sign, *sincos in zip(*emit_sincos(emit, phases, sine=True), strict=True):
            scale = emit.flip_sign(self.scale, sign)
            rounded = [
                builder.fadd(emit.multiply_add(value, scale, emit.constant(-0.5)), self.rounder)
                for value in sincos
            ]
            pairs.append([builder.bitcast(value, emit.bits_type) for value in rounded])
        return pairs

    def levels(self, count, points):
        """The sum of the levels of `points` points, from their count."""
        builder = self.emit.builder
        rounder = builder.bitcast(self.rounder, self.emit.bits_type)
        floors = builder.sub(count, builder.mul(points, rounder))
        return builder.add(builder.add(floors, floors), points)


level_tile, level_tile_narrow = make_tile(TILE_ROWS, TILE_VECTORS), make_tile(TILE_ROWS, 1)
level_tile_row, level_tile_row_narrow = make_tile(1, TILE_VECTORS), make_tile(1, 1)


@jit
def add_levels(x, freqs, half, real, imag):
    # real_l += sum_i level(cos(2 pi (<freqs_l, x_i> + dither_l))), imag_l += the same with sines
    # x (r, d), freqs (d + 1, L), real, imag (L,); L full vectors
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, real.size - real.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        level_tile(x, freqs, half, real, imag, 0, full, j)
        level_tile_row(x, freqs, half, real, imag, full, rows, j)
    for j in range(wide, real.size, narrow):
        level_tile_narrow(x, freqs, half, real, imag, 0, full, j)
        level_tile_row_narrow(x, freqs, half, real, imag, full, rows, j)


@jit
def sum_part(x, freqs, half, total):
    # quantised_sum over all rows, for one block of frequencies
    # x (r, d), freqs (d + 1, block_width), total (2, block_width) float64
    real, imag = zeros_aligned(freqs.shape[1], x), zeros_aligned(freqs.shape[1], x)
    total[:] = 0
    for start in range(0, x.shape[0], ROWS):
        real[:] = 0
        imag[:] = 0
        add_levels(x[start : start + ROWS], freqs, half, real, imag)
        for j in range(real.size):
            total[0, j] += real[j]
            total[1, j] -= imag[j]


@parallel(jit, cost=lambda x, *rest: 5 * len(x) * rest[-1][0].size)
def quantised_sum(tasks, x, freqs, half, part_rows, partial):
    # sum_i level(cos(a_il)) - i level(sin(a_il)), a_il = 2 pi (<freqs_l, x_i> + dither_l), over the
    # rows i of a part: real, imaginary
    # x (n, d), freqs (blocks, d + 1, block_width) in turns, the dither last, half 2^(bits - 1) of
    # the type of x, or None for one bit, partial (parts, blocks, 2, block_width) float64
    parts, blocks = partial.shape[0], partial.shape[1]
    for task in share(tasks, parts * blocks):
        part, block = task // blocks, task % blocks
        first, last = part * part_rows, (part + 1) * part_rows
        sum_part(x[first:last], freqs[block], half, partial[part, block])
