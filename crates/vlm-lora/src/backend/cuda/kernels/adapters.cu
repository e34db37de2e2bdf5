// Adapters: products of many rows with narrow matrices, those of several adapters in one launch. A job is the part of one
// adapter; its matrix is A, (rank x width), or B, (width x rank). A block has 64 rows; of the matrices the ranks are cut into
// pieces of 32 and the widths into pieces of 64. Every sum has a fixed order.
//
// With a base in bf16 activations and gradients come in bf16, as their products with the base take them, and what is kept in
// f32 (A, B, what lies between them) is the sum of two numbers in bf16: products keep 16 bits of it. Otherwise everything is
// f32.

#if PRECISION == 2
typedef Element Number;
#define PARTS 2
#else
typedef float Number;
#define PARTS 1
#endif

#define SIDE 64u
#define RANKS 32u
#define TILE(rows, depth) ((rows) * ((depth) + PAD))

// `input` has rows of `width` numbers or, in `adapters_up`, of `rank` floats; see the kernels for `matrix` and `out`.
struct Job {
    const void* input;
    const float* matrix;
    float* out;
    u32 width, rank, by_rank;
    u64 key, threshold;
    float scale, keep;
};

#define WORDS(j) u64 j##_input, u64 j##_matrix, u64 j##_out, u64 j##_size, u64 j##_key, u64 j##_mask, u64 j##_factors
#define JOBS WORDS(a), WORDS(b), WORDS(c), WORDS(d), WORDS(e), WORDS(f), WORDS(g), WORDS(h)
#define NAMES(j) j##_input, j##_matrix, j##_out, j##_size, j##_key, j##_mask, j##_factors
#define ALL_JOBS NAMES(a), NAMES(b), NAMES(c), NAMES(d), NAMES(e), NAMES(f), NAMES(g), NAMES(h)

DEVICE Job job_of(WORDS(j)) {
    return {(const void*)j_input, (const float*)j_matrix, (float*)j_out, (u32)j_size, (u32)(j_size >> 32), (u32)(j_mask >> 32),
            j_key, j_mask & 0xffffffffull, __uint_as_float((u32)j_factors), __uint_as_float((u32)(j_factors >> 32))};
}

DEVICE Job pick(u32 index, JOBS) {
    switch (index) {
    case 0: return job_of(NAMES(a));
    case 1: return job_of(NAMES(b));
    case 2: return job_of(NAMES(c));
    case 3: return job_of(NAMES(d));
    case 4: return job_of(NAMES(e));
    case 5: return job_of(NAMES(f));
    case 6: return job_of(NAMES(g));
    default: return job_of(NAMES(h));
    }
}

DEVICE u32 pieces(u32 whole, u32 piece) { return (whole + piece - 1) / piece; }

// Number (rank j, column l) of the job's matrix.
DEVICE u64 place(const Job& job, u32 j, u32 l) {
    return job.by_rank ? (u64)j * job.width + l : (u64)l * job.rank + j;
}

// A number in one part.
DEVICE Number rounded(float value) {
#if PARTS == 2
    return narrow(value);
#else
    return value;
#endif
}

struct alignas(16) Eight { u32 words[2 * sizeof(Number)]; };

// `inside` of eight neighbours of the input from number `at` on where the mask keeps them, and zeros.
DEVICE void load_eight(Number* eight, const Job& job, u64 at, u32 inside) {
    const Number* from = (const Number*)job.input + at;
    if (inside >= 8 && job.width % 8 == 0) {
        *(Eight*)eight = *(const Eight*)from;
    } else {
        UNROLL for (u32 i = 0; i < 8; i++) eight[i] = i < inside ? from[i] : rounded(0.0f);
    }
    if (job.threshold) {
        UNROLL for (u32 i = 0; i < 8; i++) {
            if (!is_kept(job.key, at + i, job.threshold)) eight[i] = rounded(0.0f);
        }
    }
}

// How many of the numbers from `column` on are in a row of the input; none where there is no such row.
DEVICE u32 inside_row(const Job& job, u32 column, u32 row, u32 rows) {
    return row < rows && column < job.width ? job.width - column : 0;
}

// A number in all parts, whose tiles are `size` apart.
DEVICE void put_parts(Number* tile, u32 size, u32 at, float value) {
    tile[at] = rounded(value);
#if PARTS == 2
    tile[size + at] = narrow(value - widen(tile[at]));
#endif
}

// c (16 x 8N) += a (16 x DIM) b^T (8N x DIM), `a` in so many parts and `b` in all.
template <int DIM, int N, int LEFT_PARTS>
DEVICE void multiply_parts(float (*c)[4], const Number* a, u32 a_size, const Number* b, u32 b_size) {
    multiply_rows<DIM, N>(c, a, b);
#if PARTS == 2
    multiply_rows<DIM, N>(c, a, b + b_size);
    if (LEFT_PARTS == 2) multiply_rows<DIM, N>(c, a + a_size, b);
#endif
}

