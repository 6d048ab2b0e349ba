// Optimiser steps, each in one pass over the parameters.
//
// Twin of optimizers.py. In a captured run (see objective.cu) the rates are a table with one row
// per step; a step also saves the parameters from before it, and does nothing once the run has
// diverged.
#include "run.cuh"

template <typename T> struct Captured { // null pointers outside a captured run
    long long *run;                     // counters, see run.cuh
    T *previous;                        // (P,), theta before the step

    __device__ const T *row(const T *rates, int columns) const {
        return run ? rates + run[RUN_ROW] * columns : rates;
    }
    __device__ bool is_over() const { return run && run[RUN_DIVERGED] >= 0; }
    __device__ void keep(Index p, T before, T after) const {
        if (!run) return;
        previous[p] = before;
        if (!is_finite(after)) run[RUN_BAD] = 1;
    }
};

// first += (1 - beta1) (g - first), second += (1 - beta2) (g^2 - second),
// theta -= step_size first / (1 - beta1^k) / (sqrt(second / (1 - beta2^k)) + epsilon)
//
// rates: 1 - beta1, 1 - beta2, 1 / sqrt(1 - beta2^k), epsilon, step_size / (1 - beta1^k).
template <typename T>
__global__ void __launch_bounds__(THREADS)
    adam_step(T *__restrict__ theta,          // (P,)
              const T *__restrict__ gradient, // (P,)
              T *__restrict__ first,          // (P,)
              T *__restrict__ second,         // (P,)
              const T *__restrict__ rates,    // (5,), or (steps, 5) in a captured run
              Index size, long long *run, T *__restrict__ previous) {
    const Captured<T> captured = {run, previous};
    const T *rate = captured.row(rates, 5);
    const Index p = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= size || captured.is_over()) return;
    const T g = gradient[p], before = theta[p];
    const T mean = first[p] + rate[0] * (g - first[p]);
    const T square = second[p] + rate[1] * (g * g - second[p]);
    const T after = before - rate[4] * mean / (sqrt(square) * rate[2] + rate[3]);
    first[p] = mean, second[p] = square, theta[p] = after;
    captured.keep(p, before, after);
}

// velocity = momentum velocity + g, theta -= step_size velocity; with `nesterov`,
// theta -= step_size (g + momentum velocity). On the CPU these are a few lines of NumPy.
//
// rates: step size, momentum.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    sgd_step(T *__restrict__ theta,          // (P,)
             const T *__restrict__ gradient, // (P,)
             T *__restrict__ velocity,       // (P,)
             const T *__restrict__ rates,    // (2,), or (steps, 2) in a captured run
             Index size, int nesterov, long long *run, T *__restrict__ previous) {
    const Captured<T> captured = {run, previous};
    const T *rate = captured.row(rates, 2);
    const Index p = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= size || captured.is_over()) return;
    const T before = theta[p], speed = velocity[p] * rate[1] + gradient[p];
    const T after = before - rate[0] * (nesterov ? gradient[p] + rate[1] * speed : speed);
    velocity[p] = speed, theta[p] = after;
    captured.keep(p, before, after);
}
