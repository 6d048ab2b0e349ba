// Phases of GROUP points (or frequencies) at once with the thread's own frequency (or point): each
// coordinate of its own vector is loaded once for all of them.
#pragma once
#include "sincos.cuh"

template <typename T> struct alignas(ACCESS_BYTES) Group { // read by vector accesses
    T values[GROUP];
};

// phases_i = start + sum_k vectors_ki own_k, with GROUP vectors (d, GROUP) and the thread's own
// vector, whose coordinates are own[0], own[stride], own[2 stride], ...
template <typename T>
__device__ __forceinline__ Group<T> phases_of(const Group<T> *vectors, const T *__restrict__ own,
                                              Index stride, int d, T start) {
    Group<T> phases;
#pragma unroll
    for (int i = 0; i < GROUP; ++i) phases.values[i] = start;
#pragma unroll 2
    for (int k = 0; k < d; ++k) {
        const T factor = own[k * stride];
        const Group<T> vector = vectors[k];
#pragma unroll
        for (int i = 0; i < GROUP; ++i)
            phases.values[i] = fma(vector.values[i], factor, phases.values[i]);
    }
    return phases;
}

// Copies the rows of a matrix (count, d) to `groups` in shared memory, zeros beyond the last row.
template <typename T>
__device__ __forceinline__ void stage_groups(Group<T> *groups, const T *matrix, int count, int d) {
    const int size = (count + GROUP - 1) / GROUP * GROUP * d;
    for (int place = threadIdx.x; place < size; place += blockDim.x) {
        const int row = place / d;
        groups[row / GROUP * d + place % d].values[row % GROUP] =
            row < count ? matrix[place] : T(0);
    }
}
