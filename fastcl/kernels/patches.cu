// Overlapping patches added up to an image.
//
// Twin of patches.py, which loops over the pixels of a patch. Here a thread takes a pixel of the
// image and adds up the patches that cover it, in the order of the twin, so that the result is
// bitwise identical.
#include "common.cuh"

// out[first + i + u, j + v] += patches[i, j, u, v]
template <typename T>
__global__ void __launch_bounds__(THREADS)
    add_patches(const T *__restrict__ patches, // (r, c, p, p)
                Index first,                   // row of the image where the first patches start
                T *__restrict__ out,           // (H, c + p - 1)
                int rows, int columns, int patch) {
    const int width = columns + patch - 1;
    const Index pixels = Index(rows + patch - 1) * width, step = Index(gridDim.x) * blockDim.x;
    const Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    for (Index pixel = thread; pixel < pixels; pixel += step) {
        const int row = int(pixel / width), column = int(pixel % width);
        T sum = out[first * width + pixel];
        for (int i = max(0, row - rows + 1); i <= min(row, patch - 1); ++i)
            for (int j = max(0, column - columns + 1); j <= min(column, patch - 1); ++j)
                sum += patches[((Index(row - i) * columns + column - j) * patch + i) * patch + j];
        out[first * width + pixel] = sum;
    }
}
