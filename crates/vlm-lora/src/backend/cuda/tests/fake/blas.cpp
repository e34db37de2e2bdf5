// Stands in for libcublas, as its documentation has it.
#include "matrix.hpp"

using namespace standin;

struct Handle {
    Stream* stream = &state().legacy;
    int pointer_mode = 0;
};

static int property(int which, int* value) {
    if (which < 0 || which > 2) return refuse(BAD_VALUE, "cublasGetProperty", "there is no such property");
    *value = which == 0 ? (int)setting("STANDIN_CUBLAS", 13) : 0;
    return OK;
}

extern "C" {

int cublasGetProperty(int which, int* value) { return property(which, value); }
int cublasLtGetProperty(int which, int* value) { return property(which, value); }

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
    if (!is_supported(type_a, type_b, type_c, compute) || (algorithm != -1 && algorithm != 99))
        return refuse(UNSUPPORTED, call, "these types");
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
    const bool is_tf32 = takes_tf32(compute);
    work.run = [=, first = factors[0], second = factors[1]] {
        multiply(left, right, to, m, n, k, on_device ? *(const float*)alpha : first, on_device ? *(const float*)beta : second,
                 is_tf32);
        return true;
    };
    enqueue(*handle.stream, std::move(work));
    return OK;
}

} // extern "C"
