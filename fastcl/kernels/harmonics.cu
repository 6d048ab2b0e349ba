// Feature sums and their adjoint for frequencies that are the multiples 1..K of base frequencies:
// one sine and one cosine serve K of them.
//
// Twin of harmonics.py, which describes the recurrences; K is the template parameter HARMONICS. In
// the sum a thread keeps one base and takes GROUP points at once; in the adjoint it keeps one point
// and takes GROUP bases. The coordinates of the group are in shared memory; neighbouring threads
// read the coordinates of their own vectors from neighbouring addresses. Operations per base and
// point in float32: 1.5 d + 10 + 4 K for either map, with two special functions. Order of
// additions, precisions and the unit of the phases are as in features.cu.
#include "groups.cuh"

// sum_i weights_i exp(-i k <freqs_l, x_i>), k = 1..K, over the rows i of a part, as real and
// imaginary parts.
template <typename T, int HARMONICS>
__global__ void __launch_bounds__(THREADS, sizeof(T) == 8 && HARMONICS > 11 ? 1 : 2)
    harmonic_sum(const T *__restrict__ x,       // (n, d)
                 const T *__restrict__ weights, // (n,), or null for ones
                 const T *__restrict__ freqs,   // (blocks, d, block_width)
                 Index part_rows,               // rows of x that one CUDA block adds
                 double *__restrict__ partial,  // (parts, blocks, HARMONICS, 2, block_width)
                 Index n, int blocks, int d, int block_width,
                 int rows) { // staged at once
    Group<T> *points = shared_memory<Group<T>>();                  // (rows / GROUP, d)
    T *factors = reinterpret_cast<T *>(points + rows / GROUP * d); // (rows,): weights
    const int splits = block_width / blockDim.x, split = blockIdx.x % splits;
    const int block = blockIdx.x / splits % blocks;
    const Index part = blockIdx.x / splits / blocks;
    const Index first = part * part_rows, stop = min(first + part_rows, n);
    const int column = split * blockDim.x + threadIdx.x;
    freqs += Index(block) * d * block_width + column;
    partial += (part * blocks + block) * HARMONICS * 2 * block_width + column;
    for (int k = 0; k < 2 * HARMONICS; ++k) partial[Index(k) * block_width] = 0;

    for (Index start = first; start < stop; start += rows) {
        const int count = int(min(Index(rows), stop - start));
        __syncthreads();
        stage_groups(points, x + start * d, count, d);
        for (int i = threadIdx.x; i < rows; i += blockDim.x)
            factors[i] = i < count ? (weights ? weights[start + i] : T(1)) : T(0);
        __syncthreads();
        T real[HARMONICS] = {}, imag[HARMONICS] = {};
        for (int i = 0; i < count; i += GROUP) {
            const Group<T> phases = phases_of(points + i / GROUP * d, freqs, block_width, d, T(0));
#pragma unroll
            for (int j = 0; j < GROUP; ++j) {
                T cosine, sine;
                cosine_and_sine(phases.values[j], cosine, sine);
                const T weight = factors[i + j], twice = cosine + cosine;
                T real_before = weight, real_now = weight * cosine;
                T imag_before = 0, imag_now = weight * sine;
#pragma unroll
                for (int k = 0; k < HARMONICS; ++k) {
                    real[k] += real_now;
                    imag[k] += imag_now;
                    const T real_after = fma(twice, real_now, -real_before);
                    const T imag_after = fma(twice, imag_now, -imag_before);
                    real_before = real_now, real_now = real_after;
                    imag_before = imag_now, imag_now = imag_after;
                }
            }
        }
        double *total = partial;
#pragma unroll
        for (int k = 0; k < HARMONICS; ++k) {
            total[0] += real[k];
            total[block_width] -= imag[k];
            total += 2 * block_width;
        }
    }
}

template <typename T, int COUNT>
struct alignas(ACCESS_BYTES) Coefficients { // those of one base, read by vector accesses
    T values[(COUNT * sizeof(T) + ACCESS_BYTES - 1) / ACCESS_BYTES * ACCESS_BYTES / sizeof(T)];
};

// b_1 (now) and b_2 (above) of b_k = coefficients_k + 2 cos(a) b_(k + 1) - b_(k + 2). Coefficients
// are two numbers apart, because real and imaginary parts alternate.
template <typename T, int HARMONICS>
__device__ __forceinline__ void clenshaw(const T *coefficients, T twice, T &now, T &above) {
    now = coefficients[2 * HARMONICS - 2];
    above = 0;
#pragma unroll
    for (int k = HARMONICS - 2; k >= 0; --k) {
        const T below = fma(twice, now, coefficients[2 * k] - above);
        above = now;
        now = below;
    }
}

// out_i = sum_l sum_k real_lk cos(k <freqs_l, x_i>) - imag_lk sin(k <freqs_l, x_i>), k = 1..K
//
// A block takes `block_width` points. Groups of `block_width` threads share the bases, and the sums
// of the groups are added in order.
template <typename T, int HARMONICS>
__global__ void __launch_bounds__(THREADS, 2)
    harmonic_adjoint(const T *__restrict__ x,     // (d, n): transposed
                     const T *__restrict__ freqs, // (g, d)
                     const T *__restrict__ real,  // (g, HARMONICS): real parts of coefficients
                     const T *__restrict__ imag,  // (g, HARMONICS): imaginary parts
                     int block_width,             // points of a block
                     T *__restrict__ out,         // (n,)
                     Index n, int g, int d,
                     int rows) { // bases staged at once
    using Row = Coefficients<T, 2 * HARMONICS>;
    Row *coefficients = shared_memory<Row>(); // (rows,): real and imaginary parts in turn
    Group<T> *bases = reinterpret_cast<Group<T> *>(coefficients + rows); // (rows / GROUP, d)
    const int groups = blockDim.x / block_width;
    const int group = threadIdx.x / block_width, thread = threadIdx.x % block_width;
    const Index first = Index(blockIdx.x) * block_width;
    x += min(first + thread, n - 1);

    double total = 0;
    for (int start = 0; start < g; start += rows) {
        const int count = min(rows, g - start);
        __syncthreads();
        stage_groups(bases, freqs + Index(start) * d, count, d);
        for (int place = threadIdx.x; place < rows * HARMONICS; place += blockDim.x) {
            const int row = place / HARMONICS, k = place % HARMONICS;
            const Index source = Index(start + row) * HARMONICS + k;
            coefficients[row].values[2 * k] = row < count ? real[source] : T(0);
            coefficients[row].values[2 * k + 1] = row < count ? imag[source] : T(0);
        }
        __syncthreads();
        T sum = 0;
        for (int l = group * GROUP; l < count; l += groups * GROUP) {
            const Group<T> phases = phases_of(bases + l / GROUP * d, x, n, d, T(0));
#pragma unroll
            for (int j = 0; j < GROUP; ++j) {
                T cosine, sine, a, a_above, b, b_above;
                cosine_and_sine(phases.values[j], cosine, sine);
                const Row row = coefficients[l + j];
                clenshaw<T, HARMONICS>(row.values, cosine + cosine, a, a_above);
                clenshaw<T, HARMONICS>(row.values + 1, cosine + cosine, b, b_above);
                sum += fma(a, cosine, -fma(b, sine, a_above));
            }
        }
        total += sum;
    }
    __syncthreads();
    double *sums = shared_memory<double>(); // (groups, block_width)
    sums[threadIdx.x] = total;
    __syncthreads();
    if (group == 0) {
        for (int other = 1; other < groups; ++other) total += sums[other * block_width + thread];
        if (first + thread < n) out[first + thread] = T(total);
    }
}
