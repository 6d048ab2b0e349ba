// Feature sums and their adjoint in float32 beyond small d: the phases come from tensor cores.
//
// Twin of features.py.  A number is the sum of two of float16, the one nearest to it and what that leaves, and a product is
// three of those, added in float32: the fourth is below 2^-22 of it.  Powers of two bring the numbers into the range of float16
// beforehand: a column of x to less than 2^15, its frequencies likewise but all of them by one more power, which the phases
// are multiplied by at the end.  What float16 then cannot hold is below 2^-40 of the largest number there is, and moves a
// phase by less than rounding does.
//
// The frequencies are packed beforehand.  A block stages CHUNK dimensions of its points and frequencies while it multiplies those
// before.  All else, ROWS and the order of additions too, is as in features.cu.
#include "common.cuh"
#include "tiles.cuh"

constexpr int ROWS = 256;            // terms that are added in the working precision
constexpr int CHUNK = 16, UNITS = 4; // dimensions of one product, in units of four
constexpr int LARGEST = 15;          // scaled numbers are below 2^LARGEST, so that none overflows when it is rounded to float16

struct alignas(16) Unit { // four numbers of a frequency, as pairs of float16
    unsigned high[2], low[2];
};
struct alignas(16) Fragment { // the same of two points, in the order in which tensor cores take them
    unsigned pairs[4];
};

// ---- float16 and the product of fragments -----------------------------------------------------------------------------

#ifdef __CUDACC_RTC__
__device__ __forceinline__ unsigned to_halves(float first, float second) {
    unsigned halves;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(halves) : "f"(second), "f"(first)); // the first operand goes to the upper half
#else
    asm("{.reg .f16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {a, b};}" : "=r"(halves) : "f"(first), "f"(second));
#endif
    return halves;
}
__device__ __forceinline__ float2 from_halves(unsigned halves) {
    float2 numbers;
    asm("{.reg .f16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b;}" : "=f"(numbers.x), "=f"(numbers.y) : "r"(halves));
    return numbers;
}

// sums (16, 8) += a (16, 16) b (16, 8).  Of lane l, with g = l / 4 and t = l % 4, these are the numbers
//   sums  (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
//   a     in pairs (g, s), (g + 8, s), (g, s + 8), (g + 8, s + 8) from s = 2t on
//   b     in pairs (s, g), (s + 8, g) likewise
__device__ __forceinline__ void add_product(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
    for (int half = 0; half < 2; ++half)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#endif
}
#else
using host::add_product, host::from_halves, host::to_halves;
#endif

__device__ __forceinline__ void split(float first, float second, unsigned &high, unsigned &low) {
    high = to_halves(first, second);
    const float2 rounded = from_halves(high);
    low = to_halves(first - rounded.x, second - rounded.y);
}

// ---- from global to shared memory -------------------------------------------------------------------------------------

// CHUNK dimensions, from `first` on, of POINTS rows of a matrix (rows, d), zeros beyond its ends, on their way through registers:
// four numbers of rows r and r + 8 for each thread.  In shared memory (2, POINTS / 16, 8, UNITS): high halves, low halves.
template <int POINTS> struct PointsOnTheWay {
    float values[2][4];

    __device__ __forceinline__ static bool is_idle() { return threadIdx.x >= POINTS / 2 * UNITS; }
    __device__ __forceinline__ static int unit() { return threadIdx.x % UNITS; }

    __device__ __forceinline__ void load(const float *matrix, int rows, int first, int d, bool aligned) {
        const int column = first + 4 * unit();
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = threadIdx.x / WARP * 16 + threadIdx.x % WARP / UNITS + 8 * i;
            const float *source = matrix + row * d + column;
            const bool there = row < rows && !is_idle();
            if (aligned) { // d is a multiple of four: all four numbers are there, or none
                const float4 four = there && column < d ? *reinterpret_cast<const float4 *>(source) : float4{};
                values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
            } else {
#pragma unroll
                for (int k = 0; k < 4; ++k) values[i][k] = there && column + k < d ? source[k] : 0.0f;
            }
        }
    }
    __device__ __forceinline__ void store(Fragment *shared, int first, const float *scales) const {
        if (is_idle()) return;
        const float4 scale = *reinterpret_cast<const float4 *>(scales + first + 4 * unit());
        Fragment high, low;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            split(values[i][0] * scale.x, values[i][1] * scale.y, high.pairs[i], low.pairs[i]);
            split(values[i][2] * scale.z, values[i][3] * scale.w, high.pairs[i + 2], low.pairs[i + 2]);
        }
        shared[threadIdx.x] = high;
        shared[threadIdx.x + POINTS / 2 * UNITS] = low;
    }
};

