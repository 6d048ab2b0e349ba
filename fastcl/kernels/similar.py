"""Groups of similar patches, each denoised by a Gaussian that is fitted to its pilot estimate.

For a reference patch, the most similar patches near it are those that differ least in the pilot.
With the mean m and the covariance C of the group in the pilot, a noisy patch y of the group becomes
m + F (y - m), F = C (C + I)^-1, for noise with standard deviation one. A group may have fewer
patches than a patch has numbers, so that the inverse is that of a matrix between patches: with
centred patches P (g, s) of the pilot, F = P^T (P P^T + (g - 1) I)^-1 P.

The pilot has lost some of the signal. Noise alone would leave the energy N = g ||I - F||^2 in the
residual Y - Y F of a group, where Y = y - m. If there is more, E, the residual times 1 - N / E,
Wiener's factor, is added to the result.

Signals are flat, with up to three axes of `sizes`. A patch that starts at k has the samples at
k + offsets.

Letters in shapes: g patches of a group, padded to a multiple of BLOCK, s numbers in a patch, p and
w the numbers of columns s and g padded to a multiple of LANES.
"""

import numpy as np

from .nearest import COLUMNS, choose_least, patch_distances
from .threads import parallel, share
from .tile import add_product, jit, set_product, zeros_aligned, zeros_matrix

LANES = 16  # numbers in the widest vector
BLOCK = 8  # rows that are eliminated at a time


@jit
def invert_block(block, pivot):
    # The inverse of a positive definite block (BLOCK, BLOCK), in place; pivot (BLOCK,): scratch
    for k in range(BLOCK):
        scale = 1 / block[k, k]
        block[k, k] = 1
        for j in range(BLOCK):
            pivot[j] = block[k, j] * scale
            block[k, j] = 0
        for i in range(BLOCK):
            factor = block[i, k]
            block[i, k] = 0
            for j in range(BLOCK):
                block[i, j] -= factor * pivot[j]
        for j in range(BLOCK):
            block[k, j] = pivot[j]


@jit
def invert_in_place(matrix, rows, factors, block, pivot):
    # The inverse of a positive definite matrix: Gauss-Jordan elimination by blocks
    # matrix (g, w), rows (BLOCK, w), factors (g, BLOCK), block (BLOCK, BLOCK), pivot (BLOCK,)
    for first in range(0, matrix.shape[0], BLOCK):
        last = first + BLOCK
        for i in range(matrix.shape[0]):
            for j in range(BLOCK):
                factors[i, j] = -matrix[i, first + j]
                matrix[i, first + j] = 0
        for i in range(BLOCK):
            for j in range(BLOCK):
                block[i, j] = -factors[first + i, j]
                factors[first + i, j] = 0
            matrix[first + i, first + i] = 1
        invert_block(block, pivot)
        set_product(block, matrix[first:last], rows, 0)
        add_product(factors, rows, matrix)
        matrix[first:last] = rows


@jit
def sum_of_squares(matrix, rows, columns, sums):
    # Of the first rows and columns of a matrix; sums (columns or more,): scratch
    sums[:columns] = 0
    for i in range(rows):
        row = matrix[i]
        for j in range(columns):
            sums[j] += row[j] * row[j]
    total = sums.dtype.type(0)
    for j in range(columns):
        total += sums[j]
    return total


@jit
def denoise_group(noisy, centred, transposed, group, size, scratch, cross, mixed, sums, out):
    # out = Y F + gain (Y - Y F), F = P^T W P, W = (P P^T + c I)^-1, where c is g - 1 and a little
    # more, so that rounding does not make the matrix singular
    # noisy Y, which becomes Y - Y F, centred P, out (g, p), transposed P^T (s, w), cross, mixed
    # (g, w), of which the first `group` rows count: products always take all, and so have one
    # layout; of the columns of Y and P the first `size` count; scratch: the arguments of
    # invert_in_place
    matrix, patches = scratch[0], centred.shape[0]
    set_product(centred[:, :size], transposed, matrix, 0)
    trace = matrix.dtype.type(0)
    for i in range(group):
        trace += matrix[i, i]
    ridge = max(group - 1, 1) + 4 * np.finfo(matrix.dtype).eps * trace
    for i in range(patches):
        matrix[i, i] += ridge
    invert_in_place(*scratch)  # now W
    squares = sum_of_squares(matrix, group, group, sums)
    set_product(noisy[:, :size], transposed, cross, 0)
    set_product(cross[:, :patches], matrix, mixed, 0)
    set_product(mixed[:, :patches], centred, out, 0)
    for i in range(group):
        row, out_row = noisy[i], out[i]
        for s in range(size):
            row[s] -= out_row[s]
    residual = sum_of_squares(noisy, group, size, sums)
    # Noise alone would leave ||I - F||^2 in every patch
    of_noise = group * max(size - group + ridge * ridge * squares, 0)
    gain = 1 - of_noise / residual if residual > of_noise else matrix.dtype.type(0)
    for i in range(group):
        row, out_row = noisy[i], out[i]
        for s in range(size):
            out_row[s] += gain * row[s]


@jit
def nearby_rows(x, y, z, sizes, patch, half, starts):
    # Rows of patches at most `half` away from (x, y, z): (how many, how many patches in a row, the
    # number of the row with (x, y, z), and of the patch in it); starts: the first of each row
    count = own = 0
    first, last = max(z - half[2], 0), min(z + half[2], sizes[2] - patch[2])
    for i in range(max(x - half[0], 0), min(x + half[0], sizes[0] - patch[0]) + 1):
        for j in range(max(y - half[1], 0), min(y + half[1], sizes[1] - patch[1]) + 1):
            if i == x and j == y:
                own = count
            starts[count] = (i * sizes[1] + j) * sizes[2] + first
            count += 1
    return count, last - first + 1, own, z - first