// out (rows x rank) = scale keep input (rows x width) matrix^T, the input masked.
KERNEL(adapters_down)(JOBS, u32 count, u32 rows) {
    SHARED(Number, inputs, TILE(SIDE, SIDE));
    SHARED(Number, matrix, PARTS * TILE(RANKS, SIDE));
    u32 index = 0, piece = blockIdx.x;
    Job job = pick(0, ALL_JOBS);
    while (index + 1 < count && piece >= pieces(job.rank, RANKS)) {
        piece -= pieces(job.rank, RANKS);
        job = pick(++index, ALL_JOBS);
    }
    const u32 first = blockIdx.y * SIDE, first_rank = piece * RANKS, wide = SIDE + PAD;
    float c[RANKS / 8][4] = {};
    for (u32 at = 0; at < job.width; at += SIDE) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < SIDE * SIDE / 8; i += blockDim.x) {
            u32 row = i / (SIDE / 8), l = i % (SIDE / 8) * 8, inside = inside_row(job, at + l, first + row, rows);
            load_eight(inputs + row * wide + l, job, (u64)(first + row) * job.width + at + l, inside);
        }
        for (u32 i = threadIdx.x; i < RANKS * SIDE; i += blockDim.x) {
            u32 j = i / SIDE, l = i % SIDE;
            bool inside = first_rank + j < job.rank && at + l < job.width;
            float value = inside ? job.matrix[place(job, first_rank + j, at + l)] : 0.0f;
            put_parts(matrix, TILE(RANKS, SIDE), j * wide + l, value);
        }
        __syncthreads();
        const Number* own = inputs + warp() * 16 * wide;
        if (job.rank - first_rank <= 16) {
            multiply_parts<SIDE, 2, 1>(c, own, 0, matrix, TILE(RANKS, SIDE));
        } else {
            multiply_parts<SIDE, 4, 1>(c, own, 0, matrix, TILE(RANKS, SIDE));
        }
    }
    UNROLL for (u32 n = 0; n < RANKS / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            u32 row = first + warp() * 16 + lane() / 4 + e / 2 * 8, j = first_rank + 8 * n + lane() % 4 * 2 + e % 2;
            if (row < rows && j < job.rank) job.out[(u64)row * job.rank + j] = c[n][e] * job.scale * job.keep;
        }
    }
}

// c (16 x 64) of the warp's rows = input (rows x rank) matrix at columns `column` on.
DEVICE void up_piece(float (*c)[4], const Job& job, u32 first, u32 rows, u32 column, Number* inputs, Number* matrix) {
    const u32 size = TILE(SIDE, 16), wide = 16 + PAD;
    for (u32 at = 0; at < job.rank; at += 16) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < SIDE * 16; i += blockDim.x) {
            u32 row = i / 16, j = i % 16;
            bool inside = at + j < job.rank;
            const float* from = (const float*)job.input + (u64)(first + row) * job.rank + at + j;
            float left = inside && first + row < rows ? *from : 0.0f;
            put_parts(inputs, size, row * wide + j, left);
        }
        for (u32 i = threadIdx.x; i < SIDE * 16; i += blockDim.x) {
            // Neighbours in memory are read by neighbours among the threads.
            u32 l = job.by_rank ? i % SIDE : i / 16, j = job.by_rank ? i / SIDE : i % 16;
            bool inside = at + j < job.rank && column + l < job.width;
            put_parts(matrix, size, l * wide + j, inside ? job.matrix[place(job, at + j, column + l)] : 0.0f);
        }
        __syncthreads();
        multiply_parts<16, SIDE / 8, 2>(c, inputs + warp() * 16 * wide, size, matrix, size);
    }
}

