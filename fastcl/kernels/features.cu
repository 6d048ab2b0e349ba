// Feature sums and their adjoint, fused: phase, argument reduction, sine and cosine, accumulation.
//
// Twin of features.py.  Phases are in units of which a turn has Turn<T>::value (common.cuh).  Partial sums are in the
// working precision over ROWS terms and in float64 beyond, each thread adds its terms in order, and the parts are added in
// order afterwards: the same bits on every run.
//
// Operations a pair in float32, of which a multiprocessor issues 128 a clock, and 16 results of the special-function unit
// (benchmarks/instructions.py counts them in the compiled code):
//   sum      d + 8 with two special functions; for some of the frequencies polynomials instead, d + 17
//   adjoint  d + 6 with one special function: Re(c exp(i a)) = |c| cos(a + arg c), the phase starts from arg c
// Beyond small d the phases of float32 come from tensor cores (features_tensor.cu), those of float64 from tiles.
#include "common.cuh"
#include "tiles.cuh"

constexpr int ROWS = 256; // rows that are staged at once, and accumulated in the working precision

// ---- small d: every thread keeps whole frequencies, or points, in registers -------------------------------------------

template <typename T, int D> struct Tiling { // frequencies a thread, how many of them take polynomials, rows of an iteration
    static constexpr int count = 2, polynomials = 2, unroll = 2;
};
template <int D> struct Tiling<float, D> {
    static constexpr int count = 8, polynomials = D < 4 ? 2 : D < 8 ? 1 : 0; // so that both units take as long
    static constexpr int unroll = D < 8 ? 4 : 1; // as the registers allow
};

template <typename T, int N> struct alignas(16) Row { // read by vector accesses of 16 bytes
    T values[(N * sizeof(T) + 15) / 16 * 16 / sizeof(T)];
};

template <typename T, int D> __device__ __forceinline__ T phase_of(const T *point, const T *frequency, T start) {
    T phase = start;
#pragma unroll
    for (int k = 0; k < D; ++k) phase = fma(point[k], frequency[k], phase);
    return phase;
}

template <typename T>
__device__ __forceinline__ void add_wave_by_polynomial(T phase, T weight, T &real, T &imag) {
    unsigned sign;
    T rest = half_turns_off(phase, sign), square = rest * rest;
    T signed_weight = flip_sign(weight, sign);
    real = fma(signed_weight, cosine_polynomial(square), real);
    imag = fma(signed_weight, sine_polynomial(rest, square), imag);
}

__device__ __forceinline__ void add_wave_by_unit(float phase, float weight, float &real, float &imag) {
    float rest = whole_turns_off(phase);
    real = fmaf(weight, unit_cosine(rest), real);
    imag = fmaf(weight, unit_sine(rest), imag);
}
__device__ __forceinline__ void add_wave_by_unit(double phase, double weight, double &real, double &imag) {
    add_wave_by_polynomial(phase, weight, real, imag);
}

template <typename T, int D>
__global__ void __launch_bounds__(256, 2) feature_sum(const T *__restrict__ x,       // (n, D)
                                                      const T *__restrict__ weights, // (n,), or null for ones
                                                      const T *__restrict__ freqs,   // (blocks, D, lanes)
                                                      Index part_rows,               // rows of x that one CUDA block adds
                                                      double *__restrict__ partial,  // (parts, blocks, 2, lanes)
                                                      Index n, int blocks, int lanes) {
    constexpr int COUNT = Tiling<T, D>::count;
    Row<T, D + 1> *rows = shared_memory<Row<T, D + 1>>(); // (ROWS,): coordinates and weight
    const int block = blockIdx.x % blocks;
    const Index part = blockIdx.x / blocks;
    const Index first = part * part_rows, stop = min(first + part_rows, n);

    T frequency[COUNT][D];
    partial += (part * blocks + block) * 2 * lanes + threadIdx.x; // not in registers, where totals would crowd out the rest
#pragma unroll
    for (int f = 0; f < COUNT; ++f) {
        partial[f * blockDim.x] = partial[lanes + f * blockDim.x] = 0;
#pragma unroll
        for (int k = 0; k < D; ++k) frequency[f][k] = freqs[(block * D + k) * lanes + f * blockDim.x + threadIdx.x];
    }
    for (Index start = first; start < stop; start += ROWS) {
        const int count = int(min(Index(ROWS), stop - start));
        __syncthreads();
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
#pragma unroll
            for (int k = 0; k < D; ++k) rows[i].values[k] = x[(start + i) * D + k];
            rows[i].values[D] = weights ? weights[start + i] : T(1);
        }
        __syncthreads();
        T real[COUNT] = {}, imag[COUNT] = {};
#pragma unroll(Tiling<T, D>::unroll)
        for (int i = 0; i < count; ++i) {
            const Row<T, D + 1> row = rows[i];
#pragma unroll
            for (int f = 0; f < COUNT; ++f) {
                T phase = phase_of<T, D>(row.values, frequency[f], T(0));
                if (f < Tiling<T, D>::polynomials)
                    add_wave_by_polynomial(phase, row.values[D], real[f], imag[f]);
                else
                    add_wave_by_unit(phase, row.values[D], real[f], imag[f]);
            }
        }
        double *total = partial;
#pragma unroll
        for (int f = 0; f < COUNT; ++f) {
            total[0] += real[f];
            total[lanes] -= imag[f];
            total += blockDim.x;
        }
    }
}

