// Uniform points by the counter-based generator Philox4x32-10: the bits of the Numba kernel.
//
// Twin of random.py.  Nothing here may fuse: the products and sums that make a point round one by one.
#include "common.cuh"

struct Words {
    unsigned a, b, c, d;
};

__device__ __forceinline__ Words philox(Words counter, unsigned key, unsigned other_key) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned low = 0xD2511F53u * counter.a, high = __umulhi(0xD2511F53u, counter.a);
        const unsigned other_low = 0xCD9E8D57u * counter.c, other_high = __umulhi(0xCD9E8D57u, counter.c);
        counter = {other_high ^ counter.b ^ key, other_low, high ^ counter.d ^ other_key, low};
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

__device__ __forceinline__ float place(float low, float side, float u) { return __fadd_rn(low, __fmul_rn(side, u)); }
__device__ __forceinline__ double place(double low, double side, double u) { return __dadd_rn(low, __dmul_rn(side, u)); }

// One thread makes the coordinates of one counter; rows `per_set` and on belong to the next number, from index 0 again.
template <typename T>
__global__ void __launch_bounds__(256) uniform_points(const unsigned long long *__restrict__ key,  // (2,)
                                                      const unsigned long long *__restrict__ step, // (1,)
                                                      unsigned long long number,
                                                      const T *__restrict__ low,  // (d,)
                                                      const T *__restrict__ side, // (d,)
                                                      T *__restrict__ x,          // (n, d)
                                                      Index n, int d, Index per_set) {
    constexpr int COUNT = 16 / sizeof(T); // coordinates of one counter
    const int counters = (d + COUNT - 1) / COUNT;
    const Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index i = thread / counters;
    const int b = int(thread % counters);
    if (i >= n) return;
    const unsigned set = unsigned(number + i / per_set);
    T u[COUNT];
    uniform(philox({unsigned(i % per_set), unsigned(b), unsigned(*step), set}, unsigned(key[0]), unsigned(key[1])), u);
#pragma unroll
    for (int j = 0; j < COUNT; ++j)
        if (b * COUNT + j < d) x[i * d + b * COUNT + j] = place(low[b * COUNT + j], side[b * COUNT + j], u[j]);
}
