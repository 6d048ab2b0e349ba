// The matrices of the network: their transposes, and their gradients from the activations and
// deltas of mlp.cu.
//
// Twin of mlp.py, together with mlp.cu. Layouts are those of network.cuh.
#include "network.cuh"

// One tile, of side SIDE, among those of all matrices.
struct Tile {
    int n_in, n_out; // shape of its matrix
    int row, column; // where it starts in the matrix
    Index offset;    // offset of its matrix in theta
    Index before;    // number of units before its inputs
};

template <int SIDE> __device__ __forceinline__ Tile tile_of(const Sizes &sizes, int number) {
    Tile tile = {sizes.widths[0], sizes.widths[1], 0, 0, 0, 0};
    for (int layer = 0;; ++layer) {
        const int across = (tile.n_out + SIDE - 1) / SIDE;
        const int count = (tile.n_in + SIDE - 1) / SIDE * across;
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

// transposed = every matrix of theta transposed, in the same place as in theta. A block takes one
// tile.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    transpose_weights(const T *theta, // (P,)
                      const __grid_constant__ Sizes sizes,
                      T *transposed) { // (P,)
    constexpr int SIDE = TRANSPOSED_SIDE;
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
            transposed[tile.offset + Index(column) * tile.n_in + row] =
                shared[across * (SIDE + 1) + j];
    }
}

constexpr int DOWN = 8, ACROSS = 4; // entries per thread in a tile of a gradient, 8 and 16 apart
template <typename T> constexpr int STRIDE = ROWS + ACCESS_BYTES / sizeof(T); // units 4 banks apart
// Halves of shared memory, used alternately. float64 has only one: some devices have just 64 KiB.
template <typename T> constexpr int HALVES = sizeof(T) == 4 ? HALVES_FLOAT : HALVES_DOUBLE;

// sums_ab += inputs_a deltas_b over half of the rows, for the A by B entries of a thread that lie
// in the matrix.
template <int A, int B, typename T>
__device__ __forceinline__ void add_rows(const T *inputs, const T *deltas,
                                         T (&sums)[DOWN][ACROSS]) {
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
                for (int b = 0; b < B; ++b)
                    sums[a][b] = fma(input.values[i], delta[b].values[i], sums[a][b]);
        }
    }
}

// partial = inputs^T deltas and the sums of deltas, matrix by matrix, over the rows of a part. This
// is the second half of the twin of `energy_backward`; `energy_deltas` is the first.
//
// A CUDA block takes one tile. Half of its warps add the first half of every block of rows, the
// other warps the second half. Lanes are assigned to entries as in `multiply` of product.cuh.
template <typename T>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>)
    weight_gradients(const __grid_constant__ Sizes sizes,
                     const T *activations, // (row blocks, units, ROWS)
                     const T *deltas,      // (row blocks, units, ROWS)
                     Index part_rows,      // whole blocks of rows
                     T *partial,           // (parts, P)
                     Index n, Index units, int tiles, Index parameters) {
    constexpr int SIDE = GRADIENT_SIDE, VECTORS = ROWS / 4; // vectors per unit
    constexpr int MOVED = SIDE * VECTORS / THREADS;         // vectors per operand and thread
    T *shared = shared_memory<T>(); // (HALVES, 2, SIDE, STRIDE): inputs and deltas
    const Index part = blockIdx.x / tiles, first = part * part_rows / ROWS;
    const Index stop = (min((part + 1) * part_rows, n) + ROWS - 1) / ROWS, place = units * ROWS;
    const Tile tile = tile_of<SIDE>(sizes, blockIdx.x % tiles);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, half = warp / 4;
    const int down = lane >> 1 & 7, across = (lane & 1) | (lane >> 4) << 1 | (warp & 3) << 2;
    const int rows = tile.n_in - tile.row, columns = tile.n_out - tile.column; // left in the matrix

    Four<T> staged[2][MOVED] = {};
    const T *inputs = activations + (tile.before + tile.row) * ROWS;
    const T *outputs = deltas + (tile.before + tile.n_in + tile.column) * ROWS;
    auto fetch = [&](Index block) {
#pragma unroll
        for (int v = 0; v < MOVED; ++v) {
            const int vector = v * THREADS + threadIdx.x;
            if (vector / VECTORS < rows)
                staged[0][v] = four(inputs + block * place + vector * 4);
            if (vector / VECTORS < columns)
                staged[1][v] = four(outputs + block * place + vector * 4);
        }
    };
    T sums[DOWN][ACROSS] = {}, bias = 0;
    fetch(first);
    for (Index block = first; block < stop; ++block) {
        T *left = shared + block % HALVES<T> * 2 * SIDE * STRIDE<T>;
        T *right = left + SIDE * STRIDE<T>;
        if (HALVES<T> == 1) __syncthreads(); // before the next rows take the place of these
#pragma unroll
        for (int v = 0; v < MOVED; ++v) {
            const int vector = v * THREADS + threadIdx.x;
            const int target = vector / VECTORS * STRIDE<T> + vector % VECTORS * 4;
            four(left + target) = staged[0][v];
            four(right + target) = staged[1][v];
        }
        __syncthreads();
        if (block + 1 < stop) fetch(block + 1);
        const T *mine = left + down * STRIDE<T> + half * (ROWS / 2);
        const T *theirs = right + across * STRIDE<T> + half * (ROWS / 2);
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
    constexpr int PITCH = SIDE + 4; // entries in shared memory are (SIDE, PITCH)
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
        if (i < rows && j < columns)
            out[Index(tile.row + i) * tile.n_out + tile.column + j] = shared[i * PITCH + j];
    }
    if (tile.row == 0 && threadIdx.x < min(SIDE, columns))
        out[Index(tile.n_in) * tile.n_out + tile.column + threadIdx.x] = bias;
}

// total_p += sum over the parts of partial_p, in order; out_p = total_p
template <typename T>
__global__ void __launch_bounds__(THREADS)
    add_parts(const T *partial, // (parts, P)
              double *total,    // (P,)
              T *out,           // (P,)
              Index parts, Index parameters) {
    const Index p = Index(blockIdx.x) * THREADS + threadIdx.x;
    if (p >= parameters) return;
    double sum = total[p];
#pragma unroll 8
    for (Index part = 0; part < parts; ++part) sum += partial[part * parameters + p];
    total[p] = sum;
    out[p] = T(sum);
}
