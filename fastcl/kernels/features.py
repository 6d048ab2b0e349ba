"""Feature sums and their adjoint, fused: phase, argument reduction, sine and cosine, accumulation.

Both maps are one loop: a row (a point of the sum, a frequency of the adjoint) against a block of 256 lanes
(frequencies of the sum, points of the adjoint).  Phases are in turns, so reducing the argument is t - rint(t).
Up to UNROLLED dimensions the phase is computed in registers; beyond, by tiles of rows (kernels/tile.py).
The work is cut into tasks by n and m alone and the tasks are combined in order, so that the number of threads
cannot change a bit of the result.  Partial sums are in the working precision over 256 terms, float64 beyond.
"""

import numpy as np
from numba import prange, types
from numba.extending import overload

from .tile import add_product, empty_aligned, jit, jit_parallel, zeros_aligned

LANES = 256  # lanes of a block: the accumulators and up to UNROLLED rows of phases stay in the first-level cache
ROWS = 256  # rows accumulated in the working precision before they are added to the float64 total
TILE_ROWS = 8  # rows whose phases are held at once when the dimension is large
UNROLLED = 8  # largest dimension whose phase is unrolled; equal speed was measured at 16 and no gain beyond
GRADIENT_LANES, GRADIENT_ROWS = 128, 32  # lanes and rows of the gradient: their waves stay in the first-level cache
MAX_PARTS = 64  # most partial sums of one call: bounds the memory, and the threads that can work on one block

# sqrt(2) sin(pi t) / t and sqrt(2) cos(pi t) as polynomials in t^2 on |t| <= 1/2 (Chebyshev interpolation in 40
# digits).  From these, sin(2 pi t) = S C and cos(2 pi t) = 1 - S^2: two short polynomials instead of two long ones.
SIN32 = tuple(np.float32([4.442882919048678, -7.308245676836437, 3.6063540251301247, -0.8461104138748002, 0.10982204433919414]))
COS32 = tuple(
    np.float32(
        [1.4142135620607716, -6.978864109672646, 5.7398815323938654, -1.888274847470735, 0.3322511887113495, -0.03450105803908895]
    )
)
SIN64 = (
    4.442882938158366, -7.308249499995438, 3.606476571470641, -0.8474880248119808, 0.11617182688484404,
    -0.010423362781996133, 0.0006594475241877522, -3.097622262633553e-05, 1.0886371016421302e-06,
)  # fmt: skip
COS64 = (
    1.4142135623730951, -6.978864199638876, 5.739885734946354, -1.888346717030254, 0.3328077687709919,
    -0.03649645205452199, 0.002728804649905714, -0.00014787943797119497, 5.868370187285554e-06,
)  # fmt: skip
ONE32 = np.float32(1)


def sincos_turns(turns):
    """(sin(2 pi t), cos(2 pi t)) of a float32 or float64 scalar, to a few units in the last place of 1."""
    raise NotImplementedError("compiled code only")


@overload(sincos_turns, inline="always")
def _sincos_turns(turns):
    if turns == types.float32:

        def sincos(turns):
            t = turns - np.rint(turns)
            u = t * t
            s = t * (SIN32[0] + u * (SIN32[1] + u * (SIN32[2] + u * (SIN32[3] + u * SIN32[4]))))
            c = COS32[0] + u * (COS32[1] + u * (COS32[2] + u * (COS32[3] + u * (COS32[4] + u * COS32[5]))))
            return s * c, ONE32 - s * s
    else:

        def sincos(turns):
            t = turns - np.rint(turns)
            u = t * t
            s = SIN64[5] + u * (SIN64[6] + u * (SIN64[7] + u * SIN64[8]))
            s = t * (SIN64[0] + u * (SIN64[1] + u * (SIN64[2] + u * (SIN64[3] + u * (SIN64[4] + u * s)))))
            c = COS64[5] + u * (COS64[6] + u * (COS64[7] + u * COS64[8]))
            c = COS64[0] + u * (COS64[1] + u * (COS64[2] + u * (COS64[3] + u * (COS64[4] + u * c))))
            return s * c, 1.0 - s * s

    return sincos


@jit
def pack_lanes(source, start, lanes, out):  # source (n, d) -> out (d, lanes): rows start.. as columns, zeros beyond n
    width = min(lanes, source.shape[0] - start)
    for k in range(source.shape[1]):
        for j in range(width):
            out[k, j] = source[start + j, k]
        for j in range(width, lanes):
            out[k, j] = 0


# ---- the sum: rows are points, lanes are frequencies ----------------------------------------------------------


