// Tiles of matrices in shared memory and their products.
//
// A warp owns 16 rows. `float c[N][4]` holds 16 x 8N numbers as `mma.m16n8` lays them out: of tile n, thread (g, t) = (lane /
// 4, lane % 4) has rows g (c[0], c[1]) and g + 8 (c[2], c[3]) at columns 8n + 2t and 8n + 2t + 1. Tiles in shared memory have
// rows of DIM + PAD elements, which keeps the threads of a warp on different banks; head sizes below DIM are filled with zeros.

#if PRECISION == 0
#define PAD 4
#else
#define PAD 8
#endif

// What tiles are read from: in bf16 operands, else floats.
#if PRECISION == 2
typedef Element Source;
DEVICE float number(Source value) { return widen(value); }
#else
typedef float Source;
DEVICE float number(Source value) { return value; }
#endif

// Numbers that are read at once.
#define WIDTH_OF_READ (16u / (u32)sizeof(Source))

// Whether rows from `from` on, which have whole reads, begin at whole reads.
DEVICE bool are_whole(const Source* from, u64 stride, u32 head_dim) {
    return (head_dim | (u32)stride) % WIDTH_OF_READ == 0 && (u64)from % 16 == 0;
}

// As many neighbours as are read at once, times `power`, which is 1 where they are operands.
DEVICE void put_read(Element* to, const Words& words, float power) {
#if PRECISION == 2
    *(Words*)to = words;
#else
    Four four;
    UNROLL for (u32 e = 0; e < 4; e++) four.numbers[e] = __uint_as_float(words.words[e]) * power;
    put_four(to, four);
#endif
}

// Rows, each `stride` numbers behind the one before, times `power` to a tile of ROWS rows, zeros where there are none, by THREADS
// threads; `is_whole` says whether rows begin at whole reads. Up to READS reads of a thread are on their way before the first of them is written.
#define READS 8

template <int DIM, int ROWS, int THREADS>
DEVICE void load_tile(Element* tile, const Source* from, u64 stride, u32 rows, u32 head_dim, float power,
                      bool is_whole) {
    constexpr u32 ACROSS = DIM / WIDTH_OF_READ, DOWN = THREADS / ACROSS, STEPS = ROWS / DOWN,
                  TOGETHER = STEPS < READS ? STEPS : READS;
    static_assert(THREADS % ACROSS == 0 && ROWS % DOWN == 0 && STEPS % TOGETHER == 0, "every thread has as many steps");
    const u32 column = threadIdx.x % ACROSS * WIDTH_OF_READ, first = threadIdx.x / ACROSS;
    Element* to = tile + first * (DIM + PAD) + column;
    if (!is_whole) {
        for (u32 row = first; row < ROWS; row += DOWN, to += DOWN * (DIM + PAD)) {
            for (u32 e = 0; e < WIDTH_OF_READ; e++) {
                const bool there = row < rows && column + e < head_dim;
                to[e] = narrow(there ? number(from[row * stride + column + e]) * power : 0.0f);
            }
        }
        return;
    }
    const bool inside = column < head_dim;
    from += first * stride + column;
    UNROLL for (u32 step = 0; step < STEPS; step += TOGETHER) {
        Words words[TOGETHER];
        UNROLL for (u32 s = 0; s < TOGETHER; s++) {
            words[s] = Words{};
            if (inside && first + (step + s) * DOWN < rows) words[s] = *(const Words*)(from + (step + s) * DOWN * stride);
        }
        UNROLL for (u32 s = 0; s < TOGETHER; s++) put_read(to + (step + s) * DOWN * (DIM + PAD), words[s], power);
    }
}

// c (16 x 8N) += a (16 x DIM) b^T (8N x DIM)
template <int DIM, int N>
DEVICE void multiply_rows(float (*c)[4], const float* a, const float* b) {
    const u32 g = lane() / 4, t = lane() % 4, width = DIM + PAD;
    for (u32 k = 0; k < DIM; k++) {
        float upper = a[g * width + k], lower = a[(g + 8) * width + k];
        UNROLL for (u32 n = 0; n < N; n++) {
            float left = b[(8 * n + 2 * t) * width + k], right = b[(8 * n + 2 * t + 1) * width + k];
            c[n][0] += upper * left;
            c[n][1] += upper * right;
            c[n][2] += lower * left;
            c[n][3] += lower * right;
        }
    }
}

// c (16 x 8N) += a^T b, where a (DEPTH x A_WIDE) and b (DEPTH x B_WIDE) stand in their tiles by rows of the depth.
template <int DEPTH, int N, int A_WIDE, int B_WIDE>
DEVICE void multiply_transposed(float (*c)[4], const float* a, const float* b) {
    const u32 g = lane() / 4, t = lane() % 4;
    for (u32 k = 0; k < DEPTH; k++) {
        float upper = a[k * A_WIDE + g], lower = a[k * A_WIDE + g + 8];
        UNROLL for (u32 n = 0; n < N; n++) {
            float left = b[k * B_WIDE + 8 * n + 2 * t], right = b[k * B_WIDE + 8 * n + 2 * t + 1];
            c[n][0] += upper * left;
            c[n][1] += upper * right;
            c[n][2] += lower * left;
            c[n][3] += lower * right;
        }
    }
}

#if PRECISION == 0

