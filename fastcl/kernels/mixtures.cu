// Mixtures of centred Gaussian scale mixtures: responsibilities of the terms, and posterior means under Gaussian noise.
//
// Twin of mixtures.py.  A block takes GROUPS * PER rows through the components one by one, and keeps of each row the largest
// logarithm of a term so far, the sum of the terms relative to it, and the mean in proportion, which shrink when a larger term
// comes: no array of the terms of all components is needed, where the twin keeps one in the second-level cache.  In shared
// memory rows run fastest, and all arrays have `width` coordinates, d up to a multiple of COLUMNS; what a component is made of
// is read through the cache.  A sum is added in one order whatever PER is: a row has the same bits in any block.
//
// Multiply-adds a row and component: 2 d^2 + 2 J d, with one exponential a scale.
#include "common.cuh"

constexpr int GROUPS = 8;  // of rows, which as many threads side by side take
constexpr int COLUMNS = 4; // of a thread's tile of a product; scales of a thread that adds terms

template <typename T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack { // one access, or a few of 16 bytes
    T values[N];
};

template <typename T> __device__ __forceinline__ Pack<T, COLUMNS> load_columns(const T *from) {
    return *reinterpret_cast<const Pack<T, COLUMNS> *>(from);
}

// The rows of a tile: packs of 16 bytes at most, those of the eight groups side by side.
template <typename T, int PER> struct Tile {
    static constexpr int ROWS = GROUPS * PER, PACK = PER * sizeof(T) < 16 ? PER : 16 / sizeof(T);

    static __device__ __forceinline__ void load(const T *from, int group, T (&rows)[PER]) { // from (ROWS,)
#pragma unroll
        for (int p = 0; p < PER / PACK; ++p) {
            const auto pack = *reinterpret_cast<const Pack<T, PACK> *>(from + (p * GROUPS + group) * PACK);
#pragma unroll
            for (int r = 0; r < PACK; ++r) rows[p * PACK + r] = pack.values[r];
        }
    }
    static __device__ __forceinline__ void store(const T (&rows)[PER], int group, T *to) {
#pragma unroll
        for (int p = 0; p < PER / PACK; ++p) {
            Pack<T, PACK> pack;
#pragma unroll
            for (int r = 0; r < PACK; ++r) pack.values[r] = rows[p * PACK + r];
            *reinterpret_cast<Pack<T, PACK> *>(to + (p * GROUPS + group) * PACK) = pack;
        }
    }
};

// sums (COLUMNS, PER) += the rows of a group in a (terms, ROWS), times COLUMNS columns of b (terms, padded).
template <typename T, int PER>
__device__ __forceinline__ void add_product(const T *a, const T *__restrict__ b, int terms, int padded, int group,
                                            T (&sums)[COLUMNS][PER]) {
#pragma unroll 4
    for (int s = 0; s < terms; ++s) {
        const auto factors = load_columns(b + Index(s) * padded);
        T rows[PER];
        Tile<T, PER>::load(a + s * Tile<T, PER>::ROWS, group, rows);
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
#pragma unroll
            for (int r = 0; r < PER; ++r) sums[c][r] = fma(rows[r], factors.values[c], sums[c][r]);
    }
}

template <int ROWS, typename T>
__device__ __forceinline__ void load_rows(const T *__restrict__ x, Index first, Index n, int d, T *rows) { // rows (d, ROWS)
    for (int i = threadIdx.x; i < d * ROWS; i += blockDim.x) {
        const Index row = first + i % ROWS;
        rows[i] = row < n ? x[row * d + i / ROWS] : T(0);
    }
}