// CHUNK dimensions of LENGTH packed frequencies.
template <int LENGTH> __device__ __forceinline__ void copy_units(Unit *shared, const Unit *packed) {
#pragma unroll
    for (int i = 0; i < LENGTH * UNITS; i += TILE_THREADS) copy_ahead(shared + i + threadIdx.x, packed + i + threadIdx.x, true);
}

// ---- the product: a warp takes 16 I points by 8 J frequencies of the block's tile ----------------------------------------

template <int ACROSS, int I, int J> struct WarpPlace { // ACROSS warps along the frequencies
    int row, column, lane_row, lane_column;
    __device__ __forceinline__ WarpPlace() {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        lane_row = lane / 4, lane_column = lane % 4;
        row = warp / ACROSS * 16 * I;
        column = warp % ACROSS * 8 * J;
    }
    __device__ __forceinline__ int point(int i, int half) const { return row + 16 * i + 8 * half + lane_row; }
    __device__ __forceinline__ int frequency(int j) const { return column + 8 * j + 2 * lane_column; } // and the next one
};

// Order of the dimensions does not matter to a sum: the pairs from s and s + 8 on are those of one unit.  `on_the_way`
// is called after the first fragments are read: what it loads then has registers.
template <int POINTS, int ACROSS, int I, int J, typename F>
__device__ __forceinline__ void add_products(const Fragment *points, const Unit *frequencies, const WarpPlace<ACROSS, I, J> &place,
                                             float (&phases)[I][J][4], F on_the_way) {
    Unit columns[J];
#pragma unroll
    for (int j = 0; j < J; ++j) columns[j] = frequencies[(place.column + 8 * j + place.lane_row) * UNITS + place.lane_column];
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

// ---- the maps ----------------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(TILE_THREADS, 2)
    feature_sum_tensor(const float *__restrict__ x,       // (n, d)
                       const float *__restrict__ weights, // (n,), or null for ones
                       const Unit *__restrict__ freqs,    // (blocks, chunks, FREQUENCIES, UNITS), by `pack_frequencies`
                       Index part_rows,                   // rows of x that one CUDA block adds
                       double *__restrict__ partial,      // (parts, blocks, 2, FREQUENCIES)
                       const float *__restrict__ scales,  // (chunks CHUNK + 1,): of the columns of x, and of the phases
                       Index n, int blocks, int d) {
    constexpr int POINTS = 128, FREQUENCIES = 128, ACROSS = 4, I = 4, J = 4;
    constexpr int HALF = (POINTS + FREQUENCIES) * UNITS, SUMS = 2 * FREQUENCIES + 8; // 8 spread a warp over all banks
    Fragment *points = shared_memory<Fragment>();                            // (2, POINTS UNITS), in turn with
    Unit *frequencies = reinterpret_cast<Unit *>(points + POINTS * UNITS);   // (2, FREQUENCIES, UNITS)
    float *factors = reinterpret_cast<float *>(points + 2 * HALF); // (2, POINTS)
    float *sums = factors + 2 * POINTS;                            // (16, SUMS): not in registers, of which there are too few
    const WarpPlace<ACROSS, I, J> place;
    float *own = sums + (place.row / (16 * I) * 8 + place.lane_row) * SUMS; // of the 16 rows that share a frequency
    const int block = blockIdx.x % blocks;
    const Index part = blockIdx.x / blocks;
    const int rows = int(min(part_rows, n - part * part_rows));
    const int chunks = (d + CHUNK - 1) / CHUNK;
    const float unit = scales[chunks * CHUNK];
    x += part * part_rows * d;
    freqs += Index(block) * chunks * FREQUENCIES * UNITS;
    const bool aligned = d % 4 == 0 && reinterpret_cast<size_t>(x) % 16 == 0;

    auto copy_weights = [&](float *out, int start) {
        if (weights)
            copy_numbers<float, POINTS>(out, weights + part * part_rows + start, rows - start);
        else if (threadIdx.x < POINTS)
            out[threadIdx.x] = start + int(threadIdx.x) < rows ? 1.0f : 0.0f;
    };
    PointsOnTheWay<POINTS> new_points;
    new_points.load(x, rows, 0, d, aligned);
    new_points.store(points, 0, scales);
    copy_units<FREQUENCIES>(frequencies, freqs);
    copy_weights(factors, 0);
    for (int i = threadIdx.x; i < 16 * SUMS; i += TILE_THREADS) sums[i] = 0;
    wait_for_copies();
    __syncthreads();

    double total = 0; // of one part, real or imaginary, of one frequency
    int half = 0, factor_half = 0; // where the present chunk is, and the weights of the present tile
    int terms = 0;
    for (int start = 0; start < rows; start += POINTS) {
        float phases[I][J][4] = {};
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = last ? start + POINTS : start, next_chunk = last ? 0 : chunk + CHUNK;
            copy_units<FREQUENCIES>(frequencies + (half ^ 1) * HALF, freqs + next_chunk / CHUNK * FREQUENCIES * UNITS);
            if (last) copy_weights(factors + (factor_half ^ 1) * POINTS, next);
            add_products<POINTS>(points + half * HALF, frequencies + half * HALF, place, phases,
                                 [&] { new_points.load(x + Index(next) * d, rows - next, next_chunk, d, aligned); });
            new_points.store(points + (half ^ 1) * HALF, next_chunk, scales);
            if (last) {
                const float *weight = factors + factor_half * POINTS;
#pragma unroll
                for (int f = 0; f < 2 * J; ++f) {
                    float *sum = own + place.frequency(f / 2) + f % 2, real = sum[0], imag = sum[FREQUENCIES];
#pragma unroll
                    for (int p = 0; p < 2 * I; ++p) {
                        const float rest = whole_turns_off(phases[p / 2][f / 2][2 * (p % 2) + f % 2] * unit);
                        real = fmaf(weight[place.point(p / 2, p % 2)], unit_cosine(rest), real);
                        imag = fmaf(weight[place.point(p / 2, p % 2)], unit_sine(rest), imag);
                    }
                    sum[0] = real;
                    sum[FREQUENCIES] = imag;
                }
                factor_half ^= 1;
            }
            half ^= 1;
            wait_for_copies();
            __syncthreads();
        }
        terms += 2 * I;
        if (terms == ROWS || start + POINTS >= rows) {
            for (int row = 0; row < 16; ++row) {
                total += sums[row * SUMS + threadIdx.x];
                sums[row * SUMS + threadIdx.x] = 0;
            }
            __syncthreads();
            terms = 0;
        }
    }
    partial[(part * blocks + block) * 2 * FREQUENCIES + threadIdx.x] = int(threadIdx.x) < FREQUENCIES ? total : -total;
}

