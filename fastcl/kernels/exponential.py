"""The exponential of a number, for vectors.

With n the integer nearest to x / log 2 and r = x - n log 2, exp(x) = 2^n exp(r), and |r| is at most
log(2) / 2, where a Taylor polynomial is right to an ulp: of degree 6 for float32, 12 for float64.
"""

import math

from numba import types
from numba.extending import intrinsic

from .lanes import Lanes

VECTORS = 4  # that are worked on at a time, to hide the latency of the arithmetic
DEGREES = {4: 6, 8: 12}  # by the bytes of a number
# Up to this argument, the exponential counts as zero: it would be denormal.
MIN_ARGUMENT = {4: -87.33654475, 8: -708.3964185322641}
# log 2 in two parts, of which the first has few enough digits that n times it is exact.
LOG2_HIGH = {4: 0.693359375, 8: 0.6931471803691238}
LOG2_LOW = {4: -2.1219444005469058e-4, 8: 1.9082149292705877e-10}
MANTISSA = {4: 23, 8: 52}
BIAS = {4: 127, 8: 1023}


def emit_exponentials(emit, x):
    """exp of the vectors x, none of them large: zero up to MIN_ARGUMENT and for NaN."""
    builder, size = emit.builder, emit.bytes
    # Numbers of this size are 1 apart: adding the constant rounds to the nearest integer, which is
    # then in the last bits.
    rounder = emit.constant(1.5 * 2.0 ** MANTISSA[size])
    shifted = [emit.multiply_add(xi, emit.constant(1 / math.log(2)), rounder) for xi in x]
    n = [builder.fsub(s, rounder) for s in shifted]
    rest = x
    for part in (LOG2_HIGH[size], LOG2_LOW[size]):
        rest = [
            emit.multiply_add(ni, emit.constant(-part), r) for ni, r in zip(n, rest, strict=True)
        ]
    taylor = tuple(1 / math.factorial(power) for power in range(DEGREES[size] + 1))
    values = emit.polynomial(taylor, rest)
    results = []
    for xi, s, value in zip(x, shifted, values, strict=True):
        # The exponent of 2^n is n + BIAS, of which the last bits alone are left by the shift.
        exponent = builder.add(builder.bitcast(s, emit.bits_type), emit.whole(BIAS[size]))
        power = builder.bitcast(builder.shl(exponent, emit.whole(MANTISSA[size])), emit.type)
        kept = builder.fcmp_ordered(">", xi, emit.constant(MIN_ARGUMENT[size]))
        product = emit.multiply(value, power)
        results.append(builder.select(kept, product, emit.constant(0.0)))
    return results


@intrinsic
def exponentiate_row(typingctx, rows, i, shifts, totals):
    """exp(rows_i - shifts) in place, added to `totals`.

    It is the loop

        for c in range(columns):
            rows[i, c] = exp(rows[i, c] - shifts[c])
            totals[c] += rows[i, c]

    for rows (r, columns), shifts and totals (columns,), with whole groups of VECTORS vectors, where
    no difference is above zero.
    """

    def codegen(context, builder, signature, arguments):
        emit = Lanes(context, builder, signature.args[0].dtype)
        rows = emit.array(signature.args[0], arguments[0])
        shifts, totals = (emit.array(signature.args[k], arguments[k]) for k in (2, 3))

        def body(c, carried):
            columns = [emit.plus(c, v * emit.count) for v in range(VECTORS)]
            x = [
                builder.fsub(emit.load(rows, arguments[1], column), emit.load(shifts, column))
                for column in columns
            ]
            for column, value in zip(columns, emit_exponentials(emit, x), strict=True):
                emit.store(value, rows, arguments[1], column)
                emit.store(builder.fadd(emit.load(totals, column), value), totals, column)
            return carried

        step = VECTORS * emit.count
        emit.loop(emit.index(0), emit.length(rows, 1), step, [], body)
        return context.get_dummy_value()

    return types.none(rows, types.intp, shifts, totals), codegen
