// A block of threads on the processor: each thread is a fiber that runs until it meets a barrier, a shuffle or a product of a
// warp. Between two of those a thread runs alone, which is the schedule that shows a missing barrier best; the order in which
// threads take their turns can be reversed. Shared memory holds NaNs when a block begins.
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <deque>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define EMULATION 1
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef long long i64;

struct Index { u32 x, y, z; };
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

struct Barrier { u32 arrived = 0, generation = 0; };

// What the threads of a warp show each other; the next exchange uses the other half, so that one wait is enough.
struct Warp {
    Barrier barrier;
    u64 words[2][32];
    float operands[2][32][12];
};

// Once it runs, a fiber is left and entered by jumps, which unlike swapcontext ask nothing of the system.
struct Fiber {
    ucontext_t context;
    jmp_buf at;
    std::vector<char> stack = std::vector<char>(64 << 10);
    bool started = false, finished = false;
};

struct Block {
    std::deque<Fiber> fibers; // which never move
    std::vector<Warp> warps;
    std::set<const void*> shared;
    Barrier barrier;
    ucontext_t origin;
    jmp_buf scheduler;
    u32 current = 0, threads = 0, live = 0, progress = 0;
    void (*kernel)(const u64*) = nullptr;
    const u64* arguments = nullptr;
};

static thread_local Block block;

inline void leave() {
    if (!_setjmp(block.fibers[block.current].at)) _longjmp(block.scheduler, 1);
}

// Waits until `expected` threads have come here.
inline void wait(Barrier& barrier, u32 expected) {
    const u32 generation = barrier.generation;
    block.progress++;
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    while (barrier.generation == generation) leave();
}

inline Warp& warp() { return block.warps[block.current / 32]; }
inline u32 lane() { return block.current % 32; }
inline void wait_for_warp() { wait(warp().barrier, 32); }

// The half of the warp's exchange that is in use before the next wait.
inline u32 half() { return warp().barrier.generation % 2; }

template <class T>
T exchange(T value, u32 from) {
    u64(&words)[32] = warp().words[half()];
    memcpy(&words[lane()], &value, sizeof value);
    wait_for_warp();
    T other;
    memcpy(&other, &words[from], sizeof other);
    return other;
}

inline void poison(void* memory, size_t bytes) {
    if (block.shared.insert(memory).second) memset(memory, 0xff, bytes);
}