// c (16 x DIM) += p (16 x 8K) b (8K x DIM); p goes through the warp's own part of `stage`.
template <int DIM, int K>
DEVICE void multiply_columns(float (*c)[4], const float (*p)[4], const Element* b, Element* stage) {
    const u32 g = lane() / 4, t = lane() % 4, width = DIM + PAD, staged = 8 * K + 4;
    stage += warp() * 16 * staged;
    UNROLL for (u32 n = 0; n < K; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) stage[(g + e / 2 * 8) * staged + 8 * n + 2 * t + e % 2] = p[n][e];
    }
    __syncwarp();
    for (u32 k = 0; k < 8 * K; k++) {
        float upper = stage[g * staged + k], lower = stage[(g + 8) * staged + k];
        UNROLL for (u32 n = 0; n < DIM / 8; n++) {
            float left = b[k * width + 8 * n + 2 * t], right = b[k * width + 8 * n + 2 * t + 1];
            c[n][0] += upper * left;
            c[n][1] += upper * right;
            c[n][2] += lower * left;
            c[n][3] += lower * right;
        }
    }
    __syncwarp();
}

#define STAGE(warps, columns) ((warps) * 16 * ((columns) + 4))

#else

#if defined(EMULATION)
DEVICE void multiply_16x8x16(float* c, const u32* a, const u32* b) {
    emulation::mma_16x8x16(c, a, b, [](u16 bits) { return widen(Element{bits}); });
}
DEVICE void load_matrices(u32* four, const Element* row) { emulation::ldmatrix_x4<false>(four, row); }
DEVICE void load_transposed(u32* four, const Element* row) { emulation::ldmatrix_x4<true>(four, row); }
#else
DEVICE void multiply_16x8x16(float* c, const u32* a, const u32* b) {
#if PRECISION == 2
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    // Turing has the instruction for half as many k only.
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

// Four 8 x 8 matrices; lane i names row i % 8 of matrix i / 8.
#define LDMATRIX(form)                                                                                                       \
    const u32 address = (u32)__cvta_generic_to_shared(row);                                                                  \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" form ".shared.b16 {%0,%1,%2,%3}, [%4];"                                     \
                 : "=r"(four[0]), "=r"(four[1]), "=r"(four[2]), "=r"(four[3]) : "r"(address) : "memory")
DEVICE void load_matrices(u32* four, const Element* row) { LDMATRIX(""); }
DEVICE void load_transposed(u32* four, const Element* row) { LDMATRIX(".trans"); }
#endif

template <int DIM, int N>
DEVICE void multiply_rows(float (*c)[4], const Element* a, const Element* b) {
    const u32 width = DIM + PAD;
    a += lane() % 16 * width + lane() / 16 * 8;
    b += (lane() % 8 + lane() / 16 * 8) * width + lane() / 8 % 2 * 8;
    UNROLL for (u32 k = 0; k < DIM; k += 16) {
        u32 left[4];
        load_matrices(left, a + k);
        UNROLL for (u32 n = 0; n < N; n += 2) {
            u32 right[4];
            load_matrices(right, b + 8 * n * width + k);
            multiply_16x8x16(c[n], left, right);
            multiply_16x8x16(c[n + 1], left, right + 2);
        }
    }
}

template <int DEPTH, int N, int A_WIDE, int B_WIDE>
DEVICE void multiply_transposed(float (*c)[4], const Element* a, const Element* b) {
    a += (lane() % 8 + lane() / 16 * 8) * A_WIDE + lane() / 8 % 2 * 8;
    b += lane() % 16 * B_WIDE + lane() / 16 * 8;
    UNROLL for (u32 k = 0; k < DEPTH; k += 16) {
        u32 left[4];
        load_transposed(left, a + k * A_WIDE);
        UNROLL for (u32 n = 0; n < N; n += 2) {
            u32 right[4];
            load_transposed(right, b + k * B_WIDE + 8 * n);
            multiply_16x8x16(c[n], left, right);
            multiply_16x8x16(c[n + 1], left, right + 2);
        }
    }
}

// The layout of a result is that of a left operand of half its width twice over, so p stays in its registers.
template <int DIM, int K>
DEVICE void multiply_columns(float (*c)[4], const float (*p)[4], const Element* b, Element*) {
    const u32 width = DIM + PAD;
    UNROLL for (u32 k = 0; k < K; k += 2) {
        u32 left[4] = {pack(p[k][0], p[k][1]), pack(p[k][2], p[k][3]), pack(p[k + 1][0], p[k + 1][1]),
                       pack(p[k + 1][2], p[k + 1][3])};
        UNROLL for (u32 n = 0; n < DIM / 8; n += 2) {
            u32 right[4];
            load_transposed(right, b + (8 * k + lane() % 16) * width + 8 * (n + lane() / 16));
            multiply_16x8x16(c[n], left, right);
            multiply_16x8x16(c[n + 1], left, right + 2);
        }
    }
}

#define STAGE(warps, columns) 1

#endif

// Where a result goes, as numbers and as operands, which may each be null: rows of `width` and of `stride`.
struct Result {
    float* numbers;
    Element* operand;
    u64 width, stride;
};

// Writes 16 x DIM numbers times `factor[row / 8]` to rows from `row` on, at columns `column` on.
template <int DIM>
DEVICE void store_rows(const float (*c)[4], const Result& result, u64 row, u32 column, u32 rows, u32 head_dim,
                       const float* factor) {
    UNROLL for (u32 n = 0; n < DIM / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            const u32 down = lane() / 4 + e / 2 * 8, across = 8 * n + lane() % 4 * 2 + e % 2;
            if (down >= rows || across >= head_dim) continue;
            const float value = c[n][e] * factor[e / 2];
            const u64 r = row + down, l = column + across;
            if (result.numbers) result.numbers[r * result.width + l] = value;
            if (result.operand) result.operand[r * result.stride + l] = narrow(value);
        }
    }
}

DEVICE float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

DEVICE float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
