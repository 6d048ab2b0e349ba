// What the kernels of the network share: its sizes, and the layout of its activations and deltas.
//
// A CUDA block takes ROWS points through every layer. Activations and deltas lie one unit after the
// other, (width, ROWS), so that a thread reads four rows of a unit at once. Those of a block, from
// the points to f_theta(x), make up (units, ROWS) with units = sum of sizes, and so does what is
// kept for the backward pass.
#pragma once
#include "common.cuh"

// Blocks that the registers of a multiprocessor hold.
template <typename T> constexpr int RESIDENT = sizeof(T) == 4 ? 2 : 1;

struct Sizes {
    int layers;
    int widths[MAX_SIZES]; // input and output included
};

template <typename T> struct alignas(ACCESS_BYTES) Four { // read by vector accesses
    T values[4];
};

template <typename T> __device__ __forceinline__ Four<T> &four(T *address) {
    return *reinterpret_cast<Four<T> *>(address);
}
template <typename T> __device__ __forceinline__ const Four<T> &four(const T *address) {
    return *reinterpret_cast<const Four<T> *>(address);
}
