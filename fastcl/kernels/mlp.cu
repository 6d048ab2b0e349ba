// The network f_theta and its energy ||f_theta(x)||^2, forward and backward, by blocks of rows.
//
// Twin of mlp.py.  A CUDA block takes ROWS points through every layer.  Activations and deltas lie one unit after the other;
// those of a block, from the points to f_theta(x), make up (sum of sizes, ROWS), and so does what is kept for the backward pass.
// Rows beyond n repeat the last one, with weight zero.
#include "product.cuh"

template <typename T> constexpr int RESIDENT = sizeof(T) == 4 ? 2 : 1; // blocks that the registers of a multiprocessor hold

struct Sizes {
    int layers;
    int widths[255]; // input and output included
};

// ---- where activations and deltas are -----------------------------------------------------------------------------------

// Of a layer of the given width, with so many units before it: at either end of `capacity` units by turns, as a product only
// needs its inputs and its outputs, or one after the other where `capacity` is zero.
template <typename T> struct Units {
    T *first;
    int capacity;
    __device__ __forceinline__ T *at(int layer, Index before, int width) const {
        return first + ROWS * (capacity == 0 ? before : layer % 2 ? Index(capacity - width) : Index(0));
    }
};

// ---- forward ------------------------------------------------------------------------------------------------------------

template <typename T> struct FinishForward { // outputs = max(sums + bias, 0), without the bound in the last layer
    const T *bias;
    bool bounded;
    T *outputs, *kept; // (width, ROWS); kept may be null
    __device__ __forceinline__ T before(int column) const { return bias[column]; }
    __device__ __forceinline__ void operator()(int column, int row, T added, Four<T> sums) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const T value = sums.values[i] + added;
            sums.values[i] = bounded && value < T(0) ? T(0) : value;
        }
        four(outputs + column * ROWS + row) = sums;
        if (kept) four(kept + Index(column) * ROWS + row) = sums;
    }
};

// Points and every layer's outputs into `units`, and into `kept` (sum of sizes, ROWS) unless it is null.  The first chunk of
// weights is staged before, that of `next` afterwards.  Ends with the threads together.
template <typename T>
__device__ __forceinline__ void forward_rows(const T *theta, const Sizes &sizes, const T *x, Index start, Index n,
                                             const Units<T> &units, T *kept, const Product<T> &next, Stage<T> &stage,
                                             T *energy) {
    const int dim = sizes.widths[0];
    T *inputs = units.at(0, 0, dim);
    for (int place = threadIdx.x; place < ROWS * dim; place += THREADS) {
        const int row = place / dim, k = place % dim;
        const T value = x[min(start + row, n - 1) * dim + k];
        inputs[k * ROWS + row] = value;
        if (kept) kept[k * ROWS + row] = value;
    }
    Index before = dim;
    for (int layer = 0; layer < sizes.layers; ++layer) {
        const int n_in = sizes.widths[layer], n_out = sizes.widths[layer + 1];
        const T *bias = theta + Index(n_in) * n_out, *following = bias + n_out;
        const bool last = layer + 1 == sizes.layers;
        T *outputs = units.at(layer + 1, before, n_out);
        const FinishForward<T> finish{bias, !last, outputs, kept ? kept + before * ROWS : kept};
        for (int first = 0, end; first < n_out; first = end) {
            const Product<T> product = product_of(theta, n_in, n_out, first);
            end = first + product.columns();
            const Product<T> then = end < n_out ? product_of(theta, n_in, n_out, end)
                                    : last      ? next
                                                : product_of(following, n_out, sizes.widths[layer + 2], 0);
            multiply(inputs, product, then, stage, finish);
        }
        theta = following;
        inputs = outputs;
        before += n_out;
    }
    __syncthreads();
    const Index i = start + threadIdx.x;
    if (threadIdx.x < ROWS && i < n) {
        T total = 0;
        for (int j = 0; j < sizes.widths[sizes.layers]; ++j) {
            const T value = inputs[j * ROWS + threadIdx.x];
            total = fma(value, value, total);
        }
        energy[i] = total;
    }
}

