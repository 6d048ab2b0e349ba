// Feature sums and their adjoint in float32 beyond small d: tensor cores compute the phases
// (tensor.cuh), from frequencies that were packed beforehand.
//
// Twin of features.py. ROWS and the order of additions are as in features.cu.
#include "sincos.cuh"
#include "tensor.cuh"

// Scaled numbers are below 2^MAX_EXPONENT, so that none overflows when it is rounded to float16.
constexpr int MAX_EXPONENT = 15;

// sum_i weights_i exp(-i <freqs_l, x_i>) over the rows i of a part, as real and imaginary parts.
__global__ void __launch_bounds__(THREADS, 2)
    feature_sum_tensor(const float *__restrict__ x,       // (n, d)
                       const float *__restrict__ weights, // (n,), or null for ones
                       const Unit *__restrict__ freqs,    // (blocks, chunks, TILE, UNITS)
                       Index part_rows,                   // rows of x that one CUDA block adds
                       double *__restrict__ partial,      // (parts, blocks, 2, TILE)
                       const float *__restrict__ scales,  // (chunks CHUNK + 1,)
                       Index n, int blocks, int d) {
    constexpr int POINTS = TILE, FREQUENCIES = TILE, HALF = (POINTS + FREQUENCIES) * UNITS;
    using Place = WarpPlace<POINTS, FREQUENCIES>;
    constexpr int I = Place::I, J = Place::J, SHARING = 8 * Place::DOWN; // threads per frequency
    constexpr int SUMS = 2 * FREQUENCIES + BANK_PADDING;
    static_assert(2 * FREQUENCIES == THREADS);
    // Two halves: each is the points (POINTS UNITS,), then the frequencies (FREQUENCIES, UNITS).
    Fragment *points = shared_memory<Fragment>();
    Unit *frequencies = reinterpret_cast<Unit *>(points + POINTS * UNITS);
    float *factors = reinterpret_cast<float *>(points + 2 * HALF); // (2, POINTS): weights
    float *sums = factors + 2 * POINTS; // (SHARING, SUMS): registers have no room for them
    const Place place;
    float *own = sums + (place.row / (16 * I) * 8 + place.lane_row) * SUMS;
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
    for (int i = threadIdx.x; i < SHARING * SUMS; i += THREADS) sums[i] = 0;
    wait_for_copies();
    __syncthreads();

    double total = 0;    // real or imaginary sum of one frequency over the part
    int half = 0;        // half of shared memory with the chunk that is multiplied
    int factor_half = 0; // half of `factors` with the weights of the tile
    int terms = 0;       // number of terms in the sums of a thread
    for (int start = 0; start < rows; start += POINTS) {
        float phases[I][J][4] = {};
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = last ? start + POINTS : start, next_chunk = last ? 0 : chunk + CHUNK;
            copy_units<FREQUENCIES>(frequencies + (half ^ 1) * HALF,
                                    freqs + next_chunk / CHUNK * FREQUENCIES * UNITS);
            if (last) copy_weights(factors + (factor_half ^ 1) * POINTS, next);
            auto load_next = [&] {
                new_points.load(x + Index(next) * d, rows - next, next_chunk, d, aligned);
            };
            add_products(points + half * HALF, frequencies + half * HALF, place, phases, load_next);
            new_points.store(points + (half ^ 1) * HALF, next_chunk, scales);
            if (last) {
                const float *weight = factors + factor_half * POINTS;
#pragma unroll
                for (int f = 0; f < 2 * J; ++f) {
                    float *sum = own + place.frequency(f / 2) + f % 2;
                    float real = sum[0], imag = sum[FREQUENCIES];
#pragma unroll
                    for (int p = 0; p < 2 * I; ++p) {
                        const float phase = phases[p / 2][f / 2][2 * (p % 2) + f % 2] * unit;
                        const float rest = whole_turns_off(phase);
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
            for (int row = 0; row < SHARING; ++row) {
                total += sums[row * SUMS + threadIdx.x];
                sums[row * SUMS + threadIdx.x] = 0;
            }
            __syncthreads();
            terms = 0;
        }
    }
    partial[(part * blocks + block) * 2 * FREQUENCIES + threadIdx.x] =
        int(threadIdx.x) < FREQUENCIES ? total : -total;
}

// out_i = sum_l amplitudes_l cos(<freqs_l, x_i> + phase_offsets_l)
//
// A block takes POINTS points: few if n is small, and then more frequencies at once.
template <int POINTS, int FREQUENCIES>
__global__ void __launch_bounds__(THREADS, POINTS == 32 ? 1 : 2)
    feature_adjoint_tensor(const float *__restrict__ x,             // (n, d)
                           const Unit *__restrict__ freqs, // (tiles, chunks, FREQUENCIES, UNITS)
                           const float *__restrict__ amplitudes,    // (m,)
                           const float *__restrict__ phase_offsets, // (m,), in radians
                           int block_width,                         // points of a block
                           float *__restrict__ out,                 // (n,)
                           const float *__restrict__ scales,        // (chunks CHUNK + 1,)
                           Index n, int m, int d) {
    constexpr int HALF = (POINTS + FREQUENCIES) * UNITS;
    using Place = WarpPlace<POINTS, FREQUENCIES>;
    constexpr int I = Place::I, J = Place::J, SHARING = 4 * Place::ACROSS; // threads per point
    constexpr int SUMS = POINTS + BANK_PADDING;
    // Two halves: each is the points (POINTS UNITS,), then the frequencies (FREQUENCIES, UNITS).
    Fragment *points = shared_memory<Fragment>();
    Unit *frequencies = reinterpret_cast<Unit *>(points + POINTS * UNITS);
    float *starts = reinterpret_cast<float *>(points + 2 * HALF); // (2, FREQUENCIES): phase_offsets
    float *factors = starts + 2 * FREQUENCIES;                    // (2, FREQUENCIES): amplitudes
    float *sums = factors + 2 * FREQUENCIES; // (SHARING, SUMS): registers have no room for them
    const Place place;
    float *own = sums + (place.column / (8 * J) * 4 + place.lane_column) * SUMS;
    const Index first = Index(blockIdx.x) * block_width;
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
    for (int i = threadIdx.x; i < SHARING * SUMS; i += THREADS) sums[i] = 0;
    wait_for_copies();
    __syncthreads();

    double total = 0;    // sum of one point
    int half = 0;        // half of shared memory with the chunk that is multiplied
    int factor_half = 0; // half of `starts` and `factors` with the coefficients of the tile
    int terms = 0;       // number of terms in the sums of a thread
    for (int start = 0; start < m; start += FREQUENCIES) {
        float phases[I][J][4] = {};
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = start + FREQUENCIES, next_chunk = last ? 0 : chunk + CHUNK;
            freqs += FREQUENCIES * UNITS;
            if (!last || next < m) copy_units<FREQUENCIES>(frequencies + (half ^ 1) * HALF, freqs);
            if (last) {
                copy_numbers<float, FREQUENCIES>(starts + (factor_half ^ 1) * FREQUENCIES,
                                                 phase_offsets + next, m - next);
                copy_numbers<float, FREQUENCIES>(factors + (factor_half ^ 1) * FREQUENCIES,
                                                 amplitudes + next, m - next);
            }
            auto load_next = [&] { new_points.load(x, rows, next_chunk, d, aligned); };
            add_products(points + half * HALF, frequencies + half * HALF, place, phases, load_next);
            new_points.store(points + (half ^ 1) * HALF, next_chunk, scales);
            if (last) {
                const float *offsets = starts + factor_half * FREQUENCIES;
                const float *tile_amplitudes = factors + factor_half * FREQUENCIES;
                float sum[2 * I] = {};
#pragma unroll
                for (int f = 0; f < 2 * J; ++f) {
                    const float offset = offsets[place.frequency(f / 2) + f % 2];
                    const float amplitude = tile_amplitudes[place.frequency(f / 2) + f % 2];
#pragma unroll
                    for (int p = 0; p < 2 * I; ++p) {
                        const float product = phases[p / 2][f / 2][2 * (p % 2) + f % 2];
                        sum[p] = fmaf(amplitude, cosine_of(fmaf(product, unit, offset)), sum[p]);
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
            for (int column = 0; column < SHARING && threadIdx.x < POINTS; ++column) {
                total += sums[column * SUMS + threadIdx.x];
                sums[column * SUMS + threadIdx.x] = 0;
            }
            __syncthreads();
            terms = 0;
        }
    }
    if (int(threadIdx.x) < rows) out[first + threadIdx.x] = float(total);
}

// packed = freqs times the powers of two below, as float16 halves; scales = the powers for the
// columns of x, and at the end the power for the phases.
//
// Let a be the exponent of the largest number in column k of x, b that of the largest frequency in
// it, and c the largest a + b of all columns. Column k of x is multiplied by 2^(MAX_EXPONENT - a),
// its frequencies by 2^(MAX_EXPONENT + a - c), and then the phases by 2^(c - 2 MAX_EXPONENT).
__global__ void __launch_bounds__(THREADS)
    pack_frequencies(const float *__restrict__ freqs,    // (blocks, block_width, d), any strides
                     const double *__restrict__ largest, // (2, d): magnitudes in x, and in freqs
                     Unit *__restrict__ packed,          // (blocks, chunks, block_width, UNITS)
                     float *__restrict__ scales,         // (chunks CHUNK + 1,)
                     int blocks, int block_width, int m, int d, // m: number of frequencies
                     Index block_stride, Index row_stride, Index column_stride) {
    // Smaller numbers do not matter to a phase, and would need factors beyond float32.
    constexpr int MIN_EXPONENT = -100;
    int *tops = shared_memory<int>(); // (THREADS,)
    auto exponent = [](double value) { // the smallest with |value| < 2^exponent
        return max(int(__double_as_longlong(value) >> 52 & 0x7ff) - 1022, MIN_EXPONENT);
    };
    auto power_of_two = [](int exponent) { // zero below the range of float32
        return exponent < -126 ? 0.0f : __uint_as_float(unsigned(exponent + 127) << 23);
    };
    int top = 2 * MIN_EXPONENT;
    for (int k = threadIdx.x; k < d; k += THREADS)
        top = max(top, exponent(largest[k]) + exponent(largest[d + k]));
    tops[threadIdx.x] = top;
    __syncthreads();
    for (int thread = 0; thread < THREADS; ++thread) top = max(top, tops[thread]);

    auto scale_of = [&](int k) { return power_of_two(MAX_EXPONENT + exponent(largest[k]) - top); };

    const int chunks = (d + CHUNK - 1) / CHUNK;
    if (blockIdx.x == 0) {
        for (int k = threadIdx.x; k < chunks * CHUNK; k += THREADS)
            scales[k] = k < d ? power_of_two(MAX_EXPONENT - exponent(largest[k])) : 0.0f;
        if (threadIdx.x == 0) scales[chunks * CHUNK] = power_of_two(top - 2 * MAX_EXPONENT);
    }
    const Index units = Index(blocks) * chunks * block_width * UNITS;
    const Index step = Index(gridDim.x) * THREADS;
    for (Index i = Index(blockIdx.x) * THREADS + threadIdx.x; i < units; i += step) {
        const int row = int(i / UNITS % block_width), unit = int(i % UNITS);
        const Index chunk = i / UNITS / block_width, block = chunk / chunks;
        const int first = int(chunk % chunks) * CHUNK + 4 * unit;
        float values[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int column = first + k;
            const bool there = column < d && block * block_width + row < m;
            const Index place = block * block_stride + row * row_stride + column * column_stride;
            values[k] = there ? freqs[place] * scale_of(column) : 0.0f;
        }
        split(values[0], values[1], packed[i].high[0], packed[i].low[0]);
        split(values[2], values[3], packed[i].high[1], packed[i].low[1]);
    }
}
