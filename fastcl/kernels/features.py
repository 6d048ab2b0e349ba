"""Feature sums and their adjoint, fused: phase, argument reduction, sine and cosine, accumulation.

Both maps are one loop over tiles of 4 rows (points of the sum, frequencies of the adjoint) against vectors of lanes
(frequencies of the sum, points of the adjoint), for any dimension: the phases of a tile grow in registers as a matrix
product, and leave them only as sums.  Phases are in turns and reduced to a quarter of a turn: t - q, q the multiple of
1/2 nearest to t, has the sine and cosine of t but for the sign, which is that of the last bit of 2 q.
The adjoint needs cosines alone: Re(c exp(i a)) = |c| cos(a + arg c).  Multiplications and additions that share the
multiplying pipes, a pair: d + 12 of the sum, d + 6 of the adjoint; the reduction and the signs go to other pipes.
The work is cut into tasks by n and m alone and the tasks are combined in order, so that the number of threads
cannot change a bit of the result.  Partial sums are in the working precision over 256 terms, float64 beyond.
"""

import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from .lanes import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, Lanes, jit, jit_parallel
from .tile import add_product, empty_aligned, zeros_aligned

LANES = 256  # lanes of a block: a task shares its rows among as many
ROWS = 256  # rows accumulated in the working precision before they are added to the float64 total
GRADIENT_LANES, GRADIENT_ROWS = (
    128,
    32,
)  # lanes and rows of the gradient: their waves stay in the first-level cache
MAX_PARTS = 64  # most partial sums of one call: bounds the memory, and the threads that can work on one block
AT_ONCE = 2  # vectors whose sine and cosine are computed side by side: hides the latency and fits the registers

# sin(2 pi t) / t and (cos(2 pi t) - 1) / t^2 as polynomials in t^2 on |t| <= 1/4, within half a unit in the last place
# of 1.  float64: interpolation at the roots of Chebyshev polynomials in 40 digits.  float32: the least largest error,
# one coefficient after the other rounded and the rest fitted again.
SIN32 = (
    6.283185005187988,
    -41.34162139892578,
    81.59912109375,
    -76.51184844970703,
    39.2835807800293,
)
COS32 = (-19.739181518554688, 64.9351577758789, -85.25199890136719, 56.32207107543945)
SIN64 = (
    6.28318530717958, -41.34170224039507, 81.60524927502428, -76.70585964731671,
    42.05868829941355, -15.094471491460052, 3.816996093216836, -0.6909301861499394,
)  # fmt: skip
COS64 = (
    -19.73920880217871, 64.9393940226647, -85.45681720605754, 60.24464131730762,
    -26.426254193107656, 7.903464682324647, -1.7132385195353788, 0.272021802515473,
)  # fmt: skip


def emit_sincos(emit, turns, sine):
    """(signs, cosines, sines or None) of vectors in turns, the signs apart: cos = flip_sign(cosine, sign)."""
    single = emit.bytes == 4
    # Above this constant, numbers are the multiples of 1/2: adding it rounds, and leaves the parity in the last bit.
    rounder = emit.constant(1.5 * 2.0 ** (22 if single else 51))
    builder = emit.builder
    shifted = [builder.fadd(t, rounder) for t in turns]
    signs = [emit.lowest_bit_as_sign(s) for s in shifted]
    rest = [builder.fsub(t, builder.fsub(s, rounder)) for t, s in zip(turns, shifted, strict=True)]
    squares = [emit.multiply(r, r) for r in rest]
    cosines = emit.polynomial((1.0, *(COS32 if single else COS64)), squares)
    if not sine:
        return signs, cosines, None
    sines = emit.polynomial(SIN32 if single else SIN64, squares)
    return signs, cosines, [emit.multiply(s, r) for s, r in zip(sines, rest, strict=True)]


