// Enough of CUDA C++ for g++ to build and run kernels on the CPU. Blocks run one after the other;
// the threads of a block are fibers that take turns, under ThreadSanitizer std::threads.
//
// A fiber runs until it has to wait at a barrier or a shuffle, then the next one runs: in rising
// order in one block, in falling order in the next. A kernel that lacks a barrier therefore reads
// or overwrites too early in every run, not only by chance. Intrinsics are those of libm. Dynamic
// shared memory is filled with NaN before every block, so that a read of what no thread wrote
// shows.
#pragma once
#undef _FORTIFY_SOURCE // its longjmp refuses to jump to another stack

#include <atomic>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#ifdef __SANITIZE_THREAD__
#include <barrier>
#include <thread>
#else
#include <sys/mman.h>
#include <ucontext.h>
#endif

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

struct Warp;

struct Thread { // of a block
    unsigned index;
    uint3 thread, block;
    Warp *warp;
    int lane;
    bool second; // which half of `fragments` it writes next
    std::jmp_buf place; // where it continues
};

#ifdef __SANITIZE_THREAD__

using Barrier = std::barrier<>;
inline thread_local Thread *self;

// Calls work(index) in `count` threads that run at once.
inline void run_threads(unsigned count, const std::function<void(unsigned)> &work) {
    std::vector<std::thread> threads;
    for (unsigned index = 0; index < count; ++index)
        threads.emplace_back([&work, index] {
            Thread thread{};
            self = &thread;
            work(index);
        });
    for (auto &thread : threads) thread.join();
}
inline void reverse_order() {}

#else

constexpr std::size_t STACK = 128 << 10; // bytes per fiber
constexpr std::size_t PAGE = 4 << 10;    // below each stack, out of bounds

inline Thread *self;
inline std::vector<Thread *> fibers; // kept from launch to launch; the first n_threads take part
inline unsigned n_threads;
inline unsigned n_ended; // fibers that are through with this launch
inline unsigned n_idle;  // turns in a row in which no fiber came any further
inline unsigned n_launches;
inline bool falling;
inline std::jmp_buf launcher;
inline ucontext_t creator;
inline const std::function<void(unsigned)> *current;

[[gnu::noinline]] inline void jump(std::jmp_buf &place) { _longjmp(place, 1); }

// Lets the next fiber run; returns when it is this one's turn again.
[[gnu::noinline]] inline void yield() {
    if (++n_idle > 2 * n_threads) {
        std::fputs("deadlock: the threads of a block wait for each other\n", stderr);
        std::abort();
    }
    if (_setjmp(self->place)) return;
    self = fibers[(self->index + (falling ? n_threads - 1 : 1)) % n_threads];
    jump(self->place);
}

struct Barrier {
    unsigned expected, arrived = 0, round = 0;
    explicit Barrier(unsigned expected) : expected(expected) {}
    void arrive_and_wait() {
        const unsigned mine = round;
        n_idle = 0;
        if (++arrived == expected) {
            arrived = 0;
            ++round;
        }
        while (round == mine) yield();
    }
};

// The whole life of a fiber: it waits for a launch, takes part in it, and waits for the next.
inline void run_fiber() {
    if (!_setjmp(self->place)) setcontext(&creator);
    for (;;) {
        (*current)(self->index);
        n_idle = 0;
        const unsigned launch = n_launches;
        if (++n_ended < n_threads) {
            while (n_launches == launch) yield();
        } else if (!_setjmp(self->place)) {
            jump(launcher);
        }
    }
}

inline void add_fiber() {
    void *memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE)) std::abort();
    self = new Thread{};
    self->index = unsigned(fibers.size());
    fibers.push_back(self);
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = memory;
    start.uc_stack.ss_size = STACK;
    makecontext(&start, run_fiber, 0);
    swapcontext(&creator, &start);
}

// Calls work(index) in `count` fibers.
inline void run_threads(unsigned count, const std::function<void(unsigned)> &work) {
    while (fibers.size() < count) add_fiber();
    n_threads = count;
    n_ended = n_idle = 0;
    ++n_launches;
    current = &work;
    self = fibers[0];
    if (!_setjmp(launcher)) jump(self->place);
}
inline void reverse_order() { falling = !falling; }

#endif

struct Warp {
    Barrier barrier;
    unsigned char values[32][16];
    unsigned fragments[2][32][6]; // in turn: one barrier is enough
    explicit Warp(unsigned width) : barrier(width) {}
};

inline std::unique_ptr<Barrier> block_barrier;
inline std::vector<std::unique_ptr<Warp>> warps;
inline std::vector<std::max_align_t> shared_bytes;

inline void poison_shared_memory() {
    std::memset(shared_bytes.data(), 0xff, shared_bytes.size() * sizeof(std::max_align_t));
}

