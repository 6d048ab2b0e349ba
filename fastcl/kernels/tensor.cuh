// Phases of a tile of points by a tile of frequencies from tensor cores, for float32.
//
// A number is split into the sum of two float16 numbers: the nearest one, and the remainder. A
// product then takes three products of these halves, added in float32; the fourth, of the two
// remainders, is below 2^-22 of the result and left out. Beforehand, powers of two scale the
// numbers into the range of float16: each column of x to below 2^15, its frequencies likewise, and
// all frequencies by one more power, which is undone in the phases at the end. Whatever float16
// then cannot hold is below 2^-40 of the largest number, and moves a phase by less than rounding
// does.
//
// A block stages CHUNK dimensions of its points and frequencies while it multiplies the previous
// ones.
#pragma once
#include "copies.cuh"

constexpr int UNITS = CHUNK / 4; // a unit is four dimensions

struct alignas(ACCESS_BYTES) Unit { // four numbers of a frequency, as pairs of float16
    unsigned high[2], low[2];
};
struct alignas(ACCESS_BYTES) Fragment { // one half of the numbers of two points, for tensor cores
    unsigned pairs[4];
};

// ---- float16 and the product of fragments -------------------------------------------------------

#ifdef __CUDACC_RTC__
__device__ __forceinline__ unsigned to_halves(float first, float second) {
    unsigned halves;
#if __CUDA_ARCH__ >= 800 // the first operand goes to the upper half
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(halves) : "f"(second), "f"(first));
#else
    asm("{.reg .f16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {a, b};}"
        : "=r"(halves)
        : "f"(first), "f"(second));
#endif
    return halves;
}
__device__ __forceinline__ float2 from_halves(unsigned halves) {
    float2 numbers;
    asm("{.reg .f16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b;}"
        : "=f"(numbers.x), "=f"(numbers.y)
        : "r"(halves));
    return numbers;
}

// sums (16, 8) += a (16, 16) b (16, 8). Lane l, with g = l / 4 and t = l % 4, holds the numbers
//   sums  (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
//   a     in pairs (g, s), (g + 8, s), (g, s + 8), (g + 8, s + 8) from s = 2t on
//   b     in pairs (s, g), (s + 8, g) likewise
__device__ __forceinline__ void add_product(float (&sums)[4], const unsigned (&a)[4],
                                            const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
    for (int half = 0; half < 2; ++half)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#endif
}
#else
using host::add_product, host::from_halves, host::to_halves;
#endif

// Two numbers as their float16 halves: number = high + low.
__device__ __forceinline__ void split(float first, float second, unsigned &high, unsigned &low) {
    high = to_halves(first, second);
    const float2 rounded = from_halves(high);
    low = to_halves(first - rounded.x, second - rounded.y);
}

// ---- from global to shared memory ---------------------------------------------------------------

// CHUNK dimensions, from `first` on, of POINTS rows of a matrix (rows, d), zeros beyond its ends,
// on their way through registers to shared memory: a thread takes four numbers of row r and of row
// r + 8. In shared memory they are (2, POINTS / 16, 8, UNITS): high halves, then low halves.
template <int POINTS> struct PointsOnTheWay {
    float values[2][4];

    __device__ __forceinline__ static bool is_idle() { return threadIdx.x >= POINTS / 2 * UNITS; }
    __device__ __forceinline__ static int unit() { return threadIdx.x % UNITS; }

    __device__ __forceinline__ void load(const float *matrix, int rows, int first, int d,
                                         bool aligned) {
        const int column = first + 4 * unit();
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = threadIdx.x / WARP * 16 + threadIdx.x % WARP / UNITS + 8 * i;
            const float *source = matrix + row * d + column;
            const bool there = row < rows && !is_idle();
            if (aligned) { // d is a multiple of four: all four numbers are there, or none
                const float4 four =
                    there && column < d ? *reinterpret_cast<const float4 *>(source) : float4{};
                values[i][0] = four.x, values[i][1] = four.y;
                values[i][2] = four.z, values[i][3] = four.w;
            } else {
#pragma unroll
                for (int k = 0; k < 4; ++k)
                    values[i][k] = there && column + k < d ? source[k] : 0.0f;
            }
        }
    }
    __device__ __forceinline__ void store(Fragment *shared, int first, const float *scales) const {
        if (is_idle()) return;
        const float4 scale = *reinterpret_cast<const float4 *>(scales + first + 4 * unit());
        Fragment high, low;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float(&four)[4] = values[i];
            split(four[0] * scale.x, four[1] * scale.y, high.pairs[i], low.pairs[i]);
            split(four[2] * scale.z, four[3] * scale.w, high.pairs[i + 2], low.pairs[i + 2]);
        }
        shared[threadIdx.x] = high;
        shared[threadIdx.x + POINTS / 2 * UNITS] = low;
    }
};

// Copies CHUNK dimensions of LENGTH packed frequencies.
template <int LENGTH> __device__ __forceinline__ void copy_units(Unit *shared, const Unit *packed) {
#pragma unroll
    for (int i = 0; i < LENGTH * UNITS; i += THREADS)
        copy_ahead(shared + i + threadIdx.x, packed + i + threadIdx.x, true);
}

// ---- the product: a warp takes 16 I points by 8 J frequencies of the block's tile ---------------

// The place of a warp, and of each of its threads, in a block whose tile is POINTS by FREQUENCIES.
template <int POINTS, int FREQUENCIES> struct WarpPlace {
    static constexpr int ACROSS = FREQUENCIES / 32, DOWN = THREADS / WARP / ACROSS; // warps
    static constexpr int I = POINTS / (16 * DOWN), J = FREQUENCIES / (8 * ACROSS);
    int row, column, lane_row, lane_column;
    __device__ __forceinline__ WarpPlace() {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        lane_row = lane / 4, lane_column = lane % 4;
        row = warp / ACROSS * 16 * I;
        column = warp % ACROSS * 8 * J;
    }
    __device__ __forceinline__ int point(int i, int half) const {
        return row + 16 * i + 8 * half + lane_row;
    }
    __device__ __forceinline__ int frequency(int j) const { // the first of two
        return column + 8 * j + 2 * lane_column;
    }
};

// phases += points frequencies^T over the staged dimensions. A sum may take the dimensions in any
// order, so the pairs from s on and from s + 8 on are taken from one unit. `on_the_way` is called
// once the first fragments have been used, when there are registers for what it loads.
template <int POINTS, int FREQUENCIES, int I, int J, typename F>
__device__ __forceinline__ void add_products(const Fragment *points, const Unit *frequencies,
                                             const WarpPlace<POINTS, FREQUENCIES> &place,
                                             float (&phases)[I][J][4], F on_the_way) {
    Unit columns[J];
#pragma unroll
    for (int j = 0; j < J; ++j)
        columns[j] =
            frequencies[(place.column + 8 * j + place.lane_row) * UNITS + place.lane_column];
#pragma unroll
    for (int i = 0; i < I; ++i) {
        if (i == 1) on_the_way();
        const int fragment = (place.row / 16 + i) * WARP + threadIdx.x % WARP;
        const Fragment high = points[fragment], low = points[fragment + POINTS / 2 * UNITS];
#pragma unroll
        for (int j = 0; j < J; ++j) add_product(phases[i][j], low.pairs, columns[j].high);
#pragma unroll
        for (int j = 0; j < J; ++j) add_product(phases[i][j], high.pairs, columns[j].low);
#pragma unroll
        for (int j = 0; j < J; ++j) add_product(phases[i][j], high.pairs, columns[j].high);
    }
}