// Coordinates (width, ROWS) in the basis (d, padded) of a component, and of these the logarithms of its terms (J, ROWS):
// constants_j - sum_i precisions_ji coordinates_i^2 / 2.
template <typename T, int PER>
__device__ __forceinline__ void set_terms(const T *rows, const T *__restrict__ basis, const T *__restrict__ precisions,
                                          const T *__restrict__ constants, T *coordinates, T *terms, int d, int scales,
                                          int padded, int width) {
    constexpr int ROWS = Tile<T, PER>::ROWS;
    for (int tile = threadIdx.x; tile < GROUPS * (width / COLUMNS); tile += blockDim.x) {
        const int group = tile % GROUPS, column = tile / GROUPS * COLUMNS;
        T sums[COLUMNS][PER] = {};
        add_product<T, PER>(rows, basis + column, d, padded, group, sums);
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) Tile<T, PER>::store(sums[c], group, coordinates + (column + c) * ROWS);
    }
    __syncthreads();
    for (int task = threadIdx.x; task < ROWS * ((scales + COLUMNS - 1) / COLUMNS); task += blockDim.x) {
        const int row = task % ROWS, first = task / ROWS * COLUMNS;
        const T *from[COLUMNS];
        T sums[COLUMNS];
#pragma unroll
        for (int s = 0; s < COLUMNS; ++s) {
            const int j = min(first + s, scales - 1);
            from[s] = precisions + Index(j) * padded;
            sums[s] = constants[j];
        }
        for (int column = 0; column < width; column += COLUMNS) {
            T squares[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                const T value = coordinates[(column + c) * ROWS + row];
                squares[c] = value * value * T(-0.5);
            }
#pragma unroll
            for (int s = 0; s < COLUMNS; ++s) {
                const auto factors = load_columns(from[s] + column);
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) sums[s] = fma(factors.values[c], squares[c], sums[s]);
            }
        }
#pragma unroll
        for (int s = 0; s < COLUMNS; ++s)
            if (first + s < scales) terms[(first + s) * ROWS + row] = sums[s];
    }
    __syncthreads();
}

// Takes the terms of a component into the largest logarithm of a row and the sum relative to it; returns what the former sum
// was multiplied by.  Logarithms become what they add to the sum where they are not to be kept.  The first component starts
// from its own term, not from minus infinity.
template <int ROWS, bool KEEP, typename T>
__device__ __forceinline__ T add_terms(T *terms, int row, int scales, bool starts, T &largest, T &total) {
    const T former = starts ? terms[row] : largest;
    T most = former;
    for (int j = 0; j < scales; ++j) most = max(most, terms[j * ROWS + row]);
    const T factor = exp(former - most);
    T sum = starts ? T(0) : total * factor;
    for (int j = 0; j < scales; ++j) {
        const T term = exp(terms[j * ROWS + row] - most);
        if (!KEEP) terms[j * ROWS + row] = term;
        sum += term;
    }
    largest = most;
    total = sum;
    return factor;
}

template <typename T, int PER>
__global__ void __launch_bounds__(256, 2) mixture_responsibilities(const T *__restrict__ x,          // (n, d)
                                                      const T *__restrict__ bases,      // (K, d, p)
                                                      const T *__restrict__ precisions, // (K, J, p)
                                                      const T *__restrict__ constants,  // (K, J)
                                                      T *responsibilities,                        // (n, K, J), first of logarithms
                                                      T *__restrict__ log_density,      // (n,)
                                                      Index n, int d, int components, int scales, int padded) {
    constexpr int ROWS = Tile<T, PER>::ROWS;
    const int width = (d + COLUMNS - 1) / COLUMNS * COLUMNS;
    T *rows = shared_memory<T>(), *coordinates = rows + d * ROWS, *terms = coordinates + width * ROWS;
    T *largest = terms + scales * ROWS, *totals = largest + ROWS;
    const Index first = Index(blockIdx.x) * ROWS, per_row = Index(components) * scales;
    const int count = int(min(Index(ROWS), n - first));

    load_rows<ROWS>(x, first, n, d, rows);
    __syncthreads();
    for (int k = 0; k < components; ++k) {
        set_terms<T, PER>(rows, bases + Index(k) * d * padded, precisions + Index(k) * scales * padded,
                          constants + Index(k) * scales, coordinates, terms, d, scales, padded, width);
        for (int i = threadIdx.x; i < count * scales; i += blockDim.x)
            responsibilities[(first + i / scales) * per_row + Index(k) * scales + i % scales] = terms[i % scales * ROWS + i / scales];
        for (int row = threadIdx.x; row < ROWS; row += blockDim.x)
            add_terms<ROWS, true>(terms, row, scales, k == 0, largest[row], totals[row]);
        __syncthreads();
    }
    for (Index i = threadIdx.x; i < count * per_row; i += blockDim.x) {
        const int row = int(i / per_row);
        T &share = responsibilities[first * per_row + i];
        share = exp(share - largest[row]) / totals[row];
    }
    for (int row = threadIdx.x; row < count; row += blockDim.x) log_density[first + row] = largest[row] + log(totals[row]);
}

