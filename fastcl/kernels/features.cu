// Feature sums and their adjoint for small d, fused: phase, argument reduction, sine and cosine,
// sum.
//
// Twin of features.py. Frequencies are in radians for float32 and in turns for float64
// (sincos.cuh). Partial sums are in the working precision over ROWS terms and in float64 beyond.
// Every thread adds its terms in order, and then the parts are added in order: results are bitwise
// identical in every run.
//
// Operations per pair in float32, counted in the compiled code by benchmarks/instructions.py. A
// multiprocessor issues 128 per clock, and computes 16 special functions per clock next to them.
//   sum      d + 8 with two special functions, or d + 17 with polynomials for some frequencies
//   adjoint  d + 6 with one special function: Re(c exp(i a)) = |c| cos(a + arg c), and the phase
//            starts from arg c
// Beyond small d, float64 takes features_tiled.cu and float32 takes features_tensor.cu.
#include "sincos.cuh"

// What a thread of the sum does at once; it keeps whole frequencies in registers.
template <typename T, int D> struct Tiling {
    static constexpr int frequencies = FREQUENCIES_DOUBLE; // per thread
    static constexpr int polynomials = frequencies; // how many of them use polynomials
    static constexpr int unroll = 2;                // rows per iteration
};
template <int D> struct Tiling<float, D> {
    static constexpr int frequencies = FREQUENCIES_FLOAT;
    static constexpr int polynomials = D < 4 ? 2 : D < 8 ? 1 : 0; // balances the two units
    static constexpr int unroll = D < 8 ? 4 : 1;                  // as many as fit in registers
};

template <typename T, int N> struct alignas(ACCESS_BYTES) Row { // read by vector accesses
    T values[(N * sizeof(T) + ACCESS_BYTES - 1) / ACCESS_BYTES * ACCESS_BYTES / sizeof(T)];
};

// start + <point, frequency>
template <typename T, int D>
__device__ __forceinline__ T phase_of(const T *point, const T *frequency, T start) {
    T phase = start;
#pragma unroll
    for (int k = 0; k < D; ++k) phase = fma(point[k], frequency[k], phase);
    return phase;
}

// sum_i weights_i exp(-i <freqs_l, x_i>) over the rows i of a part, as real and imaginary parts.
template <typename T, int D>
__global__ void __launch_bounds__(THREADS, 2)
    feature_sum(const T *__restrict__ x,       // (n, D)
                const T *__restrict__ weights, // (n,), or null for ones
                const T *__restrict__ freqs,   // (blocks, D, block_width)
                Index part_rows,               // rows of x that one CUDA block adds
                double *__restrict__ partial,  // (parts, blocks, 2, block_width)
                Index n, int blocks, int block_width) {
    constexpr int COUNT = Tiling<T, D>::frequencies;
    Row<T, D + 1> *rows = shared_memory<Row<T, D + 1>>(); // (ROWS,): coordinates and weight
    const int block = blockIdx.x % blocks;
    const Index part = blockIdx.x / blocks;
    const Index first = part * part_rows, stop = min(first + part_rows, n);

    T frequency[COUNT][D];
    // Totals stay in global memory: in registers they would crowd out the rest.
    partial += (part * blocks + block) * 2 * block_width + threadIdx.x;
#pragma unroll
    for (int f = 0; f < COUNT; ++f) {
        partial[f * blockDim.x] = partial[block_width + f * blockDim.x] = 0;
#pragma unroll
        for (int k = 0; k < D; ++k)
            frequency[f][k] = freqs[(block * D + k) * block_width + f * blockDim.x + threadIdx.x];
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
                    add_sincos_by_polynomial(phase, row.values[D], real[f], imag[f]);
                else
                    add_sincos_by_unit(phase, row.values[D], real[f], imag[f]);
            }
        }
        double *total = partial;
#pragma unroll
        for (int f = 0; f < COUNT; ++f) {
            total[0] += real[f];
            total[block_width] -= imag[f];
            total += blockDim.x;
        }
    }
}

// out_i = sum_l amplitudes_l cos(<freqs_l, x_i> + phase_offsets_l)
//
// A thread takes COUNT points, and a block takes `block_width`. If there are few points, groups of
// threads share them: every group takes a part of the frequencies, and the sums of the groups are
// added in order.
template <typename T, int D, int COUNT>
__global__ void __launch_bounds__(THREADS, 2)
    feature_adjoint(const T *__restrict__ x,             // (n, D)
                    const T *__restrict__ freqs,         // (m, D)
                    const T *__restrict__ amplitudes,    // (m,)
                    const T *__restrict__ phase_offsets, // (m,), in the unit of the phases
                    int block_width,                     // points of a block
                    T *__restrict__ out,                 // (n,)
                    Index n, int m) {
    Row<T, D + 2> *rows = shared_memory<Row<T, D + 2>>(); // (ROWS,): frequency, offset, amplitude
    const int width = block_width / COUNT; // threads of a group
    const int groups = blockDim.x / width;
    const int group = threadIdx.x / width, thread = threadIdx.x % width;
    const Index first = Index(blockIdx.x) * block_width;

    T point[COUNT][D];
    double total[COUNT];
#pragma unroll
    for (int p = 0; p < COUNT; ++p) {
        const Index i = min(first + p * width + thread, n - 1);
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
            for (int p = 0; p < COUNT; ++p) {
                const T phase = phase_of<T, D>(point[p], row.values, row.values[D]);
                sum[p] = fma(row.values[D + 1], cosine_of(phase), sum[p]);
            }
        }
#pragma unroll
        for (int p = 0; p < COUNT; ++p) total[p] += sum[p];
    }
    double *sums = reinterpret_cast<double *>(rows + ROWS); // (groups, block_width)
#pragma unroll
    for (int p = 0; p < COUNT; ++p) sums[group * block_width + p * width + thread] = total[p];
    __syncthreads();
    for (int i = threadIdx.x; i < block_width; i += blockDim.x) {
        double value = 0;
        for (int g = 0; g < groups; ++g) value += sums[g * block_width + i];
        if (first + i < n) out[first + i] = T(value);
    }
}

// out_k = max |x_ik| over the rows i (and the inner axis), as the bits of a float64: as integers,
// they have the order of the numbers, and NaN comes after infinity.
//
// If there are enough threads for a row, a thread stays in one column, with places `step` rows
// apart.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    column_magnitudes(const T *__restrict__ x,     // (n, d, inner)
                      long long *__restrict__ out, // (d,), zero beforehand
                      Index n, int d, int inner) {
    const Index threads = Index(gridDim.x) * blockDim.x;
    const Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index width = Index(d) * inner, step = max(Index(1), threads / width);
    for (Index place = thread % width; place < width; place += threads) {
        long long largest = 0;
        for (Index i = thread < step * width ? thread / width : n; i < n; i += step)
            largest = max(largest, __double_as_longlong(fabs(double(x[i * width + place]))));
        atomicMax(out + place / inner, largest);
    }
}
