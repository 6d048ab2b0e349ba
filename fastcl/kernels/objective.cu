// The parts of a stochastic gradient besides the maps and the network: densities, residual, and the
// gradient with respect to the energies.
//
// On the CPU these are a few lines of NumPy in objective.py. Here each is one launch and all state
// stays on the device, so that a whole step is a chain of launches that a CUDA graph replays. Sums
// are in float64 and in a fixed order. Sums over points use one block of WIDE threads: their time
// is negligible next to that of the network at the same points.
#include "joins.cuh"
#include "run.cuh"
#include "sincos.cuh"

// mu_i = exp(a - energy_i), where the log-scale a is the last parameter. If `normalised`, it is
// first set so that the points have mass one. One block.
template <typename T>
__global__ void __launch_bounds__(WIDE, 1)
    density(const T *__restrict__ energy, // (n,)
            T *__restrict__ log_scale,    // (1,): a, the last parameter
            T *__restrict__ mu,           // (n,)
            Index n, double volume, int normalised) {
    __shared__ double scratch[WARP];
    T a = normalised ? T(0) : *log_scale;
    if (normalised) {
        double least = double(energy[0]), mass = 0;
        for (Index i = threadIdx.x; i < n; i += blockDim.x)
            least = Least::join(least, double(energy[i]));
        least = join_over_block<Least>(least, scratch);
        for (Index i = threadIdx.x; i < n; i += blockDim.x) mass += exp(least - double(energy[i]));
        mass = join_over_block<Sum>(mass, scratch) / double(n);
        a = T(least - log(volume * mass));
    }
    for (Index i = threadIdx.x; i < n; i += blockDim.x) mu[i] = exp(a - energy[i]);
    if (normalised && threadIdx.x == 0) *log_scale = a;
}

// With the sums s_l = factor * sum_parts partial: w_l (others s_l - z_l), as amplitudes and
// phase_offsets for the adjoint; and the terms -w_l <s_l - z_l, z_l>.
//
// A block takes WARP frequencies; its warps share the parts.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    residual(const double *__restrict__ partial, // (parts, blocks, 2, block_width)
             const double2 *__restrict__ z,      // (m,) complex
             const double *__restrict__ w,       // (m,): weights of the moments
             T *__restrict__ amplitudes,         // (m,)
             T *__restrict__ phase_offsets,      // (m,), in the unit of the phases
             double *__restrict__ terms,         // (m,)
             double factor, double others, int parts, int blocks, int block_width, int m) {
    __shared__ double sums[2][THREADS / WARP][WARP];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const int l = blockIdx.x * WARP + lane; // all in one block: block_width is a multiple of WARP
    double real = 0, imag = 0;
    if (l < m) {
        const double *place = partial + (l / block_width) * 2 * block_width + l % block_width;
        for (int part = warp; part < parts; part += warps) {
            const double *here = place + Index(part) * blocks * 2 * block_width;
            real += here[0], imag += here[block_width];
        }
    }
    sums[0][warp][lane] = real, sums[1][warp][lane] = imag;
    __syncthreads();
    if (warp > 0 || l >= m) return;
    real = imag = 0;
    for (int w = 0; w < warps; ++w) real += sums[0][w][lane], imag += sums[1][w][lane];
    real *= factor, imag *= factor;
    terms[l] = -w[l] * ((real - z[l].x) * z[l].x + (imag - z[l].y) * z[l].y);
    real = others * real - z[l].x, imag = others * imag - z[l].y;
    amplitudes[l] = T(w[l] * hypot(real, imag));
    phase_offsets[l] = T(atan2(imag, real) * (double(Turn<T>::value) / 6.283185307179586));
}

// weights_i = share * dG/dR(x_i) = -2 share volume / n * mu_i (adjoint_i - own mu_i - mean), where
// `mean` keeps the mass at one if `normalised`, and is zero otherwise; results = the value of G,
// and its derivative with respect to the log-scale.
template <typename T>
__global__ void __launch_bounds__(WIDE, 1)
    grad_energy(const T *__restrict__ mu,         // (n,)
                const T *__restrict__ adjoint,    // (n,)
                const double *__restrict__ terms, // (m,), from `residual`
                T *__restrict__ weights,          // (n,)
                double *__restrict__ results,     // (2,)
                double volume, T own, double share, Index n, int m, int normalised) {
    __shared__ double scratch[WARP];
    double power = 0, value = 0, total = 0;
    for (int l = threadIdx.x; l < m; l += blockDim.x) value += terms[l];
    value = join_over_block<Sum>(value, scratch);
    for (Index i = threadIdx.x; i < n; i += blockDim.x)
        power += double(mu[i] * (adjoint[i] - own * mu[i]));
    power = volume * (join_over_block<Sum>(power, scratch) / double(n));
    const T mean = normalised ? T(power) : T(0), factor = T(2 * share * volume / double(n));
    for (Index i = threadIdx.x; i < n; i += blockDim.x) {
        const T weight = mu[i] * (adjoint[i] - own * mu[i] - mean) * factor;
        total += double(weight);
        weights[i] = -weight;
    }
    total = join_over_block<Sum>(total, scratch);
    if (threadIdx.x == 0) results[0] = value + power, results[1] = total;
}

// gradient[-1] = the derivative with respect to the log-scale if that is `learned`, else 0; a row
// of the history = the value of G and the norm of the gradient. The run has diverged at the first
// step whose value or norm is not finite.
template <typename T>
__global__ void __launch_bounds__(WIDE, 1)
    finish_gradient(T *__restrict__ gradient,           // (P,)
                    const double *__restrict__ results, // (2,), from `grad_energy`
                    double *__restrict__ history,       // (steps, 2): value, norm
                    long long *__restrict__ run,        // (RUN_SIZE,)
                    Index size, int learned) {
    __shared__ double scratch[WARP];
    const double last = learned ? double(T(results[1])) : 0.0;
    double sum = 0;
    for (Index p = threadIdx.x; p < size - 1; p += blockDim.x)
        sum += double(gradient[p]) * double(gradient[p]);
    const double norm = sqrt(join_over_block<Sum>(sum, scratch) + last * last);
    if (threadIdx.x > 0 || run[RUN_DIVERGED] >= 0) return;
    gradient[size - 1] = T(last);
    history[2 * run[RUN_ROW]] = results[0];
    history[2 * run[RUN_ROW] + 1] = norm;
    if (!is_finite(results[0]) || !is_finite(norm)) run[RUN_DIVERGED] = run[RUN_STEP];
}

// Advances the counters to the next step: one thread, after all launches that read them.
__global__ void next_step(long long *__restrict__ run) { // (RUN_SIZE,)
    if (run[RUN_DIVERGED] < 0 && run[RUN_BAD]) run[RUN_DIVERGED] = run[RUN_STEP];
    if (run[RUN_DIVERGED] < 0) ++run[RUN_STEP];
    ++run[RUN_ROW];
}
