"""Mixtures of centred Gaussian scale mixtures: responsibilities, and posterior means under noise.

The noise is Gaussian. In the basis of a component, its covariance and that of the noise are both
diagonal at every scale: one change of basis per component serves all scales, and each scale then
needs only sums along the coordinates. The last t coordinates of a point, its tail, are independent
within a component, and need no change of basis. Points are columns of ROWS neighbours, along which
the vectors run. Arrays come padded with zero columns to a multiple of LANES.

Letters in shapes: K components, J scales, d coordinates before the tail, p the same padded, q the
padded tail, c columns.
"""

import numpy as np

from .exponential import exponentiate_row
from .lanes import TILE_ROWS
from .threads import parallel, share
from .tile import add_product, empty_aligned, empty_matrix, jit, set_product

ROWS = 128
LANES = 16  # numbers in the widest vector
MOMENT_ROWS = 256  # rows whose moments are added in the working precision
MOMENT_PARTS = 8  # parts that the rows are divided into, which the threads share


@jit
def load_columns(x, first, count, points):
    # points = x[first : first + count].T, and zeros beside it
    # x (n, d + t), points (d + t, ROWS)
    for i in range(count):
        for c in range(x.shape[1]):
            points[c, i] = x[first + i, c]
    points[:, count:] = 0


@jit
def component_terms(points, basis, precisions, tail_precisions, constants, scratch, terms):
    # terms_ji = constants_j - sum_c precisions_jc (head_i basis)_c^2 / 2
    #                        - sum_c tail_precisions_jc tail_ic^2 / 2, point i = (head_i, tail_i)
    # points (d + t, ROWS), basis (d, p), precisions (J, p), tail_precisions (J, q),
    # constants (J,), terms (J, ROWS), scratch: the results coordinates = (head_i basis)^T and their
    # squares (u, ROWS), and those of the tail (t, ROWS), which are given; all squares times -1 / 2
    coordinates, squares, tail_squares = scratch
    used, dim, tail = coordinates.shape[0], basis.shape[0], tail_squares.shape[0]
    set_product(basis.T[:used], points[:dim], coordinates, 0)
    for c in range(used):
        row, square_row = coordinates[c], squares[c]
        for i in range(row.size):
            square_row[i] = row[i] * row[i] * row.dtype.type(-0.5)
    for j in range(constants.size):
        terms[j] = constants[j]
    add_product(precisions[:, :used], squares, terms)
    if tail > 0:
        add_product(tail_precisions[:, :tail], tail_squares, terms)


@jit
def raise_to_largest(terms, logs):
    # logs_i = max(logs_i, max_j terms_ji)
    for j in range(terms.shape[0]):
        row = terms[j]
        for i in range(logs.size):
            logs[i] = row[i] if row[i] > logs[i] else logs[i]


