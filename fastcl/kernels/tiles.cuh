// Phases of a tile of points by a tile of frequencies: a matrix product whose result stays in registers, for any d.
//
// A block of TILE_THREADS threads takes POINTS by FREQUENCIES, every thread SIDE of both.  CHUNK dimensions of both
// are staged in shared memory, transposed, while the next ones are on their way to the other half of it.  A warp is 8 threads
// along the frequencies by 4 along the points, so that its loads of 16 bytes are of 128 and 64 bytes in a row: no bank is
// asked twice.
#pragma once
#include "common.cuh"

constexpr int TILE_THREADS = 256;

constexpr int SIDE = 4; // points, and frequencies, of a thread: float32 has tensor cores (features_tensor.cu)
template <typename T> constexpr int VECTOR = 16 / sizeof(T); // numbers of one load from shared memory

template <typename T> struct alignas(16) Vector {
    T values[VECTOR<T>];
};

// A thread's place in a block of COLUMNS threads along the frequencies.
template <int COLUMNS> struct Place {
    int column, row;
    __device__ __forceinline__ Place() {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        column = lane % 8 + 8 * (warp % (COLUMNS / 8));
        row = lane / 8 + 4 * (warp / (COLUMNS / 8));
    }
};

// Where number i of a thread lies within a tile whose numbers are shared by COUNT threads in a row.
template <typename T, int COUNT> __device__ __forceinline__ int place_of(int thread, int i) {
    return i / VECTOR<T> * VECTOR<T> * COUNT + VECTOR<T> * thread + i % VECTOR<T>;
}

template <typename T, int COUNT> __device__ __forceinline__ void read_numbers(const T *shared, int thread, T *numbers) {
#pragma unroll
    for (int i = 0; i < SIDE; i += VECTOR<T>) {
        const auto vector = *reinterpret_cast<const Vector<T> *>(shared + place_of<T, COUNT>(thread, i));
#pragma unroll
        for (int v = 0; v < VECTOR<T>; ++v) numbers[i + v] = vector.values[v];
    }
}

// ---- from global to shared memory: what is copied is there after `wait_for_copies` and a barrier -----------------------

template <typename T> __device__ __forceinline__ void copy_ahead(T *shared, const T *source, bool there) { // zero where it is not
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const unsigned address = unsigned(__cvta_generic_to_shared(shared));
    const int bytes = there ? int(sizeof(T)) : 0;
    if constexpr (sizeof(T) == 16) // past the first-level cache
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(source), "n"(sizeof(T)), "r"(bytes)
                     : "memory");
#else
    *shared = there ? *source : T{};
#endif
}

__device__ __forceinline__ void wait_for_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

template <typename T, int LENGTH> constexpr int STRIDE = LENGTH + VECTOR<T>; // spreads the stores of a warp over all banks

// CHUNK dimensions, from `first` on, of LENGTH rows of a matrix (rows, d), to shared memory (CHUNK, STRIDE).
template <typename T, int LENGTH, int CHUNK>
__device__ __forceinline__ void copy_rows(T *shared, const T *matrix, int rows, int first, int d) {
    constexpr int ACROSS = 8, DOWN = TILE_THREADS / ACROSS; // so that a warp reads 32 bytes of a row, and stores to every bank
    const int k = threadIdx.x % ACROSS, row = threadIdx.x / ACROSS;
    const T *source = matrix + Index(row) * d + first + k;
    shared += k * STRIDE<T, LENGTH> + row;
#pragma unroll
    for (int j = 0; j < LENGTH / DOWN; ++j) {
#pragma unroll
        for (int i = 0; i < CHUNK; i += ACROSS)
            copy_ahead(shared + i * STRIDE<T, LENGTH> + j * DOWN, source + i, first + k + i < d && row + j * DOWN < rows);
        source += DOWN * Index(d);
    }
}

// The same of a matrix (d, LENGTH), to (CHUNK, LENGTH).
template <typename T, int LENGTH, int CHUNK>
__device__ __forceinline__ void copy_columns(T *shared, const T *matrix, int first, int d) {
    const auto *source = reinterpret_cast<const Vector<T> *>(matrix + Index(first) * LENGTH);
    auto *place = reinterpret_cast<Vector<T> *>(shared);
#pragma unroll
    for (int j = 0; j < LENGTH * CHUNK / VECTOR<T> / TILE_THREADS; ++j) {
        const int i = j * TILE_THREADS + threadIdx.x;
        copy_ahead(place + i, source + i, first + i * VECTOR<T> / LENGTH < d);
    }
}

// LENGTH numbers of a vector, zeros beyond its end.
template <typename T, int LENGTH> __device__ __forceinline__ void copy_numbers(T *shared, const T *vector, int length) {
#pragma unroll
    for (int j = 0; j < (LENGTH + TILE_THREADS - 1) / TILE_THREADS; ++j) {
        const int i = j * TILE_THREADS + threadIdx.x;
        if (i < LENGTH) copy_ahead(shared + i, vector + i, i < length);
    }
}

// ---- the product -----------------------------------------------------------------------------------------------------

// phases[p][f] += sum over `count` staged dimensions, or one more, of points and frequencies.
template <typename T, int POINTS, int FREQUENCIES, int FREQUENCY_STRIDE>
__device__ __forceinline__ void add_products(const T *points, const T *frequencies, int count,
                                             Place<FREQUENCIES / SIDE> place,
                                             T (&phases)[SIDE][SIDE]) {
    constexpr int AT_ONCE = 2; // more take more registers than there are for two blocks
    points += VECTOR<T> * place.row;
    frequencies += VECTOR<T> * place.column;
#pragma unroll 1
    for (int k = 0; k < count; k += AT_ONCE) {
#pragma unroll
        for (int step = 0; step < AT_ONCE; ++step) {
            T point[SIDE], frequency[SIDE];
            read_numbers<T, POINTS / SIDE>(points + step * STRIDE<T, POINTS>, 0, point);
            read_numbers<T, FREQUENCIES / SIDE>(frequencies + step * FREQUENCY_STRIDE, 0, frequency);
#pragma unroll
            for (int p = 0; p < SIDE; ++p)
#pragma unroll
                for (int f = 0; f < SIDE; ++f) phases[p][f] = fma(point[p], frequency[f], phases[p][f]);
        }
        points += AT_ONCE * STRIDE<T, POINTS>;
        frequencies += AT_ONCE * FREQUENCY_STRIDE;
    }
}
