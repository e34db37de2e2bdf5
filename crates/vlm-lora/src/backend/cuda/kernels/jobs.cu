// The parts of adapters that a launch works on. A kernel takes them as words, so that they need no memory of their own.

// `input` has rows of `width` numbers or, in `adapters_up`, of `rank` floats; see the kernels for `matrix` and `out`.
struct Job {
    const void* input;
    const float* matrix;
    float* out;
    u32 width, rank, by_rank;
    u64 key, threshold;
    float scale, keep;
    // From one row of the input to the next, and of `border`, where `adapters_down` writes the same as operands.
    u32 stride, border_stride;
    Element* border;
    bool is_aligned;
};

#define WORDS(j)                                                                                                             \
    u64 j##_input, u64 j##_matrix, u64 j##_out, u64 j##_size, u64 j##_key, u64 j##_mask, u64 j##_factors, u64 j##_strides,   \
        u64 j##_border
#define JOBS WORDS(a), WORDS(b), WORDS(c), WORDS(d), WORDS(e), WORDS(f), WORDS(g), WORDS(h)
#define NAMES(j) j##_input, j##_matrix, j##_out, j##_size, j##_key, j##_mask, j##_factors, j##_strides, j##_border
#define ALL_JOBS NAMES(a), NAMES(b), NAMES(c), NAMES(d), NAMES(e), NAMES(f), NAMES(g), NAMES(h)

DEVICE Job job_of(WORDS(j)) {
    return {(const void*)j_input,
            (const float*)j_matrix,
            (float*)j_out,
            (u32)j_size,
            (u32)(j_size >> 32),
            (u32)(j_mask >> 32),
            j_key,
            j_mask & 0xffffffffull,
            __uint_as_float((u32)j_factors),
            __uint_as_float((u32)(j_factors >> 32)),
            (u32)j_strides,
            (u32)(j_strides >> 32),
            (Element*)j_border,
            (u32)j_strides % 8 == 0 && j_input % sizeof(Words) == 0};
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
