"""Mixtures of centred Gaussian scale mixtures: responsibilities, and posterior means under noise.

The noise is Gaussian. In the basis of a component, its covariance and that of the noise are both
diagonal at every scale: one change of basis per component serves all scales, and each scale then
needs only sums along the coordinates. The last t coordinates of a point, its tail, are independent
within a component, and need no change of basis. Arrays are padded with zero columns to a multiple
of LANES, so that the products have no ragged edge.

Letters in shapes: K components, J scales, d coordinates before the tail, p the same padded, q the
padded tail.
"""

import numpy as np

from .threads import parallel, share
from .tile import add_product, empty_aligned, jit

ROWS = 64  # rows of a block: their coordinates in every basis stay in the second-level cache
LANES = 16  # numbers in the widest vector
MOMENT_ROWS = 256  # rows whose moments are added in the working precision
MOMENT_PARTS = 8  # parts that the rows are divided into, which the threads share


@jit
def add_terms(coordinates, precisions, constants, squares, out):
    # out_ji = constants_j - sum_k precisions_jk coordinates_ik^2 / 2
    # coordinates (r, p), precisions (J, p), constants (J,), squares (p, ROWS): scratch,
    # out (J, ROWS)
    for i in range(coordinates.shape[0]):
        for k in range(coordinates.shape[1]):
            squares[k, i] = coordinates[i, k] * coordinates[i, k] * coordinates.dtype.type(-0.5)
    for j in range(constants.size):
        out[j] = constants[j]
    add_product(precisions, squares, out)


@jit
def split_rows(x, first, count, rows, squares):
    # The head of the points from `first` on in rows (r, d), their tail in squares (q, ROWS) as
    # -x_i^2 / 2
    for i in range(count):
        for c in range(rows.shape[1]):
            rows[i, c] = x[first + i, c]
        for c in range(rows.shape[1], x.shape[1]):
            value = x[first + i, c]
            squares[c - rows.shape[1], i] = value * value * x.dtype.type(-0.5)


@jit
def normalise_terms(terms, logs):
    # logs_i = log sum_kj exp(terms_kji), terms_kji = exp(terms_kji - logs_i)
    # terms (K, J, ROWS), logs (ROWS,)
    for i in range(logs.size):
        logs[i] = terms[0, 0, i]
    for k in range(terms.shape[0]):
        for j in range(terms.shape[1]):
            for i in range(logs.size):
                logs[i] = max(logs[i], terms[k, j, i])
    total = np.zeros_like(logs)
    for k in range(terms.shape[0]):
        for j in range(terms.shape[1]):
            for i in range(logs.size):
                terms[k, j, i] = np.exp(terms[k, j, i] - logs[i])
                total[i] += terms[k, j, i]
    for i in range(logs.size):
        logs[i] += np.log(total[i])
        total[i] = 1 / total[i]
    for k in range(terms.shape[0]):
        for j in range(terms.shape[1]):
            for i in range(logs.size):
                terms[k, j, i] *= total[i]