__device__ __forceinline__ float cosine(float phase) { return unit_cosine(whole_turns_off(phase)); }
__device__ __forceinline__ double cosine(double phase) {
    unsigned sign;
    double rest = half_turns_off(phase, sign);
    return flip_sign(cosine_polynomial(rest * rest), sign);
}

// A block takes `lanes` points.  Where there are few points, its threads form groups that share them: every group takes
// its part of the frequencies, and the sums of the groups are added in order.
template <typename T, int D, int COUNT> // COUNT points a thread
__global__ void __launch_bounds__(256, 2) feature_adjoint(const T *__restrict__ x,         // (n, D)
                                                          const T *__restrict__ freqs,     // (m, D)
                                                          const T *__restrict__ amplitudes,    // (m,), of the coefficients
                                                          const T *__restrict__ phase_offsets, // (m,), in the unit of the phases
                                                          int lanes,                       // points of a block
                                                          T *__restrict__ out,             // (n,)
                                                          Index n, int m) {
    Row<T, D + 2> *rows = shared_memory<Row<T, D + 2>>(); // (ROWS,): frequency, argument and modulus
    const int width = lanes / COUNT, groups = blockDim.x / width;
    const int group = threadIdx.x / width, lane = threadIdx.x % width;
    const Index first = Index(blockIdx.x) * lanes;

    T point[COUNT][D];
    double total[COUNT];
#pragma unroll
    for (int p = 0; p < COUNT; ++p) {
        const Index i = min(first + p * width + lane, n - 1);
        total[p] = 0;
#pragma unroll
        for (int k = 0; k < D; ++k) point[p][k] = x[i * D + k];
    }
    for (int start = 0; start < m; start += ROWS) {
        const int count = min(ROWS, m - start);
        __syncthreads();
        for (int l = threadIdx.x; l < count; l += blockDim.x) {
#pragma unroll
            for (int k = 0; k < D; ++k) rows[l].values[k] = freqs[Index(start + l) * D + k];
            rows[l].values[D] = phase_offsets[start + l];
            rows[l].values[D + 1] = amplitudes[start + l];
        }
        __syncthreads();
        const int share = (count + groups - 1) / groups, end = min((group + 1) * share, count);
        T sum[COUNT] = {};
#pragma unroll(sizeof(T) == 4 ? 4 : 2)
        for (int l = group * share; l < end; ++l) {
            const Row<T, D + 2> row = rows[l];
#pragma unroll
            for (int p = 0; p < COUNT; ++p)
                sum[p] = fma(row.values[D + 1], cosine(phase_of<T, D>(point[p], row.values, row.values[D])), sum[p]);
        }
#pragma unroll
        for (int p = 0; p < COUNT; ++p) total[p] += sum[p];
    }
    double *sums = reinterpret_cast<double *>(rows + ROWS); // (groups, lanes)
#pragma unroll
    for (int p = 0; p < COUNT; ++p) sums[group * lanes + p * width + lane] = total[p];
    __syncthreads();
    for (int i = threadIdx.x; i < lanes; i += blockDim.x) {
        double value = 0;
        for (int g = 0; g < groups; ++g) value += sums[g * lanes + i];
        if (first + i < n) out[first + i] = T(value);
    }
}

// ---- any d: the phases of a tile of points by a tile of frequencies are a matrix product (tiles.cuh) --------------------