// SHARED: activations fit in shared memory, `capacity` units.  Otherwise they are in `activations`, which then holds a place
// for every block of rows (keep) or for every CUDA block.
template <typename T, bool SHARED>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>) energy_forward(const T *theta, // (P,)
                                                                       const __grid_constant__ Sizes sizes,
                                                                       const T *x,     // (n, d)
                                                                       T *activations, // (places, sum of sizes, ROWS), or null
                                                                       T *energy,      // (n,)
                                                                       Index n, Index units, // sum of sizes
                                                                       int keep, int capacity) {
    T *shared = shared_memory<T>();
    Stage<T> stage{shared, 0};
    const Product<T> first = product_of(theta, sizes.widths[0], sizes.widths[1], 0);
    stage.fetch(first, 0);
    for (int block = blockIdx.x; Index(block) * ROWS < n; block += gridDim.x) {
        T *place = activations + units * ROWS * (keep ? block : int(blockIdx.x)), *kept = keep && SHARED ? place : nullptr;
        const Units<T> places{SHARED ? shared + 2 * CHUNK : place, SHARED ? capacity : 0};
        forward_rows(theta, sizes, x, Index(block) * ROWS, n, places, kept, first, stage, energy);
        __syncthreads(); // before the next rows take the place of these
    }
}

// ---- backward -----------------------------------------------------------------------------------------------------------

template <typename T> struct FinishDeltas { // deltas = sums where the unit was above zero
    const T *values;   // (width, ROWS), may be where the deltas go
    T *deltas, *kept;  // (width, ROWS); kept may be null
    __device__ __forceinline__ T before(int) const { return 0; }
    __device__ __forceinline__ void operator()(int column, int row, T, Four<T> sums) const {
        const Four<T> value = four(values + Index(column) * ROWS + row);
#pragma unroll
        for (int i = 0; i < 4; ++i) sums.values[i] = value.values[i] > T(0) ? sums.values[i] : T(0);
        four(deltas + column * ROWS + row) = sums;
        if (kept) four(kept + Index(column) * ROWS + row) = sums;
    }
};

template <typename T> struct FinishPoints { // the gradient with respect to the points
    T *x_grad;
    int dim;
    Index start, n;
    __device__ __forceinline__ T before(int) const { return 0; }
    __device__ __forceinline__ void operator()(int column, int row, T, const Four<T> &sums) const {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (start + row + i < n) x_grad[(start + row + i) * dim + column] = sums.values[i];
    }
};

template <typename T> __device__ __forceinline__ Product<T> last_product(const T *transposed, const Sizes &sizes) {
    Index offset = 0;
    for (int layer = 0; layer + 1 < sizes.layers; ++layer) offset += Index(sizes.widths[layer] + 1) * sizes.widths[layer + 1];
    return product_of(transposed + offset, sizes.widths[sizes.layers], sizes.widths[sizes.layers - 1], 0);
}

// From `activations` (sum of sizes, ROWS) the deltas of all layers into `deltas`, and into `kept` (sum of sizes, ROWS) unless it
// is null; with x_grad the gradient with respect to the points.  The chunk that is staged is the one of `last_product`, and
// afterwards that of `next`.
template <typename T>
__device__ __forceinline__ void backward_rows(const Product<T> &first_product, const Sizes &sizes, Index units, Index start,
                                              Index n, const T *activations, const T *grad_energy, const Units<T> &deltas,
                                              T *kept, T *x_grad, const Product<T> &next, Stage<T> &stage) {
    const int dim = sizes.widths[sizes.layers];
    Index before = units - dim;
    T *current = deltas.at(sizes.layers, before, dim);
    for (int place = threadIdx.x; place < ROWS * dim; place += THREADS) {
        const Index i = start + place % ROWS;
        const T weight = i >= n ? T(0) : grad_energy ? grad_energy[i] : T(1);
        const T value = (weight + weight) * activations[before * ROWS + place];
        current[place] = value;
        if (kept) kept[before * ROWS + place] = value;
    }
    const T *matrix = first_product.weights;
    const int stop = x_grad ? 0 : 1;
    for (int layer = sizes.layers - 1; layer >= stop; --layer) {
        const int n_in = sizes.widths[layer], n_out = sizes.widths[layer + 1];
        before -= n_in;
        const T *following = layer > 0 ? matrix - Index(sizes.widths[layer - 1] + 1) * n_in : matrix;
        T *previous = deltas.at(layer, before, n_in);
        for (int first = 0, end; first < n_in; first = end) {
            const Product<T> product = product_of(matrix, n_out, n_in, first);
            end = first + product.columns();
            const Product<T> then = end < n_in      ? product_of(matrix, n_out, n_in, end)
                                    : layer == stop ? next
                                                    : product_of(following, n_in, sizes.widths[layer - 1], 0);
            if (layer > 0)
                multiply(current, product, then, stage,
                         FinishDeltas<T>{activations + before * ROWS, previous, kept ? kept + before * ROWS : kept});
            else
                multiply(current, product, then, stage, FinishPoints<T>{x_grad, n_in, start, n});
        }
        matrix = following;
        current = previous;
    }
}