// A block takes POINTS points, few where n is small, and the more frequencies at once.
template <int POINTS>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    feature_adjoint_tensor(const float *__restrict__ x,         // (n, d)
                           const Unit *__restrict__ freqs,      // (blocks, chunks, FREQUENCIES, UNITS), by `pack_frequencies`
                           const float *__restrict__ amplitudes,    // (m,), of the coefficients
                           const float *__restrict__ phase_offsets, // (m,), in the unit of the phases
                           int lanes,                           // points of a block
                           float *__restrict__ out,             // (n,)
                           const float *__restrict__ scales,    // (chunks CHUNK + 1,): of the columns of x, and of the phases
                           Index n, int m, int d) {
    constexpr int FREQUENCIES = POINTS == 128 ? 128 : 256, ACROSS = POINTS == 128 ? 4 : 8;
    constexpr int I = POINTS * ACROSS / 128, J = FREQUENCIES / ACROSS / 8, COLUMNS = 4 * ACROSS;
    constexpr int HALF = (POINTS + FREQUENCIES) * UNITS, SUMS = POINTS + 8; // 8 spread a warp over all banks
    Fragment *points = shared_memory<Fragment>();                            // (2, POINTS UNITS), in turn with
    Unit *frequencies = reinterpret_cast<Unit *>(points + POINTS * UNITS);   // (2, FREQUENCIES, UNITS)
    float *starts = reinterpret_cast<float *>(points + 2 * HALF);  // (2, FREQUENCIES), phase_offsets
    float *factors = starts + 2 * FREQUENCIES;                     // (2, FREQUENCIES), amplitudes
    float *sums = factors + 2 * FREQUENCIES;                       // (COLUMNS, SUMS): not in registers, of which there are too few
    const WarpPlace<ACROSS, I, J> place;
    float *own = sums + (place.column / (8 * J) * 4 + place.lane_column) * SUMS; // of the columns that share a point
    const Index first = Index(blockIdx.x) * lanes;
    const int rows = int(min(Index(POINTS), n - first));
    const int chunks = (d + CHUNK - 1) / CHUNK;
    const float unit = scales[chunks * CHUNK];
    x += first * d;
    const bool aligned = d % 4 == 0 && reinterpret_cast<size_t>(x) % 16 == 0;

    PointsOnTheWay<POINTS> new_points;
    new_points.load(x, rows, 0, d, aligned);
    new_points.store(points, 0, scales);
    copy_units<FREQUENCIES>(frequencies, freqs);
    copy_numbers<float, FREQUENCIES>(starts, phase_offsets, m);
    copy_numbers<float, FREQUENCIES>(factors, amplitudes, m);
    for (int i = threadIdx.x; i < COLUMNS * SUMS; i += TILE_THREADS) sums[i] = 0;
    wait_for_copies();
    __syncthreads();

    double total = 0; // of one point
    int half = 0, factor_half = 0; // where the present chunk is, and the coefficients of the present tile
    int terms = 0;
    for (int start = 0; start < m; start += FREQUENCIES) {
        float phases[I][J][4] = {};
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = start + FREQUENCIES, next_chunk = last ? 0 : chunk + CHUNK;
            freqs += FREQUENCIES * UNITS;
            if (!last || next < m) copy_units<FREQUENCIES>(frequencies + (half ^ 1) * HALF, freqs);
            if (last) {
                copy_numbers<float, FREQUENCIES>(starts + (factor_half ^ 1) * FREQUENCIES, phase_offsets + next, m - next);
                copy_numbers<float, FREQUENCIES>(factors + (factor_half ^ 1) * FREQUENCIES, amplitudes + next, m - next);
            }
            add_products<POINTS>(points + half * HALF, frequencies + half * HALF, place, phases,
                                 [&] { new_points.load(x, rows, next_chunk, d, aligned); });
            new_points.store(points + (half ^ 1) * HALF, next_chunk, scales);
            if (last) {
                const float *argument = starts + factor_half * FREQUENCIES, *modulus = factors + factor_half * FREQUENCIES;
                float sum[2 * I] = {};
#pragma unroll
                for (int f = 0; f < 2 * J; ++f) {
                    const float offset = argument[place.frequency(f / 2) + f % 2], factor = modulus[place.frequency(f / 2) + f % 2];
#pragma unroll
                    for (int p = 0; p < 2 * I; ++p) {
                        const float phase = fmaf(phases[p / 2][f / 2][2 * (p % 2) + f % 2], unit, offset);
                        sum[p] = fmaf(factor, unit_cosine(whole_turns_off(phase)), sum[p]);
                    }
                }
#pragma unroll
                for (int p = 0; p < 2 * I; ++p) own[place.point(p / 2, p % 2)] += sum[p];
                factor_half ^= 1;
            }
            half ^= 1;
            wait_for_copies();
            __syncthreads();
        }
        terms += 2 * J;
        if (terms == ROWS || start + FREQUENCIES >= m) {
            for (int column = 0; column < COLUMNS && threadIdx.x < POINTS; ++column) {
                total += sums[column * SUMS + threadIdx.x];
                sums[column * SUMS + threadIdx.x] = 0;
            }
            __syncthreads();
            terms = 0;
        }
    }
    if (int(threadIdx.x) < rows) out[first + threadIdx.x] = float(total);
}