template <typename T, int PER>
__global__ void __launch_bounds__(256, 2) mixture_means(const T *__restrict__ x,          // (n, d)
                                                     const T *__restrict__ bases,      // (K, d, p)
                                                     const T *__restrict__ precisions, // (K, J, p)
                                                     const T *__restrict__ constants,  // (K, J)
                                                     const T *__restrict__ gains,      // (K, J, p)
                                                     const T *__restrict__ inverses,   // (K, p, p)
                                                     T *__restrict__ out,              // (n, d)
                                                     Index n, int d, int components, int scales, int padded) {
    constexpr int ROWS = Tile<T, PER>::ROWS;
    const int width = (d + COLUMNS - 1) / COLUMNS * COLUMNS;
    T *rows = shared_memory<T>(), *coordinates = rows + d * ROWS, *terms = coordinates + width * ROWS;
    T *means = terms + scales * ROWS, *largest = means + width * ROWS, *totals = largest + ROWS, *factors = totals + ROWS;
    const Index first = Index(blockIdx.x) * ROWS;

    load_rows<ROWS>(x, first, n, d, rows);
    for (int i = threadIdx.x; i < width * ROWS; i += blockDim.x) means[i] = 0;
    __syncthreads();
    for (int k = 0; k < components; ++k) {
        set_terms<T, PER>(rows, bases + Index(k) * d * padded, precisions + Index(k) * scales * padded,
                          constants + Index(k) * scales, coordinates, terms, d, scales, padded, width);
        for (int row = threadIdx.x; row < ROWS; row += blockDim.x)
            factors[row] = add_terms<ROWS, false>(terms, row, scales, k == 0, largest[row], totals[row]);
        __syncthreads();
        for (int task = threadIdx.x; task < ROWS * (width / COLUMNS); task += blockDim.x) { // coordinates of its share of the mean
            const int row = task % ROWS, column = task / ROWS * COLUMNS;
            const T *gain = gains + Index(k) * scales * padded + column;
            T shrinkage[COLUMNS] = {};
            for (int j = 0; j < scales; ++j) {
                const auto values = load_columns(gain + Index(j) * padded);
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) shrinkage[c] = fma(terms[j * ROWS + row], values.values[c], shrinkage[c]);
            }
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) coordinates[(column + c) * ROWS + row] *= shrinkage[c];
        }
        __syncthreads();
        for (int tile = threadIdx.x; tile < GROUPS * (width / COLUMNS); tile += blockDim.x) {
            const int group = tile % GROUPS, column = tile / GROUPS * COLUMNS;
            T factor[PER], sums[COLUMNS][PER];
            Tile<T, PER>::load(factors, group, factor);
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                Tile<T, PER>::load(means + (column + c) * ROWS, group, sums[c]);
#pragma unroll
                for (int r = 0; r < PER; ++r) sums[c][r] *= factor[r];
            }
            add_product<T, PER>(coordinates, inverses + Index(k) * padded * padded + column, d, padded, group, sums);
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) Tile<T, PER>::store(sums[c], group, means + (column + c) * ROWS);
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < d * ROWS; i += blockDim.x) {
        const Index row = first + i % ROWS;
        if (row < n) out[row * d + i / ROWS] = means[i] / totals[i % ROWS];
    }
}
