// Stands in for libcublas: matrices by columns, as its documentation has them; sums in double.
#include <cmath>
#include <cstring>

#include "state.hpp"

using namespace standin;

enum { OK = 0, NO_INIT = 1, BAD_VALUE = 7, UNSUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_FAST_TF32 = 77 };

struct Handle {
    Stream* stream = &state().legacy;
    int pointer_mode = 0;
};

static float of_bits(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// To the nearest of 11 bits, as the units for TF32 take their operands.
static double to_tf32(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return of_bits((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

static double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits >> 15 ? -1.0 : 1.0;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return exponent ? sign * ldexp(1024 + fraction, exponent - 25) : sign * ldexp(fraction, -24);
}

static size_t bytes_of(int type) { return type == R_32F ? 4 : 2; }

static double element(u64 at, size_t index, int type, bool is_tf32) {
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
static std::vector<double> rows_of(const Matrix& m, int rows, int columns, bool is_tf32) {
    std::vector<double> values((size_t)rows * columns);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            const size_t index = m.is_transposed ? j + (size_t)i * m.ld : i + (size_t)j * m.ld;
            values[(size_t)i * columns + j] = element(m.at, index, m.type, is_tf32);
        }
    return values;
}

static void multiply(Matrix a, Matrix b, Matrix c, int m, int n, int k, double alpha, double beta, bool is_tf32) {
    const std::vector<double> left = rows_of(a, m, k, is_tf32);
    b.is_transposed = !b.is_transposed;
    const std::vector<double> right = rows_of(b, n, k, is_tf32);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            double sum = 0.0;
            for (int l = 0; l < k; l++) sum += left[(size_t)i * k + l] * right[(size_t)j * k + l];
            float* to = (float*)c.at + i + (size_t)j * c.ld;
            // With a factor of 0 what stands there is not read: it may be a NaN.
            *to = (float)(alpha * sum + (beta == 0.0 ? 0.0 : beta * *to));
        }
}

// The bytes of a stored matrix of so many columns, whose rows are `ld` apart from one column to the next.
static size_t extent(int rows, int columns, int ld, int type) {
    return ((size_t)ld * (columns - 1) + rows) * bytes_of(type);
}

extern "C" {

int cublasCreate_v2(void** result) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (check_context("cublasCreate")) return NO_INIT;
    Handle* handle = new Handle;
    state().blas.insert(handle);
    *result = handle;
    return OK;
}

int cublasDestroy_v2(void* handle) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (check_context("cublasDestroy")) return NO_INIT;
    if (!state().blas.erase(handle)) return refuse(NO_INIT, "cublasDestroy", "there is no such handle");
    delete (Handle*)handle;
    return OK;
}

int cublasSetStream_v2(void* handle, void* stream) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().blas.count(handle)) return refuse(NO_INIT, "cublasSetStream", "there is no such handle");
    if (!stream_of(stream)) return refuse(BAD_VALUE, "cublasSetStream", "there is no such stream");
    ((Handle*)handle)->stream = stream_of(stream);
    return OK;
}

int cublasSetPointerMode_v2(void* handle, int mode) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().blas.count(handle)) return refuse(NO_INIT, "cublasSetPointerMode", "there is no such handle");
    if (mode != 0 && mode != 1) return refuse(BAD_VALUE, "cublasSetPointerMode", "mode");
    ((Handle*)handle)->pointer_mode = mode;
    return OK;
}

int cublasGemmEx(void* which, int trans_a, int trans_b, int m, int n, int k, const void* alpha, const void* a, int type_a,
                 int lda, const void* b, int type_b, int ldb, const void* beta, void* c, int type_c, int ldc, int compute,
                 int algorithm) {
    const char* call = "cublasGemmEx";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().blas.count(which) || check_context(call)) return refuse(NO_INIT, call, "handle or context");
    const Handle handle = *(Handle*)which;
    if (m < 0 || n < 0 || k < 0 || trans_a < 0 || trans_a > 2 || trans_b < 0 || trans_b > 2)
        return refuse(BAD_VALUE, call, "sizes or operations");
    const Matrix left{(u64)a, type_a, lda, trans_a != 0}, right{(u64)b, type_b, ldb, trans_b != 0}, to{(u64)c, type_c, ldc, false};
    const int rows_a = trans_a ? k : m, rows_b = trans_b ? n : k;
    if (lda < std::max(1, rows_a) || ldb < std::max(1, rows_b) || ldc < std::max(1, m))
        return refuse(BAD_VALUE, call, "a leading dimension");
    const bool is_known = type_a == R_32F || type_a == R_16F || (type_a == R_16BF && capability() >= 80);
    const bool is_supported = is_known && type_a == type_b && type_c == R_32F && (algorithm == -1 || algorithm == 99) &&
                              (compute == COMPUTE_32F || (compute == COMPUTE_FAST_TF32 && type_a == R_32F));
    if (!is_supported) return refuse(UNSUPPORTED, call, "these types");
    const bool on_device = handle.pointer_mode == 1;
    if (!alpha || !beta || is_device(alpha, 4) != on_device || is_device(beta, 4) != on_device)
        return refuse(BAD_VALUE, call, "the factors are not where the pointer mode says");
    Work work{call,
              {{left.at, extent(rows_a, trans_a ? m : k, lda, type_a), false},
               {right.at, extent(rows_b, trans_b ? k : n, ldb, type_b), false},
               {to.at, extent(m, n, ldc, type_c), true}},
              nullptr};
    if (on_device) {
        work.ranges.push_back({(u64)alpha, 4, false});
        work.ranges.push_back({(u64)beta, 4, false});
    }
    for (const Range& range : work.ranges)
        if (!block(range.at, range.bytes)) return refuse(BAD_VALUE, call, "an operand is not in one block");
    float factors[2] = {0, 0};
    if (!on_device) {
        factors[0] = *(const float*)alpha;
        factors[1] = *(const float*)beta;
    }
    const bool is_tf32 = compute == COMPUTE_FAST_TF32 && capability() >= 80;
    work.run = [=, first = factors[0], second = factors[1]] {
        multiply(left, right, to, m, n, k, on_device ? *(const float*)alpha : first, on_device ? *(const float*)beta : second,
                 is_tf32);
        return true;
    };
    enqueue(*handle.stream, std::move(work));
    return OK;
}

} // extern "C"
