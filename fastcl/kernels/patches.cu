// Overlapping patches added up to a signal.
//
// Twin of patches.py, which loops over the samples of a patch. Here a thread takes a sample of the
// signal and adds up the patches that cover it, in the order of the twin, so that the result is
// bitwise identical. Signals of fewer than three axes have leading axes of length 1.
#include "common.cuh"

// out[c, starts + strides * i + u] += patches[i, c, u], with an index i, u for each axis
template <typename T>
__global__ void __launch_bounds__(THREADS)
    add_patches(const T *__restrict__ patches, // (r.x, r.y, r.z, C, p.x, p.y, p.z)
                T *__restrict__ out,           // (C, size.x, size.y, size.z)
                int rx, int ry, int rz,        // patches along each axis
                int channels, int px, int py, int pz, // samples of a patch along each axis
                int sx, int sy, int sz,               // where the first patches start
                int dx, int dy, int dz,               // between neighbouring patches
                int nx, int ny, int nz) {             // samples along each axis
    const int wx = dx * (rx - 1) + px, wy = dy * (ry - 1) + py, wz = dz * (rz - 1) + pz;
    const Index samples = Index(wx) * wy * wz * channels, step = Index(gridDim.x) * blockDim.x;
    for (Index sample = Index(blockIdx.x) * blockDim.x + threadIdx.x; sample < samples;
         sample += step) {
        const int z = int(sample % wz), y = int(sample / wz % wy);
        const int x = int(sample / wz / wy % wx), c = int(sample / wz / wy / wx);
        T *const place = out + ((Index(c) * nx + sx + x) * ny + sy + y) * nz + sz + z;
        T sum = *place;
        // Offsets in the patch: those that leave a multiple of the distance between patches.
        for (int u = max(x % dx, x - (rx - 1) * dx); u <= min(x, px - 1); u += dx)
            for (int v = max(y % dy, y - (ry - 1) * dy); v <= min(y, py - 1); v += dy)
                for (int w = max(z % dz, z - (rz - 1) * dz); w <= min(z, pz - 1); w += dz) {
                    const Index i = (x - u) / dx, j = (y - v) / dy, k = (z - w) / dz;
                    const Index row = ((i * ry + j) * rz + k) * channels + c;
                    sum += patches[((row * px + u) * py + v) * pz + w];
                }
        *place = sum;
    }
}
