// What all kernels share: the type of an index, constants, shared memory.
//
// A kernel stands beside its Numba twin, in the file of the same name, with the same name and the
// same arguments in the same order. Sizes and scratch, which an array carries on the CPU, come
// last. Every thread reaches the last barrier of its kernel.
//
// Constants that the launchers need as well are defined in Python alone and come as -D options:
// those of every file in cuda.py (THREADS, WARP, ACCESS_BYTES, TURN_FLOAT), those of one file in
// its launcher.
#pragma once

typedef long long Index; // counts points: n may exceed 2^31

constexpr unsigned ALL_LANES = 0xffffffffu; // of a warp

#ifdef __CUDACC_RTC__
template <typename T> __device__ __forceinline__ T *shared_memory() {
    extern __shared__ __align__(ACCESS_BYTES) unsigned char bytes[];
    return reinterpret_cast<T *>(bytes);
}
#else // built for the CPU, in tests
template <typename T> T *shared_memory() {
    return reinterpret_cast<T *>(host::shared_bytes.data());
}
#endif