// out (rows x width) += scale input (rows x rank) matrix, or, where `joint`, that of all jobs to the first one's, each masked.
KERNEL(adapters_up)(JOBS, u32 count, u32 rows, u32 joint) {
    SHARED(Number, inputs, PARTS * TILE(SIDE, 16));
    SHARED(Number, matrix, PARTS * TILE(SIDE, 16));
    u32 index = 0, piece = blockIdx.x;
    Job job = pick(0, ALL_JOBS);
    while (!joint && index + 1 < count && piece >= pieces(job.width, SIDE)) {
        piece -= pieces(job.width, SIDE);
        job = pick(++index, ALL_JOBS);
    }
    const u32 first = blockIdx.y * SIDE, column = piece * SIDE;
    float sum[SIDE / 8][4] = {};
    for (u32 i = index; i < (joint ? count : index + 1); i++) {
        job = pick(i, ALL_JOBS);
        float c[SIDE / 8][4] = {};
        up_piece(c, job, first, rows, column, inputs, matrix);
        UNROLL for (u32 n = 0; n < SIDE / 8; n++) {
            UNROLL for (u32 e = 0; e < 4; e++) {
                u32 row = first + warp() * 16 + lane() / 4 + e / 2 * 8, l = column + 8 * n + lane() % 4 * 2 + e % 2;
                bool drops = job.threshold && !is_kept(job.key, (u64)row * job.width + l, job.threshold);
                sum[n][e] += drops ? 0.0f : c[n][e] * job.scale * job.keep;
            }
        }
    }
    UNROLL for (u32 n = 0; n < SIDE / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            u32 row = first + warp() * 16 + lane() / 4 + e / 2 * 8, l = column + 8 * n + lane() % 4 * 2 + e % 2;
            if (row < rows && l < job.width) job.out[(u64)row * job.width + l] += sum[n][e];
        }
    }
}

// out, laid out as the matrix whose gradient it is, += scale keep input^T (width x rows) narrow rows (rows x rank), which stand
// in the matrix's place. Of `split` rows at a time, whose sums go to `partial`, as many after each other as all jobs have.
KERNEL(adapters_gradient)(JOBS, u32 count, u32 rows, u32 split, float* partial) {
    SHARED(Number, inputs, TILE(SIDE, SIDE));
    SHARED(Number, ranks, PARTS * TILE(RANKS, SIDE));
    u32 index = 0, piece = blockIdx.x;
    u64 total = 0, before = 0;
    for (u32 i = 0; i < count; i++) {
        Job one = pick(i, ALL_JOBS);
        total += (u64)one.width * one.rank;
    }
    Job job = pick(0, ALL_JOBS);
    while (index + 1 < count && piece >= pieces(job.width, SIDE) * pieces(job.rank, RANKS)) {
        piece -= pieces(job.width, SIDE) * pieces(job.rank, RANKS);
        before += (u64)job.width * job.rank;
        job = pick(++index, ALL_JOBS);
    }
    const u32 column = piece % pieces(job.width, SIDE) * SIDE, first_rank = piece / pieces(job.width, SIDE) * RANKS;
    const u32 wide = SIDE + PAD, begin = blockIdx.y * split, end = rows - begin < split ? rows : begin + split;
    float c[RANKS / 8][4] = {};
    for (u32 at = begin; at < end; at += SIDE) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < SIDE * SIDE / 8; i += blockDim.x) {
            u32 row = i / (SIDE / 8), l = i % (SIDE / 8) * 8, inside = inside_row(job, column + l, at + row, end);
            alignas(16) Number eight[8];
            load_eight(eight, job, (u64)(at + row) * job.width + column + l, inside);
            UNROLL for (u32 e = 0; e < 8; e++) inputs[(l + e) * wide + row] = eight[e];
        }
        for (u32 i = threadIdx.x; i < SIDE * RANKS; i += blockDim.x) {
            u32 row = i / RANKS, j = i % RANKS;
            bool inside = at + row < end && first_rank + j < job.rank;
            float value = inside ? job.matrix[(u64)(at + row) * job.rank + first_rank + j] : 0.0f;
            put_parts(ranks, TILE(RANKS, SIDE), j * wide + row, value);
        }
        __syncthreads();
        const Number* own = inputs + warp() * 16 * wide;
        if (job.rank - first_rank <= 16) {
            multiply_parts<SIDE, 2, 1>(c, own, 0, ranks, TILE(RANKS, SIDE));
        } else {
            multiply_parts<SIDE, 4, 1>(c, own, 0, ranks, TILE(RANKS, SIDE));
        }
    }
    UNROLL for (u32 n = 0; n < RANKS / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            u32 l = column + warp() * 16 + lane() / 4 + e / 2 * 8, j = first_rank + 8 * n + lane() % 4 * 2 + e % 2;
            if (l >= job.width || j >= job.rank) continue;
            partial[blockIdx.y * total + before + place(job, j, l)] = c[n][e] * job.scale * job.keep;
        }
    }
}

// out += the sums of all parts of the rows, in their order.
KERNEL(adapters_sum)(JOBS, u32 splits, const float* partial, u64 total) {
    EACH(i, total) {
        float sum = 0.0f;
        for (u32 part = 0; part < splits; part++) sum += partial[part * total + i];
        u32 index = 0;
        u64 at = i;
        Job job = pick(0, ALL_JOBS);
        while (at >= (u64)job.width * job.rank) {
            at -= (u64)job.width * job.rank;
            job = pick(++index, ALL_JOBS);
        }
        job.out[at] += sum;
    }
}
