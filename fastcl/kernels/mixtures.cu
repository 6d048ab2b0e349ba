// Mixtures of centred Gaussian scale mixtures: responsibilities of the terms, and posterior means
// under Gaussian noise.
//
// Twin of mixtures.py. A block takes GROUPS * PER rows through the components one by one. For each
// row it keeps the largest logarithm of a term so far, the sum of the terms relative to it, and the
// mean on the same scale; sum and mean are scaled down when a larger term comes, as in the twin's
// means. No array holds the terms of all components; the twin's responsibilities have one in the
// second-level cache. In shared memory rows are the fastest axis, and arrays have `width`
// coordinates, d rounded up to a multiple of COLUMNS, or `tail_width`, the t coordinates of the
// tail rounded up; the arrays of a component are read through the cache. The order of additions
// does not depend on PER, so the result of a row is bitwise identical in any block.
//
// Multiply-adds per row and component: 2 d^2 + 2 J (d + t), with one exponential per scale.
//
// The rows of a block form GROUPS groups, taken by GROUPS neighbouring threads. COLUMNS is the
// number of columns in a thread's tile of a product, and of scales whose terms a thread adds.
#include "common.cuh"

template <typename T> __device__ __forceinline__ Pack<T, COLUMNS> load_columns(const T *from) {
    return *reinterpret_cast<const Pack<T, COLUMNS> *>(from);
}

// The PER rows of a thread, in packs of at most ACCESS_BYTES; the packs of all groups alternate.
template <typename T, int PER> struct Tile {
    static constexpr int ROWS = GROUPS * PER;
    static constexpr int PACK = PER * sizeof(T) < ACCESS_BYTES ? PER : ACCESS_BYTES / sizeof(T);

    static __device__ __forceinline__ void load(const T *from, int group, T (&rows)[PER]) {
#pragma unroll
        for (int p = 0; p < PER / PACK; ++p) {
            const T *place = from + (p * GROUPS + group) * PACK; // from (ROWS,)
            const auto pack = *reinterpret_cast<const Pack<T, PACK> *>(place);
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
            T *place = to + (p * GROUPS + group) * PACK; // to (ROWS,)
            *reinterpret_cast<Pack<T, PACK> *>(place) = pack;
        }
    }
};

// sums_cr += sum_s a_sr b_sc for the rows of a group in a (terms, ROWS) and COLUMNS columns of
// b (terms, padded).
template <typename T, int PER>
__device__ __forceinline__ void add_product(const T *a, const T *__restrict__ b, int terms,
                                            int padded, int group, T (&sums)[COLUMNS][PER]) {
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

// Loads `columns` columns of the points x (n, pitch) of a block, transposed, to rows (width, ROWS);
// zeros beyond the columns, and beyond n.
template <int ROWS, typename T>
__device__ __forceinline__ void load_rows(const T *__restrict__ x, Index first, Index n, int pitch,
                                          int columns, int width, T *rows) {
    for (int i = threadIdx.x; i < width * ROWS; i += blockDim.x) {
        const Index row = first + i % ROWS;
        rows[i] = row < n && i / ROWS < columns ? x[row * pitch + i / ROWS] : T(0);
    }
}

// sums_s -= sum_c precisions_sc coordinates_c^2 / 2 for a row of coordinates (width, ROWS), and the
// scales from `first` on of precisions (J, padded).
template <int ROWS, typename T>
__device__ __forceinline__ void add_squares(const T *coordinates, int row, int width,
                                            const T *__restrict__ precisions, int padded, int first,
                                            int scales, T (&sums)[COLUMNS]) {
    const T *from[COLUMNS];
#pragma unroll
    for (int s = 0; s < COLUMNS; ++s)
        from[s] = precisions + Index(min(first + s, scales - 1)) * padded;
#pragma unroll 1
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
            for (int c = 0; c < COLUMNS; ++c)
                sums[s] = fma(factors.values[c], squares[c], sums[s]);
        }
    }
}

