// What all kernels use. One source for NVRTC, without any header, and for C++, where EMULATION is defined and the header of the
// emulation stands before this file. PRECISION says what the products of attention and of frozen matrices are taken in:
// 0 float, 1 f16, 2 bf16.
#ifndef EMULATION
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define KERNEL(name) extern "C" __global__ void name
// With so many registers that as many blocks of so many threads run beside each other.
#define CROWDED(threads, blocks, name) extern "C" __global__ void __launch_bounds__(threads, blocks) name
#define DEVICE static __device__ __forceinline__
// An index that is not a constant would move an array from the registers into memory.
#define UNROLL _Pragma("unroll")
// Six at a time, so that as many reads are on their way: rows of 768 and 960 are whole sixes of a warp's width.
#define BY_SIX _Pragma("unroll 6")
#define MINUS_INFINITY __int_as_float(0xff800000)
#endif

struct alignas(8) Two { float numbers[2]; };
struct alignas(16) Four { float numbers[4]; };
struct alignas(16) Words { u32 words[4]; };

// Reads of the device's memory. An address that came as a number may be anywhere for the compiler, which then keeps every read
// behind the writes before it; these may all be on their way at once. Nobody writes there while the kernel runs.
#ifdef EMULATION
DEVICE float read(const float* from) { return *from; }
DEVICE Two read(const Two* from) { return *from; }
DEVICE Words read(const Words* from) { return *from; }
// Two to the power of x.
DEVICE float power_of_two(float x) { return exp2f(x); }
#else
DEVICE u64 in_global(const void* at) {
    u64 address;
    asm("cvta.to.global.u64 %0, %1;" : "=l"(address) : "l"(at));
    return address;
}
DEVICE float read(const float* from) {
    float number;
    asm volatile("ld.global.f32 %0, [%1];" : "=f"(number) : "l"(in_global(from)));
    return number;
}
DEVICE Two read(const Two* from) {
    Two two;
    asm volatile("ld.global.v2.f32 {%0,%1}, [%2];" : "=f"(two.numbers[0]), "=f"(two.numbers[1]) : "l"(in_global(from)));
    return two;
}
DEVICE Words read(const Words* from) {
    Words four;
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(four.words[0]), "=r"(four.words[1]), "=r"(four.words[2]), "=r"(four.words[3])
                 : "l"(in_global(from)));
    return four;
}
// Two to the power of x; below 2^-126 that is zero.
DEVICE float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}
#endif

#define LANES 32u
#define EACH(i, n) for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (u64)gridDim.x * blockDim.x)

// In fours.
#define FOURS(i, n)                                                                                \
    for (u64 i = 4 * ((u64)blockIdx.x * blockDim.x + threadIdx.x); i < (n); i += 4 * (u64)gridDim.x * blockDim.x)

DEVICE u32 lane() { return threadIdx.x % LANES; }
DEVICE u32 warp() { return threadIdx.x / LANES; }