@jit
def make_scratch(points, dim):
    # The scratch of component_terms, for d = dim
    used = (dim + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS  # whole tiles, at most p
    coordinates, squares = empty_matrix(used, ROWS, points), empty_matrix(used, ROWS, points)
    tail_squares = empty_matrix(points.shape[0] - dim, ROWS, points)
    for c in range(tail_squares.shape[0]):
        for i in range(ROWS):
            tail_squares[c, i] = points[dim + c, i] ** 2 * points.dtype.type(-0.5)
    return coordinates, squares, tail_squares


@parallel(jit, cost=lambda x, bases, precisions, *_: 2 * len(x) * (bases.size + precisions.size))
def mixture_responsibilities(
    tasks, x, bases, precisions, tail_precisions, constants, responsibilities, log_density
):
    # log_density_i = log sum_kj exp(l_kji), responsibilities_ikj = exp(l_kji - log_density_i), with
    # l_kji the terms of component k
    # x (n, d + t), bases (K, d, p), precisions (K, J, p), tail_precisions (K, J, q),
    # constants (K, J), responsibilities (n, K, J), log_density (n,)
    components, scales = constants.shape
    for block in share(tasks, (x.shape[0] + ROWS - 1) // ROWS):
        start, count = block * ROWS, min(ROWS, x.shape[0] - block * ROWS)
        points = empty_matrix(x.shape[1], ROWS, x)
        load_columns(x, start, count, points)
        scratch = make_scratch(points, bases.shape[1])
        terms = empty_aligned(components * scales * ROWS, x).reshape(components, scales, ROWS)
        logs, totals = empty_aligned(ROWS, x), empty_aligned(ROWS, x)
        logs[:] = -np.inf
        totals[:] = 0
        for k in range(components):
            component_terms(
                points, bases[k], precisions[k], tail_precisions[k], constants[k], scratch, terms[k]
            )
            raise_to_largest(terms[k], logs)
        for k in range(components):
            for j in range(scales):
                exponentiate_row(terms[k], j, logs, totals)
        for i in range(count):
            log_density[start + i] = logs[i] + np.log(totals[i])
            totals[i] = 1 / totals[i]
        for k in range(components):
            for j in range(scales):
                for i in range(count):
                    responsibilities[start + i, k, j] = terms[k, j, i] * totals[i]


@jit
def rescale(means, factors):
    # means_ci *= factors_i; most components change no largest term, and all factors are one
    least = factors[0]
    for i in range(factors.size):
        least = factors[i] if factors[i] < least else least
    if least == 1:
        return
    for c in range(means.shape[0]):
        row = means[c]
        for i in range(row.size):
            row[i] *= factors[i]


@parallel(jit, cost=lambda x, bases, precisions, *_: 4 * len(x) * (bases.size + precisions.size))
def mixture_means(
    tasks, x, bases, precisions, tail_precisions, constants, gains, tail_gains, inverses, out
):
    # The head of out_i is sum_k (c_k * sum_j r_kj gains_kj) inverses_k, with c_k = head_i bases_k
    # and the responsibilities r_kj of x_i; its tail is tail_i * sum_kj r_kj tail_gains_kj. Sums are
    # kept relative to the largest term so far, and rescaled when a larger one comes.
    # x (n, d + t), bases (K, d, p), precisions, gains (K, J, p), tail_precisions,
    # tail_gains (K, J, q), constants (K, J), inverses (K, p, p), out (n, d + t)
    components, scales = constants.shape
    dim, tail = bases.shape[1], x.shape[1] - bases.shape[1]
    for block in share(tasks, (x.shape[0] + ROWS - 1) // ROWS):
        start, count = block * ROWS, min(ROWS, x.shape[0] - block * ROWS)
        points = empty_matrix(x.shape[1], ROWS, x)
        load_columns(x, start, count, points)
        scratch = make_scratch(points, dim)
        coordinates = scratch[0]
        used = coordinates.shape[0]
        terms, gain = empty_matrix(scales, ROWS, x), empty_matrix(used, ROWS, x)
        means, tail_gain = empty_matrix(used, ROWS, x), empty_matrix(tail, ROWS, x)
        logs, totals = empty_aligned(ROWS, x), empty_aligned(ROWS, x)
        factors, unused = empty_matrix(1, ROWS, x), empty_aligned(ROWS, x)
        logs[:] = -np.inf
        totals[:] = 0
        means[:] = 0
        tail_gain[:] = 0
        unused[:] = 0
        for k in range(components):
            component_terms(
                points, bases[k], precisions[k], tail_precisions[k], constants[k], scratch, terms
            )
            factors[0] = logs
            raise_to_largest(terms, logs)
            exponentiate_row(factors, 0, logs, unused)
            rescale(means, factors[0])
            rescale(tail_gain, factors[0])
            for i in range(ROWS):
                totals[i] *= factors[0, i]
            for j in range(scales):
                exponentiate_row(terms, j, logs, totals)
            set_product(gains[k].T[:used], terms, gain, 0)
            for c in range(used):
                row, gain_row = coordinates[c], gain[c]
                for i in range(ROWS):
                    row[i] *= gain_row[i]
            add_product(inverses[k].T[:used, :used], coordinates, means)
            if tail > 0:
                add_product(tail_gains[k].T[:tail], terms, tail_gain)
        for i in range(count):
            factor = 1 / totals[i]
            for c in range(dim):
                out[start + i, c] = means[c, i] * factor
            for c in range(tail):
                out[start + i, dim + c] = points[dim + c, i] * (tail_gain[c, i] * factor)


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