// Sets the coordinates (width, ROWS) of the rows in the basis (d, padded) of a component, and the
// logarithms of its terms (J, ROWS): constants_j - sum_i precisions_ji coordinates_i^2 / 2, minus
// the same sum over the tail (tail_width, ROWS).
template <typename T, int PER>
__device__ __forceinline__ void
set_terms(const T *rows, const T *tail, const T *__restrict__ basis,
          const T *__restrict__ precisions, const T *__restrict__ tail_precisions,
          const T *__restrict__ constants, T *coordinates, T *terms, int d, int scales, int padded,
          int padded_tail, int width, int tail_width) {
    constexpr int ROWS = Tile<T, PER>::ROWS;
    for (int tile = threadIdx.x; tile < GROUPS * (width / COLUMNS); tile += blockDim.x) {
        const int group = tile % GROUPS, column = tile / GROUPS * COLUMNS;
        T sums[COLUMNS][PER] = {};
        add_product<T, PER>(rows, basis + column, d, padded, group, sums);
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            Tile<T, PER>::store(sums[c], group, coordinates + (column + c) * ROWS);
    }
    __syncthreads();
    const int tasks = ROWS * ((scales + COLUMNS - 1) / COLUMNS);
    for (int task = threadIdx.x; task < tasks; task += blockDim.x) {
        const int row = task % ROWS, first = task / ROWS * COLUMNS;
        T sums[COLUMNS];
#pragma unroll
        for (int s = 0; s < COLUMNS; ++s) sums[s] = constants[min(first + s, scales - 1)];
        add_squares<ROWS>(coordinates, row, width, precisions, padded, first, scales, sums);
        add_squares<ROWS>(tail, row, tail_width, tail_precisions, padded_tail, first, scales, sums);
#pragma unroll
        for (int s = 0; s < COLUMNS; ++s)
            if (first + s < scales) terms[(first + s) * ROWS + row] = sums[s];
    }
    __syncthreads();
}

