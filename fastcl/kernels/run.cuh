// What a captured run needs on the device: its counters.
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
