// Enough of CUDA C++ for g++ to build and run kernels on the CPU: one std::thread for each thread of a block, blocks in turn.
//
// Barriers and warp shuffles wait for all threads concerned, as on a device; intrinsics are those of libm.  Dynamic shared
// memory is filled with NaN before every block, so that reading what no thread wrote shows.
#pragma once

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

struct uint3 {
    unsigned x, y, z;
};
using dim3 = uint3;

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};

inline thread_local uint3 threadIdx, blockIdx;
inline uint3 blockDim, gridDim;

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static const
#define __grid_constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)

namespace host {

struct Warp {
    std::barrier<> barrier;
    unsigned char values[32][16];
    unsigned fragments[2][32][6]; // in turn: one barrier is enough
    explicit Warp(int width) : barrier(width) {}
};

inline std::unique_ptr<std::barrier<>> block_barrier;
inline std::vector<std::unique_ptr<Warp>> warps;
inline std::vector<std::max_align_t> shared_bytes;
inline thread_local Warp *warp;
inline thread_local int lane;
inline thread_local bool second; // of the two halves of `fragments`

template <typename T> T exchange(T value, int source) {
    static_assert(sizeof(T) <= 16);
    std::memcpy(warp->values[lane], &value, sizeof(T));
    warp->barrier.arrive_and_wait();
    T result = value;
    if (source >= 0 && source < 32) std::memcpy(&result, warp->values[source], sizeof(T));
    warp->barrier.arrive_and_wait();
    return result;
}

inline unsigned to_halves(float first, float second) {
    const _Float16 halves[2] = {static_cast<_Float16>(first), static_cast<_Float16>(second)};
    unsigned bits;
    std::memcpy(&bits, halves, 4);
    return bits;
}
inline float2 from_halves(unsigned bits) {
    _Float16 halves[2];
    std::memcpy(halves, &bits, 4);
    return {float(halves[0]), float(halves[1])};
}

// mma.m16n8k16 as the PTX manual lays the fragments of float16 out, for all lanes of a warp. Tensor cores cut sums off: towards zero.
inline void add_product(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    auto &fragments = warp->fragments[second];
    second = !second;
    std::memcpy(fragments[lane], a, sizeof(a));
    std::memcpy(fragments[lane] + 4, b, sizeof(b));
    warp->barrier.arrive_and_wait();
    auto number = [](unsigned pair, int place) { return double(place ? from_halves(pair).y : from_halves(pair).x); };
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + (i < 2 ? 0 : 8), column = 2 * (lane % 4) + i % 2;
        double exact = sums[i];
        for (int k = 0; k < 16; ++k) {
            const unsigned *left = fragments[row % 8 * 4 + k % 8 / 2], *right = fragments[column * 4 + k % 8 / 2] + 4;
            exact += number(left[row / 8 + k / 8 * 2], k % 2) * number(right[k / 8], k % 2);
        }
        sums[i] = float(exact);
        if (std::fabs(double(sums[i])) > std::fabs(exact)) sums[i] = std::nextafter(sums[i], 0.0f);
    }
}

// What cuLaunchKernel does: `arguments` point at the values, `sizes` are their bytes.  False where they do not fit the kernel.
template <typename... A, std::size_t... I>
bool launch(void (*kernel)(A...), const unsigned *grid, const unsigned *block, std::size_t shared, void **arguments,
            const int *sizes, int count, std::index_sequence<I...>) {
    if (count != sizeof...(A) || !((sizes[I] == int(sizeof(A))) && ...)) return false;
    const unsigned threads = block[0] * block[1] * block[2];
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    shared_bytes.resize(shared / sizeof(std::max_align_t) + 1);
    std::memset(shared_bytes.data(), 0xff, shared_bytes.size() * sizeof(std::max_align_t));
    warps.clear();
    for (unsigned first = 0; first < threads; first += 32)
        warps.push_back(std::make_unique<Warp>(int(threads - first < 32 ? threads - first : 32)));
    block_barrier = std::make_unique<std::barrier<>>(threads);
    auto run = [&](unsigned index) {
        warp = warps[index / 32].get();
        lane = index % 32;
        threadIdx = {index % block[0], index / block[0] % block[1], index / (block[0] * block[1])};
        for (unsigned z = 0; z < grid[2]; ++z)
            for (unsigned y = 0; y < grid[1]; ++y)
                for (unsigned x = 0; x < grid[0]; ++x) {
                    blockIdx = {x, y, z};
                    kernel(*static_cast<std::remove_reference_t<A> *>(arguments[I])...);
                    block_barrier->arrive_and_wait();
                    if (index == 0) std::memset(shared_bytes.data(), 0xff, shared_bytes.size() * sizeof(std::max_align_t));
                    block_barrier->arrive_and_wait();
                }
    };
    std::vector<std::thread> pool;
    for (unsigned index = 0; index < threads; ++index) pool.emplace_back(run, index);
    for (auto &thread : pool) thread.join();
    return true;
}

} // namespace host

#define HOST_KERNEL(number, ...)                                                                                               \
    extern "C" int run_##number(const unsigned *grid, const unsigned *block, std::size_t shared, void **arguments,             \
                                const int *sizes, int count) {                                                                 \
        return [&]<typename... A>(void (*kernel)(A...)) {                                                                      \
            return host::launch(kernel, grid, block, shared, arguments, sizes, count, std::index_sequence_for<A...>{});        \
        }(&__VA_ARGS__);                                                                                                       \
    }

inline void __syncthreads() { host::block_barrier->arrive_and_wait(); }
inline void __syncwarp(unsigned = 0xffffffffu) { host::warp->barrier.arrive_and_wait(); }
template <typename T> T __shfl_sync(unsigned, T value, int source) { return host::exchange(value, source & 31); }
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask) { return host::exchange(value, host::lane ^ mask); }
template <typename T> T __shfl_down_sync(unsigned, T value, int by) { return host::exchange(value, host::lane + by); }

template <typename T> T atomicAdd(T *address, T value) { return std::atomic_ref<T>(*address).fetch_add(value); }
inline int atomicOr(int *address, int value) { return std::atomic_ref<int>(*address).fetch_or(value); }
inline long long atomicMax(long long *address, long long value) {
    std::atomic_ref<long long> place(*address);
    long long old = place.load();
    while (old < value && !place.compare_exchange_weak(old, value)) {}
    return old;
}

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((std::uint64_t(a) * b) >> 32); }
inline unsigned __float_as_uint(float a) { unsigned b; std::memcpy(&b, &a, 4); return b; }
inline int __float_as_int(float a) { int b; std::memcpy(&b, &a, 4); return b; }
inline float __uint_as_float(unsigned a) { float b; std::memcpy(&b, &a, 4); return b; }
inline long long __double_as_longlong(double a) { long long b; std::memcpy(&b, &a, 8); return b; }
inline double __longlong_as_double(long long a) { double b; std::memcpy(&b, &a, 8); return b; }
template <typename T> T __ldg(const T *p) { return *p; }
using std::fma; using std::fmax; using std::fmin; using std::sqrt; using std::exp; using std::log; using std::fabs; using std::pow;
inline float fmaf(float a, float b, float c) { return std::fma(a, b, c); }
template <typename T> T min(T a, T b) { return b < a ? b : a; }
template <typename T> T max(T a, T b) { return a < b ? b : a; }
