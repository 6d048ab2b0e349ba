// Phases of a tile of points by a tile of frequencies: a matrix product whose result stays in
// registers, for any d.
//
// The THREADS threads of a block take POINTS by FREQUENCIES, and each thread takes SIDE by SIDE of
// them. CHUNK dimensions of both are staged in one half of shared memory, transposed, while the
// next ones are copied to the other half. A warp is 8 threads along the frequencies by 4 along the
// points, so that its 16-byte loads read 128 and 64 consecutive bytes, without bank conflicts.
#pragma once
#include "copies.cuh"

template <typename T> constexpr int VECTOR = ACCESS_BYTES / sizeof(T); // numbers of one access

template <typename T> struct alignas(ACCESS_BYTES) Vector {
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

// The place of number i of a thread in a row of a tile that COUNT threads share.
template <typename T, int COUNT> __device__ __forceinline__ int place_of(int thread, int i) {
    return i / VECTOR<T> * VECTOR<T> * COUNT + VECTOR<T> * thread + i % VECTOR<T>;
}

template <typename T, int COUNT>
__device__ __forceinline__ void read_numbers(const T *shared, int thread, T *numbers) {
#pragma unroll
    for (int i = 0; i < SIDE; i += VECTOR<T>) {
        const T *place = shared + place_of<T, COUNT>(thread, i);
        const auto vector = *reinterpret_cast<const Vector<T> *>(place);
#pragma unroll
        for (int v = 0; v < VECTOR<T>; ++v) numbers[i + v] = vector.values[v];
    }
}

// Numbers from one staged dimension of LENGTH rows to the next: padded, so that the stores of a
// warp spread over all banks.
template <typename T, int LENGTH> constexpr int STRIDE = LENGTH + VECTOR<T>;

// Copies CHUNK dimensions, from `first` on, of LENGTH rows of a matrix (rows, d), to shared (CHUNK,
// STRIDE).
template <typename T, int LENGTH>
__device__ __forceinline__ void copy_rows(T *shared, const T *matrix, int rows, int first, int d) {
    constexpr int ACROSS = 8; // a warp reads 32 bytes of a row, and stores to every bank
    constexpr int DOWN = THREADS / ACROSS;
    const int k = threadIdx.x % ACROSS, row = threadIdx.x / ACROSS;
    const T *source = matrix + Index(row) * d + first + k;
    shared += k * STRIDE<T, LENGTH> + row;
#pragma unroll
    for (int j = 0; j < LENGTH / DOWN; ++j) {
#pragma unroll
        for (int i = 0; i < CHUNK; i += ACROSS)
            copy_ahead(shared + i * STRIDE<T, LENGTH> + j * DOWN, source + i,
                       first + k + i < d && row + j * DOWN < rows);
        source += DOWN * Index(d);
    }
}

// The same for a matrix (d, LENGTH), to shared (CHUNK, LENGTH).
template <typename T, int LENGTH>
__device__ __forceinline__ void copy_columns(T *shared, const T *matrix, int first, int d) {
    const auto *source = reinterpret_cast<const Vector<T> *>(matrix + Index(first) * LENGTH);
    auto *place = reinterpret_cast<Vector<T> *>(shared);
#pragma unroll
    for (int j = 0; j < LENGTH * CHUNK / VECTOR<T> / THREADS; ++j) {
        const int i = j * THREADS + threadIdx.x;
        copy_ahead(place + i, source + i, first + i * VECTOR<T> / LENGTH < d);
    }
}

// phases[p][f] += sum_k points_pk frequencies_fk over `count` staged dimensions. If `count` is odd,
// one more is added, which holds zeros.
template <typename T, int POINTS, int FREQUENCIES, int FREQUENCY_STRIDE>
__device__ __forceinline__ void add_products(const T *points, const T *frequencies, int count,
                                             Place<FREQUENCIES / SIDE> place,
                                             T (&phases)[SIDE][SIDE]) {
    constexpr int AT_ONCE = 2; // with more, two blocks would not fit in the registers
    points += VECTOR<T> * place.row;
    frequencies += VECTOR<T> * place.column;
#pragma unroll 1
    for (int k = 0; k < count; k += AT_ONCE) {
#pragma unroll
        for (int step = 0; step < AT_ONCE; ++step) {
            T point[SIDE], frequency[SIDE];
            read_numbers<T, POINTS / SIDE>(points + step * STRIDE<T, POINTS>, 0, point);
            read_numbers<T, FREQUENCIES / SIDE>(frequencies + step * FREQUENCY_STRIDE, 0,
                                                frequency);
#pragma unroll
            for (int p = 0; p < SIDE; ++p)
#pragma unroll
                for (int f = 0; f < SIDE; ++f)
                    phases[p][f] = fma(point[p], frequency[f], phases[p][f]);
        }
        points += AT_ONCE * STRIDE<T, POINTS>;
        frequencies += AT_ONCE * FREQUENCY_STRIDE;
    }
}