// First half of the twin of `energy_backward`: the deltas of all layers.
template <typename T, bool SHARED>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>) energy_deltas(const T *transposed, // (P,)
                                                                      const __grid_constant__ Sizes sizes,
                                                                      const T *activations, // (row blocks, sum of sizes, ROWS)
                                                                      const T *grad_energy, // (n,)
                                                                      T *deltas,            // (row blocks, sum of sizes, ROWS)
                                                                      Index n, Index units, int capacity) {
    T *shared = shared_memory<T>();
    Stage<T> stage{shared, 0};
    const Product<T> first = last_product(transposed, sizes);
    stage.fetch(first, 0);
    for (int block = blockIdx.x; Index(block) * ROWS < n; block += gridDim.x) {
        T *kept = deltas + units * ROWS * block;
        const Units<T> places{SHARED ? shared + 2 * CHUNK : kept, SHARED ? capacity : 0};
        backward_rows(first, sizes, units, Index(block) * ROWS, n, activations + units * ROWS * block, grad_energy, places,
                      SHARED ? kept : nullptr, static_cast<T *>(nullptr), first, stage);
        __syncthreads(); // before the next rows take the place of these
    }
}

// SHARED: the activations of all layers fit in shared memory.  Otherwise they are in `scratch`, as the deltas in either case
// in their place.
template <typename T, bool SHARED>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>) energy_grad(const T *theta,      // (P,)
                                                                    const T *transposed, // (P,)
                                                                    const __grid_constant__ Sizes sizes,
                                                                    const T *x,          // (n, d)
                                                                    T *energy,           // (n,)
                                                                    T *x_grad,           // (n, d)
                                                                    T *scratch,          // (CUDA blocks, units, ROWS), or null
                                                                    Index n, Index units) {
    T *shared = shared_memory<T>();
    Stage<T> stage{shared, 0};
    const Product<T> first = product_of(theta, sizes.widths[0], sizes.widths[1], 0), last = last_product(transposed, sizes);
    const Units<T> places{SHARED ? shared + 2 * CHUNK : scratch + units * ROWS * blockIdx.x, 0};
    stage.fetch(first, 0);
    for (int block = blockIdx.x; Index(block) * ROWS < n; block += gridDim.x) {
        forward_rows(theta, sizes, x, Index(block) * ROWS, n, places, static_cast<T *>(nullptr), last, stage, energy);
        __syncthreads(); // before deltas take the place of f_theta(x)
        backward_rows(last, sizes, units, Index(block) * ROWS, n, places.first, static_cast<const T *>(nullptr), places,
                      static_cast<T *>(nullptr), x_grad, first, stage);
        __syncthreads(); // before the next rows take the place of these
    }
}

// ---- gradients of the weights -------------------------------------------------------------------------------------------

// The tile of the given number, of side SIDE, among those of all matrices.
struct Tile {
    int n_in, n_out;      // of its matrix
    int row, column;      // its first ones
    Index offset, before; // of the matrix in theta, units before its inputs
};

