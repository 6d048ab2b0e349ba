// Groups of similar patches, each denoised by a Gaussian that is fitted to its pilot estimate.
//
// Twin of similar.py and nearest.py, with a block for each group and one slab, the whole signal.
// Distances are added in the order of the twin, so that the same patches are chosen. Blocks add
// their patches to the signal in fixed point, where the order of additions makes no difference, and
// so does the number of patches that start at a sample, which is exact in floating point.
//
// A patch is taken CHUNK numbers at a time. With P and Y the centred patches (g, s) of the pilot
// and of the noisy signal, and W = (P P^T + c I)^-1, the block keeps W and, transposed, Y P^T and
// Y P^T W. Chunks of P are read again for the estimate Y P^T W P, once for the energy of its
// residual and once for the result.
//
// Letters in shapes: g patches of a group, w of them padded to a multiple of TILE, s numbers in a
// patch, c in a chunk.
#include "joins.cuh"

template <typename T> __device__ __forceinline__ Pack<T, TILE> load_tile(const T *from) {
    return *reinterpret_cast<const Pack<T, TILE> *>(from);
}

// out_ij = sum_k a_ki b_kj, or what is added to out, for a (terms, rows), b (terms, columns).
template <bool ADD, typename T>
__device__ __forceinline__ void transposed_product(const T *a, const T *b, int terms, int rows,
                                                   int columns, T *out) {
    const int across = columns / TILE;
    for (int tile = threadIdx.x; tile < rows / TILE * across; tile += blockDim.x) {
        const int i = tile / across * TILE, j = tile % across * TILE;
        T sums[TILE][TILE] = {};
#pragma unroll 2
        for (int k = 0; k < terms; ++k) {
            const auto left = load_tile(a + k * rows + i), right = load_tile(b + k * columns + j);
#pragma unroll
            for (int r = 0; r < TILE; ++r)
#pragma unroll
                for (int c = 0; c < TILE; ++c)
                    sums[r][c] = fma(left.values[r], right.values[c], sums[r][c]);
        }
#pragma unroll
        for (int r = 0; r < TILE; ++r)
#pragma unroll
            for (int c = 0; c < TILE; ++c) {
                T &place = out[(i + r) * columns + j + c];
                place = ADD ? place + sums[r][c] : sums[r][c];
            }
    }
}

// The inverse of the first `rows` rows and columns of a positive definite matrix (w, w), in place:
// Gauss-Jordan elimination. pivot, factors (w,): scratch.
template <typename T>
__device__ __forceinline__ void invert_in_place(T *matrix, int rows, int width, T *pivot,
                                                T *factors) {
    for (int k = 0; k < rows; ++k) {
        for (int i = threadIdx.x; i < rows; i += blockDim.x) {
            const T scale = 1 / matrix[k * width + k];
            pivot[i] = i == k ? scale : matrix[k * width + i] * scale;
            factors[i] = matrix[i * width + k];
        }
        __syncthreads();
        for (int place = threadIdx.x; place < rows * rows; place += blockDim.x) {
            const int i = place / rows, j = place % rows;
            T &entry = matrix[i * width + j];
            entry = i == k ? pivot[j] : fma(-factors[i], pivot[j], j == k ? T(0) : entry);
        }
        __syncthreads();
    }
}

// How many of the distances (n,) are at most `bound`. scratch (WARP,).
template <typename T>
__device__ __forceinline__ int count_up_to(const T *distances, int n, T bound, int *scratch) {
    int count = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) count += distances[i] <= bound;
    return join_over_block<Sum>(count, scratch);
}

// Numbers of the `group` least distances (n,) in rising order; returns how many there are.
// counts (2, threads), scratch (WARP,).
template <typename T>
__device__ __forceinline__ int choose_least(const T *distances, int n, int group, Index *chosen,
                                            int *counts, int *scratch) {
    const int wanted = min(group, n);
    const T most = T(MAX_DISTANCE);
    T low = -1, high = 1;
    if (wanted == n) low = high = most;
    while (low < high && high < most && count_up_to(distances, n, high, scratch) < wanted) {
        low = high;
        high = min(4 * high, most);
    }
    for (int step = 0; low < high && step < BISECTIONS; ++step) {
        const T middle = (low + high) / 2;
        const int below = count_up_to(distances, n, middle, scratch);
        if (below < wanted)
            low = middle;
        else
            high = middle;
        if (below == wanted) break;
    }
    // Of the distances between low and high, nearly equal, only the first are left. A thread takes
    // an odd number of distances, so that the banks of shared memory do not conflict.
    const int share = (n + int(blockDim.x) - 1) / int(blockDim.x) | 1;
    const int first = min(int(threadIdx.x) * share, n), last = min(first + share, n);
    int near = 0, equal = 0;
    for (int i = first; i < last; ++i) {
        near += distances[i] <= low;
        equal += distances[i] > low && distances[i] <= high;
    }
    counts[threadIdx.x] = near;
    counts[blockDim.x + threadIdx.x] = equal;
    __syncthreads();
    int all_near = 0, all_equal = 0, before = 0, equal_before = 0;
    for (int t = 0; t < int(blockDim.x); ++t) {
        if (t == int(threadIdx.x)) {
            before = all_near;
            equal_before = all_equal;
        }
        all_near += counts[t];
        all_equal += counts[blockDim.x + t];
    }
    const int left = wanted - all_near;
    int place = before + min(equal_before, left);
    for (int i = first; i < last; ++i) {
        const bool ties = distances[i] > low && distances[i] <= high;
        if (distances[i] <= low || (ties && equal_before < left)) chosen[place++] = i;
        equal_before += ties;
    }
    __syncthreads();
    return all_near + min(all_equal, left);
}

