// The network f_theta and its energy ||f_theta(x)||^2, forward and backward, by blocks of rows.
//
// Twin of mlp.py, together with mlp_weights.cu. Layouts are those of network.cuh. Rows beyond n
// repeat the last row, with weight zero.
#include "product.cuh"

// ---- where activations and deltas are -----------------------------------------------------------

// Layers are placed alternately at the two ends of `capacity` units, because a product needs only
// its inputs and its outputs; or one after the other, if `capacity` is zero.
template <typename T> struct Units {
    T *first;
    int capacity;
    // The place of a layer of the given width that has `before` units before it.
    __device__ __forceinline__ T *at(int layer, Index before, int width) const {
        return first + ROWS * (capacity == 0 ? before
                               : layer % 2   ? Index(capacity - width)
                                             : Index(0));
    }
};

// ---- forward ------------------------------------------------------------------------------------

// outputs = max(sums + bias, 0), or sums + bias in the last layer.
template <typename T> struct FinishForward {
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

// Puts the points and every layer's outputs into `units`, and into kept (units, ROWS) unless it is
// null. The chunk of weights that is staged on entry is the first one, and on return that of
// `next`. Ends with the threads together.
template <typename T>
__device__ __forceinline__ void forward_rows(const T *theta, const Sizes &sizes, const T *x,
                                             Index start, Index n, const Units<T> &units, T *kept,
                                             const Product<T> &next, Stage<T> &stage, T *energy) {
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
            const Product<T> then =
                end < n_out ? product_of(theta, n_in, n_out, end)
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

// energy_i = ||f_theta(x_i)||^2
//
// SHARED: the activations fit in shared memory, in `capacity` units. Otherwise they are in
// `activations`, which has a place for every block of rows (keep) or for every CUDA block.
template <typename T, bool SHARED>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>)
    energy_forward(const T *theta, // (P,)
                   const __grid_constant__ Sizes sizes,
                   const T *x,     // (n, d)
                   T *activations, // (places, units, ROWS), or null
                   T *energy,      // (n,)
                   Index n, Index units, int keep, int capacity) {
    T *shared = shared_memory<T>();
    Stage<T> stage{shared, 0};
    const Product<T> first = product_of(theta, sizes.widths[0], sizes.widths[1], 0);
    stage.fetch(first, 0);
    for (int block = blockIdx.x; Index(block) * ROWS < n; block += gridDim.x) {
        T *place = activations + units * ROWS * (keep ? block : int(blockIdx.x));
        T *kept = keep && SHARED ? place : nullptr;
        const Units<T> places{SHARED ? shared + 2 * CHUNK : place, SHARED ? capacity : 0};
        forward_rows(theta, sizes, x, Index(block) * ROWS, n, places, kept, first, stage, energy);
        __syncthreads(); // before the next rows take the place of these
    }
}

// ---- backward -----------------------------------------------------------------------------------

// deltas = sums for units that were above zero, else 0.
template <typename T> struct FinishDeltas {
    const T *values;  // (width, ROWS), possibly the same as deltas
    T *deltas, *kept; // (width, ROWS); kept may be null
    __device__ __forceinline__ T before(int) const { return 0; }
    __device__ __forceinline__ void operator()(int column, int row, T, Four<T> sums) const {
        const Four<T> value = four(values + Index(column) * ROWS + row);
#pragma unroll
        for (int i = 0; i < 4; ++i) sums.values[i] = value.values[i] > T(0) ? sums.values[i] : T(0);
        four(deltas + column * ROWS + row) = sums;
        if (kept) four(kept + Index(column) * ROWS + row) = sums;
    }
};

template <typename T> struct FinishPoints { // x_grad = sums
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

template <typename T>
__device__ __forceinline__ Product<T> last_product(const T *transposed, const Sizes &sizes) {
    Index offset = 0;
    for (int layer = 0; layer + 1 < sizes.layers; ++layer)
        offset += Index(sizes.widths[layer] + 1) * sizes.widths[layer + 1];
    const int n_in = sizes.widths[sizes.layers - 1], n_out = sizes.widths[sizes.layers];
    return product_of(transposed + offset, n_out, n_in, 0);
}

// From activations (units, ROWS), computes the deltas of all layers, in `deltas` and also in
// kept (units, ROWS) unless it is null; with x_grad, also the gradient with respect to the points.
// On entry the first chunk of `first_product` must be staged; on return that of `next` is.
template <typename T>
__device__ __forceinline__ void backward_rows(const Product<T> &first_product, const Sizes &sizes,
                                              Index units, Index start, Index n,
                                              const T *activations, const T *grad_energy,
                                              const Units<T> &deltas, T *kept, T *x_grad,
                                              const Product<T> &next, Stage<T> &stage) {
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
        const T *following =
            layer > 0 ? matrix - Index(sizes.widths[layer - 1] + 1) * n_in : matrix;
        T *previous = deltas.at(layer, before, n_in);
        for (int first = 0, end; first < n_in; first = end) {
            const Product<T> product = product_of(matrix, n_out, n_in, first);
            end = first + product.columns();
            const Product<T> then =
                end < n_in      ? product_of(matrix, n_out, n_in, end)
                : layer == stop ? next
                                : product_of(following, n_in, sizes.widths[layer - 1], 0);
            if (layer > 0)
                multiply(current, product, then, stage,
                         FinishDeltas<T>{activations + before * ROWS, previous,
                                         kept ? kept + before * ROWS : kept});
            else
                multiply(current, product, then, stage, FinishPoints<T>{x_grad, n_in, start, n});
        }
        matrix = following;
        current = previous;
    }
}

// deltas = d(sum_i grad_energy_i energy_i) / d(outputs of every layer before max(., 0)). This is
// the first half of the twin of `energy_backward`; `weight_gradients` is the second.
template <typename T, bool SHARED>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>)
    energy_deltas(const T *transposed, // (P,)
                  const __grid_constant__ Sizes sizes,
                  const T *activations, // (row blocks, units, ROWS)
                  const T *grad_energy, // (n,)
                  T *deltas,            // (row blocks, units, ROWS)
                  Index n, Index units, int capacity) {
    T *shared = shared_memory<T>();
    Stage<T> stage{shared, 0};
    const Product<T> first = last_product(transposed, sizes);
    stage.fetch(first, 0);
    T *const no_x_grad = nullptr;
    for (int block = blockIdx.x; Index(block) * ROWS < n; block += gridDim.x) {
        const T *values = activations + units * ROWS * block;
        T *kept = deltas + units * ROWS * block;
        const Units<T> places{SHARED ? shared + 2 * CHUNK : kept, SHARED ? capacity : 0};
        backward_rows(first, sizes, units, Index(block) * ROWS, n, values, grad_energy, places,
                      SHARED ? kept : nullptr, no_x_grad, first, stage);
        __syncthreads(); // before the next rows take the place of these
    }
}

