// Feature sums and their adjoint in float64 beyond small d: the phases of a tile of points by a
// tile of frequencies are a matrix product (tiles.cuh).
//
// Twin of features.py. ROWS and the order of additions are as in features.cu.
#include "sincos.cuh"
#include "tiles.cuh"

// sum_i weights_i exp(-i <freqs_l, x_i>) over the rows i of a part, as real and imaginary parts.
//
// A thread keeps the sums of its frequencies over its points of several tiles, up to ROWS terms;
// then the sums of all threads are added in float64, in order.
template <typename T>
__global__ void __launch_bounds__(THREADS, 2)
    feature_sum_tiled(const T *__restrict__ x,       // (n, d)
                      const T *__restrict__ weights, // (n,), or null for ones
                      const T *__restrict__ freqs,   // (blocks, d, TILE), in turns
                      Index part_rows,               // rows of x that one CUDA block adds
                      double *__restrict__ partial,  // (parts, blocks, 2, TILE)
                      Index n, int blocks, int d) {
    constexpr int POINTS = TILE, FREQUENCIES = TILE, ACROSS = TILE / SIDE; // threads in a row
    constexpr int POINT_SIZE = CHUNK * STRIDE<T, POINTS>, HALF = POINT_SIZE + CHUNK * FREQUENCIES;
    // Two halves: each is the points (CHUNK, STRIDE), then the frequencies (CHUNK, FREQUENCIES);
    // sums (ACROSS, 2, FREQUENCIES) take the place of the half that is not in use.
    T *points = shared_memory<T>();
    T *frequencies = points + POINT_SIZE;
    T *factors = points + 2 * HALF; // (2, POINTS): weights
    const Place<ACROSS> place;
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
    copy_rows<T, POINTS>(points, x, rows, 0, d);
    copy_columns<T, FREQUENCIES>(frequencies, freqs, 0, d);
    copy_weights(factors, 0);
    wait_for_copies();
    __syncthreads();

    double total = 0; // real or imaginary sum of one frequency over the part
    T real[SIDE] = {}, imag[SIDE] = {};
    int half = 0;        // half of shared memory with the chunk that is multiplied
    int factor_half = 0; // half of `factors` with the weights of the tile
    int terms = 0;       // number of terms in the sums of a thread
    for (int start = 0; start < rows; start += POINTS) {
        T phases[SIDE][SIDE] = {};
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = last ? start + POINTS : start, next_chunk = last ? 0 : chunk + CHUNK;
            T *next_points = points + (half ^ 1) * HALF;
            T *next_frequencies = frequencies + (half ^ 1) * HALF;
            copy_rows<T, POINTS>(next_points, x + Index(next) * d, rows - next, next_chunk, d);
            copy_columns<T, FREQUENCIES>(next_frequencies, freqs, next_chunk, d);
            if (last) copy_weights(factors + (factor_half ^ 1) * POINTS, next);
            const int count = min(CHUNK, d - chunk);
            add_products<T, POINTS, FREQUENCIES, FREQUENCIES>(
                points + half * HALF, frequencies + half * HALF, count, place, phases);
            if (last) {
                T weight[SIDE];
                read_numbers<T, ACROSS>(factors + factor_half * POINTS, place.row, weight);
#pragma unroll
                for (int p = 0; p < SIDE; ++p)
#pragma unroll
                    for (int f = 0; f < SIDE; ++f)
                        add_sincos_by_unit(phases[p][f], weight[p], real[f], imag[f]);
                factor_half ^= 1;
            }
            half ^= 1;
            wait_for_copies();
            __syncthreads();
        }
        terms += SIDE;
        if (terms == ROWS || start + POINTS >= rows) {
            T *sums = points + (half ^ 1) * HALF;
#pragma unroll
            for (int f = 0; f < SIDE; ++f) {
                T *out = sums + place.row * 2 * FREQUENCIES + place_of<T, ACROSS>(place.column, f);
                out[0] = real[f];
                out[FREQUENCIES] = -imag[f];
                real[f] = imag[f] = 0;
            }
            __syncthreads();
            for (int row = 0; row < ACROSS && threadIdx.x < 2 * FREQUENCIES; ++row)
                total += sums[row * 2 * FREQUENCIES + threadIdx.x];
            __syncthreads();
            terms = 0;
        }
    }
    if (threadIdx.x < 2 * FREQUENCIES)
        partial[(part * blocks + block) * 2 * FREQUENCIES + threadIdx.x] = total;
}

