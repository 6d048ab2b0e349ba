// Steps of the optimisers in one pass over the parameters.
//
// Twin of optimizers.py.  In a captured run (see objective.cu) the rates are a table with a row a step, and three things join
// the step: the parameters before it are kept, their running mean is taken, and nothing moves once the run has diverged.
#include "run.cuh"

template <typename T> struct Captured { // null pointers outside a captured run
    long long *run;                     // (RUN_SIZE,), see run.cuh
    T *previous;                        // (P,), theta before the step
    double *mean;                       // (P,), or null: running mean of theta; the last column of the rates is its share

    __device__ const T *row(const T *rates, int columns) const { return run ? rates + run[RUN_ROW] * columns : rates; }
    __device__ bool is_over() const { return run && run[RUN_DIVERGED] >= 0; }
    __device__ void keep(Index p, T before, T after, T share) const {
        if (!run) return;
        previous[p] = before;
        if (!is_finite(after)) run[RUN_BAD] = 1;
        if (mean) mean[p] += (double(after) - mean[p]) * double(share);
    }
};

template <typename T>
__global__ void __launch_bounds__(256) adam_step(T *__restrict__ theta,          // (P,)
                                                 const T *__restrict__ gradient, // (P,)
                                                 T *__restrict__ first,          // (P,)
                                                 T *__restrict__ second,         // (P,)
                                                 const T *__restrict__ rates,    // (5,), or (steps, 6) in a captured run
                                                 Index size, long long *run, T *__restrict__ previous,
                                                 double *__restrict__ mean_theta) {
    const Captured<T> captured = {run, previous, mean_theta};
    const T *rate = captured.row(rates, 6);
    const Index p = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= size || captured.is_over()) return;
    const T g = gradient[p], before = theta[p];
    const T mean = first[p] + rate[0] * (g - first[p]);
    const T square = second[p] + rate[1] * (g * g - second[p]);
    const T after = before - rate[4] * mean / (sqrt(square) * rate[2] + rate[3]);
    first[p] = mean, second[p] = square, theta[p] = after;
    captured.keep(p, before, after, run ? rate[5] : T(0));
}

// Heavy-ball momentum, or Nesterov's: on the CPU these are a few lines of NumPy.
template <typename T>
__global__ void __launch_bounds__(256) sgd_step(T *__restrict__ theta,          // (P,)
                                                const T *__restrict__ gradient, // (P,)
                                                T *__restrict__ velocity,       // (P,)
                                                const T *__restrict__ rates, // (steps, 3): step, momentum, share of the mean
                                                Index size, int nesterov, long long *run, T *__restrict__ previous,
                                                double *__restrict__ mean_theta) {
    const Captured<T> captured = {run, previous, mean_theta};
    const T *rate = captured.row(rates, 3);
    const Index p = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= size || captured.is_over()) return;
    const T before = theta[p], speed = velocity[p] * rate[1] + gradient[p];
    const T after = before - rate[0] * (nesterov ? gradient[p] + rate[1] * speed : speed);
    velocity[p] = speed, theta[p] = after;
    captured.keep(p, before, after, rate[2]);
}