DEVICE float warp_sum(float value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

DEVICE float warp_max(float value) {
    for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

// Of all threads of the block, of which there are whole warps; every thread gets the result. The order is fixed.
DEVICE double block_sum(double value) {
    SHARED(double, parts, 32);
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    if (lane() == 0) parts[warp()] = value;
    __syncthreads();
    double sum = 0.0;
    for (u32 i = 0; i < blockDim.x / LANES; i++) sum += parts[i];
    __syncthreads();
    return sum;
}

DEVICE float block_max(float value) {
    SHARED(float, parts, 32);
    value = warp_max(value);
    if (lane() == 0) parts[warp()] = value;
    __syncthreads();
    float largest = parts[0];
    for (u32 i = 1; i < blockDim.x / LANES; i++) largest = fmaxf(largest, parts[i]);
    __syncthreads();
    return largest;
}

// The element of frozen matrices and of the operands of products.
#if PRECISION == 0
typedef float Element;
DEVICE float widen(Element value) { return value; }
DEVICE Element narrow(float value) { return value; }
#else
struct Element { u16 bits; };

#if PRECISION == 2
DEVICE float widen(Element value) { return __uint_as_float((u32)value.bits << 16); }
// To the nearest, ties to even; a NaN stays one.
DEVICE Element narrow(float value) {
    u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {(u16)((bits >> 16) | 64u)};
    return {(u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
#elif defined(EMULATION)
DEVICE float widen(Element value) { return emulation::half_to_float(value.bits); }
DEVICE Element narrow(float value) { return {emulation::float_to_half(value)}; }
#else
DEVICE float widen(Element value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}
DEVICE Element narrow(float value) {
    Element half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half.bits) : "f"(value));
    return half;
}
#endif

// Two neighbours, as the tensor cores take them.
DEVICE u32 pack(float low, float high) {
#if !defined(EMULATION) && __CUDA_ARCH__ >= 800
    u32 both;
#if PRECISION == 2
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
    return both;
#else
    return (u32)narrow(low).bits | (u32)narrow(high).bits << 16;
#endif
}
#endif

// Four neighbours as operands, at a place that is a multiple of four.
DEVICE void put_four(Element* to, const Four& four) {
#if PRECISION == 0
    *(Four*)to = four;
#else
    *(u64*)to = pack(four.numbers[0], four.numbers[1]) | (u64)pack(four.numbers[2], four.numbers[3]) << 32;
#endif
}

// Four neighbours of an array of n, number i and the next; the last of them may be fewer, and an array may begin anywhere.
DEVICE bool are_four(const float* at, u64 i, u64 n) { return i + 4 <= n && (u64)(at + i) % sizeof(Four) == 0; }

DEVICE Four four_of(const float* x, u64 i, u64 n) {
    if (are_four(x, i, n)) return *(const Four*)(x + i);
    Four four = {};
    UNROLL for (u32 e = 0; e < 4; e++) {
        if (i + e < n) four.numbers[e] = x[i + e];
    }
    return four;
}

DEVICE void put_four_of(float* y, u64 i, u64 n, const Four& four) {
    if (are_four(y, i, n)) {
        *(Four*)(y + i) = four;
        return;
    }
    UNROLL for (u32 e = 0; e < 4; e++) {
        if (i + e < n) y[i + e] = four.numbers[e];
    }
}

// As operands, which begin at a multiple of four.
DEVICE void put_four_of_operand(Element* y, u64 i, u64 n, const Four& four) {
    if (i + 4 <= n) {
        put_four(y + i, four);
        return;
    }
    UNROLL for (u32 e = 0; e < 4; e++) {
        if (i + e < n) y[i + e] = narrow(four.numbers[e]);
    }
}

// As `put`, four at a time; either may be null.
DEVICE void put_fours(float* y, Element* operand, u64 i, u64 n, const Four& four) {
    if (y) put_four_of(y, i, n, four);
    if (operand) put_four_of_operand(operand, i, n, four);
}

// Writes a number and the operand of the product that reads it next, each where somebody gives room for it.
DEVICE void put(float* y, Element* operand, u64 i, float value) {
    if (y) y[i] = value;
    if (operand) operand[i] = narrow(value);
}

// The same for column `i` of a row of `width` numbers, or of `stride` operands.
DEVICE void put_in_row(float* y, Element* operand, u64 row, u32 i, u32 width, u32 stride, float value) {
    if (y) y[row * width + i] = value;
    if (operand) operand[row * stride + i] = narrow(value);
}

// The power of two that brings magnitudes up to the one with these bits below 2^(target + 1), and so that of the largest to
// 2^target or more: what f16 holds without overflow and with the least underflow. 1 where there is nothing to scale.
DEVICE float power_for(u32 largest, int target) {
    if (largest == 0u || largest >= 0x7f800000u) return 1.0f;
    int exponent = target - ((int)(largest >> 23) - 127);
    exponent = exponent > 100 ? 100 : exponent < -100 ? -100 : exponent;
    return __uint_as_float((u32)(exponent + 127) << 23);
}
