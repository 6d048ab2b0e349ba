"""The patches of a signal that are nearest to a reference patch.

Candidates come in rows of neighbours, whose distances are padded to whole vectors with infinities.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .lanes import INDEX, VECTOR_BYTES, Lanes, jit

HEIGHT = 4  # rows whose distances are summed at a time, one vector of each
COLUMNS = 16  # numbers in the widest vector: rows are padded to a multiple
MAX_DISTANCE = 1e38  # distance of patches that count as similar at all
BISECTIONS = 40  # steps of the bisection for the largest distance in a group


def make_distance_tile(height):
    """An intrinsic f(signal, starts, offsets, values, sums, i, c): squared distances of patches.

    For `height` rows r from i on and a vector of columns k from c on, it is the loop

        sums[r, k] = sum((signal[starts[r] + k + offsets[s]] - values[s]) ** 2 for all s)

    No bounds are checked.
    """

    @intrinsic
    def distance_tile(typingctx, signal, starts, offsets, values, sums, i, c):
        def codegen(context, builder, signature, arguments):
            emit = Lanes(context, builder, signature.args[0].dtype)
            signal, starts, offsets, values, sums = (
                emit.array(*pair) for pair in zip(signature.args[:5], arguments[:5], strict=True)
            )

            def position(array, index):
                pointer = builder.bitcast(emit.address(array, index), INDEX.as_pointer())
                return builder.load(pointer)

            rows = [emit.plus(arguments[5], r) for r in range(height)]
            firsts = [builder.add(position(starts, row), arguments[6]) for row in rows]

            def add_square(s, totals):
                offset, value = position(offsets, s), emit.load_everywhere(values, s)
                near = [emit.load(signal, builder.add(first, offset)) for first in firsts]
                differences = [builder.fsub(each, value) for each in near]
                return [
                    emit.multiply_add(difference, difference, total)
                    for difference, total in zip(differences, totals, strict=True)
                ]

            count, zeros = emit.length(offsets, 0, dimensions=1), [emit.constant(0.0)] * height
            totals = emit.loop(emit.index(0), count, 1, zeros, add_square)
            for row, total in zip(rows, totals, strict=True):
                emit.store(total, sums, row, arguments[6])
            return context.get_dummy_value()

        arguments = (signal, starts, offsets, values, sums, types.intp, types.intp)
        return types.none(*arguments), codegen

    return distance_tile


distance_tile = make_distance_tile(HEIGHT)
distance_tile_row = make_distance_tile(1)


@jit
def patch_distances(signal, starts, row, offsets, values, distances):
    # distances_rk = sum_s (signal[starts_r + k + offsets_s] - values_s)^2 for k < `row`, else inf
    # signal: with COLUMNS numbers to spare at the end, starts (r,), offsets, values (s,),
    # distances (r, c), c a multiple of COLUMNS
    full = starts.size - starts.size % HEIGHT
    for c in range(0, row, VECTOR_BYTES // signal.itemsize):
        for i in range(0, full, HEIGHT):
            distance_tile(signal, starts, offsets, values, distances, i, c)
        for i in range(full, starts.size):
            distance_tile_row(signal, starts, offsets, values, distances, i, c)
    for i in range(starts.size):
        for k in range(row, distances.shape[1]):
            distances[i, k] = np.inf


@intrinsic
def count_up_to(typingctx, numbers, bound):
    """How many of `numbers` (n,), whole vectors, are at most `bound`."""

    def codegen(context, builder, signature, arguments):
        emit = Lanes(context, builder, signature.args[0].dtype)
        numbers, bound = emit.array(signature.args[0], arguments[0]), emit.everywhere(arguments[1])

        def body(k, counts):
            below = builder.fcmp_ordered("<=", emit.load(numbers, k), bound)
            bits = builder.ctpop(builder.bitcast(below, ir.IntType(emit.count)))
            return [builder.add(counts[0], builder.zext(bits, INDEX))]

        length = emit.length(numbers, 0, dimensions=1)
        return emit.loop(emit.index(0), length, emit.count, [emit.index(0)], body)[0]

    return types.intp(numbers, numbers.dtype), codegen


@jit
def choose_least(distances, own, count, chosen):
    # Indices of the `chosen.size` least of `distances` (n,), whole vectors, `own` among them;
    # returns how many there are. `count` distances are finite, unless they overflow.
    wanted = min(chosen.size, count)
    distances[own] = -1
    kind = distances.dtype.type  # of the bounds, too: otherwise the compiler takes wider ones
    low, high = kind(-1), kind(1)
    if wanted == count:
        low = high = kind(MAX_DISTANCE)
    while low < high < kind(MAX_DISTANCE) and count_up_to(distances, high) < wanted:
        low, high = high, kind(min(4 * high, kind(MAX_DISTANCE)))
    for _ in range(BISECTIONS if low < high else 0):
        middle = kind((low + high) / 2)
        below = count_up_to(distances, middle)
        if below < wanted:
            low = middle
        else:
            high = middle
            if below == wanted:
                break
    left = wanted - count_up_to(distances, low)  # for distances between low and high, nearly equal
    found = 0
    for k in range(distances.size):
        if distances[k] <= low or (distances[k] <= high and left > 0):
            left -= distances[k] > low
            chosen[found] = k
            found += 1
    return found