@intrinsic
def sincos_turns(typingctx, turns):
    """(sin(2 pi t), cos(2 pi t)) of a float32 or float64 t, to a few units in the last place of 1."""

    def codegen(context, builder, signature, arguments):
        emit = Lanes(context, builder, signature.args[0], scalar=True)
        signs, cosines, sines = emit_sincos(emit, arguments, sine=True)
        pair = [emit.flip_sign(wave[0], signs[0]) for wave in (sines, cosines)]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(turns, 2)(turns), codegen


@jit
def pack_lanes(
    source, start, lanes, out
):  # source (n, d) -> out (d, lanes): rows start.. as columns, zeros beyond n
    width = min(lanes, source.shape[0] - start)
    for k in range(source.shape[1]):
        for j in range(width):
            out[k, j] = source[start + j, k]
        for j in range(width, lanes):
            out[k, j] = 0


def frequency_blocks(freqs):
    """Frequencies (m, d) in the layout (blocks, d, lanes) of the sum, zeros beyond m."""
    m, dim = freqs.shape
    count = -(-m // LANES)
    lanes = 16 * -(-m // (16 * count))
    blocks = empty_aligned(count * dim * lanes, freqs).reshape(count, dim, lanes)
    for block in range(count):
        pack_lanes(freqs, block * lanes, lanes, blocks[block])
    return blocks


def rows_per_part(n, blocks):
    """Rows of each part of n points: equal parts, so that no thread waits for another, but of full tiles."""
    part_rows = -(-n // min(-(-n // ROWS), MAX_PARTS))
    tile = ROWS if part_rows > ROWS else TILE_ROWS
    return tile * -(-part_rows // tile)


def point_lanes(n):
    """Points of a block of the adjoint."""
    return LANES if n > 8 * LANES else 64


def emit_phases(emit, rows, lanes, lines, columns, starts):
    """`starts` plus the product of the `lines` of rows (r, d) with the `columns` of lanes (d, L), tile by tile."""

    def add_axis(k, phases):
        values = [emit.load(lanes, k, column) for column in columns]
        factors = [emit.load_everywhere(rows, line, k) for line in lines]
        products = [(factor, value) for factor in factors for value in values]
        return [
            emit.multiply_add(*product, phase)
            for product, phase in zip(products, phases, strict=True)
        ]

    return emit.loop(emit.index(0), emit.length(rows, 1), 1, starts, add_axis)


# ---- the sum: rows are points, lanes are frequencies ----------------------------------------------------------


def make_sum_tile(height, width):
    """An intrinsic f(x, w, freqs, real, imag, first, last, j), `height` points by `width` vectors of frequencies.

    real[j:] += sum_i w_i cos(2 pi <x_i, freqs>), imag[j:] += the same sum of sines, over the points first..last.
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
                    waves = zip(
                        *emit_sincos(emit, phases[start : start + AT_ONCE], sine=True), strict=True
                    )
                    for place, (sign, cosine, sine) in enumerate(waves, start):
                        r, v = divmod(place, width)
                        weight = emit.flip_sign(emit.load_everywhere(w, lines[r]), sign)
                        sums[v] = emit.multiply_add(weight, cosine, sums[v])
                        sums[width + v] = emit.multiply_add(weight, sine, sums[width + v])
                return sums

            places = [(part, column) for part in (real, imag) for column in columns]
            sums = emit.loop(
                first, last, height, [emit.load(*place) for place in places], add_points
            )
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
def add_points(
    x, w, freqs, real, imag
):  # x (r, d), w (r,), freqs (d, L), real, imag (L,), L full vectors
    rows, narrow = x.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, real.size - real.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        sum_tile(x, w, freqs, real, imag, 0, full, j)
        sum_tile_row(x, w, freqs, real, imag, full, rows, j)
    for j in range(wide, real.size, narrow):
        sum_tile_narrow(x, w, freqs, real, imag, 0, full, j)
        sum_tile_row_narrow(x, w, freqs, real, imag, full, rows, j)


@jit_parallel
def feature_sum(x, weights, freqs, part_rows, partial):
    # x (n, d), weights (n,) or (0,) for ones, freqs (blocks, d, L), partial (parts, blocks, 2, L) float64
    parts, blocks = partial.shape[0], partial.shape[1]
    for task in prange(parts * blocks):
        part, block = task // blocks, task % blocks
        real, imag = zeros_aligned(freqs.shape[2], x), zeros_aligned(freqs.shape[2], x)
        ones, total = np.ones(ROWS, x.dtype), partial[part, block]
        total[:] = 0
        stop = min((part + 1) * part_rows, x.shape[0])
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            real[:] = 0
            imag[:] = 0
            w = weights[start:end] if weights.size else ones[: end - start]
            add_points(x[start:end], w, freqs[block], real, imag)
            for j in range(real.size):
                total[0, j] += real[j]
                total[1, j] -= imag[j]


# ---- the adjoint: rows are frequencies, lanes are points ------------------------------------------------------


def make_adjoint_tile(height, width):
    """An intrinsic f(freqs, amplitudes, phase_offsets, x, out, first, last, j), `height` frequencies by `width` vectors of points.

    out[j:] += sum_l moduli_l cos(2 pi (<turns_l, x> + arguments_l)) over the frequencies first..last.
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
                for start in range(0, height * width, AT_ONCE):
                    places = [
                        divmod(place, width)
                        for place in range(start, min(start + AT_ONCE, height * width))
                    ]
                    shifted = [
                        builder.fadd(
                            phases[r * width + v], emit.load_everywhere(phase_offsets, lines[r])
                        )
                        for r, v in places
                    ]
                    signs, cosines, _ = emit_sincos(emit, shifted, sine=False)
                    for (r, v), sign, cosine in zip(places, signs, cosines, strict=True):
                        modulus = emit.flip_sign(emit.load_everywhere(amplitudes, lines[r]), sign)
                        sums[v] = emit.multiply_add(modulus, cosine, sums[v])
                return sums

            sums = emit.loop(
                first, last, height, [emit.load(out, column) for column in columns], add_frequencies
            )
            for total, column in zip(sums, columns, strict=True):
                emit.store(total, out, column)
            return context.get_dummy_value()

        return types.none(
            freqs, amplitudes, phase_offsets, x, out, types.intp, types.intp, types.intp
        ), codegen

    return adjoint_tile


adjoint_tile = make_adjoint_tile(TILE_ROWS, TILE_VECTORS)
adjoint_tile_narrow = make_adjoint_tile(TILE_ROWS, 1)
adjoint_tile_row = make_adjoint_tile(1, TILE_VECTORS)
adjoint_tile_row_narrow = make_adjoint_tile(1, 1)


@jit
def add_frequencies(
    freqs, amplitudes, phase_offsets, x, out
):  # freqs (r, d), amplitudes, phase_offsets (r,), x (d, L), out (L,), L full vectors
    rows, narrow = freqs.shape[0], VECTOR_BYTES // x.itemsize
    full, wide = rows - rows % TILE_ROWS, out.size - out.size % (TILE_VECTORS * narrow)
    for j in range(0, wide, TILE_VECTORS * narrow):
        adjoint_tile(freqs, amplitudes, phase_offsets, x, out, 0, full, j)
        adjoint_tile_row(freqs, amplitudes, phase_offsets, x, out, full, rows, j)
    for j in range(wide, out.size, narrow):
        adjoint_tile_narrow(freqs, amplitudes, phase_offsets, x, out, 0, full, j)
        adjoint_tile_row_narrow(freqs, amplitudes, phase_offsets, x, out, full, rows, j)


@jit_parallel
def feature_adjoint(x, freqs, amplitudes, phase_offsets, lanes, out):
    # x (n, d), freqs (m, d), amplitudes, phase_offsets (in turns) of the coefficients (m,), out (n,)
    for block in prange((x.shape[0] + lanes - 1) // lanes):
        first, last = block * lanes, min((block + 1) * lanes, x.shape[0])
        points = empty_aligned(x.shape[1] * lanes, x).reshape(x.shape[1], lanes)
        pack_lanes(x, first, lanes, points)
        part, total = zeros_aligned(lanes, x), np.zeros(lanes, np.float64)
        for start in range(0, freqs.shape[0], ROWS):
            end = min(start + ROWS, freqs.shape[0])
            part[:] = 0
            add_frequencies(
                freqs[start:end], amplitudes[start:end], phase_offsets[start:end], points, part
            )
            for j in range(lanes):
                total[j] += part[j]
        for i in range(first, last):
            out[i] = total[i - first]


# ---- waves and their gradient: rows and columns are points and frequencies, either way round --------------------


@jit
def rotate(real, imag, row_real, row_imag, waves, value):
    # real, imag (t,), row_real, row_imag, value (L,), waves (t, L): freqs -> minus the imaginary parts; value += real parts
    for i in range(waves.shape[0]):
        a, b, wave = real[i], imag[i], waves[i]
        for j in range(value.size):
            s, c = sincos_turns(wave[j])
            p, q = a * c - b * s, a * s + b * c
            value[j] += row_real[j] * p - row_imag[j] * q
            wave[j] = -row_real[j] * q - row_imag[j] * p


@jit_parallel
def sum_gradient(rows, columns, row_real, row_imag, column_real, column_imag, values, out):
    # rows (r, d), columns (s, d), row_real, row_imag, values (r,), column_real, column_imag (s,), out (r, d)
    # values_i = sum_s Re(row_i column_s exp(2 pi i <rows_i, columns_s>)), out_i = sum_s Re(i ...) columns_s; lanes are rows
    dim = rows.shape[1]
    for block in prange((rows.shape[0] + GRADIENT_LANES - 1) // GRADIENT_LANES):
        first, last = block * GRADIENT_LANES, min((block + 1) * GRADIENT_LANES, rows.shape[0])
        lanes = empty_aligned(dim * GRADIENT_LANES, rows).reshape(dim, GRADIENT_LANES)
        pack_lanes(rows, first, GRADIENT_LANES, lanes)
        real, imag = zeros_aligned(GRADIENT_LANES, rows), zeros_aligned(GRADIENT_LANES, rows)
        real[: last - first], imag[: last - first] = row_real[first:last], row_imag[first:last]
        waves = empty_aligned(GRADIENT_ROWS * GRADIENT_LANES, rows).reshape(
            GRADIENT_ROWS, GRADIENT_LANES
        )
        part = empty_aligned((dim + 1) * GRADIENT_LANES, rows).reshape(
            dim + 1, GRADIENT_LANES
        )  # the value comes last
        total = np.zeros((dim + 1, GRADIENT_LANES), np.float64)
        for start in range(0, columns.shape[0], ROWS):
            end = min(start + ROWS, columns.shape[0])
            part[:] = 0
            for low in range(start, end, GRADIENT_ROWS):
                high = min(low + GRADIENT_ROWS, end)
                tile, phases = columns[low:high], waves[: high - low]
                phases[:] = 0
                add_product(tile, lanes, phases)
                rotate(column_real[low:high], column_imag[low:high], real, imag, phases, part[dim])
                add_product(tile.T, phases, part[:dim])
            for k in range(dim + 1):
                for j in range(GRADIENT_LANES):
                    total[k, j] += part[k, j]
        for i in range(last - first):
            values[first + i] = total[dim, i]
            for k in range(dim):
                out[first + i, k] = total[k, i]


# ---- what both need beforehand ---------------------------------------------------------------------------------


@jit
def column_magnitudes(
    x, out
):  # x (n, d), out (d,) float64: largest |x| of each column; False where x is not finite
    out[:] = 0
    finite = True
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            magnitude = abs(x[i, k])
            finite &= magnitude < np.inf
            out[k] = max(out[k], magnitude)
    return finite