// ---- the frequencies beforehand ----------------------------------------------------------------------------------------

// Column k of x is to be multiplied by 2^(LARGEST - a), a the exponent of its largest number, and that of the frequencies, of
// exponent b, by 2^(LARGEST + a - c) with c the largest a + b, whose products with x are the largest; phases then by 2^(c - 2 LARGEST).
__global__ void __launch_bounds__(TILE_THREADS)
    pack_frequencies(const float *__restrict__ freqs,    // (blocks, lanes, d), any strides
                     const double *__restrict__ largest, // (2, d): largest amplitudes of the columns of x, and of the frequencies
                     Unit *__restrict__ packed,          // (blocks, chunks, lanes, UNITS)
                     float *__restrict__ scales,         // (chunks CHUNK + 1,): of the columns of x, and of the phases
                     int blocks, int lanes, int m, int d, Index block_stride, Index lane_stride, Index column_stride) {
    constexpr int LEAST = -100; // smaller numbers are zero for all that a phase can tell, and would take factors beyond float32
    int *tops = shared_memory<int>(); // (TILE_THREADS,)
    auto exponent = [](double value) { // such that |value| < 2^exponent
        return max(int(__double_as_longlong(value) >> 52 & 0x7ff) - 1022, LEAST);
    };
    auto power_of_two = [](int exponent) { // zero below the range of float32
        return exponent < -126 ? 0.0f : __uint_as_float(unsigned(exponent + 127) << 23);
    };
    int top = 2 * LEAST;
    for (int k = threadIdx.x; k < d; k += TILE_THREADS) top = max(top, exponent(largest[k]) + exponent(largest[d + k]));
    tops[threadIdx.x] = top;
    __syncthreads();
    for (int thread = 0; thread < TILE_THREADS; ++thread) top = max(top, tops[thread]);

    const int chunks = (d + CHUNK - 1) / CHUNK;
    if (blockIdx.x == 0) {
        for (int k = threadIdx.x; k < chunks * CHUNK; k += TILE_THREADS)
            scales[k] = k < d ? power_of_two(LARGEST - exponent(largest[k])) : 0.0f;
        if (threadIdx.x == 0) scales[chunks * CHUNK] = power_of_two(top - 2 * LARGEST);
    }
    const Index units = Index(blocks) * chunks * lanes * UNITS, step = Index(gridDim.x) * TILE_THREADS;
    for (Index i = Index(blockIdx.x) * TILE_THREADS + threadIdx.x; i < units; i += step) {
        const int lane = int(i / UNITS % lanes), unit = int(i % UNITS);
        const Index chunk = i / UNITS / lanes, block = chunk / chunks;
        const int first = int(chunk % chunks) * CHUNK + 4 * unit;
        float values[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const bool there = first + k < d && block * lanes + lane < m;
            const Index place = block * block_stride + lane * lane_stride + (first + k) * column_stride;
            values[k] = there ? freqs[place] * power_of_two(LARGEST + exponent(largest[first + k]) - top) : 0.0f;
        }
        split(values[0], values[1], packed[i].high[0], packed[i].low[0]);
        split(values[2], values[3], packed[i].high[1], packed[i].low[1]);
    }
}
