"""Sums of complex exponentials with their gradient in one argument, for max-entropy priors.

Rows and columns are points and frequencies, or the other way round. There is no CUDA twin.
"""

import numpy as np

from .features import ROWS, pack_columns
from .lanes import jit
from .sincos import sincos_turns
from .threads import parallel, share
from .tile import add_product, empty_aligned, zeros_aligned

# The phases of a tile stay in the first-level cache.
BLOCK_WIDTH = 128  # rows per block
TILE_COLUMNS = 32  # columns per tile


@jit
def rotate(real, imag, row_real, row_imag, phases, value):
    # e_ij = column_i row_j exp(2 pi i phases_ij): value_j += sum_i Re e_ij, phases_ij = -Im e_ij
    # real, imag (t,) of the columns, row_real, row_imag, value (L,), phases (t, L) in turns
    for i in range(phases.shape[0]):
        a, b, line = real[i], imag[i], phases[i]
        for j in range(value.size):
            s, c = sincos_turns(line[j])
            p, q = a * c - b * s, a * s + b * c
            value[j] += row_real[j] * p - row_imag[j] * q
            line[j] = -row_real[j] * q - row_imag[j] * p


@parallel(jit, cost=lambda rows, columns, *_: len(rows) * (2 * columns.size + 15 * len(columns)))
def sum_gradient(tasks, rows, columns, row_real, row_imag, column_real, column_imag, values, out):
    # e_is = row_i column_s exp(2 pi i <rows_i, columns_s>)
    # values_i = sum_s Re e_is, out_i = sum_s Re(i e_is) columns_s
    # rows (r, d), columns (s, d), row_real, row_imag, values (r,), column_real, column_imag (s,),
    # out (r, d)
    dim = rows.shape[1]
    for block in share(tasks, (rows.shape[0] + BLOCK_WIDTH - 1) // BLOCK_WIDTH):
        first, last = block * BLOCK_WIDTH, min((block + 1) * BLOCK_WIDTH, rows.shape[0])
        packed = empty_aligned(dim * BLOCK_WIDTH, rows).reshape(dim, BLOCK_WIDTH)
        pack_columns(rows[first:], packed)
        real, imag = zeros_aligned(BLOCK_WIDTH, rows), zeros_aligned(BLOCK_WIDTH, rows)
        real[: last - first], imag[: last - first] = row_real[first:last], row_imag[first:last]
        buffer = empty_aligned(TILE_COLUMNS * BLOCK_WIDTH, rows).reshape(TILE_COLUMNS, BLOCK_WIDTH)
        # The gradient, and in the last row the value.
        part = empty_aligned((dim + 1) * BLOCK_WIDTH, rows).reshape(dim + 1, BLOCK_WIDTH)
        total = np.zeros((dim + 1, BLOCK_WIDTH), np.float64)
        for start in range(0, columns.shape[0], ROWS):
            end = min(start + ROWS, columns.shape[0])
            part[:] = 0
            for low in range(start, end, TILE_COLUMNS):
                high = min(low + TILE_COLUMNS, end)
                tile, phases = columns[low:high], buffer[: high - low]
                phases[:] = 0
                add_product(tile, packed, phases)
                rotate(column_real[low:high], column_imag[low:high], real, imag, phases, part[dim])
                add_product(tile.T, phases, part[:dim])
            for k in range(dim + 1):
                for j in range(BLOCK_WIDTH):
                    total[k, j] += part[k, j]
        for i in range(last - first):
            values[first + i] = total[dim, i]
            for k in range(dim):
                out[first + i, k] = total[k, i]