template <typename T> T exchange(T value, int source) {
    static_assert(sizeof(T) <= 16);
    Warp *warp = self->warp;
    std::memcpy(warp->values[self->lane], &value, sizeof(T));
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

// mma.m16n8k16 for a warp, with the fragments of float16 laid out as in the PTX manual.
// Tensor cores round sums towards zero.
inline void add_product(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const int lane = self->lane;
    auto &fragments = self->warp->fragments[self->second];
    self->second = !self->second;
    std::memcpy(fragments[lane], a, sizeof(a));
    std::memcpy(fragments[lane] + 4, b, sizeof(b));
    self->warp->barrier.arrive_and_wait();
    auto number = [](unsigned pair, int place) {
        const float2 halves = from_halves(pair);
        return double(place ? halves.y : halves.x);
    };
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + (i < 2 ? 0 : 8), column = 2 * (lane % 4) + i % 2;
        double exact = sums[i];
        for (int k = 0; k < 16; ++k) {
            const unsigned *left = fragments[row % 8 * 4 + k % 8 / 2];
            const unsigned *right = fragments[column * 4 + k % 8 / 2] + 4;
            exact += number(left[row / 8 + k / 8 * 2], k % 2) * number(right[k / 8], k % 2);
        }
        sums[i] = float(exact);
        if (std::fabs(double(sums[i])) > std::fabs(exact)) sums[i] = std::nextafter(sums[i], 0.0f);
    }
}

// As cuLaunchKernel: `arguments` point at the values, `sizes` are their bytes. Returns false if
// they do not fit the kernel.
template <typename... A, std::size_t... I>
bool launch(void (*kernel)(A...), const unsigned *grid, const unsigned *block, std::size_t shared,
            void **arguments, const int *sizes, int count, std::index_sequence<I...>) {
    if (count != sizeof...(A) || !((sizes[I] == int(sizeof(A))) && ...)) return false;
    const unsigned threads = block[0] * block[1] * block[2];
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    shared_bytes.resize(shared / sizeof(std::max_align_t) + 1);
    poison_shared_memory();
    warps.clear();
    for (unsigned first = 0; first < threads; first += 32)
        warps.push_back(std::make_unique<Warp>(threads - first < 32 ? threads - first : 32));
    block_barrier = std::make_unique<Barrier>(threads);
    run_threads(threads, [&](unsigned index) {
        self->warp = warps[index / 32].get();
        self->lane = index % 32;
        self->thread.x = index % block[0];
        self->thread.y = index / block[0] % block[1];
        self->thread.z = index / (block[0] * block[1]);
        for (unsigned z = 0; z < grid[2]; ++z)
            for (unsigned y = 0; y < grid[1]; ++y)
                for (unsigned x = 0; x < grid[0]; ++x) {
                    self->block = {x, y, z};
                    kernel(*static_cast<std::remove_reference_t<A> *>(arguments[I])...);
                    block_barrier->arrive_and_wait();
                    if (index == 0) {
                        poison_shared_memory();
                        reverse_order();
                    }
                    block_barrier->arrive_and_wait();
                }
    });
    return true;
}

} // namespace host

#define threadIdx (host::self->thread)
#define blockIdx (host::self->block)

#define HOST_KERNEL(number, ...)                                                                  \
    extern "C" int run_##number(const unsigned *grid, const unsigned *block, std::size_t shared,  \
                                void **arguments, const int *sizes, int count) {                  \
        return [&]<typename... A>(void (*kernel)(A...)) {                                         \
            return host::launch(kernel, grid, block, shared, arguments, sizes, count,             \
                                std::index_sequence_for<A...>{});                                 \
        }(&__VA_ARGS__);                                                                          \
    }

inline void __syncthreads() { host::block_barrier->arrive_and_wait(); }
inline void __syncwarp(unsigned = 0xffffffffu) { host::self->warp->barrier.arrive_and_wait(); }
template <typename T> T __shfl_sync(unsigned, T value, int source) {
    return host::exchange(value, source & 31);
}
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return host::exchange(value, host::self->lane ^ mask);
}
template <typename T> T __shfl_down_sync(unsigned, T value, int by) {
    return host::exchange(value, host::self->lane + by);
}

template <typename T> T atomicAdd(T *address, T value) {
    return std::atomic_ref<T>(*address).fetch_add(value);
}
inline int atomicOr(int *address, int value) {
    return std::atomic_ref<int>(*address).fetch_or(value);
}
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
using std::exp, std::fabs, std::fma, std::fmax, std::fmin, std::llrint, std::log, std::pow, std::sqrt;
inline float fmaf(float a, float b, float c) { return std::fma(a, b, c); }
template <typename T> T min(T a, T b) { return b < a ? b : a; }
template <typename T> T max(T a, T b) { return a < b ? b : a; }
