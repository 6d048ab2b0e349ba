// Phases of GROUP points, or frequencies, at once with a vector of the thread's own: one load of a coordinate serves GROUP.
#pragma once
#include "common.cuh"

constexpr int ROWS = 256, GROUP = 4;

template <typename T> struct alignas(16) Group { // read by vector accesses of 16 bytes
    T values[GROUP];
};

// `start` plus the phases of the thread's own vector, coordinates own[0], own[stride] and so on, with GROUP vectors (d, GROUP).
template <typename T>
__device__ __forceinline__ Group<T> phases_of(const Group<T> *vectors, const T *__restrict__ own, Index stride, int d, T start) {
    Group<T> phases;
#pragma unroll
    for (int i = 0; i < GROUP; ++i) phases.values[i] = start;
#pragma unroll 2
    for (int k = 0; k < d; ++k) {
        const T factor = own[k * stride];
        const Group<T> vector = vectors[k];
#pragma unroll
        for (int i = 0; i < GROUP; ++i) phases.values[i] = fma(vector.values[i], factor, phases.values[i]);
    }
    return phases;
}

// Rows of a matrix (count, d) to `groups` of shared memory, zeros beyond the last.
template <typename T> __device__ __forceinline__ void stage_groups(Group<T> *groups, const T *matrix, int count, int d) {
    const int size = (count + GROUP - 1) / GROUP * GROUP * d;
    for (int place = threadIdx.x; place < size; place += blockDim.x) {
        const int row = place / d;
        groups[row / GROUP * d + place % d].values[row % GROUP] = row < count ? matrix[place] : T(0);
    }
}