// out_i = sum_l amplitudes_l cos(<freqs_l, x_i> + phase_offsets_l)
//
// A block takes POINTS points: few if n is small, and then more frequencies at once.
template <typename T, int POINTS, int FREQUENCIES>
__global__ void __launch_bounds__(THREADS, POINTS == 32 ? 1 : 2)
    feature_adjoint_tiled(const T *__restrict__ x,             // (n, d)
                          const T *__restrict__ freqs,         // (m, d), in turns
                          const T *__restrict__ amplitudes,    // (m,)
                          const T *__restrict__ phase_offsets, // (m,), in turns
                          int block_width,                     // points of a block
                          T *__restrict__ out,                 // (n,)
                          Index n, int m, int d) {
    constexpr int COLUMNS = FREQUENCIES / SIDE, POINT_SIZE = CHUNK * STRIDE<T, POINTS>;
    constexpr int HALF = POINT_SIZE + CHUNK * STRIDE<T, FREQUENCIES>;
    static_assert(POINTS * FREQUENCIES == THREADS * SIDE * SIDE);
    // Two halves: each is the points and then the frequencies (CHUNK, STRIDE); sums (COLUMNS,
    // POINTS) take the place of the half that is not in use.
    T *points = shared_memory<T>();
    T *frequencies = points + POINT_SIZE;
    T *starts = points + 2 * HALF;         // (2, FREQUENCIES): phase_offsets
    T *factors = starts + 2 * FREQUENCIES; // (2, FREQUENCIES): amplitudes
    const Place<COLUMNS> place;
    const Index first = Index(blockIdx.x) * block_width;
    const int rows = int(min(Index(POINTS), n - first));
    x += first * d;

    copy_rows<T, POINTS>(points, x, rows, 0, d);
    copy_rows<T, FREQUENCIES>(frequencies, freqs, m, 0, d);
    copy_numbers<T, FREQUENCIES>(starts, phase_offsets, m);
    copy_numbers<T, FREQUENCIES>(factors, amplitudes, m);
    wait_for_copies();
    __syncthreads();

    double total = 0; // sum of one point
    T sum[SIDE] = {};
    int half = 0;        // half of shared memory with the chunk that is multiplied
    int factor_half = 0; // half of `starts` and `factors` with the coefficients of the tile
    int terms = 0;       // number of terms in the sums of a thread
    for (int start = 0; start < m; start += FREQUENCIES) {
        T phases[SIDE][SIDE];
        read_numbers<T, COLUMNS>(starts + factor_half * FREQUENCIES, place.column, phases[0]);
#pragma unroll
        for (int p = 1; p < SIDE; ++p)
#pragma unroll
            for (int f = 0; f < SIDE; ++f) phases[p][f] = phases[0][f];
        for (int chunk = 0; chunk < d; chunk += CHUNK) {
            const bool last = chunk + CHUNK >= d;
            const int next = last ? start + FREQUENCIES : start;
            const int next_chunk = last ? 0 : chunk + CHUNK;
            copy_rows<T, POINTS>(points + (half ^ 1) * HALF, x, rows, next_chunk, d);
            copy_rows<T, FREQUENCIES>(frequencies + (half ^ 1) * HALF, freqs + Index(next) * d,
                                      m - next, next_chunk, d);
            if (last) {
                copy_numbers<T, FREQUENCIES>(starts + (factor_half ^ 1) * FREQUENCIES,
                                             phase_offsets + next, m - next);
                copy_numbers<T, FREQUENCIES>(factors + (factor_half ^ 1) * FREQUENCIES,
                                             amplitudes + next, m - next);
            }
            const int count = min(CHUNK, d - chunk);
            add_products<T, POINTS, FREQUENCIES, STRIDE<T, FREQUENCIES>>(
                points + half * HALF, frequencies + half * HALF, count, place, phases);
            if (last) {
                T amplitude[SIDE];
                read_numbers<T, COLUMNS>(factors + factor_half * FREQUENCIES, place.column,
                                         amplitude);
#pragma unroll
                for (int p = 0; p < SIDE; ++p)
#pragma unroll
                    for (int f = 0; f < SIDE; ++f)
                        sum[p] = fma(amplitude[f], cosine_of(phases[p][f]), sum[p]);
                factor_half ^= 1;
            }
            half ^= 1;
            wait_for_copies();
            __syncthreads();
        }
        terms += SIDE;
        if (terms == ROWS || start + FREQUENCIES >= m) {
            T *sums = points + (half ^ 1) * HALF;
#pragma unroll
            for (int p = 0; p < SIDE; ++p) {
                sums[place.column * POINTS + place_of<T, POINTS / SIDE>(place.row, p)] = sum[p];
                sum[p] = 0;
            }
            __syncthreads();
            for (int column = 0; column < COLUMNS && threadIdx.x < POINTS; ++column)
                total += sums[column * POINTS + threadIdx.x];
            __syncthreads();
            terms = 0;
        }
    }
    if (int(threadIdx.x) < rows) out[first + threadIdx.x] = T(total);
}