@parallel(jit, cost=lambda x, bases, precisions, *_: 2 * len(x) * (bases.size + precisions.size))
def mixture_responsibilities(
    tasks, x, bases, precisions, tail_precisions, constants, responsibilities, log_density
):
    # log_density_i = log sum_kj exp(l_kj), responsibilities_ikj = exp(l_kj - log_density_i), with
    # l_kj = constants_kj - sum_c precisions_kjc (head_i bases_k)_c^2 / 2
    #                     - sum_c tail_precisions_kjc tail_ic^2 / 2, x_i = (head_i, tail_i)
    # x (n, d + t), bases (K, d, p), precisions (K, J, p), tail_precisions (K, J, q),
    # constants (K, J), responsibilities (n, K, J), log_density (n,)
    components, scales, padded = precisions.shape
    dim, padded_tail = bases.shape[1], tail_precisions.shape[2]
    for block in share(tasks, (x.shape[0] + ROWS - 1) // ROWS):
        start, end = block * ROWS, min((block + 1) * ROWS, x.shape[0])
        rows = empty_aligned((end - start) * dim, x).reshape(end - start, dim)
        tail_squares = empty_aligned(padded_tail * ROWS, x).reshape(padded_tail, ROWS)
        tail_squares[:] = 0
        split_rows(x, start, end - start, rows, tail_squares)
        coordinates = empty_aligned(ROWS * padded, x).reshape(ROWS, padded)
        squares = empty_aligned(padded * ROWS, x).reshape(padded, ROWS)
        squares[:] = 0
        terms = empty_aligned(components * scales * ROWS, x).reshape(components, scales, ROWS)
        for k in range(components):
            coordinates[:] = 0
            add_product(rows, bases[k], coordinates[: end - start])
            add_terms(coordinates[: end - start], precisions[k], constants[k], squares, terms[k])
            if padded_tail > 0:
                add_product(tail_precisions[k], tail_squares, terms[k])
        logs = empty_aligned(ROWS, x)
        normalise_terms(terms, logs)
        for i in range(end - start):
            log_density[start + i] = logs[i]
            for k in range(components):
                for j in range(scales):
                    responsibilities[start + i, k, j] = terms[k, j, i]


@parallel(jit, cost=lambda x, bases, precisions, *_: 4 * len(x) * (bases.size + precisions.size))
def mixture_means(
    tasks, x, bases, precisions, tail_precisions, constants, gains, tail_gains, inverses, out
):
    # The head of out_i is sum_k (c_k * sum_j r_kj gains_kj) inverses_k, with c_k = head_i bases_k
    # and the responsibilities r_kj of x_i; its tail is tail_i * sum_kj r_kj tail_gains_kj
    # x (n, d + t), bases (K, d, p), precisions, gains (K, J, p), tail_precisions,
    # tail_gains (K, J, q), constants (K, J), inverses (K, p, p), out (n, d + t)
    components, scales, padded = precisions.shape
    dim, padded_tail = bases.shape[1], tail_precisions.shape[2]
    for block in share(tasks, (x.shape[0] + ROWS - 1) // ROWS):
        start, end = block * ROWS, min((block + 1) * ROWS, x.shape[0])
        count = end - start
        rows = empty_aligned(count * dim, x).reshape(count, dim)
        tail_squares = empty_aligned(padded_tail * ROWS, x).reshape(padded_tail, ROWS)
        tail_squares[:] = 0
        split_rows(x, start, count, rows, tail_squares)
        coordinates = empty_aligned(components * count * padded, x)
        coordinates = coordinates.reshape(components, count, padded)
        coordinates[:] = 0
        squares = empty_aligned(padded * ROWS, x).reshape(padded, ROWS)
        squares[:] = 0
        terms = empty_aligned(components * scales * ROWS, x).reshape(components, scales, ROWS)
        for k in range(components):
            add_product(rows, bases[k], coordinates[k])
            add_terms(coordinates[k], precisions[k], constants[k], squares, terms[k])
            if padded_tail > 0:
                add_product(tail_precisions[k], tail_squares, terms[k])
        normalise_terms(terms, empty_aligned(ROWS, x))
        shrinkage = empty_aligned(count * padded, x).reshape(count, padded)
        tail_shrinkage = empty_aligned(count * padded_tail, x).reshape(count, padded_tail)
        tail_shrinkage[:] = 0
        mean = empty_aligned(count * padded, x).reshape(count, padded)
        mean[:] = 0
        for k in range(components):
            shrinkage[:] = 0
            add_product(terms[k, :, :count].T, gains[k], shrinkage)
            if padded_tail > 0:
                add_product(terms[k, :, :count].T, tail_gains[k], tail_shrinkage)
            for i in range(count):
                for c in range(padded):
                    shrinkage[i, c] *= coordinates[k, i, c]
            add_product(shrinkage, inverses[k], mean)
        for i in range(count):
            for c in range(dim):
                out[start + i, c] = mean[i, c]
            for c in range(dim, out.shape[1]):
                out[start + i, c] = x[start + i, c] * tail_shrinkage[i, c - dim]


@parallel(jit, cost=lambda x, precision_weights, partial: x.size * x.shape[1] * len(partial))
def mixture_moments(tasks, x, precision_weights, partial):
    # sum_i precision_weights_ki x_i x_i^T over the rows i of a part
    # x (n, p), precision_weights (K, n), partial (K, parts, p, p) float64
    components, parts, padded = partial.shape[0], partial.shape[1], x.shape[1]
    part_rows = (x.shape[0] + parts - 1) // parts
    for task in share(tasks, components * parts):
        k, part = task // parts, task % parts
        scaled = empty_aligned(MOMENT_ROWS * padded, x).reshape(MOMENT_ROWS, padded)
        product = empty_aligned(padded * padded, x).reshape(padded, padded)
        total = partial[k, part]
        total[:] = 0
        stop = min((part + 1) * part_rows, x.shape[0])
        for start in range(part * part_rows, stop, MOMENT_ROWS):
            end = min(start + MOMENT_ROWS, stop)
            for i in range(end - start):
                for c in range(padded):
                    scaled[i, c] = precision_weights[k, start + i] * x[start + i, c]
            product[:] = 0
            add_product(scaled[: end - start].T, x[start:end], product)
            for i in range(padded):
                for c in range(padded):
                    total[i, c] += product[i, c]
