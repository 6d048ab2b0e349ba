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

Letters in shapes: g patches of a group, padded to a multiple of BLOCK, s numbers in a patch, p the
same padded to a multiple of LANES, w >= 3 g columns of a system, also a multiple of LANES.
"""

import numpy as np

from .threads import parallel, share
from .tile import add_product, jit

LANES = 16  # numbers in the widest vector
BLOCK = 8  # rows that are eliminated at a time
BISECTIONS = 40  # of the distance that the most similar patches have at most


@jit
def patch_distances(pilot, at, places, row, offsets, sums, distances):
    # distances_k = sum_s (pilot[places_k + offsets_s] - pilot[at + offsets_s])^2, for places that
    # come in rows of `row` neighbours
    # places, distances (places,), offsets (s,), sums: a row for each, padded to a multiple of LANES
    rows = places.size // row
    padded = (row + LANES - 1) // LANES * LANES
    sums[:rows] = 0
    for s in range(offsets.size):
        value = pilot[at + offsets[s]]
        for i in range(rows):
            start = places[i * row] + offsets[s]
            near, row_sums = pilot[start : start + padded], sums[i]
            for k in range(near.size):  # fewer than `padded` at the end of the pilot
                difference = near[k] - value
                row_sums[k] += difference * difference
    for i in range(rows):
        for k in range(row):
            distances[i * row + k] = sums[i, k]


@jit
def choose_least(distances, own, chosen):
    # Indices of the `chosen.size` least distances, `own` among them; returns how many there are
    count = distances.size
    if count <= chosen.size:
        for k in range(count):
            chosen[k] = k
        return count
    distances[own] = -1
    low, high = distances.dtype.type(-1), distances.dtype.type(0)
    for k in range(count):
        high = max(high, distances[k])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = 0
        for k in range(count):
            below += distances[k] <= middle
        if below < chosen.size:
            low = middle
        else:
            high = middle
            if below == chosen.size:
                break
    left = chosen.size - 1  # places for distances between low and high, which are nearly equal
    for k in range(count):
        left -= distances[k] <= low and k != own
    found = 0
    for k in range(count):
        if k == own or distances[k] <= low or (distances[k] <= high and left > 0):
            left -= distances[k] > low
            chosen[found] = k
            found += 1
    return found


@jit
def invert_block(block, inverse):
    # inverse = block^-1 for a positive definite block (BLOCK, BLOCK), which is lost
    for i in range(BLOCK):
        for j in range(BLOCK):
            inverse[i, j] = i == j
    for k in range(BLOCK):
        scale = 1 / block[k, k]
        for j in range(BLOCK):
            block[k, j] *= scale
            inverse[k, j] *= scale
        for i in range(BLOCK):
            factor = block[i, k]
            if i != k:
                for j in range(BLOCK):
                    block[i, j] -= factor * block[k, j]
                    inverse[i, j] -= factor * inverse[k, j]


@jit
def solve_in_place(system, rows, factors, block, inverse):
    # right = left^-1 right for a positive definite left: Gauss-Jordan elimination by blocks
    # system (g, w): left (g, g), then right; rows (BLOCK, w), factors (g, BLOCK), block and inverse
    # (BLOCK, BLOCK)
    for first in range(0, system.shape[0], BLOCK):
        last = first + BLOCK
        for i in range(system.shape[0]):
            for j in range(BLOCK):
                factors[i, j] = -system[i, first + j]
        for i in range(BLOCK):
            for j in range(BLOCK):
                block[i, j] = system[first + i, first + j]
                factors[first + i, j] = 0
        invert_block(block, inverse)
        rows[:] = 0
        add_product(inverse, system[first:last], rows)
        add_product(factors, rows, system)
        system[first:last] = rows


@jit
def denoise_group(noisy, centred, transposed, group, size, scratch, products, out):
    # out = Y F + gain (Y - Y F), F = P^T W P, W = (P P^T + c I)^-1, where c is g - 1 and a little
    # more, so that rounding does not make the matrix singular
    # noisy Y, centred P, out (g, p), transposed (p, g), products (g, g), of which the first `group`
    # rows count: products always take all, and so have one layout; of the columns of Y and P the
    # first `size` count; scratch: the arguments of solve_in_place
    system, patches = scratch[0], centred.shape[0]
    for k in range(patches):
        for s in range(centred.shape[1]):
            if k >= group:
                centred[k, s] = 0
            transposed[s, k] = centred[k, s]
    products[:] = 0
    add_product(centred, transposed, products)
    trace = system.dtype.type(0)
    for i in range(group):
        trace += products[i, i]
    ridge = max(group - 1, 1) + 4 * np.finfo(system.dtype).eps * trace
    for i in range(patches):
        for j in range(patches):
            system[i, j] = products[i, j]
            system[i, 2 * patches + j] = i == j
        system[i, i] += ridge
    products[:] = 0
    add_product(noisy, transposed, products)
    for i in range(patches):
        for j in range(patches):
            system[j, patches + i] = products[i, j] if i < group else 0
    solve_in_place(*scratch)  # now W P Y^T, and W
    squares = system.dtype.type(0)
    for i in range(group):
        for j in range(group):
            squares += system[i, 2 * patches + j] ** 2
    for i in range(patches):
        for j in range(patches):
            products[j, i] = system[i, patches + j]
    out[:] = 0
    add_product(products, centred, out)
    residual = system.dtype.type(0)
    for i in range(group):
        for s in range(size):
            residual += (noisy[i, s] - out[i, s]) ** 2
    # Noise alone would leave ||I - F||^2 in every patch
    of_noise = group * max(size - group + ridge * ridge * squares, 0)
    gain = 1 - of_noise / residual if residual > of_noise else system.dtype.type(0)
    for i in range(group):
        for s in range(size):
            out[i, s] += gain * (noisy[i, s] - out[i, s])


@jit
def nearby_places(x, y, z, sizes, patch, half, places):
    # Starts of the patches at most `half` away from (x, y, z), in order: (how many, how many of
    # them are neighbours in a row, the number of the one at (x, y, z))
    count = own = 0
    first, last = max(z - half[2], 0), min(z + half[2], sizes[2] - patch[2])
    for i in range(max(x - half[0], 0), min(x + half[0], sizes[0] - patch[0]) + 1):
        for j in range(max(y - half[1], 0), min(y + half[1], sizes[1] - patch[1]) + 1):
            if i == x and j == y:
                own = count + z - first
            for k in range(first, last + 1):
                places[count] = (i * sizes[1] + j) * sizes[2] + k
                count += 1
    return count, last - first + 1, own


@jit
def similar_slab(
    noisy, pilot, xs, ys, zs, sizes, patch, half, group, offsets, skip, out_offsets, total, weights
):
    # Adds the denoised patches of the groups of all reference patches at (x, y, z) to `total`,
    # which starts `skip` samples after the signal, and their number to `weights`
    # noisy, pilot, total (samples,), offsets, out_offsets (s,), weights (samples of one channel,)
    row = min(2 * half[2] + 1, sizes[2] - patch[2] + 1)
    window = (2 * half[0] + 1) * (2 * half[1] + 1) * row
    size = offsets.size
    own_size = patch[0] * patch[1] * patch[2]
    dtype = noisy.dtype
    padded = (size + LANES - 1) // LANES * LANES
    patches = (group + BLOCK - 1) // BLOCK * BLOCK
    width = (3 * patches + LANES - 1) // LANES * LANES
    places, chosen = np.empty(window, np.int64), np.empty(group, np.int64)
    sums = np.empty((window // row, (row + LANES - 1) // LANES * LANES), dtype)
    distances, mean = np.empty(window, dtype), np.empty(size, dtype)
    y_rows, p_rows = np.zeros((patches, padded), dtype), np.zeros((patches, padded), dtype)
    transposed = np.empty((padded, patches), dtype)
    system, rows = np.zeros((patches, width), dtype), np.empty((BLOCK, width), dtype)
    factors = np.empty((patches, BLOCK), dtype)
    block, inverse = np.empty((BLOCK, BLOCK), dtype), np.empty((BLOCK, BLOCK), dtype)
    scratch = (system, rows, factors, block, inverse)
    products = np.empty((patches, patches), dtype)
    out = np.empty((patches, padded), dtype)
    total[:] = 0
    weights[:] = 0
    for x in xs:
        for y in ys:
            for z in zs:
                count, row, own = nearby_places(x, y, z, sizes, patch, half, places)
                at = (x * sizes[1] + y) * sizes[2] + z
                patch_distances(pilot, at, places[:count], row, offsets, sums, distances[:count])
                found = choose_least(distances[:count], own, chosen)
                mean[:] = 0
                for k in range(found):
                    start = places[chosen[k]]
                    for s in range(size):
                        y_rows[k, s] = noisy[start + offsets[s]]
                        p_rows[k, s] = pilot[start + offsets[s]]
                        mean[s] += p_rows[k, s]
                for s in range(size):
                    mean[s] /= found
                for k in range(found):
                    for s in range(size):
                        y_rows[k, s] -= mean[s]
                        p_rows[k, s] -= mean[s]
                denoise_group(y_rows, p_rows, transposed, found, size, scratch, products, out)
                for k in range(found):
                    start = places[chosen[k]] - skip
                    for s in range(size):
                        total[start + out_offsets[s]] += out[k, s] + mean[s]
                    for s in range(own_size):
                        weights[start + out_offsets[s]] += 1


@parallel(jit, cost=lambda noisy, *_: 1e6 * noisy.size)
def denoise_similar(
    tasks, noisy, pilot, xs, ys, zs, sizes, patch, half, group, offsets, slab, out_offsets, total,
    weights,
):  # fmt: skip
    # Task k has the reference patches at xs[k * slab : (k + 1) * slab], or at those of zs if the
    # signal has that axis alone; its results begin at the first position that they can reach
    # noisy, pilot (samples,), xs, ys, zs (references,), total (tasks, samples of a slab),
    # weights (tasks, samples of a slab in one channel)
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
            out_offsets, total[k], weights[k],
        )  # fmt: skip