// Updates the largest logarithm of a row, and the sum relative to it, with the terms of a
// component; returns the factor by which the former sum was multiplied. Unless KEEP, the logarithms
// are replaced by what they add to the sum. The first component starts from its own term, not from
// minus infinity.
template <int ROWS, bool KEEP, typename T>
__device__ __forceinline__ T add_terms(T *terms, int row, int scales, bool starts, T &largest,
                                       T &total) {
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

// sums_c += sum_j terms_j gains_jc for a row of terms (J, ROWS) and COLUMNS columns of
// gains (J, padded).
template <int ROWS, typename T>
__device__ __forceinline__ void add_gains(const T *terms, int row, int scales,
                                          const T *__restrict__ gains, int padded,
                                          T (&sums)[COLUMNS]) {
    for (int j = 0; j < scales; ++j) {
        const auto values = load_columns(gains + Index(j) * padded);
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            sums[c] = fma(terms[j * ROWS + row], values.values[c], sums[c]);
    }
}

// log_density_i = log sum_kj exp(l_kj), responsibilities_ikj = exp(l_kj - log_density_i), with
// l_kj = constants_kj - sum_c precisions_kjc (head_i bases_k)_c^2 / 2
//                     - sum_c tail_precisions_kjc tail_ic^2 / 2, x_i = (head_i, tail_i)
template <typename T, int PER>
__global__ void __launch_bounds__(THREADS, 2)
    mixture_responsibilities(const T *__restrict__ x,               // (n, d + t)
                             const T *__restrict__ bases,           // (K, d, p)
                             const T *__restrict__ precisions,      // (K, J, p)
                             const T *__restrict__ tail_precisions, // (K, J, q)
                             const T *__restrict__ constants,       // (K, J)
                             T *responsibilities,         // (n, K, J), at first logarithms
                             T *__restrict__ log_density, // (n,)
                             Index n, int d, int t, int components, int scales, int padded,
                             int padded_tail) {
    constexpr int ROWS = Tile<T, PER>::ROWS;
    const int width = (d + COLUMNS - 1) / COLUMNS * COLUMNS;
    const int tail_width = (t + COLUMNS - 1) / COLUMNS * COLUMNS;
    T *rows = shared_memory<T>();          // (d, ROWS)
    T *coordinates = rows + d * ROWS;      // (width, ROWS)
    T *tail = coordinates + width * ROWS;  // (tail_width, ROWS)
    T *terms = tail + tail_width * ROWS;   // (J, ROWS)
    T *largest = terms + scales * ROWS;    // (ROWS,)
    T *totals = largest + ROWS;            // (ROWS,)
    const Index first = Index(blockIdx.x) * ROWS, per_row = Index(components) * scales;
    const int count = int(min(Index(ROWS), n - first));

    load_rows<ROWS>(x, first, n, d + t, d, d, rows);
    load_rows<ROWS>(x + d, first, n, d + t, t, tail_width, tail);
    __syncthreads();
    for (int k = 0; k < components; ++k) {
        const Index component = Index(k) * scales;
        set_terms<T, PER>(rows, tail, bases + Index(k) * d * padded,
                          precisions + component * padded,
                          tail_precisions + component * padded_tail, constants + component,
                          coordinates, terms, d, scales, padded, padded_tail, width, tail_width);
        for (int i = threadIdx.x; i < count * scales; i += blockDim.x)
            responsibilities[(first + i / scales) * per_row + component + i % scales] =
                terms[i % scales * ROWS + i / scales];
        for (int row = threadIdx.x; row < ROWS; row += blockDim.x)
            add_terms<ROWS, true>(terms, row, scales, k == 0, largest[row], totals[row]);
        __syncthreads();
    }
    for (Index i = threadIdx.x; i < count * per_row; i += blockDim.x) {
        const int row = int(i / per_row);
        T &responsibility = responsibilities[first * per_row + i];
        responsibility = exp(responsibility - largest[row]) / totals[row];
    }
    for (int row = threadIdx.x; row < count; row += blockDim.x)
        log_density[first + row] = largest[row] + log(totals[row]);
}

// The head of out_i is sum_k (c_k * sum_j r_kj gains_kj) inverses_k, with c_k = head_i bases_k and
// the responsibilities r_kj of x_i; its tail is tail_i * sum_kj r_kj tail_gains_kj
template <typename T, int PER>
__global__ void __launch_bounds__(THREADS, 2)
    mixture_means(const T *__restrict__ x,               // (n, d + t)
                  const T *__restrict__ bases,           // (K, d, p)
                  const T *__restrict__ precisions,      // (K, J, p)
                  const T *__restrict__ tail_precisions, // (K, J, q)
                  const T *__restrict__ constants,       // (K, J)
                  const T *__restrict__ gains,           // (K, J, p)
                  const T *__restrict__ tail_gains,      // (K, J, q)
                  const T *__restrict__ inverses,        // (K, p, p)
                  T *__restrict__ out,                   // (n, d + t)
                  Index n, int d, int t, int components, int scales, int padded,
                  int padded_tail) {
    constexpr int ROWS = Tile<T, PER>::ROWS;
    const int width = (d + COLUMNS - 1) / COLUMNS * COLUMNS;
    const int tail_width = (t + COLUMNS - 1) / COLUMNS * COLUMNS;
    T *rows = shared_memory<T>();               // (d, ROWS)
    T *coordinates = rows + d * ROWS;           // (width, ROWS)
    T *tail = coordinates + width * ROWS;       // (tail_width, ROWS)
    T *terms = tail + tail_width * ROWS;        // (J, ROWS)
    T *means = terms + scales * ROWS;           // (width, ROWS)
    T *tail_gain = means + width * ROWS;        // (tail_width, ROWS)
    T *largest = tail_gain + tail_width * ROWS; // (ROWS,)
    T *totals = largest + ROWS;                 // (ROWS,)
    T *factors = totals + ROWS;                 // (ROWS,)
    const Index first = Index(blockIdx.x) * ROWS;

    load_rows<ROWS>(x, first, n, d + t, d, d, rows);
    load_rows<ROWS>(x + d, first, n, d + t, t, tail_width, tail);
    for (int i = threadIdx.x; i < width * ROWS; i += blockDim.x) means[i] = 0;
    for (int i = threadIdx.x; i < tail_width * ROWS; i += blockDim.x) tail_gain[i] = 0;
    __syncthreads();
    for (int k = 0; k < components; ++k) {
        const Index component = Index(k) * scales;
        set_terms<T, PER>(rows, tail, bases + Index(k) * d * padded,
                          precisions + component * padded,
                          tail_precisions + component * padded_tail, constants + component,
                          coordinates, terms, d, scales, padded, padded_tail, width, tail_width);
        for (int row = threadIdx.x; row < ROWS; row += blockDim.x)
            factors[row] =
                add_terms<ROWS, false>(terms, row, scales, k == 0, largest[row], totals[row]);
        __syncthreads();
        // The component's part of the mean, in its own coordinates, and of the gains of the tail.
        for (int task = threadIdx.x; task < ROWS * (tail_width / COLUMNS); task += blockDim.x) {
            const int row = task % ROWS, column = task / ROWS * COLUMNS;
            T *to = tail_gain + column * ROWS + row;
            T sums[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) sums[c] = to[c * ROWS] * factors[row];
            add_gains<ROWS>(terms, row, scales, tail_gains + component * padded_tail + column,
                            padded_tail, sums);
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) to[c * ROWS] = sums[c];
        }
        for (int task = threadIdx.x; task < ROWS * (width / COLUMNS); task += blockDim.x) {
            const int row = task % ROWS, column = task / ROWS * COLUMNS;
            T shrinkage[COLUMNS] = {};
            add_gains<ROWS>(terms, row, scales, gains + component * padded + column, padded,
                            shrinkage);
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c)
                coordinates[(column + c) * ROWS + row] *= shrinkage[c];
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
            add_product<T, PER>(coordinates, inverses + Index(k) * padded * padded + column, d,
                                padded, group, sums);
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c)
                Tile<T, PER>::store(sums[c], group, means + (column + c) * ROWS);
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < d * ROWS; i += blockDim.x) {
        const Index row = first + i % ROWS;
        if (row < n) out[row * (d + t) + i / ROWS] = means[i] / totals[i % ROWS];
    }
    for (int i = threadIdx.x; i < t * ROWS; i += blockDim.x) {
        const Index row = first + i % ROWS;
        if (row < n)
            out[row * (d + t) + d + i / ROWS] = tail[i] * tail_gain[i] / totals[i % ROWS];
    }
}