inline float bits_to_float(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

inline u32 float_to_bits(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return bits;
}

inline float half_to_float(u16 bits) {
    const u32 exponent = bits >> 10 & 31, sign = (u32)(bits >> 15) << 31, fraction = bits & 1023;
    if (exponent == 0) return bits_to_float(sign | float_to_bits((float)fraction * 0x1p-24f));
    return bits_to_float(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13);
}

// To the nearest, ties to even.
inline u16 float_to_half(float value) {
    const u16 sign = float_to_bits(value) >> 31 << 15;
    const u32 size = float_to_bits(value) & 0x7fffffffu;
    if (size > 0x7f800000u) return sign | 0x7e00;
    if (size >= 0x477ff000u) return sign | 0x7c00;
    // The last bit of the sum is the last bit of a number below 2^-14.
    if (size < 0x38800000u) return sign | (u16)(float_to_bits(bits_to_float(size) + 0.5f) - float_to_bits(0.5f));
    return sign | (u16)((size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13);
}

// c (16 x 8) += a (16 x 16) b (16 x 8), the operands distributed over the warp as the PTX manual has it for mma.m16n8k16.
template <class Widen>
void mma_16x8x16(float* c, const u32* a, const u32* b, Widen widen) {
    float(&operands)[32][12] = warp().operands[half()];
    for (u32 i = 0; i < 12; i++) {
        const u32 word = i < 8 ? a[i / 2] : b[(i - 8) / 2];
        operands[lane()][i] = widen((u16)(word >> i % 2 * 16));
    }
    wait_for_warp();
    const u32 g = lane() / 4, t = lane() % 4;
    for (u32 e = 0; e < 4; e++) {
        const u32 row = g + e / 2 * 8, column = 2 * t + e % 2;
        float sum = c[e];
        for (u32 k = 0; k < 16; k++) {
            const float left = operands[row % 8 * 4 + k % 8 / 2][(row / 8 + k / 8 * 2) * 2 + k % 2];
            sum += left * operands[column * 4 + k % 8 / 2][8 + k / 8 * 2 + k % 2];
        }
        c[e] = sum;
    }
}

// ldmatrix.x4: lane i names row i % 8 of matrix i / 8; a lane gets two neighbours of a row of each, or of a column.
template <bool transposed, class T>
void ldmatrix_x4(u32* four, const T* row) {
    u64(&rows)[32] = warp().words[half()];
    rows[lane()] = (u64)(uintptr_t)row;
    wait_for_warp();
    for (u32 matrix = 0; matrix < 4; matrix++) {
        u16 both[2];
        for (u32 i = 0; i < 2; i++) {
            const u32 along = lane() % 4 * 2 + i, across = lane() / 4;
            const u16* from = (const u16*)(uintptr_t)rows[matrix * 8 + (transposed ? along : across)];
            if ((uintptr_t)from % 16 != 0) abort(); // which a card refuses
            both[i] = from[transposed ? across : along];
        }
        four[matrix] = both[0] | (u32)both[1] << 16;
    }
}

// A fiber runs one thread of every block.
inline void enter() {
    for (;;) {
        block.kernel(block.arguments);
        block.fibers[block.current].finished = true;
        block.live--;
        block.progress++;
        leave();
    }
}

// Lets the current fiber run until it waits.
inline void resume(Fiber& fiber) {
    if (_setjmp(block.scheduler)) return;
    if (fiber.started) _longjmp(fiber.at, 1);
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    swapcontext(&block.origin, &fiber.context);
}

// Runs the block at `blockIdx`; false where its threads wait for each other in vain.
inline bool run_block(bool reversed) {
    block.shared.clear();
    block.barrier = Barrier();
    for (Warp& warp : block.warps) warp.barrier = Barrier();
    block.live = block.threads;
    for (u32 i = 0; i < block.threads; i++) block.fibers[i].finished = false;
    while (block.live > 0) {
        const u32 before = block.progress;
        for (u32 i = 0; i < block.threads; i++) {
            block.current = reversed ? block.threads - 1 - i : i;
            threadIdx = {block.current, 0, 0};
            if (!block.fibers[block.current].finished) resume(block.fibers[block.current]);
        }
        if (block.progress == before) return false;
    }
    return true;
}

template <class T>
T argument(u64 slot) {
    T value;
    memcpy(&value, &slot, sizeof value);
    return value;
}

struct Entry {
    std::string name;
    size_t arguments;
    void (*call)(const u64*);
    void (*describe)(size_t* sizes, int* kinds);
};

template <auto function>
struct Caller;

template <class... A, void (*function)(A...)>
struct Caller<function> {
    static constexpr size_t count = sizeof...(A);
    template <size_t... I>
    static void spread(const u64* slots, std::index_sequence<I...>) { function(argument<A>(slots[I])...); }
    static void call(const u64* slots) { spread(slots, std::make_index_sequence<count>()); }
    // 0 a number, 1 a pointer to what is read, 2 a pointer to what is written.
    template <class T>
    static constexpr int kind = !std::is_pointer_v<T> ? 0 : std::is_const_v<std::remove_pointer_t<T>> ? 1 : 2;
    static void describe(size_t* sizes, int* kinds) {
        const size_t all_sizes[] = {sizeof(A)...};
        const int all_kinds[] = {kind<A>...};
        memcpy(sizes, all_sizes, sizeof all_sizes);
        memcpy(kinds, all_kinds, sizeof all_kinds);
    }
};

} // namespace emulation

#define SHARED(type, name, count)                                       \
    static thread_local __attribute__((aligned(16))) type name[count]; \
    emulation::poison(name, sizeof name)
#define KERNEL(name) extern "C" void name
#define CROWDED(threads, blocks, name) extern "C" void name
#define DEVICE static inline
#define UNROLL
#define BY_SIX
#define MINUS_INFINITY (-INFINITY)

static inline void __syncthreads() { emulation::wait(emulation::block.barrier, emulation::block.live); }
// Blocks run one after the other.
static inline void __threadfence() {}
static inline u32 atomicAdd(u32* at, u32 more) {
    const u32 before = *at;
    *at += more;
    return before;
}
static inline void __syncwarp() { emulation::wait_for_warp(); }
template <class T>
static inline T __shfl_xor_sync(u32, T value, u32 mask) { return emulation::exchange(value, emulation::lane() ^ mask); }
static inline float __uint_as_float(u32 bits) { return emulation::bits_to_float(bits); }
static inline u32 __float_as_uint(float value) { return emulation::float_to_bits(value); }
static inline void atomicMax(u32* at, u32 value) { *at = *at < value ? value : *at; }
