// Sums of quantised features: integer levels of the cosine and the sine of a phase, by counting.
//
// Twin of quantised.py, which describes the counting. A thread keeps one frequency and takes GROUP
// points at once (groups.cuh). Frequencies, dither and phases are in the unit of sincos.cuh:
// radians in float32, turns in float64. Operations per pair in float32: 1.5 d + 6 for one bit, and
// 1.5 d + 12 for more, two of them special functions.
#include "groups.cuh"

// The low bits of a number slightly above 1.5 * 2^23 (float) or 1.5 * 2^52 (double), times a power
// of two: they count by how many multiples of that power the number is above.
__device__ __forceinline__ unsigned last_bits(float value) { return __float_as_uint(value); }
__device__ __forceinline__ unsigned last_bits(double value) {
    return unsigned(__double_as_longlong(value));
}

// The phase in turns, plus `more`.
__device__ __forceinline__ float turns_of(float phase, float more) {
    return fmaf(phase, Turn<float>::inverse, more);
}
__device__ __forceinline__ double turns_of(double phase, double more) { return phase + more; }

template <typename T, bool SIGNS> struct Counter;

// One bit: counts 2 for every cosine, or sine, below zero, which the quarter of the turn decides.
template <typename T> struct Counter<T, true> {
    static constexpr T rounder = T(1.5) * (sizeof(T) == 4 ? T(1 << 21) : T(1ll << 50));
    static constexpr T eighth = Turn<T>::value / 8;
    T start; // the value from which every phase is accumulated
    __device__ __forceinline__ Counter(T dither, T) : start(dither - eighth) {}
    __device__ __forceinline__ void count(T phase, unsigned &real, unsigned &imag) const {
        const unsigned quarter = last_bits(turns_of(phase, rounder));
        real += (quarter + 1) & 2;
        imag += quarter & 2;
    }
    __device__ __forceinline__ int levels(unsigned counted, int points) const {
        return points - int(counted);
    }
};

// More bits: counts floor(half cos) and floor(half sin), plus the bits of a constant each time.
template <typename T> struct Counter<T, false> {
    static constexpr T rounder = T(1.5) * (sizeof(T) == 4 ? T(1 << 23) : T(1ll << 52));
    // A cosine of 1, or slightly above by its error, must still fall into the highest level.
    static constexpr T below_one = 1 - (sizeof(T) == 4 ? T(1) / (1 << 20) : T(1) / (1ll << 50));
    T start, scale;
    __device__ __forceinline__ Counter(T dither, T half) : start(dither), scale(half * below_one) {}
    __device__ __forceinline__ void count(T phase, unsigned &real, unsigned &imag) const {
        T cosine, sine;
        cosine_and_sine(phase, cosine, sine);
        real += last_bits(fma(cosine, scale, T(-0.5)) + rounder);
        imag += last_bits(fma(sine, scale, T(-0.5)) + rounder);
    }
    __device__ __forceinline__ int levels(unsigned counted, int points) const {
        return 2 * int(counted - points * last_bits(rounder)) + points;
    }
};

// sum_i level(cos(<freqs_l, x_i> + dither_l)) - i level(sin(...)) over the rows i of a part, where
// level(c) = 2 floor(half c) + 1, or the sign of c for SIGNS.
template <typename T, bool SIGNS>
__global__ void __launch_bounds__(THREADS, 2)
    quantised_sum(const T *__restrict__ x,      // (n, d)
                  const T *__restrict__ freqs,  // (blocks, d + 1, block_width), the dither last
                  T half,                       // levels above zero; anything for SIGNS
                  Index part_rows,              // rows of x that one CUDA block adds
                  double *__restrict__ partial, // (parts, blocks, 2, block_width)
                  Index n, int blocks, int d, int block_width,
                  int rows) { // staged at once
    Group<T> *points = shared_memory<Group<T>>(); // (rows / GROUP, d)
    const int splits = block_width / blockDim.x, split = blockIdx.x % splits;
    const int block = blockIdx.x / splits % blocks;
    const Index part = blockIdx.x / splits / blocks;
    const Index first = part * part_rows, stop = min(first + part_rows, n);
    const int column = split * blockDim.x + threadIdx.x;
    freqs += Index(block) * (d + 1) * block_width + column;
    const Counter<T, SIGNS> counter(freqs[Index(d) * block_width], half);

    unsigned real_of_zero = 0, imag_of_zero = 0;
    counter.count(counter.start, real_of_zero, imag_of_zero);
    double real_total = 0, imag_total = 0;
    for (Index start = first; start < stop; start += rows) {
        const int count = int(min(Index(rows), stop - start));
        __syncthreads();
        stage_groups(points, x + start * d, count, d);
        __syncthreads();
        const int beyond = (GROUP - count % GROUP) % GROUP; // zeros that fill up the last group
        unsigned real = -beyond * real_of_zero, imag = -beyond * imag_of_zero;
        for (int i = 0; i < count; i += GROUP) {
            const Group<T> *group = points + i / GROUP * d;
            const Group<T> phases = phases_of(group, freqs, block_width, d, counter.start);
#pragma unroll
            for (int j = 0; j < GROUP; ++j) counter.count(phases.values[j], real, imag);
        }
        real_total += counter.levels(real, count);
        imag_total -= counter.levels(imag, count);
    }
    partial += (part * blocks + block) * 2 * block_width + column;
    partial[0] = real_total;
    partial[block_width] = imag_total;
}