// The box of first samples of patches at most `half` away from a reference patch along an axis.
struct Range {
    int first, count, own;
    __device__ Range(Index reference, int half, int size, int patch)
        : first(max(int(reference) - half, 0)),
          count(min(int(reference) + half, size - patch) + 1 - first),
          own(int(reference) - first) {}
};

template <typename T>
__global__ void __launch_bounds__(BLOCK_THREADS, 4)
    denoise_similar(const T *__restrict__ noisy, // (samples,)
                    const T *__restrict__ pilot, // (samples,), and more
                    const Index *__restrict__ xs, const Index *__restrict__ ys,
                    const Index *__restrict__ zs, // reference patches along each axis
                    int group, const Index *__restrict__ offsets, // (s,)
                    unsigned long long *total, // (samples,) in fixed point, multiplied by `scale`
                    T *starts,                 // (samples of a channel,)
                    T *distances, // (blocks, window), or null: then they are in shared memory
                    int groups, int count_y, int count_z, // how many, in all and along two axes
                    int nx, int ny, int nz,                 // samples along each axis
                    int px, int py, int pz,                 // samples of a patch along each axis
                    int hx, int hy, int hz, // largest distance of a similar patch along each axis
                    int size, int window, double scale) {
    const int width = (group + TILE - 1) / TILE * TILE, part = CHUNK * width;
    T *matrix = shared_memory<T>();       // (w, w)
    T *cross = matrix + width * width;    // (w, w)
    T *mixed = cross + width * width;     // (w, w)
    T *p_chunk = mixed + width * width;   // (c, w), then (w, c)
    T *y_chunk = p_chunk + part;          // (c, w)
    T *estimate = y_chunk + part;         // (c, w)
    T *mean = estimate + part;            // (s,)
    T *pivot = mean + size;               // (w,)
    T *factors = pivot + width;           // (w,)
    T *scratch = factors + width;         // (WARP,)
    T *last = scratch + WARP;             // rounded up to a whole number of indices
    Index *chosen = reinterpret_cast<Index *>(last + (last - matrix) % (sizeof(Index) / sizeof(T)));
    int *counts = reinterpret_cast<int *>(chosen + width); // (2, threads)
    int *int_scratch = counts + 2 * BLOCK_THREADS;         // (WARP,)
    // The distances are gone when the rest comes.
    T *const near = distances ? distances + Index(blockIdx.x) * window : matrix;

    for (int task = blockIdx.x; task < groups; task += gridDim.x) {
        const Range x(xs[task / count_z / count_y], hx, nx, px);
        const Range y(ys[task / count_z % count_y], hy, ny, py);
        const Range z(zs[task % count_z], hz, nz, pz);
        const Index corner = (Index(x.first) * ny + y.first) * nz + z.first;
        const Index own = corner + (Index(x.own) * ny + y.own) * nz + z.own;
        const int candidates = x.count * y.count * z.count;
        auto place_of = [&](int candidate) {
            const int row = candidate / z.count;
            return corner + (Index(row / y.count) * ny + row % y.count) * nz + candidate % z.count;
        };
        for (int s = threadIdx.x; s < size; s += blockDim.x) mean[s] = pilot[own + offsets[s]];
        __syncthreads();
        for (int i = threadIdx.x; i < candidates; i += TILE * blockDim.x) {
            const T *places[TILE];
            T sums[TILE] = {};
#pragma unroll
            for (int r = 0; r < TILE; ++r)
                places[r] = pilot + place_of(min(i + r * int(blockDim.x), candidates - 1));
            for (int s = 0; s < size; ++s) {
                const Index offset = offsets[s];
                const T value = mean[s];
#pragma unroll
                for (int r = 0; r < TILE; ++r) {
                    const T difference = places[r][offset] - value;
                    sums[r] = fma(difference, difference, sums[r]);
                }
            }
#pragma unroll
            for (int r = 0; r < TILE; ++r)
                if (i + r * int(blockDim.x) < candidates) near[i + r * blockDim.x] = sums[r];
        }
        __syncthreads();
        if (threadIdx.x == 0) near[(x.own * y.count + y.own) * z.count + z.own] = -1;
        __syncthreads();
        const int found = choose_least(near, candidates, group, chosen, counts, int_scratch);
        for (int k = threadIdx.x; k < found; k += blockDim.x) {
            chosen[k] = place_of(int(chosen[k]));
            atomicAdd(starts + chosen[k], T(1));
        }
        for (int i = threadIdx.x; i < width * width; i += blockDim.x) matrix[i] = cross[i] = 0;
        __syncthreads();

        // P P^T and, transposed, Y P^T
        for (int first = 0; first < size; first += CHUNK) {
            const int length = min(CHUNK, size - first);
            for (int i = threadIdx.x; i < part; i += blockDim.x) {
                const int k = i % width, s = i / width;
                const bool inside = k < found && s < length;
                const Index place = inside ? chosen[k] + offsets[first + s] : 0;
                p_chunk[i] = inside ? pilot[place] : T(0);
                y_chunk[i] = inside ? noisy[place] : T(0);
            }
            __syncthreads();
            for (int s = threadIdx.x; s < length; s += blockDim.x) {
                T sum = 0;
                for (int k = 0; k < found; ++k) sum += p_chunk[s * width + k];
                mean[first + s] = sum / found;
            }
            __syncthreads();
            for (int i = threadIdx.x; i < length * width; i += blockDim.x) {
                if (i % width >= found) continue;
                p_chunk[i] -= mean[first + i / width];
                y_chunk[i] -= mean[first + i / width];
            }
            __syncthreads();
            transposed_product<true>(p_chunk, p_chunk, length, width, width, matrix);
            transposed_product<true>(p_chunk, y_chunk, length, width, width, cross);
            __syncthreads();
        }

        T trace = 0;
        for (int i = threadIdx.x; i < found; i += blockDim.x) trace += matrix[i * width + i];
        trace = join_over_block<Sum>(trace, scratch);
        const T rounding = sizeof(T) == sizeof(float) ? T(4 * 0x1p-23) : T(4 * 0x1p-52);
        const T ridge = max(found - 1, 1) + rounding * trace;
        for (int i = threadIdx.x; i < found; i += blockDim.x) matrix[i * width + i] += ridge;
        __syncthreads();
        invert_in_place(matrix, found, width, pivot, factors);
        T squares = 0;
        for (int i = threadIdx.x; i < found * found; i += blockDim.x) {
            const T entry = matrix[i / found * width + i % found];
            squares = fma(entry, entry, squares);
        }
        squares = join_over_block<Sum>(squares, scratch);
        transposed_product<false>(matrix, cross, width, width, width, mixed);
        __syncthreads();

        // Noise alone would leave ||I - F||^2 in every patch
        const T of_noise = found * max(size - found + ridge * ridge * squares, T(0));
        T gain = 0;
        for (int pass = 0; pass < 2; ++pass) {
            T residual = 0;
            for (int first = 0; first < size; first += CHUNK) {
                const int length = min(CHUNK, size - first);
                for (int i = threadIdx.x; i < part; i += blockDim.x) {
                    const int k = i / CHUNK, s = i % CHUNK;
                    const bool inside = k < found && s < length;
                    p_chunk[i] =
                        inside ? pilot[chosen[k] + offsets[first + s]] - mean[first + s] : T(0);
                }
                for (int i = threadIdx.x; i < part; i += blockDim.x) {
                    const int k = i % width, s = i / width;
                    const bool inside = k < found && s < length;
                    y_chunk[i] =
                        inside ? noisy[chosen[k] + offsets[first + s]] - mean[first + s] : T(0);
                }
                __syncthreads();
                transposed_product<false>(p_chunk, mixed, width, CHUNK, width, estimate);
                __syncthreads();
                for (int i = threadIdx.x; i < length * width; i += blockDim.x) {
                    const int k = i % width, s = first + i / width;
                    if (k >= found) continue;
                    const T rest = y_chunk[i] - estimate[i];
                    residual = fma(rest, rest, residual);
                    if (pass == 0) continue;
                    const double value = estimate[i] + gain * rest + mean[s];
                    atomicAdd(total + chosen[k] + offsets[s],
                              static_cast<unsigned long long>(llrint(value * scale)));
                }
                __syncthreads();
            }
            if (pass == 0) {
                residual = join_over_block<Sum>(residual, scratch);
                gain = residual > of_noise ? 1 - of_noise / residual : T(0);
            }
        }
        __syncthreads(); // the next group's distances take the place of the arrays
    }
}