@jit
def sum_rows(x, w, turns, axes, real, imag):  # x (r, d), w (ROWS,), turns (d, L), axes (0..d-1), real, imag (L,)
    rows = x.shape[0]
    for i in range(0, rows - 1, 2):  # two points a pass share the loads of turns and of the accumulators
        w0, w1 = w[i], w[i + 1]
        for j in range(real.size):
            t0 = x[i, 0] * turns[0, j]
            t1 = x[i + 1, 0] * turns[0, j]
            for k in range(1, len(axes)):  # the length of a tuple is part of its type: this loop is unrolled
                t0 += x[i, k] * turns[k, j]
                t1 += x[i + 1, k] * turns[k, j]
            s0, c0 = sincos_turns(t0)
            s1, c1 = sincos_turns(t1)
            real[j] += w0 * c0 + w1 * c1
            imag[j] -= w0 * s0 + w1 * s1
    if rows % 2:
        i = rows - 1
        w0 = w[i]
        for j in range(real.size):
            t0 = x[i, 0] * turns[0, j]
            for k in range(1, len(axes)):
                t0 += x[i, k] * turns[k, j]
            s0, c0 = sincos_turns(t0)
            real[j] += w0 * c0
            imag[j] -= w0 * s0


@jit
def sum_rows_wide(x, w, turns, phases, real, imag):  # phases (TILE_ROWS, L): scratch
    for start in range(0, x.shape[0], TILE_ROWS):
        tile = x[start : start + TILE_ROWS]
        phases[:] = 0
        add_product(tile, turns, phases[: tile.shape[0]])
        for i in range(0, TILE_ROWS, 2):  # past the last row the weights are zero
            w0, w1, row0, row1 = w[start + i], w[start + i + 1], phases[i], phases[i + 1]
            for j in range(real.size):
                s0, c0 = sincos_turns(row0[j])
                s1, c1 = sincos_turns(row1[j])
                real[j] += w0 * c0 + w1 * c1
                imag[j] -= w0 * s0 + w1 * s1


@jit_parallel
def feature_sum(x, weights, turns, axes, part_rows, partial):
    # x (n, d), weights (n,) or (0,) for ones, turns (blocks, d, L), partial (parts, blocks, 2, L) float64
    parts, blocks = partial.shape[0], partial.shape[1]
    for task in prange(parts * blocks):
        part, block = task // blocks, task % blocks
        lanes = turns.shape[2]
        real, imag = zeros_aligned(lanes, x), zeros_aligned(lanes, x)
        phases = empty_aligned(TILE_ROWS * lanes, x).reshape(TILE_ROWS, lanes)
        w = np.ones(ROWS, x.dtype)
        total = partial[part, block]
        total[:] = 0
        stop = min((part + 1) * part_rows, x.shape[0])
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            if weights.size:
                w[: end - start] = weights[start:end]
            w[end - start :] = 0
            real[:] = 0
            imag[:] = 0
            if len(axes) == 0:
                sum_rows_wide(x[start:end], w, turns[block], phases, real, imag)
            else:
                sum_rows(x[start:end], w, turns[block], axes, real, imag)
            for j in range(real.size):
                total[0, j] += real[j]
                total[1, j] += imag[j]


# ---- the adjoint: rows are frequencies, lanes are points ------------------------------------------------------


@jit
def adjoint_rows(turns, real, imag, x, axes, out):  # turns (r, d), real, imag (ROWS,), x (d, L), axes, out (L,)
    rows = turns.shape[0]
    for i in range(0, rows - 1, 2):
        r0, r1, m0, m1 = real[i], real[i + 1], imag[i], imag[i + 1]
        for j in range(out.size):
            t0 = turns[i, 0] * x[0, j]
            t1 = turns[i + 1, 0] * x[0, j]
            for k in range(1, len(axes)):
                t0 += turns[i, k] * x[k, j]
                t1 += turns[i + 1, k] * x[k, j]
            s0, c0 = sincos_turns(t0)
            s1, c1 = sincos_turns(t1)
            out[j] += (r0 * c0 - m0 * s0) + (r1 * c1 - m1 * s1)
    if rows % 2:
        i = rows - 1
        r0, m0 = real[i], imag[i]
        for j in range(out.size):
            t0 = turns[i, 0] * x[0, j]
            for k in range(1, len(axes)):
                t0 += turns[i, k] * x[k, j]
            s0, c0 = sincos_turns(t0)
            out[j] += r0 * c0 - m0 * s0


