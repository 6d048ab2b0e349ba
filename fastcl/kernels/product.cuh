// Products of a block of rows with a matrix, whose weights pass through shared memory.
//
// Weights come in chunks of CHUNK. While one chunk is multiplied, the next one is loaded into
// registers, so a chunk costs one barrier. A thread computes 32 products per three 16-byte loads
// from shared memory (wide matrices), or 16 products per two loads.
#pragma once
#include "network.cuh"

constexpr int STAGED = CHUNK / (4 * THREADS); // vectors of a chunk moved by each thread
constexpr int WIDE = 256;   // columns that a block takes at once: two tiles per thread
constexpr int NARROW = 128; // the same with one tile per thread

template <typename T> struct Product {
    const T *weights; // (inner, outer)
    int inner, outer;
    int first, bits; // the 2^bits columns from `first` on, some beyond `outer` at the end

    __device__ __forceinline__ int columns() const { return 1 << bits; }
};

template <typename T>
__device__ __forceinline__ Product<T> product_of(const T *weights, int inner, int outer,
                                                 int first) {
    int bits = 3;
    while (1 << bits < outer - first && 1 << bits < WIDE) ++bits;
    return {weights, inner, outer, first, bits};
}

// a if `one`, else b; member by member, because choosing between structs would put both in memory.
template <typename T>
__device__ __forceinline__ Product<T> choose(bool one, const Product<T> &a, const Product<T> &b) {
    return {one ? a.weights : b.weights, one ? a.inner : b.inner, one ? a.outer : b.outer,
            one ? a.first : b.first, one ? a.bits : b.bits};
}

// A chunk of weights on its way through registers to shared memory.
template <typename T> struct Stage {
    T *buffer;   // (2, CHUNK)
    int current; // buffer that is filled next
    Four<T> staged[STAGED];

    __device__ __forceinline__ void fetch(const Product<T> &product, int row) {
        const int bits = product.bits - 2; // a row has 2^bits vectors
        const int k = row + (threadIdx.x >> bits);
        const int column = product.first + (threadIdx.x & (1 << bits) - 1) * 4;
        const int step = THREADS >> bits; // rows from one vector of a thread to its next
        const T *source = product.weights + Index(k) * product.outer + column;
        const bool aligned = product.outer % 4 == 0 &&
                             reinterpret_cast<unsigned long long>(product.weights) % 16 == 0;
        if (aligned && product.first + product.columns() <= product.outer &&
            row + STAGED * step <= product.inner) {
#pragma unroll
            for (int v = 0; v < STAGED; ++v)
                staged[v] = four(source + Index(v * step) * product.outer);
            return;
        }
#pragma unroll
        for (int v = 0; v < STAGED; ++v)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const bool inside = k + v * step < product.inner && column + j < product.outer;
                staged[v].values[j] = inside ? source[Index(v * step) * product.outer + j] : T(0);
            }
    }

    // Writes the chunk to a buffer and returns it; after a barrier, the buffer is complete.
    __device__ __forceinline__ T *commit() {
        T *filled = buffer + current * CHUNK;
        current ^= 1;
#pragma unroll
        for (int v = 0; v < STAGED; ++v) four(filled + 4 * (v * THREADS + threadIdx.x)) = staged[v];
        return filled;
    }
};

// sums_ji = sum_k weights_kj inputs_ki for inputs (inner, ROWS). For every column j, and four rows
// at a time, it calls finish(column, row, before, sums), where before = finish.before(column) was
// evaluated at the start.
//
// On entry the first chunk of `product` must be staged; on return the first chunk of `next` is. A
// thread takes four rows and TILES times four columns. If there are fewer than NARROW columns,
// slices of threads share the inner units, and their sums are added in order.
//
// Bits 1 to 3 of the lane number choose the rows, the other bits the columns: lanes that read the
// same address are then neighbours, and shared memory serves half a warp at once.
template <int TILES, typename T, typename Finish>
__device__ __forceinline__ void multiply(const T *inputs, const Product<T> &product,
                                         const Product<T> &next, Stage<T> &stage,
                                         const Finish &finish) {
    const int columns = TILES == 1 ? product.columns() : WIDE;
    const int slices = TILES == 1 ? NARROW / columns : 1;
    const int depth = CHUNK / columns; // rows of the weights in a chunk
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int row = (lane >> 1 & 7) * 4, group = (lane & 1) | (lane >> 4) << 1 | warp << 2;
    const int slice = TILES == 1 ? group / (columns / 4) : 0;
    const int column = (TILES == 1 ? group % (columns / 4) : group) * 4;

    T before[TILES][4];
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int place = product.first + column + tile * NARROW + j;
            before[tile][j] = slices == 1 && place < product.outer ? finish.before(place) : T(0);
        }
    Four<T> sums[TILES][4] = {};
    for (int start = 0; start < product.inner; start += depth) {
        const T *weights = stage.commit();
        __syncthreads();
        const bool last = start + depth >= product.inner;
        stage.fetch(choose(last, next, product), last ? 0 : start + depth);
        const int count = min(depth, product.inner - start), share = (count + slices - 1) / slices;
        const int begin = slice * share, terms = min(begin + share, count) - begin;
        const T *input_rows = inputs + (start + begin) * ROWS + row;
        const T *weight_row = weights + begin * columns + column;
#pragma unroll (TILES == 1 ? 4 : 2) // four steps of two tiles would not fit in the registers
        for (int k = 0; k < terms; ++k, input_rows += ROWS, weight_row += columns) {
            const Four<T> input = four(input_rows);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const Four<T> weight = four(weight_row + tile * NARROW);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    Four<T> &sum = sums[tile][j];
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        sum.values[i] = fma(input.values[i], weight.values[j], sum.values[i]);
                }
            }
        }
    }
    if (slices == 1) {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int place = product.first + column + tile * NARROW + j;
                if (place < product.outer) finish(place, row, before[tile][j], sums[tile][j]);
            }
        return;
    }
    // (slices, columns, ROWS), in the buffer that no thread reads any more.
    T *shared = stage.buffer + stage.current * CHUNK;
    stage.current ^= 1;
#pragma unroll
    for (int j = 0; j < 4; ++j)
        four(shared + ((slice * columns + column + j) * ROWS + row)) = sums[0][j];
    __syncthreads();
    for (int vector = threadIdx.x; vector < columns * ROWS / 4; vector += THREADS) {
        const int place = product.first + vector / (ROWS / 4);
        if (place >= product.outer) break;
        Four<T> total = four(shared + vector * 4);
        for (int s = 1; s < slices; ++s)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                total.values[i] += shared[s * columns * ROWS + vector * 4 + i];
        finish(place, vector % (ROWS / 4) * 4, finish.before(place), total);
    }
}

template <typename T, typename Finish>
__device__ __forceinline__ void multiply(const T *inputs, const Product<T> &product,
                                         const Product<T> &next, Stage<T> &stage,
                                         const Finish &finish) {
    if (product.columns() == WIDE)
        multiply<2>(inputs, product, next, stage, finish);
    else
        multiply<1>(inputs, product, next, stage, finish);
}