@jit
def gather_group(noisy, pilot, places, offsets, y_rows, p_rows, transposed, mean):
    # The patches at `places`, minus their mean in the pilot; the rows of P beyond them are zero
    # y_rows, p_rows (g, p), transposed (s, w), mean (p,), of which the first s are set
    size = offsets.size
    mean[:] = 0
    for k in range(places.size):
        start, y_row, p_row = np.uint64(places[k]), y_rows[k], p_rows[k]
        for s in range(size):
            y_row[s] = noisy[start + offsets[s]]
            p_row[s] = pilot[start + offsets[s]]
        for s in range(size):
            mean[s] += p_row[s]
    for s in range(size):
        mean[s] /= places.size
    for k in range(places.size):
        y_row, p_row = y_rows[k], p_rows[k]
        for s in range(size):
            y_row[s] -= mean[s]
            p_row[s] -= mean[s]
        for s in range(size):
            transposed[s, k] = p_row[s]
    for k in range(places.size, len(p_rows)):
        for s in range(size):
            p_rows[k, s] = transposed[s, k] = 0


@jit
def similar_slab(
    noisy, pilot, xs, ys, zs, sizes, patch, half, group, offsets, skip, out_offsets, total, starts
):
    # Adds the denoised patches of the groups of all reference patches at (x, y, z) to `total`,
    # which starts `skip` samples after the signal, and one to `starts` where a patch starts
    # noisy, pilot, total (samples,), offsets, out_offsets (s,), starts (samples of one channel,)
    size = offsets.size
    padded = (size + LANES - 1) // LANES * LANES
    patches = (group + BLOCK - 1) // BLOCK * BLOCK
    width = (patches + LANES - 1) // LANES * LANES
    window = (2 * half[0] + 1) * (2 * half[1] + 1)
    row = min(2 * half[2] + 1, sizes[2] - patch[2] + 1)
    columns = (row + COLUMNS - 1) // COLUMNS * COLUMNS
    row_starts, chosen = np.empty(window, np.int64), np.empty(group, np.int64)
    distances = zeros_matrix(window, columns, noisy)
    values, mean = zeros_aligned(padded, noisy), zeros_aligned(padded, noisy)
    sums = zeros_aligned(max(padded, width), noisy)
    y_rows, p_rows = zeros_matrix(patches, padded, noisy), zeros_matrix(patches, padded, noisy)
    out, transposed = zeros_matrix(patches, padded, noisy), zeros_matrix(size, width, noisy)
    matrix, cross = zeros_matrix(patches, width, noisy), zeros_matrix(patches, width, noisy)
    mixed, rows = zeros_matrix(patches, width, noisy), zeros_matrix(BLOCK, width, noisy)
    factors = zeros_matrix(patches, BLOCK, noisy)
    block, pivot = zeros_matrix(BLOCK, BLOCK, noisy), zeros_aligned(BLOCK, noisy)
    scratch = (matrix, rows, factors, block, pivot)
    total[:] = 0
    starts[:] = 0
    for x in xs:
        for y in ys:
            for z in zs:
                count, row, own_row, own = nearby_rows(x, y, z, sizes, patch, half, row_starts)
                at = np.uint64((x * sizes[1] + y) * sizes[2] + z)
                for s in range(size):
                    values[s] = pilot[at + offsets[s]]
                patch_distances(pilot, row_starts[:count], row, offsets, values, distances[:count])
                found = choose_least(
                    distances[:count].reshape(-1), own_row * columns + own, count * row, chosen
                )
                for k in range(found):
                    place = chosen[k]
                    chosen[k] = row_starts[place // columns] + place % columns
                gather_group(
                    noisy, pilot, chosen[:found], offsets, y_rows, p_rows, transposed, mean
                )
                denoise_group(
                    y_rows, p_rows, transposed, found, size, scratch, cross, mixed, sums, out
                )
                for k in range(found):
                    start, out_row = np.uint64(chosen[k] - skip), out[k]
                    for s in range(size):
                        total[start + out_offsets[s]] += out_row[s] + mean[s]
                    starts[start] += 1


@parallel(jit, cost=lambda noisy, *_: 1e6 * noisy.size)
def denoise_similar(
    tasks, noisy, pilot, xs, ys, zs, sizes, patch, half, group, offsets, slab, out_offsets, total,
    starts,
):  # fmt: skip
    # Task k has the reference patches at xs[k * slab : (k + 1) * slab], or at those of zs if the
    # signal has that axis alone; its results begin at the first position that they can reach
    # noisy (samples,), pilot: the same with COLUMNS numbers to spare at the end, offsets,
    # out_offsets (s,) unsigned, xs, ys, zs (references,), total (tasks, samples of a slab),
    # starts (tasks, samples of a slab in one channel)
    of_last = sizes[0] == 1 and sizes[1] == 1
    for k in share(tasks, total.shape[0]):
        part = slice(k * slab, (k + 1) * slab)
        some_xs, some_zs = (xs, zs[part]) if of_last else (xs[part], zs)
        if of_last:
            skip = max(some_zs[0] - half[2], 0)
        else:
            skip = max(some_xs[0] - half[0], 0) * sizes[1] * sizes[2]
        similar_slab(
            noisy, pilot, some_xs, ys, some_zs, sizes, patch, half, group, offsets, skip,
            out_offsets, total[k], starts[k],
        )  # fmt: skip
