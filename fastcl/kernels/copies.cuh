// Copies from global to shared memory that run while the threads compute: the data have arrived
// after `wait_for_copies` and a barrier.
#pragma once
#include "common.cuh"

// *shared = *source, or zero if it is not `there`.
template <typename T>
__device__ __forceinline__ void copy_ahead(T *shared, const T *source, bool there) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const unsigned address = unsigned(__cvta_generic_to_shared(shared));
    const int bytes = there ? int(sizeof(T)) : 0;
    if constexpr (sizeof(T) == 16) // .cg bypasses the first-level cache
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     ::"r"(address), "l"(source), "r"(bytes)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     ::"r"(address), "l"(source), "n"(sizeof(T)), "r"(bytes)
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

// Copies the first LENGTH numbers of a vector (length,), zeros beyond its end.
template <typename T, int LENGTH>
__device__ __forceinline__ void copy_numbers(T *shared, const T *vector, int length) {
#pragma unroll
    for (int j = 0; j < (LENGTH + THREADS - 1) / THREADS; ++j) {
        const int i = j * THREADS + threadIdx.x;
        if (i < LENGTH) copy_ahead(shared + i, vector + i, i < length);
    }
}