// A thread keeps the sums of its frequencies over its points of every tile: ROWS terms at most, before the threads' sums are
// added in float64, in order.
template <typename T>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    feature_sum_tiled(const T *__restrict__ x,       // (n, d)
                      const T *__restrict__ weights, // (n,), or null for ones
                      const T *__restrict__ freqs,   // (blocks, d, FREQUENCIES)
                      Index part_rows,               // rows of x that one CUDA block adds
                      double *__restrict__ partial,  // (parts, blocks, 2, FREQUENCIES)
                      Index n, int blocks, int d) {
    constexpr int POINTS = 16 * SIDE, FREQUENCIES = 16 * SIDE, CHUNK = 16;
    constexpr int POINT_SIZE = CHUNK * STRIDE<T, POINTS>, HALF = POINT_SIZE + CHUNK * FREQUENCIES;
    T *points = shared_memory<T>();         // (2, CHUNK, STRIDE), and (2, 16, 2, FREQUENCIES) sums in their place
    T *frequencies = points + POINT_SIZE;   // (2, CHUNK, FREQUENCIES), in turn with the points
    T *factors = points + 2 * HALF;         // (2, POINTS)
    const Place<16> place;
    const int block = blockIdx.x % blocks;
    const Index part = blockIdx.x / blocks;
    const int rows = int(min(part_rows, n - part * part_rows));
    x += part * part_rows * d;
    freqs += Index(block) * d * FREQUENCIES;

    auto copy_weights = [&](T *out, int start) {
        if (weights)
            copy_numbers<T, POINTS>(out, weights + part * part_rows + start, rows - start);
        else if (threadIdx.x < POINTS)
            out[threadIdx.x] = start + int(threadIdx.x) < rows ? T(1) : T(0);
    };
    copy_rows<T, POINTS, CHUNK>(points, x, rows, 0, d);
    copy_columns<T, FREQUENCIES, CHUNK>(frequencies, freqs, 0, d);
    copy_weights(factors, 0);
    wait_for_copies();
    __syncthreads();

    double total = 0; // of one part, real or imaginary, of one frequency
    T real[SIDE] = {}, imag[SIDE] = {};
    int half = 0, factor_half = 0; // where the present chunk is, and the weights of the present tile
    int terms = 0;
    for (int start = 0; start < rows; start += POINTS) {
        T phases[SIDE][SIDE] = {};
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = last ? start + POINTS : start, next_chunk = last ? 0 : chunk + CHUNK;
            copy_rows<T, POINTS, CHUNK>(points + (half ^ 1) * HALF, x + Index(next) * d, rows - next, next_chunk, d);
            copy_columns<T, FREQUENCIES, CHUNK>(frequencies + (half ^ 1) * HALF, freqs, next_chunk, d);
            if (last) copy_weights(factors + (factor_half ^ 1) * POINTS, next);
            add_products<T, POINTS, FREQUENCIES, FREQUENCIES>(points + half * HALF, frequencies + half * HALF,
                                                              min(CHUNK, d - chunk), place, phases);
            if (last) {
                T weight[SIDE];
                read_numbers<T, 16>(factors + factor_half * POINTS, place.row, weight);
#pragma unroll
                for (int p = 0; p < SIDE; ++p)
#pragma unroll
                    for (int f = 0; f < SIDE; ++f) add_wave_by_unit(phases[p][f], weight[p], real[f], imag[f]);
                factor_half ^= 1;
            }
            half ^= 1;
            wait_for_copies();
            __syncthreads();
        }
        terms += SIDE;
        if (terms == ROWS || start + POINTS >= rows) {
#pragma unroll
            for (int f = 0; f < SIDE; ++f) {
                T *out = points + (half ^ 1) * HALF + place.row * 2 * FREQUENCIES + place_of<T, 16>(place.column, f);
                out[0] = real[f];
                out[FREQUENCIES] = -imag[f];
                real[f] = imag[f] = 0;
            }
            __syncthreads();
            for (int row = 0; row < 16 && threadIdx.x < 2 * FREQUENCIES; ++row)
                total += points[(half ^ 1) * HALF + row * 2 * FREQUENCIES + threadIdx.x];
            __syncthreads();
            terms = 0;
        }
    }
    if (threadIdx.x < 2 * FREQUENCIES) partial[(part * blocks + block) * 2 * FREQUENCIES + threadIdx.x] = total;
}

