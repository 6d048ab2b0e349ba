"""Sine and cosine of a phase in turns, for vectors and scalars.

A phase t is reduced to at most a quarter of a turn: with q the multiple of 1/2 nearest to t, t - q
has the sine and cosine of t, with the opposite sign if 2 q is odd. On that range

    sin(2 pi t) = t S(t^2)  and  cos(2 pi t) = 1 + t^2 C(t^2)

with the polynomials S and C below, to within half a unit in the last place of 1. The coefficients
for float64 interpolate at the roots of Chebyshev polynomials, computed in 40 digits. Those for
float32 are minimax: they were rounded one by one, and the others fitted again after each.
"""

from numba import types
from numba.extending import intrinsic

from .lanes import Lanes

# Lowest power first.
SIN32 = (
    6.283185005187988,
    -41.34162139892578,
    81.59912109375,
    -76.51184844970703,
    39.2835807800293,
)
COS32 = (
    -19.739181518554688,
    64.9351577758789,
    -85.25199890136719,
    56.32207107543945,
)
SIN64 = (
    6.28318530717958,
    -41.34170224039507,
    81.60524927502428,
    -76.70585964731671,
    42.05868829941355,
    -15.094471491460052,
    3.816996093216836,
    -0.6909301861499394,
)
COS64 = (
    -19.73920880217871,
    64.9393940226647,
    -85.45681720605754,
    60.24464131730762,
    -26.426254193107656,
    7.903464682324647,
    -1.7132385195353788,
    0.272021802515473,
)


def emit_sincos(emit, turns, sine):
    """(signs, cosines, sines or None) of vectors in turns; the caller has to apply the signs.

    cos(2 pi t) = flip_sign(cosine, sign), and likewise for the sine.
    """
    single = emit.bytes == 4
    # Floating-point numbers of this size are 1/2 apart: adding the constant rounds to the nearest
    # multiple, and leaves the parity of 2 q in the last bit.
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
    """(sin(2 pi t), cos(2 pi t)) of a float32 or float64 t, to a few units in the last place."""

    def codegen(context, builder, signature, arguments):
        emit = Lanes(context, builder, signature.args[0], scalar=True)
        signs, cosines, sines = emit_sincos(emit, arguments, sine=True)
        pair = [emit.flip_sign(values[0], signs[0]) for values in (sines, cosines)]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(turns, 2)(turns), codegen
