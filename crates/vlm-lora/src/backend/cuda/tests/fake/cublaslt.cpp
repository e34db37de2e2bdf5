// Stands in for libcublasLt: products with a bias, chosen by a heuristic.
#include "matrix.hpp"

using namespace standin;

enum { TRANS_A = 3, TRANS_B = 4, POINTER_MODE = 2, EPILOGUE = 7, BIAS_POINTER = 8, EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4, EPILOGUE_GELU_BIAS = 36 };
enum { MOST_WORKSPACE = 1, REDUCTION_MASK = 3, ALIGNMENT_A = 5, ALIGNMENT_D = 8 };

struct Description {
    int compute, numbers[8] = {0, 0, 0, 0, 0, 0, 0, 1};
    u64 bias = 0;
};

struct Layout {
    int type;
    u64 rows, columns;
    int64_t ld;
};

struct Preference {
    u64 workspace = 0;
    // What it is taken for granted that addresses are multiples of, unless somebody says less.
    u32 alignment[4] = {256, 256, 256, 256}, reductions = 7;
};

// What the caller keeps of a choice; it holds for these matrices alone.
struct Algorithm {
    u64 mark, workspace, matrices;
    u32 alignment[4];
    u64 unused[3];
};

struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Algorithm) == 64 && sizeof(Heuristic) == 96, "as the library has them");

static const u64 MARK = 0x5354414e44494e21;

template <class T>
static T* known(void* object) { return state().blas.count(object) ? (T*)object : nullptr; }

template <class T>
static int create(void** result, T* object) {
    state().blas.insert(object);
    *result = object;
    return OK;
}

template <class T>
static int destroy(const char* call, void* object) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().blas.erase(object)) return refuse(BAD_VALUE, call, "there is no such object");
    delete (T*)object;
    return OK;
}

// What a choice depends on.
static u64 hash(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
    u64 sum = (u64)d.compute;
    for (int number : {d.numbers[TRANS_A], d.numbers[TRANS_B], d.numbers[POINTER_MODE], d.numbers[EPILOGUE]})
        sum = sum * 31 + (u64)number;
    for (const Layout* l : {&a, &b, &c}) sum = ((sum * 31 + l->rows) * 31 + l->columns) * 31 + (u64)l->type + (u64)l->ld * 7;
    return sum;
}

// m, n and k where the matrices fit together.
static bool sizes(const Description& d, const Layout& a, const Layout& b, const Layout& c, int* mnk) {
    const bool ta = d.numbers[TRANS_A] != 0, tb = d.numbers[TRANS_B] != 0;
    const u64 m = ta ? a.columns : a.rows, k = ta ? a.rows : a.columns, n = tb ? b.rows : b.columns;
    mnk[0] = (int)m, mnk[1] = (int)n, mnk[2] = (int)k;
    return (tb ? b.columns : b.rows) == k && c.rows == m && c.columns == n;
}

static bool has_gelu(const Description& d) { return d.numbers[EPILOGUE] == EPILOGUE_GELU_BIAS; }

// Activations are given in the type of the operands.
static bool is_known_product(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
    return is_supported(a.type, b.type, c.type, d.compute) && (!has_gelu(d) || c.type == R_16BF);
}

extern "C" {

int cublasLtCreate(void** result) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (check_context("cublasLtCreate")) return NO_INIT;
    return create(result, new int(0));
}

int cublasLtDestroy(void* handle) { return destroy<int>("cublasLtDestroy", handle); }

int cublasLtMatmulDescCreate(void** result, int compute, int scale) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (scale != R_32F) return refuse(UNSUPPORTED, "cublasLtMatmulDescCreate", "the type of the factors");
    Description* description = new Description;
    description->compute = compute;
    return create(result, description);
}

int cublasLtMatmulDescDestroy(void* description) { return destroy<Description>("cublasLtMatmulDescDestroy", description); }

int cublasLtMatmulDescSetAttribute(void* object, int name, const void* value, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    Description* description = known<Description>(object);
    const bool is_number = name == TRANS_A || name == TRANS_B || name == POINTER_MODE || name == EPILOGUE;
    if (!description || !value || bytes != (is_number ? 4u : 8u) || (!is_number && name != BIAS_POINTER))
        return refuse(BAD_VALUE, "cublasLtMatmulDescSetAttribute", "attribute " + std::to_string(name));
    if (is_number) memcpy(&description->numbers[name], value, 4);
    else memcpy(&description->bias, value, 8);
    return OK;
}

int cublasLtMatrixLayoutCreate(void** result, int type, u64 rows, u64 columns, int64_t ld) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (ld < (int64_t)rows || rows == 0 || columns == 0) return refuse(BAD_VALUE, "cublasLtMatrixLayoutCreate", "sizes");
    return create(result, new Layout{type, rows, columns, ld});
}

int cublasLtMatrixLayoutDestroy(void* layout) { return destroy<Layout>("cublasLtMatrixLayoutDestroy", layout); }

int cublasLtMatmulPreferenceCreate(void** result) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    return create(result, new Preference);
}

int cublasLtMatmulPreferenceDestroy(void* preference) {
    return destroy<Preference>("cublasLtMatmulPreferenceDestroy", preference);
}

