// Attention by tiles, forward and backward (Dao et al. 2022): the probabilities never leave the registers and are computed
// again from the log-sum-exp in the backward pass. Gradients of queries and of keys and values are taken in kernels of their
// own, so that no sum depends on the order in which blocks run.

// Exponentials are powers of two where that is one instruction, of numbers that are UNITS times as large. In f32 they stay natural.
#if PRECISION == 0
#define UNITS 1.0f
DEVICE float exponential(float x) { return expf(x); }
#else
#define UNITS 1.4426950408889634f
DEVICE float exponential(float x) { return power_of_two(x); }
#endif

// What a block works on: `first` is the first of its own rows, counted in its sequence.
struct Part { u32 first_query, queries, first_key, keys, first; };

DEVICE Part part_of(const u32* parts) {
    const u32* part = parts + (u64)blockIdx.x * 5;
    return {part[0], part[1], part[2], part[3], part[4]};
}

// How many keys query `row` sees.
DEVICE u32 visible(const Part& part, u32 row, u32 causal) {
    u32 last = part.keys - part.queries + row + 1;
    return !causal || last > part.keys ? part.keys : last;
}

// Numbers from one row to the next of what is read.
struct Strides { u32 q, k, v, d_o; };

DEVICE u32 rows_from(u32 first, u32 total) { return first < total ? total - first : 0; }

// Scores of 16 queries from `own` on with KEYS keys from `start` on: none of what a query does not see.
template <int KEYS>
DEVICE void mask_keys(float (*p)[4], const Part& part, u32 own, u32 start, u32 causal) {
    UNROLL for (u32 half = 0; half < 2; half++) {
        const u32 seen = visible(part, own + lane() / 4 + half * 8, causal);
        UNROLL for (u32 n = 0; n < KEYS / 8; n++) {
            UNROLL for (u32 e = 2 * half; e < 2 * half + 2; e++) {
                if (start + 8 * n + lane() % 4 * 2 + e % 2 >= seen) p[n][e] = MINUS_INFINITY;
            }
        }
    }
}

// The same, transposed: 16 keys from `own` on with QUERIES queries from `start` on.
template <int QUERIES>
DEVICE void mask_queries(float (*p)[4], const Part& part, u32 own, u32 start, u32 causal) {
    const u32 before = part.keys - part.queries + start;
    UNROLL for (u32 half = 0; half < 2; half++) {
        const u32 key = own + lane() / 4 + half * 8;
        UNROLL for (u32 n = 0; n < QUERIES / 8; n++) {
            UNROLL for (u32 e = 2 * half; e < 2 * half + 2; e++) {
                const u32 last = before + 8 * n + lane() % 4 * 2 + e % 2;
                if (key >= part.keys || (causal && key > last)) p[n][e] = MINUS_INFINITY;
            }
        }
    }
}