// A block takes POINTS points, few where n is small, and the more frequencies at once.
template <typename T, int POINTS>
__global__ void __launch_bounds__(TILE_THREADS, POINTS == 32 ? 1 : 2)
    feature_adjoint_tiled(const T *__restrict__ x,         // (n, d)
                          const T *__restrict__ freqs,     // (m, d)
                          const T *__restrict__ amplitudes,    // (m,), of the coefficients
                          const T *__restrict__ phase_offsets, // (m,), in the unit of the phases
                          int lanes,                       // points of a block
                          T *__restrict__ out,             // (n,)
                          Index n, int m, int d) {
    constexpr int FREQUENCIES = TILE_THREADS * SIDE * SIDE / POINTS, COLUMNS = FREQUENCIES / SIDE;
    constexpr int CHUNK = 16;
    constexpr int POINT_SIZE = CHUNK * STRIDE<T, POINTS>, HALF = POINT_SIZE + CHUNK * STRIDE<T, FREQUENCIES>;
    T *points = shared_memory<T>();        // (2, CHUNK, STRIDE), and (2, COLUMNS, POINTS) sums in their place
    T *frequencies = points + POINT_SIZE;  // (2, CHUNK, STRIDE), in turn with the points
    T *starts = points + 2 * HALF;         // (2, FREQUENCIES), phase_offsets
    T *factors = starts + 2 * FREQUENCIES; // (2, FREQUENCIES), amplitudes
    const Place<COLUMNS> place;
    const Index first = Index(blockIdx.x) * lanes;
    const int rows = int(min(Index(POINTS), n - first));
    x += first * d;

    copy_rows<T, POINTS, CHUNK>(points, x, rows, 0, d);
    copy_rows<T, FREQUENCIES, CHUNK>(frequencies, freqs, m, 0, d);
    copy_numbers<T, FREQUENCIES>(starts, phase_offsets, m);
    copy_numbers<T, FREQUENCIES>(factors, amplitudes, m);
    wait_for_copies();
    __syncthreads();

    double total = 0; // of one point
    T sum[SIDE] = {};
    int half = 0, factor_half = 0; // where the present chunk is, and the coefficients of the present tile
    int terms = 0;
    for (int start = 0; start < m; start += FREQUENCIES) {
        T phases[SIDE][SIDE];
        read_numbers<T, COLUMNS>(starts + factor_half * FREQUENCIES, place.column, phases[0]);
#pragma unroll
        for (int p = 1; p < SIDE; ++p)
#pragma unroll
            for (int f = 0; f < SIDE; ++f) phases[p][f] = phases[0][f];
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = last ? start + FREQUENCIES : start, next_chunk = last ? 0 : chunk + CHUNK;
            copy_rows<T, POINTS, CHUNK>(points + (half ^ 1) * HALF, x, rows, next_chunk, d);
            copy_rows<T, FREQUENCIES, CHUNK>(frequencies + (half ^ 1) * HALF, freqs + Index(next) * d, m - next, next_chunk, d);
            if (last) {
                copy_numbers<T, FREQUENCIES>(starts + (factor_half ^ 1) * FREQUENCIES, phase_offsets + next, m - next);
                copy_numbers<T, FREQUENCIES>(factors + (factor_half ^ 1) * FREQUENCIES, amplitudes + next, m - next);
            }
            add_products<T, POINTS, FREQUENCIES, STRIDE<T, FREQUENCIES>>(points + half * HALF,
                                                                         frequencies + half * HALF,
                                                                         min(CHUNK, d - chunk), place, phases);
            if (last) {
                T modulus[SIDE];
                read_numbers<T, COLUMNS>(factors + factor_half * FREQUENCIES, place.column, modulus);
#pragma unroll
                for (int p = 0; p < SIDE; ++p)
#pragma unroll
                    for (int f = 0; f < SIDE; ++f) sum[p] = fma(modulus[f], cosine(phases[p][f]), sum[p]);
                factor_half ^= 1;
            }
            half ^= 1;
            wait_for_copies();
            __syncthreads();
        }
        terms += SIDE;
        if (terms == ROWS || start + FREQUENCIES >= m) {
#pragma unroll
            for (int p = 0; p < SIDE; ++p) {
                points[(half ^ 1) * HALF + place.column * POINTS + place_of<T, POINTS / SIDE>(place.row, p)] = sum[p];
                sum[p] = 0;
            }
            __syncthreads();
            for (int column = 0; column < COLUMNS && threadIdx.x < POINTS; ++column)
                total += points[(half ^ 1) * HALF + column * POINTS + threadIdx.x];
            __syncthreads();
            terms = 0;
        }
    }
    if (int(threadIdx.x) < rows) out[first + threadIdx.x] = T(total);
}

// ---- what both need beforehand ------------------------------------------------------------------------------------------

// out (d,): largest |x| of each column as the bits of a float64, which are in the order of the numbers; NaN is above infinity.
// A thread keeps to the places of one column, all of them `step` rows apart, where there are threads enough for a row.
template <typename T>
__global__ void __launch_bounds__(256) column_magnitudes(const T *__restrict__ x,        // (n, d, inner)
                                                         long long *__restrict__ out,    // (d,), zero beforehand
                                                         Index n, int d, int inner) {
    const Index threads = Index(gridDim.x) * blockDim.x, thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index width = Index(d) * inner, step = max(Index(1), threads / width);
    for (Index place = thread % width; place < width; place += threads) {
        long long largest = 0;
        for (Index i = thread < step * width ? thread / width : n; i < n; i += step)
            largest = max(largest, __double_as_longlong(fabs(double(x[i * width + place]))));
        atomicMax(out + place / inner, largest);
    }
}
