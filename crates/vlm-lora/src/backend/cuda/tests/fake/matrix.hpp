// Matrices by columns, as cuBLAS has them, and their products, with sums in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>

#include "state.hpp"

namespace standin {

// Results, types and kinds of computation of cuBLAS.
enum { OK = 0, NO_INIT = 1, BAD_VALUE = 7, UNSUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_FAST_TF32 = 77 };

inline float of_bits(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// To the nearest of 11 bits, as the units for TF32 take their operands.
inline double to_tf32(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return of_bits((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

inline double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits >> 15 ? -1.0 : 1.0;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return exponent ? sign * ldexp(1024 + fraction, exponent - 25) : sign * ldexp(fraction, -24);
}

inline size_t bytes_of(int type) { return type == R_32F ? 4 : 2; }

inline double element(u64 at, size_t index, int type, bool is_tf32) {
    if (type == R_32F) {
        const float value = ((const float*)at)[index];
        return is_tf32 ? to_tf32(value) : value;
    }
    const uint16_t bits = ((const uint16_t*)at)[index];
    return type == R_16F ? half_value(bits) : (double)of_bits((u32)bits << 16);
}

struct Matrix {
    u64 at;
    int type, ld;
    bool is_transposed;
};

// op(matrix) (rows, columns) one row after the other.
inline std::vector<double> rows_of(const Matrix& m, int rows, int columns, bool is_tf32) {
    std::vector<double> values((size_t)rows * columns);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            const size_t index = m.is_transposed ? j + (size_t)i * m.ld : i + (size_t)j * m.ld;
            values[(size_t)i * columns + j] = element(m.at, index, m.type, is_tf32);
        }
    return values;
}

// To the nearest, ties to even.
inline uint16_t to_bf16(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline void put_element(u64 at, size_t index, int type, double value) {
    if (type == R_32F) ((float*)at)[index] = (float)value;
    else ((uint16_t*)at)[index] = to_bf16((float)value);
}

inline double gelu(double x) { return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }

// `bias`, which may be 0, has an element for each row of the result, of its type, and takes no part in the factors.
inline void multiply(Matrix a, Matrix b, Matrix c, int m, int n, int k, double alpha, double beta, bool is_tf32, u64 bias = 0,
                     bool is_gelu = false, u64 start = 0) {
    const std::vector<double> left = rows_of(a, m, k, is_tf32);
    b.is_transposed = !b.is_transposed;
    const std::vector<double> right = rows_of(b, n, k, is_tf32);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            double sum = 0.0;
            for (int l = 0; l < k; l++) sum += left[(size_t)i * k + l] * right[(size_t)j * k + l];
            const size_t to = i + (size_t)j * c.ld;
            sum *= alpha;
            // With a factor of 0 what stands there is not read: it may be a NaN.
            if (beta != 0.0) sum += beta * element(start ? start : c.at, to, c.type, false);
            if (bias) sum += element(bias, (size_t)i, c.type, false);
            put_element(c.at, to, c.type, is_gelu ? gelu(sum) : sum);
        }
}

// The bytes of a stored matrix of so many columns, whose rows are `ld` apart from one column to the next.
inline size_t extent(int rows, int columns, int ld, int type) {
    return ((size_t)ld * (columns - 1) + rows) * bytes_of(type);
}

// Whether operands of these types can be multiplied in this way, with a result in f32 or, of operands in bf16, in bf16.
inline bool is_supported(int type_a, int type_b, int type_c, int compute) {
    const bool is_known = type_a == R_32F || type_a == R_16F || (type_a == R_16BF && capability() >= 80);
    return is_known && type_a == type_b && (type_c == R_32F || (type_c == R_16BF && type_a == R_16BF)) &&
           (compute == COMPUTE_32F || (compute == COMPUTE_FAST_TF32 && type_a == R_32F));
}

inline bool takes_tf32(int compute) { return compute == COMPUTE_FAST_TF32 && capability() >= 80; }

} // namespace standin