// A block has WARPS x 16 queries of one head and goes over the keys, KEYS at a time.
template <int DIM, int WARPS, int KEYS>
DEVICE void attention_forward(const u32* parts, const Source* q, const Source* k, const Source* v, const Strides& strides,
                              const Result& o, float* lse, u32 heads, u32 kv_heads, u32 head_dim, u32 causal, float scale) {
    constexpr int ROWS = WARPS * 16, THREADS = WARPS * 32, WIDTH = DIM + PAD;
    SHARED(Element, queries, ROWS * WIDTH);
    SHARED(Element, keys, KEYS * WIDTH);
    SHARED(Element, values, KEYS * WIDTH);
    SHARED(Element, stage, STAGE(WARPS, KEYS));
    const Part part = part_of(parts);
    const u32 head = blockIdx.y, own = part.first + warp() * 16;
    const u32 column = head * head_dim, key_column = head / (heads / kv_heads) * head_dim;
    const bool is_whole = are_whole(q, strides.q, head_dim) && are_whole(k, strides.k, head_dim) && are_whole(v, strides.v, head_dim);
    q += (u64)(part.first_query + part.first) * strides.q + column;
    k += (u64)part.first_key * strides.k + key_column;
    v += (u64)part.first_key * strides.v + key_column;
    load_tile<DIM, ROWS, THREADS>(queries, q, strides.q, rows_from(part.first, part.queries), head_dim, 1.0f, is_whole);
    const float units = scale * UNITS;
    float output[DIM / 8][4] = {}, largest[2] = {MINUS_INFINITY, MINUS_INFINITY}, sum[2] = {};
    const u32 end = visible(part, part.first + ROWS - 1, causal);
    for (u32 start = 0; start < end; start += KEYS) {
        __syncthreads();
        load_tile<DIM, KEYS, THREADS>(keys, k + (u64)start * strides.k, strides.k, part.keys - start, head_dim, 1.0f, is_whole);
        load_tile<DIM, KEYS, THREADS>(values, v + (u64)start * strides.v, strides.v, part.keys - start, head_dim, 1.0f, is_whole);
        __syncthreads();
        float p[KEYS / 8][4] = {};
        multiply_rows<DIM, KEYS / 8>(p, queries + warp() * 16 * WIDTH, keys);
        // The first row of a warp sees the fewest keys.
        if (start + KEYS > visible(part, own, causal)) mask_keys<KEYS>(p, part, own, start, causal);
        UNROLL for (u32 half = 0; half < 2; half++) {
            float most = MINUS_INFINITY;
            UNROLL for (u32 n = 0; n < KEYS / 8; n++) most = fmaxf(most, fmaxf(p[n][2 * half], p[n][2 * half + 1]));
            most = fmaxf(largest[half], quad_max(most));
            // A row that sees nothing yet has no largest score to subtract.
            const float base = most == MINUS_INFINITY ? 0.0f : most * units;
            const float correction = exponential(largest[half] * units - base);
            float added = 0.0f;
            UNROLL for (u32 n = 0; n < KEYS / 8; n++) {
                UNROLL for (u32 e = 2 * half; e < 2 * half + 2; e++) {
                    p[n][e] = exponential(p[n][e] * units - base);
                    added += p[n][e];
                }
            }
            UNROLL for (u32 n = 0; n < DIM / 8; n++) {
                output[n][2 * half] *= correction;
                output[n][2 * half + 1] *= correction;
            }
            sum[half] = sum[half] * correction + added;
            largest[half] = most;
        }
        multiply_columns<DIM, KEYS / 8>(output, p, values, stage);
    }
    float factor[2];
    UNROLL for (u32 half = 0; half < 2; half++) {
        sum[half] = quad_sum(sum[half]);
        factor[half] = 1.0f / sum[half];
        const u32 row = own + lane() / 4 + half * 8;
        if (lane() % 4 == 0 && row < part.queries) {
            lse[(part.first_query + row) * (u64)heads + head] = largest[half] * scale + logf(sum[half]);
        }
    }
    store_rows<DIM>(output, o, part.first_query + own, column, rows_from(own, part.queries), head_dim, factor);
}

// The dot product of each row of d_o with that of o, one warp a head of a row.
KERNEL(attention_delta)
(const Source* d_o, u32 d_o_stride, const Source* o, u32 o_stride, float* delta, u64 rows, u32 heads, u32 head_dim) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    const u64 query = (u32)row / heads, column = (u32)row % heads * head_dim;
    d_o += query * d_o_stride + column;
    o += query * o_stride + column;
    float sum = 0.0f;
    for (u32 i = lane(); i < head_dim; i += LANES) sum += number(d_o[i]) * number(o[i]);
    sum = warp_sum(sum);
    if (lane() == 0) delta[row] = sum;
}

// f16 gradients are scaled into the range where they lose nothing.
#define ATTENTION_TARGET 5

DEVICE float gradient_power(const u32* largest) {
    return largest ? power_for(*largest, ATTENTION_TARGET) : 1.0f;
}

