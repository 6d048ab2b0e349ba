// What a captured run needs on the device: its counters, and sums over one block.
//
// The counters of a run are an array (RUN_SIZE,); their places come from launchers/objective.py:
//   RUN_STEP      iteration k, which is part of the key of the random points
//   RUN_ROW       row of the tables of rates and of the history
//   RUN_DIVERGED  the step at which the run diverged, or -1
//   RUN_BAD       whether an update left parameters that are not finite
#pragma once
#include "common.cuh"

template <typename T> __device__ __forceinline__ bool is_finite(T value) {
    return value - value == T(0);
}

struct Sum {
    __device__ static double join(double a, double b) { return a + b; }
};
struct Least {
    __device__ static double join(double a, double b) { return b < a ? b : a; }
};

// The sum, or the minimum, of the values of all threads of a block of whole warps. Every thread
// gets the same result, joined in a fixed order. scratch (WARP,).
template <typename Join>
__device__ __forceinline__ double join_over_block(double value, double *scratch) {
    for (int by = WARP / 2; by > 0; by /= 2)
        value = Join::join(value, __shfl_xor_sync(ALL_LANES, value, by));
    __syncthreads(); // the scratch may still be read
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    value = scratch[0];
    for (int w = 1; w < int(blockDim.x) / WARP; ++w) value = Join::join(value, scratch[w]);
    return value;
}
