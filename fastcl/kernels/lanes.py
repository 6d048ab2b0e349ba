"""Arithmetic and loops on LLVM vectors, for inner loops with accumulators in registers.

LLVM did not keep a tile of accumulators in registers for any scalar loop that was tried, so these
loops are written in LLVM's vector types: one `Lanes` emits the instructions of one intrinsic. Each
intrinsic documents the plain loop that it is equal to; there, `lanes` is the number of lanes of a
vector.
"""

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.np.arrayobj import make_array

from .cache import cached_jit

# Multiplications and additions may fuse; nothing else may change, so that results are reproducible.
CONTRACT = {"contract", "nsz"}

jit = cached_jit(nogil=True, error_model="numpy", fastmath=CONTRACT)
# Not even multiplications and additions may fuse: other devices must reproduce the result.
jit_exact = cached_jit(nogil=True, error_model="numpy")

# What Numba compiles for: the host, unless NUMBA_CPU_NAME, NUMBA_CPU_FEATURES or NUMBA_ENABLE_AVX
# say otherwise.
CPU_FEATURES = (
    get_host_cpu_features() if numba.config.CPU_FEATURES is None else numba.config.CPU_FEATURES
)
# A tile of TILE_ROWS x TILE_VECTORS accumulators must fit the registers: 16 of 32 with AVX-512, 8
# of 16 without.
WIDE_REGISTERS = "+avx512f" in CPU_FEATURES.split(",")
VECTOR_BYTES = 64 if WIDE_REGISTERS else 32
TILE_ROWS = 4
TILE_VECTORS = 4 if WIDE_REGISTERS else 2

INDEX, POSITION = ir.IntType(64), ir.IntType(32)


class Lanes:
    """Emits instructions on vectors of the type `number` that fill a register, or on scalars."""

    def __init__(self, context, builder, number, scalar=False):
        self.context, self.builder, self.bytes = context, builder, number.bitwidth // 8
        self.count = 1 if scalar else VECTOR_BYTES // self.bytes
        self.number, self.bits = context.get_data_type(number), ir.IntType(number.bitwidth)
        self.type = self.number if scalar else ir.VectorType(self.number, self.count)
        self.bits_type = self.bits if scalar else ir.VectorType(self.bits, self.count)

    # ---- arithmetic ------------------------------------------------------------------------------

    def constant(self, value):
        """`value` in every lane."""
        return ir.Constant(self.type, value if self.count == 1 else [value] * self.count)

    def whole(self, value):
        """The integer `value` in every lane."""
        return ir.Constant(self.bits_type, value if self.count == 1 else [value] * self.count)

    def multiply(self, a, b):
        return self.builder.fmul(a, b, flags=("contract",))

    def multiply_add(self, a, b, c):
        """a b + c, fused where the processor can."""
        return self.builder.fadd(self.multiply(a, b), c, flags=("contract",))

    def polynomial(self, coefficients, u):
        """Values at each of the vectors `u`, interleaved; the lowest power comes first."""
        values = [self.constant(coefficients[-1])] * len(u)
        for coefficient in coefficients[-2::-1]:
            values = [
                self.multiply_add(value, ui, self.constant(coefficient))
                for value, ui in zip(values, u, strict=True)
            ]
        return values

    def lowest_bit_as_sign(self, a):
        """The lowest bit of a, moved to the place of the sign."""
        return self.builder.shl(
            self.builder.bitcast(a, self.bits_type), self.whole(self.bits.width - 1)
        )

    def flip_sign(self, a, sign):
        """a, negated in lanes where the highest bit of `sign` is set."""
        return self.builder.bitcast(
            self.builder.xor(self.builder.bitcast(a, self.bits_type), sign), self.type
        )

    def largest(self, bound, a):
        """The larger of `bound` and a; a if it is NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, bound), bound, a)

    def where_positive(self, a, b, c):
        """b in lanes where a > 0, c in the others."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, self.constant(0.0)), b, c)

    def total(self, a):
        """The sum of all lanes, as a scalar: one half is added to the other, repeatedly."""
        count, undefined = self.count, ir.Constant(self.type, ir.Undefined)
        while count > 1:
            count //= 2
            order = [count + lane if lane < count else 0 for lane in range(self.count)]
            mask = ir.Constant(ir.VectorType(POSITION, self.count), order)
            a = self.builder.fadd(a, self.builder.shuffle_vector(a, undefined, mask))
        return self.builder.extract_element(a, ir.Constant(POSITION, 0))

    def everywhere(self, number):
        """The scalar `number`, real or integer, in every lane."""
        undefined = ir.Constant(ir.VectorType(number.type, self.count), ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(POSITION, 0))
        mask = ir.Constant(ir.VectorType(POSITION, self.count), [0] * self.count)
        return self.builder.shuffle_vector(first, undefined, mask)

    # ---- memory: indices are LLVM integers, and no bounds are checked ----------------------------

    def index(self, value):
        return ir.Constant(INDEX, value)

    def plus(self, index, value):
        return self.builder.add(index, self.index(value))

    def array(self, array_type, value):
        return make_array(array_type)(self.context, self.builder, value)

    def length(self, array, axis, dimensions=2):
        return cgutils.unpack_tuple(self.builder, array.shape, dimensions)[axis]

    def address(self, array, *indices):
        """The address of one element, for any strides: `array` may be a transposed view."""
        strides = cgutils.unpack_tuple(self.builder, array.strides, len(indices))
        offset = self.index(0)
        for index, stride in zip(indices, strides, strict=True):
            offset = self.builder.add(offset, self.builder.mul(index, stride))
        return self.builder.gep(
            self.builder.bitcast(array.data, ir.IntType(8).as_pointer()), [offset]
        )

    def load(self, array, *indices):
        """The vector that starts at an element; the last axis is contiguous."""
        pointer = self.builder.bitcast(self.address(array, *indices), self.type.as_pointer())
        return self.builder.load(pointer, align=self.bytes)

    def store(self, value, array, *indices):
        pointer = self.builder.bitcast(self.address(array, *indices), self.type.as_pointer())
        self.builder.store(value, pointer, align=self.bytes)

    def load_everywhere(self, array, *indices):
        """One element of an array, in every lane."""
        pointer = self.builder.bitcast(self.address(array, *indices), self.number.as_pointer())
        return self.everywhere(self.builder.load(pointer))

    # ---- control ---------------------------------------------------------------------------------

    def loop(self, start, stop, step, carried, body):
        """The loop ``for i in range(start, stop, step): carried = body(i, carried)``.

        Returns the final `carried`, values that stay in registers as long as there are enough.
        """
        builder, entry = self.builder, self.builder.block
        inside, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", start, stop), inside, done)
        builder.position_at_end(inside)
        i, values = builder.phi(INDEX), [builder.phi(value.type) for value in carried]
        new = body(i, values)
        following, last = self.plus(i, step), builder.block
        builder.cbranch(builder.icmp_signed("<", following, stop), inside, done)
        for phi, first, then in zip(
            [i, *values], [start, *carried], [following, *new], strict=True
        ):
            phi.add_incoming(first, entry)
            phi.add_incoming(then, last)
        builder.position_at_end(done)
        results = [builder.phi(value.type) for value in carried]
        for phi, first, then in zip(results, carried, new, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(then, last)
        return results