template <int DIM, int WARPS, int KEYS>
DEVICE void attention_backward_queries(const u32* parts, const Source* d_o, const Source* q, const Source* k, const Source* v,
                                       const Strides& strides, const float* lse, const float* delta, const u32* d_o_largest,
                                       const Result& dq, u32 heads, u32 kv_heads, u32 head_dim, u32 causal, float scale) {
    constexpr int ROWS = WARPS * 16, THREADS = WARPS * 32, WIDTH = DIM + PAD;
    SHARED(Element, queries, ROWS * WIDTH);
    SHARED(Element, gradients, ROWS * WIDTH);
    SHARED(Element, keys, KEYS * WIDTH);
    SHARED(Element, values, KEYS * WIDTH);
    SHARED(Element, stage, STAGE(WARPS, KEYS));
    const Part part = part_of(parts);
    const u32 head = blockIdx.y, own = part.first + warp() * 16;
    const float power = gradient_power(d_o_largest);
    const u32 column = head * head_dim, key_column = head / (heads / kv_heads) * head_dim;
    const bool is_whole = are_whole(q, strides.q, head_dim) && are_whole(k, strides.k, head_dim) &&
                          are_whole(v, strides.v, head_dim) && are_whole(d_o, strides.d_o, head_dim);
    const u64 first_row = part.first_query + part.first;
    k += (u64)part.first_key * strides.k + key_column;
    v += (u64)part.first_key * strides.v + key_column;
    const u32 rows = rows_from(part.first, part.queries);
    load_tile<DIM, ROWS, THREADS>(queries, q + first_row * strides.q + column, strides.q, rows, head_dim, 1.0f, is_whole);
    load_tile<DIM, ROWS, THREADS>(gradients, d_o + first_row * strides.d_o + column, strides.d_o, rows, head_dim, power, is_whole);
    float row_lse[2], row_delta[2];
    UNROLL for (u32 half = 0; half < 2; half++) {
        const u32 row = own + lane() / 4 + half * 8;
        const u64 at = (part.first_query + row) * (u64)heads + head;
        // A row that is not there has no probabilities.
        row_lse[half] = row < part.queries ? lse[at] * UNITS : -MINUS_INFINITY;
        row_delta[half] = row < part.queries ? delta[at] * power : 0.0f;
    }
    const float units = scale * UNITS;
    float result[DIM / 8][4] = {};
    const u32 end = visible(part, part.first + ROWS - 1, causal);
    for (u32 start = 0; start < end; start += KEYS) {
        __syncthreads();
        load_tile<DIM, KEYS, THREADS>(keys, k + (u64)start * strides.k, strides.k, part.keys - start, head_dim, 1.0f, is_whole);
        load_tile<DIM, KEYS, THREADS>(values, v + (u64)start * strides.v, strides.v, part.keys - start, head_dim, 1.0f, is_whole);
        __syncthreads();
        float p[KEYS / 8][4] = {}, dp[KEYS / 8][4] = {};
        multiply_rows<DIM, KEYS / 8>(p, queries + warp() * 16 * WIDTH, keys);
        multiply_rows<DIM, KEYS / 8>(dp, gradients + warp() * 16 * WIDTH, values);
        if (start + KEYS > visible(part, own, causal)) mask_keys<KEYS>(p, part, own, start, causal);
        UNROLL for (u32 n = 0; n < KEYS / 8; n++) {
            UNROLL for (u32 e = 0; e < 4; e++) {
                dp[n][e] = exponential(p[n][e] * units - row_lse[e / 2]) * (dp[n][e] - row_delta[e / 2]);
            }
        }
        multiply_columns<DIM, KEYS / 8>(result, dp, keys, stage);
    }
    const float factor[2] = {scale / power, scale / power};
    store_rows<DIM>(result, dq, part.first_query + own, column, rows_from(own, part.queries), head_dim, factor);
}

