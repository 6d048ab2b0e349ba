// A captured run on the device: its counters, and sums over one block.
#pragma once

#include "common.cuh"

enum Run { // places of the counters of a captured run
    RUN_STEP,     // iteration k, which keys the random points
    RUN_ROW,      // row of the tables of rates and of the history
    RUN_DIVERGED, // the step at which the run diverged, or -1
    RUN_BAD,      // whether an update left parameters that are not finite
    RUN_SIZE
};

template <typename T> __device__ __forceinline__ bool is_finite(T value) { return value - value == T(0); }

// The sum, or the least value, over all threads of a block of whole warps, in every thread, in a fixed order.
struct Sum {
    __device__ static double join(double a, double b) { return a + b; }
};
struct Least {
    __device__ static double join(double a, double b) { return b < a ? b : a; }
};
template <typename Join> __device__ __forceinline__ double join_over_block(double value, double *scratch) { // scratch (32,)
    for (int by = WARP / 2; by > 0; by /= 2) value = Join::join(value, __shfl_xor_sync(ALL_LANES, value, by));
    __syncthreads(); // the scratch may still be read
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    value = scratch[0];
    for (int w = 1; w < int(blockDim.x) / WARP; ++w) value = Join::join(value, scratch[w]);
    return value;
}
