// Sums and minima over the threads of one block.
#pragma once
#include "common.cuh"

struct Sum {
    template <typename T> __device__ static T join(T a, T b) { return a + b; }
};
struct Least {
    template <typename T> __device__ static T join(T a, T b) { return b < a ? b : a; }
};

// The sum, or the minimum, of the values of all threads of a block of whole warps. Every thread
// gets the same result, joined in a fixed order. scratch (WARP,).
template <typename Join, typename T>
__device__ __forceinline__ T join_over_block(T value, T *scratch) {
    for (int by = WARP / 2; by > 0; by /= 2)
        value = Join::join(value, __shfl_xor_sync(ALL_LANES, value, by));
    __syncthreads(); // the scratch may still be read
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    value = scratch[0];
    for (int w = 1; w < int(blockDim.x) / WARP; ++w) value = Join::join(value, scratch[w]);
    return value;
}