// A block has WARPS x 16 keys of one key head and goes over the queries of all heads that use it. Scores are transposed: a row
// is a key, a column a query.
template <int DIM, int WARPS, int QUERIES>
DEVICE void attention_backward_keys(const u32* parts, const Source* d_o, const Source* q, const Source* k, const Source* v,
                                    const Strides& strides, const float* lse, const float* delta, const u32* d_o_largest,
                                    const Result& dk, const Result& dv, u32 heads, u32 kv_heads, u32 head_dim, u32 causal,
                                    float scale) {
    constexpr int ROWS = WARPS * 16, THREADS = WARPS * 32, WIDTH = DIM + PAD;
    SHARED(Element, keys, ROWS * WIDTH);
    SHARED(Element, values, ROWS * WIDTH);
    SHARED(Element, queries, QUERIES * WIDTH);
    SHARED(Element, gradients, QUERIES * WIDTH);
    SHARED(Element, stage, STAGE(WARPS, QUERIES));
    SHARED(Two, of_queries, QUERIES); // log-sum-exp and delta
    const Part part = part_of(parts);
    const u32 own = part.first + warp() * 16, group = heads / kv_heads;
    const float power = gradient_power(d_o_largest);
    const bool is_whole = are_whole(q, strides.q, head_dim) && are_whole(k, strides.k, head_dim) &&
                          are_whole(v, strides.v, head_dim) && are_whole(d_o, strides.d_o, head_dim);
    const u32 key_column = blockIdx.y * head_dim;
    const u64 first_row = part.first_key + part.first;
    const u32 rows = rows_from(part.first, part.keys);
    load_tile<DIM, ROWS, THREADS>(keys, k + first_row * strides.k + key_column, strides.k, rows, head_dim, 1.0f, is_whole);
    load_tile<DIM, ROWS, THREADS>(values, v + first_row * strides.v + key_column, strides.v, rows, head_dim, 1.0f, is_whole);
    const float units = scale * UNITS;
    float key_result[DIM / 8][4] = {}, value_result[DIM / 8][4] = {};
    // The first query that sees the first of these keys, and with it the tile where to begin.
    const u32 before = part.keys - part.queries;
    const u32 begin = causal && part.first > before ? (part.first - before) / QUERIES * QUERIES : 0;
    for (u32 head = blockIdx.y * group; head < (blockIdx.y + 1) * group; head++) {
        for (u32 start = begin; start < part.queries; start += QUERIES) {
            const u64 row = part.first_query + start;
            const u32 column = head * head_dim, left = part.queries - start;
            __syncthreads();
            load_tile<DIM, QUERIES, THREADS>(queries, q + row * strides.q + column, strides.q, left, head_dim, 1.0f, is_whole);
            load_tile<DIM, QUERIES, THREADS>(gradients, d_o + row * strides.d_o + column, strides.d_o, left, head_dim, power, is_whole);
            static_assert(QUERIES <= THREADS, "each query of a tile has a thread");
            if (threadIdx.x < QUERIES) {
                // A row that is not there has no probabilities.
                const u32 row = start + threadIdx.x;
                const bool there = row < part.queries;
                const u64 at = (part.first_query + row) * (u64)heads + head;
                of_queries[threadIdx.x] = {{there ? lse[at] * UNITS : -MINUS_INFINITY, there ? delta[at] * power : 0.0f}};
            }
            __syncthreads();
            float p[QUERIES / 8][4] = {}, dp[QUERIES / 8][4] = {};
            multiply_rows<DIM, QUERIES / 8>(p, keys + warp() * 16 * WIDTH, queries);
            multiply_rows<DIM, QUERIES / 8>(dp, values + warp() * 16 * WIDTH, gradients);
            // The first query sees the fewest keys.
            if (own + 16 > visible(part, start, causal)) mask_queries<QUERIES>(p, part, own, start, causal);
            UNROLL for (u32 n = 0; n < QUERIES / 8; n++) {
                UNROLL for (u32 e = 0; e < 4; e++) {
                    const Two of_query = of_queries[8 * n + lane() % 4 * 2 + e % 2];
                    p[n][e] = exponential(p[n][e] * units - of_query.numbers[0]);
                    dp[n][e] = p[n][e] * (dp[n][e] - of_query.numbers[1]);
                }
            }
            multiply_columns<DIM, QUERIES / 8>(value_result, p, gradients, stage);
            multiply_columns<DIM, QUERIES / 8>(key_result, dp, queries, stage);
        }
    }
    const float key_factor[2] = {scale / power, scale / power}, value_factor[2] = {1.0f / power, 1.0f / power};
    const u64 at = part.first_key + own;
    store_rows<DIM>(key_result, dk, at, key_column, rows_from(own, part.keys), head_dim, key_factor);
    store_rows<DIM>(value_result, dv, at, key_column, rows_from(own, part.keys), head_dim, value_factor);
}

