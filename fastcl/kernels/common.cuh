// What all kernels share: the type of an index, constants, shared memory.
//
// A kernel has the name of its Numba twin, is in the file of the same name, and takes the same
// arguments in the same order. Scratch, and the sizes that arrays carry on the CPU, come last.
// Every thread reaches the last barrier of its kernel.
//
// Constants that the launchers need too are defined only in Python, and are passed as -D options:
// cuda.py has those for every file (THREADS, WARP, ACCESS_BYTES, TURN_FLOAT), and a launcher those
// for its own file.
#pragma once

typedef long long Index; // counts points: n may exceed 2^31

constexpr unsigned ALL_LANES = 0xffffffffu; // mask of all lanes of a warp

template <typename T, int N> // read in one access, or in a few of ACCESS_BYTES
struct alignas(N * sizeof(T) < ACCESS_BYTES ? N * sizeof(T) : ACCESS_BYTES) Pack {
    T values[N];
};

#ifdef __CUDACC_RTC__
template <typename T> __device__ __forceinline__ T *shared_memory() {
    extern __shared__ __align__(ACCESS_BYTES) unsigned char bytes[];
    return reinterpret_cast<T *>(bytes);
}
#else // compiled for the CPU, in tests
template <typename T> T *shared_memory() {
    return reinterpret_cast<T *>(host::shared_bytes.data());
}
#endif