template <int SIDE> __device__ __forceinline__ Tile tile_of(const Sizes &sizes, int number) {
    Tile tile = {sizes.widths[0], sizes.widths[1], 0, 0, 0, 0};
    for (int layer = 0;; ++layer) {
        const int across = (tile.n_out + SIDE - 1) / SIDE, count = (tile.n_in + SIDE - 1) / SIDE * across;
        if (number < count) {
            tile.row = number / across * SIDE;
            tile.column = number % across * SIDE;
            return tile;
        }
        number -= count;
        tile.offset += Index(tile.n_in + 1) * tile.n_out;
        tile.before += tile.n_in;
        tile.n_in = tile.n_out;
        tile.n_out = sizes.widths[layer + 2];
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS) transpose_weights(const T *theta, // (P,)
                                                             const __grid_constant__ Sizes sizes,
                                                             T *transposed) { // (P,)
    constexpr int SIDE = 32;
    T *shared = shared_memory<T>(); // (SIDE, SIDE + 1)
    const Tile tile = tile_of<SIDE>(sizes, blockIdx.x);
    const int across = threadIdx.x % SIDE, down = threadIdx.x / SIDE;
    for (int i = down; i < SIDE; i += THREADS / SIDE) {
        const int row = tile.row + i, column = tile.column + across;
        if (row < tile.n_in && column < tile.n_out)
            shared[i * (SIDE + 1) + across] = theta[tile.offset + Index(row) * tile.n_out + column];
    }
    __syncthreads();
    for (int j = down; j < SIDE; j += THREADS / SIDE) {
        const int row = tile.row + across, column = tile.column + j;
        if (row < tile.n_in && column < tile.n_out)
            transposed[tile.offset + Index(column) * tile.n_in + row] = shared[across * (SIDE + 1) + j];
    }
}

constexpr int SIDE = 64, DOWN = 8, ACROSS = 4;         // of a tile of a gradient, and entries of a thread, 8 and 16 apart
template <typename T> constexpr int STRIDE = ROWS + 16 / sizeof(T); // units in shared memory start 4 banks apart
template <typename T> constexpr int HALVES = sizeof(T) == 4 ? 2 : 1; // of shared memory, in turn: some devices have 64 KiB

template <int A, int B, typename T> // A x B entries a thread, those with inputs and outputs
__device__ __forceinline__ void add_rows(const T *inputs, const T *deltas, T (&sums)[DOWN][ACROSS]) {
#pragma unroll 1
    for (int row = 0; row < ROWS / 2; row += 4) {
        Four<T> delta[B];
#pragma unroll
        for (int b = 0; b < B; ++b) delta[b] = four(deltas + b * 16 * STRIDE<T> + row);
#pragma unroll
        for (int a = 0; a < A; ++a) {
            const Four<T> input = four(inputs + a * 8 * STRIDE<T> + row);
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int b = 0; b < B; ++b) sums[a][b] = fma(input.values[i], delta[b].values[i], sums[a][b]);
        }
    }
}