// Tiles of each size fit the 48 KiB of shared memory that every GPU gives without asking. So many blocks run beside each other
// as are left with registers enough to do without memory: FORWARD, and BACKWARD of each kernel.
#define ATTENTION(DIM, FORWARD, BACKWARD, FORWARD_WARPS, FORWARD_KEYS, BACKWARD_WARPS, BACKWARD_COLUMNS)                     \
    CROWDED(FORWARD_WARPS * 32, FORWARD, attention_forward_##DIM)                                                            \
    (const u32* parts, INPUTS, RESULT(o), float* lse, SIZES) {                                                               \
        attention_forward<DIM, FORWARD_WARPS, FORWARD_KEYS>(parts, q, k, v, {q_stride, k_stride, v_stride, 0},               \
                                                            OF_QUERIES(o), lse, heads, kv_heads, head_dim, causal, scale);   \
    }                                                                                                                        \
    CROWDED(BACKWARD_WARPS * 32, BACKWARD, attention_backward_queries_##DIM)                                                 \
    (const u32* parts, const Source* d_o, u32 d_o_stride, INPUTS, const float* lse, const float* delta,                      \
     const u32* d_o_largest, RESULT(dq), SIZES) {                                                                            \
        attention_backward_queries<DIM, BACKWARD_WARPS, BACKWARD_COLUMNS>(                                                   \
            parts, d_o, q, k, v, {q_stride, k_stride, v_stride, d_o_stride}, lse, delta, d_o_largest, OF_QUERIES(dq), heads, \
            kv_heads, head_dim, causal, scale);                                                                              \
    }                                                                                                                        \
    CROWDED(BACKWARD_WARPS * 32, BACKWARD, attention_backward_keys_##DIM)                                                    \
    (const u32* parts, const Source* d_o, u32 d_o_stride, INPUTS, const float* lse, const float* delta,                      \
     const u32* d_o_largest, RESULT(dk), RESULT(dv), SIZES) {                                                                \
        attention_backward_keys<DIM, BACKWARD_WARPS, BACKWARD_COLUMNS>(                                                      \
            parts, d_o, q, k, v, {q_stride, k_stride, v_stride, d_o_stride}, lse, delta, d_o_largest, OF_KEYS(dk),           \
            OF_KEYS(dv), heads, kv_heads, head_dim, causal, scale);                                                          \
    }
#define INPUTS const Source *q, u32 q_stride, const Source *k, u32 k_stride, const Source *v, u32 v_stride
#define RESULT(name) float *name, Element *name##_operand, u32 name##_stride
#define SIZES u32 heads, u32 kv_heads, u32 head_dim, u32 causal, float scale
#define OF_QUERIES(name) Result{name, name##_operand, (u64)heads * head_dim, name##_stride}
#define OF_KEYS(name) Result{name, name##_operand, (u64)kv_heads * head_dim, name##_stride}

#if PRECISION == 0
ATTENTION(64, 1, 1, 4, 32, 2, 32)
ATTENTION(128, 1, 1, 2, 16, 1, 16)
#elif !defined(EMULATION) && __CUDA_ARCH__ < 800
// Turing has shared memory for no more of them.
ATTENTION(64, 2, 1, 4, 64, 4, 64)
ATTENTION(128, 1, 1, 4, 32, 2, 32)
#else
ATTENTION(64, 4, 3, 4, 64, 4, 64)
ATTENTION(128, 1, 1, 4, 32, 2, 32)
#endif