int cublasLtMatmulPreferenceSetAttribute(void* object, int name, const void* value, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    Preference* preference = known<Preference>(object);
    const bool is_alignment = name >= ALIGNMENT_A && name <= ALIGNMENT_D;
    if (!preference || !value || bytes != (name == MOST_WORKSPACE ? 8u : 4u))
        return refuse(BAD_VALUE, "cublasLtMatmulPreferenceSetAttribute", "attribute " + std::to_string(name));
    if (name == MOST_WORKSPACE) memcpy(&preference->workspace, value, 8);
    else if (name == REDUCTION_MASK) memcpy(&preference->reductions, value, 4);
    else if (is_alignment) memcpy(&preference->alignment[name - ALIGNMENT_A], value, 4);
    else return refuse(BAD_VALUE, "cublasLtMatmulPreferenceSetAttribute", "it is not modelled");
    return OK;
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, void* description, void* a, void* b, void* c, void* d, void* preference,
                                   int wanted, Heuristic* results, int* count) {
    const char* call = "cublasLtMatmulAlgoGetHeuristic";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    *count = 0;
    if (setting("STANDIN_NO_BIAS", 0)) return UNSUPPORTED;
    const Description* how = known<Description>(description);
    const Layout *left = known<Layout>(a), *right = known<Layout>(b), *from = known<Layout>(c), *to = known<Layout>(d);
    const Preference* wish = known<Preference>(preference);
    if (!known<int>(handle) || !how || !left || !right || !from || !to || !wish || wanted < 1)
        return refuse(BAD_VALUE, call, "a handle");
    int mnk[3];
    if (!sizes(*how, *left, *right, *to, mnk)) return refuse(BAD_VALUE, call, "the matrices do not fit together");
    if (!is_known_product(*how, *left, *right, *to)) return refuse(UNSUPPORTED, call, "these types");
    Heuristic best = {};
    best.algorithm.mark = MARK;
    best.algorithm.matrices = hash(*how, *left, *right, *to);
    // Partial sums that do not fit into what may be used are not taken.
    best.algorithm.workspace = std::min<u64>(wish->workspace, 1 << 16);
    memcpy(best.algorithm.alignment, wish->alignment, sizeof wish->alignment);
    best.workspace = best.algorithm.workspace;
    results[0] = best;
    *count = 1;
    return OK;
}

int cublasLtMatmul(void* handle, void* description, const void* alpha, const void* a, void* layout_a, const void* b,
                   void* layout_b, const void* beta, const void* c, void* layout_c, void* d, void* layout_d,
                   const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* queue) {
    const char* call = "cublasLtMatmul";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!known<int>(handle) || check_context(call)) return refuse(NO_INIT, call, "handle or context");
    const Description* how = known<Description>(description);
    const Layout *of_a = known<Layout>(layout_a), *of_b = known<Layout>(layout_b), *of_d = known<Layout>(layout_d);
    Stream* stream = stream_of(queue);
    int mnk[3];
    if (!how || !of_a || !of_b || !of_d || !stream || layout_c != layout_d || !sizes(*how, *of_a, *of_b, *of_d, mnk))
        return refuse(BAD_VALUE, call, "handles, or matrices that do not fit together");
    const bool has_bias = how->numbers[EPILOGUE] != EPILOGUE_DEFAULT;
    if ((how->numbers[EPILOGUE] != EPILOGUE_BIAS && !has_gelu(*how) && has_bias) || algorithm->mark != MARK ||
        algorithm->matrices != hash(*how, *of_a, *of_b, *of_d))
        return refuse(BAD_VALUE, call, "the algorithm was chosen for something else");
    const u64 addresses[] = {(u64)a, (u64)b, (u64)c, (u64)d};
    for (int i = 0; i < 4; i++)
        if (addresses[i] % algorithm->alignment[i]) return refuse(BAD_VALUE, call, "alignment of matrix " + std::to_string(i));
    if (workspace_bytes < algorithm->workspace || (u64)workspace % 256) return refuse(BAD_VALUE, call, "the workspace");
    const bool on_device = how->numbers[POINTER_MODE] == 1;
    if (!alpha || !beta || is_device(alpha, 4) != on_device || is_device(beta, 4) != on_device)
        return refuse(BAD_VALUE, call, "the factors are not where the pointer mode says");
    const int ta = how->numbers[TRANS_A], tb = how->numbers[TRANS_B], m = mnk[0], n = mnk[1], k = mnk[2];
    const Matrix left{(u64)a, of_a->type, (int)of_a->ld, ta != 0}, right{(u64)b, of_b->type, (int)of_b->ld, tb != 0},
        to{(u64)d, of_d->type, (int)of_d->ld, false};
    const bool is_gelu = has_gelu(*how);
    const u64 bias = has_bias ? how->bias : 0;
    Work work{call,
              {{left.at, extent((int)of_a->rows, (int)of_a->columns, left.ld, left.type), false},
               {right.at, extent((int)of_b->rows, (int)of_b->columns, right.ld, right.type), false},
               {to.at, extent(m, n, to.ld, to.type), true},
               {(u64)workspace, workspace_bytes, true}},
              nullptr};
    const Matrix start{(u64)c, to.type, to.ld, false};
    if (bias) work.ranges.push_back({bias, (size_t)m * bytes_of(to.type), false});
    if (c != d) work.ranges.push_back({start.at, extent(m, n, to.ld, to.type), false});
    if (on_device) work.ranges.insert(work.ranges.end(), {{(u64)alpha, 4, false}, {(u64)beta, 4, false}});
    for (const Range& range : work.ranges)
        if (!block(range.at, range.bytes)) return refuse(BAD_VALUE, call, "an operand is not in one block");
    const float first = on_device ? 0 : *(const float*)alpha, second = on_device ? 0 : *(const float*)beta;
    if (is_gelu && (on_device || first != 1 || second != 0)) return refuse(BAD_VALUE, call, "factors of a product with GELU");
    work.run = [=, is_tf32 = takes_tf32(how->compute)] {
        multiply(left, right, to, m, n, k, on_device ? *(const float*)alpha : first, on_device ? *(const float*)beta : second,
                 is_tf32, bias, is_gelu, start.at);
        return true;
    };
    state().biased++;
    enqueue(*stream, std::move(work));
    return OK;
}

} // extern "C"
