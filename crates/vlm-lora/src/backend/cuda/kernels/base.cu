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
#define MINUS_INFINITY __int_as_float(0xff800000)
#endif

#define LANES 32u
#define EACH(i, n) for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (u64)gridDim.x * blockDim.x)

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

// Writes a number, and where somebody gives room for it the operand of the product that reads it next.
DEVICE void put(float* y, Element* operand, u64 i, float value) {
    y[i] = value;
    if (operand) operand[i] = narrow(value);
}

// The power of two that brings magnitudes up to the one with these bits below 2^(target + 1), and so that of the largest to
// 2^target or more: what f16 holds without overflow and with the least underflow. 1 where there is nothing to scale.
DEVICE float power_for(u32 largest, int target) {
    if (largest == 0u || largest >= 0x7f800000u) return 1.0f;
    int exponent = target - ((int)(largest >> 23) - 127);
    exponent = exponent > 100 ? 100 : exponent < -100 ? -100 : exponent;
    return __uint_as_float((u32)(exponent + 127) << 23);
}