@jit
def adjoint_rows_wide(turns, real, imag, x, phases, out):  # phases (TILE_ROWS, L): scratch
    for start in range(0, turns.shape[0], TILE_ROWS):
        tile = turns[start : start + TILE_ROWS]
        phases[:] = 0
        add_product(tile, x, phases[: tile.shape[0]])
        for i in range(0, TILE_ROWS, 2):  # past the last row real and imag are zero
            r0, r1, m0, m1 = real[start + i], real[start + i + 1], imag[start + i], imag[start + i + 1]
            row0, row1 = phases[i], phases[i + 1]
            for j in range(out.size):
                s0, c0 = sincos_turns(row0[j])
                s1, c1 = sincos_turns(row1[j])
                out[j] += (r0 * c0 - m0 * s0) + (r1 * c1 - m1 * s1)


@jit_parallel
def feature_adjoint(x, turns, c_real, c_imag, axes, lanes, out):
    # x (n, d), turns (m, d), c_real, c_imag (m,), out (n,)
    blocks = (x.shape[0] + lanes - 1) // lanes
    for block in prange(blocks):
        points = empty_aligned(x.shape[1] * lanes, x).reshape(x.shape[1], lanes)
        pack_lanes(x, block * lanes, lanes, points)
        part, total = zeros_aligned(lanes, x), np.zeros(lanes, np.float64)
        phases = empty_aligned(TILE_ROWS * lanes, x).reshape(TILE_ROWS, lanes)
        real, imag = np.zeros(ROWS, x.dtype), np.zeros(ROWS, x.dtype)
        for start in range(0, turns.shape[0], ROWS):
            end = min(start + ROWS, turns.shape[0])
            real[: end - start], imag[: end - start] = c_real[start:end], c_imag[start:end]
            real[end - start :] = 0
            imag[end - start :] = 0
            part[:] = 0
            if len(axes) == 0:
                adjoint_rows_wide(turns[start:end], real, imag, points, phases, part)
            else:
                adjoint_rows(turns[start:end], real, imag, points, axes, part)
            for j in range(lanes):
                total[j] += part[j]
        width = min(lanes, x.shape[0] - block * lanes)
        for j in range(width):
            out[block * lanes + j] = total[j]


# ---- waves and their gradient: rows and columns are points and frequencies, either way round --------------------


@jit
def turn_waves(real, imag, row_real, row_imag, waves, value):
    # real, imag (t,), row_real, row_imag, value (L,), waves (t, L): turns -> minus the imaginary parts; value += real parts
    for i in range(waves.shape[0]):
        a, b, wave = real[i], imag[i], waves[i]
        for j in range(value.size):
            s, c = sincos_turns(wave[j])
            p, q = a * c - b * s, a * s + b * c
            value[j] += row_real[j] * p - row_imag[j] * q
            wave[j] = -row_real[j] * q - row_imag[j] * p


@jit_parallel
def wave_gradient(rows, columns, row_real, row_imag, column_real, column_imag, values, out):
    # rows (r, d), columns (s, d), row_real, row_imag, values (r,), column_real, column_imag (s,), out (r, d)
    # values_i = sum_s Re(row_i column_s exp(2 pi i <rows_i, columns_s>)), out_i = sum_s Re(i ...) columns_s; lanes are rows
    dim = rows.shape[1]
    for block in prange((rows.shape[0] + GRADIENT_LANES - 1) // GRADIENT_LANES):
        first, last = block * GRADIENT_LANES, min((block + 1) * GRADIENT_LANES, rows.shape[0])
        lanes = empty_aligned(dim * GRADIENT_LANES, rows).reshape(dim, GRADIENT_LANES)
        pack_lanes(rows, first, GRADIENT_LANES, lanes)
        real, imag = zeros_aligned(GRADIENT_LANES, rows), zeros_aligned(GRADIENT_LANES, rows)
        real[: last - first], imag[: last - first] = row_real[first:last], row_imag[first:last]
        waves = empty_aligned(GRADIENT_ROWS * GRADIENT_LANES, rows).reshape(GRADIENT_ROWS, GRADIENT_LANES)
        part = empty_aligned((dim + 1) * GRADIENT_LANES, rows).reshape(dim + 1, GRADIENT_LANES)  # the value comes last
        total = np.zeros((dim + 1, GRADIENT_LANES), np.float64)
        for start in range(0, columns.shape[0], ROWS):
            end = min(start + ROWS, columns.shape[0])
            part[:] = 0
            for low in range(start, end, GRADIENT_ROWS):
                high = min(low + GRADIENT_ROWS, end)
                tile, phases = columns[low:high], waves[: high - low]
                phases[:] = 0
                add_product(tile, lanes, phases)
                turn_waves(column_real[low:high], column_imag[low:high], real, imag, phases, part[dim])
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
def column_magnitudes(x, out):  # x (n, d), out (d,) float64: largest |x| of each column; False where x is not finite
    out[:] = 0
    finite = True
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            magnitude = abs(x[i, k])
            finite &= magnitude < np.inf
            out[k] = max(out[k], magnitude)
    return finite
