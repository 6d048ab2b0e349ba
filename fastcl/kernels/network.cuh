// What the kernels of the network share: its sizes, and the layout of its activations and deltas.
//
// A CUDA block takes ROWS points through every layer. Activations and deltas are stored unit by
// unit, (width, ROWS), so that a thread reads four rows of a unit at once. All of them for a block,
// from the points to f_theta(x), are (units, ROWS) with units = sum of sizes; the activations kept
// for the backward pass have the same layout.
#pragma once
#include "common.cuh"

// How many blocks fit in the registers of a multiprocessor.
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
