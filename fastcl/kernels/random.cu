// Uniform points by the counter-based generator Philox4x32-10, bitwise identical to those of the
// Numba kernel.
//
// Twin of random.py. Nothing may fuse here: the product and the sum that make a coordinate are
// rounded one after the other.
#include "common.cuh"

struct Words {
    unsigned a, b, c, d;
};

__device__ __forceinline__ Words philox(Words counter, unsigned key, unsigned other_key) {
    constexpr unsigned FIRST = 0xD2511F53u, SECOND = 0xCD9E8D57u; // multipliers
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned low = FIRST * counter.a, high = __umulhi(FIRST, counter.a);
        const unsigned other_low = SECOND * counter.c, other_high = __umulhi(SECOND, counter.c);
        const unsigned a = other_high ^ counter.b ^ key, c = high ^ counter.d ^ other_key;
        counter = {a, other_low, c, low};
        key += 0x9E3779B9u;
        other_key += 0xBB67AE85u;
    }
    return counter;
}

// Uniform numbers in [0, 1): four of 24 bits, or two of 53.
__device__ __forceinline__ void uniform(Words w, float *u) {
    const float scale = 5.9604644775390625e-08f; // 2^-24
    u[0] = float(w.a >> 8) * scale, u[1] = float(w.b >> 8) * scale;
    u[2] = float(w.c >> 8) * scale, u[3] = float(w.d >> 8) * scale;
}
__device__ __forceinline__ void uniform(Words w, double *u) {
    const double scale = 1.1102230246251565e-16; // 2^-53
    u[0] = double((long long)(w.a >> 5) << 26 | w.b >> 6) * scale;
    u[1] = double((long long)(w.c >> 5) << 26 | w.d >> 6) * scale;
}

// low + side u, rounded after the product and after the sum.
__device__ __forceinline__ float place(float low, float side, float u) {
    return __fadd_rn(low, __fmul_rn(side, u));
}
__device__ __forceinline__ double place(double low, double side, double u) {
    return __dadd_rn(low, __dmul_rn(side, u));
}

// x_ik = low_k + side_k u_ik, u uniform in [0, 1)
//
// A thread makes the coordinates of one counter (i, k / COUNT, step, number).
template <typename T>
__global__ void __launch_bounds__(THREADS)
    uniform_points(const unsigned long long *__restrict__ key,  // (2,)
                   const unsigned long long *__restrict__ step, // (1,)
                   unsigned long long number,
                   const T *__restrict__ low,  // (d,)
                   const T *__restrict__ side, // (d,)
                   T *__restrict__ x,          // (n, d)
                   Index n, int d) {
    constexpr int COUNT = COUNTER_BYTES / sizeof(T); // coordinates of one counter
    const int counters = (d + COUNT - 1) / COUNT;
    const Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index i = thread / counters;
    const int b = int(thread % counters);
    if (i >= n) return;
    const Words counter = {unsigned(i), unsigned(b), unsigned(*step), unsigned(number)};
    T u[COUNT];
    uniform(philox(counter, unsigned(key[0]), unsigned(key[1])), u);
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
        const int k = b * COUNT + j;
        if (k < d) x[i * d + k] = place(low[k], side[k], u[j]);
    }
}