// energy_i = ||f_theta(x_i)||^2, x_grad_i = d(energy_i) / d(x_i)
//
// SHARED: the activations of all layers fit in shared memory. Otherwise they are in `scratch`. In
// either case the deltas overwrite them.
template <typename T, bool SHARED>
__global__ void __launch_bounds__(THREADS, RESIDENT<T>)
    energy_grad(const T *theta,      // (P,)
                const T *transposed, // (P,)
                const __grid_constant__ Sizes sizes,
                const T *x,          // (n, d)
                T *energy,           // (n,)
                T *x_grad,           // (n, d)
                T *scratch,          // (CUDA blocks, units, ROWS), or null
                Index n, Index units) {
    T *shared = shared_memory<T>();
    Stage<T> stage{shared, 0};
    const Product<T> first = product_of(theta, sizes.widths[0], sizes.widths[1], 0);
    const Product<T> last = last_product(transposed, sizes);
    const Units<T> places{SHARED ? shared + 2 * CHUNK : scratch + units * ROWS * blockIdx.x, 0};
    T *const not_kept = nullptr;
    const T *const ones = nullptr;
    stage.fetch(first, 0);
    for (int block = blockIdx.x; Index(block) * ROWS < n; block += gridDim.x) {
        const Index start = Index(block) * ROWS;
        forward_rows(theta, sizes, x, start, n, places, not_kept, last, stage, energy);
        __syncthreads(); // before deltas take the place of f_theta(x)
        backward_rows(last, sizes, units, start, n, places.first, ones, places, not_kept, x_grad,
                      first, stage);
        __syncthreads(); // before the next rows take the place of these
    }
}