// Second half of the twin of `energy_backward`: inputs^T deltas over the rows of a part, a tile a CUDA block.  Half of its warps
// add the first half of every block of rows, the others the second; lanes choose entries as in `multiply`.
template <typename T>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>) weight_gradients(const __grid_constant__ Sizes sizes,
                                                                         const T *activations, // (row blocks, sum of sizes, ROWS)
                                                                         const T *deltas,      // (row blocks, sum of sizes, ROWS)
                                                                         Index part_rows,      // whole blocks of rows
                                                                         T *partial,           // (parts, P)
                                                                         Index n, Index units, int tiles, Index parameters) {
    constexpr int VECTORS = ROWS / 4, MOVED = SIDE * VECTORS / THREADS; // of a unit; of each operand, that a thread moves
    T *shared = shared_memory<T>();                                     // (HALVES, 2, SIDE, STRIDE): inputs and deltas
    const Index part = blockIdx.x / tiles, first = part * part_rows / ROWS;
    const Index stop = (min((part + 1) * part_rows, n) + ROWS - 1) / ROWS, place = units * ROWS;
    const Tile tile = tile_of<SIDE>(sizes, blockIdx.x % tiles);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, half = warp / 4;
    const int down = lane >> 1 & 7, across = (lane & 1) | (lane >> 4) << 1 | (warp & 3) << 2;
    const int rows = tile.n_in - tile.row, columns = tile.n_out - tile.column; // that are left in the matrix

    Four<T> staged[2][MOVED] = {};
    const T *inputs = activations + (tile.before + tile.row) * ROWS;
    const T *outputs = deltas + (tile.before + tile.n_in + tile.column) * ROWS;
    auto fetch = [&](Index block) {
#pragma unroll
        for (int v = 0; v < MOVED; ++v) {
            const int vector = v * THREADS + threadIdx.x;
            if (vector / VECTORS < rows) staged[0][v] = four(inputs + block * place + vector * 4);
            if (vector / VECTORS < columns) staged[1][v] = four(outputs + block * place + vector * 4);
        }
    };
    T sums[DOWN][ACROSS] = {}, bias = 0;
    fetch(first);
    for (Index block = first; block < stop; ++block) {
        T *left = shared + block % HALVES<T> * 2 * SIDE * STRIDE<T>, *right = left + SIDE * STRIDE<T>;
        if (HALVES<T> == 1) __syncthreads(); // before the next rows take the place of these
#pragma unroll
        for (int v = 0; v < MOVED; ++v) {
            const int vector = v * THREADS + threadIdx.x, target = vector / VECTORS * STRIDE<T> + vector % VECTORS * 4;
            four(left + target) = staged[0][v];
            four(right + target) = staged[1][v];
        }
        __syncthreads();
        if (block + 1 < stop) fetch(block + 1);
        const T *mine = left + down * STRIDE<T> + half * (ROWS / 2), *theirs = right + across * STRIDE<T> + half * (ROWS / 2);
        if (rows <= 8) // narrow tiles leave out what lies beyond the matrix
            add_rows<1, ACROSS>(mine, theirs, sums);
        else if (columns <= 16)
            add_rows<DOWN, 1>(mine, theirs, sums);
        else
            add_rows<DOWN, ACROSS>(mine, theirs, sums);
        if (tile.row == 0 && threadIdx.x < SIDE) {
            T sum = 0;
#pragma unroll
            for (int row = 0; row < ROWS; row += 4) {
                const Four<T> delta = four(right + threadIdx.x * STRIDE<T> + row);
#pragma unroll
                for (int i = 0; i < 4; ++i) sum += delta.values[i];
            }
            bias += sum;
        }
    }
    constexpr int PITCH = SIDE + 4; // of (SIDE, PITCH) entries in shared memory
    for (int turn = 1; turn >= 0; --turn) { // the second half first
        __syncthreads();
        if (half == turn)
#pragma unroll
            for (int a = 0; a < DOWN; ++a)
#pragma unroll
                for (int b = 0; b < ACROSS; ++b) {
                    T &entry = shared[(down + 8 * a) * PITCH + across + 16 * b];
                    entry = turn ? sums[a][b] : sums[a][b] + entry;
                }
    }
    __syncthreads();
    T *out = partial + part * parameters + tile.offset;
    for (int entry = threadIdx.x; entry < SIDE * SIDE; entry += THREADS) {
        const int i = entry / SIDE, j = entry % SIDE;
        if (i < rows && j < columns) out[Index(tile.row + i) * tile.n_out + tile.column + j] = shared[i * PITCH + j];
    }
    if (tile.row == 0 && threadIdx.x < min(SIDE, columns)) out[Index(tile.n_in) * tile.n_out + tile.column + threadIdx.x] = bias;
}

template <typename T>
__global__ void __launch_bounds__(THREADS) add_parts(const T *partial, // (parts, P)
                                                     double *total,    // (P,) += partial, in order
                                                     T *out,           // (P,) = total
                                                     Index parts, Index parameters) {
    const Index p = Index(blockIdx.x) * THREADS + threadIdx.x;
    if (p >= parameters) return;
    double sum = total[p];
#pragma unroll 8
    for (Index part = 0; part < parts; ++part) sum += partial[part * parameters + p];
    total[p] = sum;
    out[p] = T(sum);
}
