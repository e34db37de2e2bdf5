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

// A block has 128 threads, and tiles of numbers rows that are PAD longer.
#define BLOCK 128u
#define SIDE 64u
#define RANKS 32u
#define WIDE (SIDE + PAD)
#define TILE(rows, depth) ((rows) * ((depth) + PAD))

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

// Number i of eight, i a constant.
DEVICE void set_number(Eight& eight, u32 i, Number number) {
#if PARTS == 2
    const u32 shift = i % 2 * 16;
    eight.words[i / 2] = (eight.words[i / 2] & ~(0xffffu << shift)) | (u32)number.bits << shift;
#else
    eight.words[i] = __float_as_uint(number);
#endif
}

// `inside` of eight neighbours of the input from number `at` on, and zeros.
DEVICE Eight read_eight(const Job& job, u64 at, u32 inside) {
    const Number* from = (const Number*)job.input + at;
    Eight eight = {};
    if (inside >= 8 && job.is_aligned) {
        UNROLL for (u32 i = 0; i < sizeof(Eight) / sizeof(Words); i++) {
            const Words words = read((const Words*)from + i);
            UNROLL for (u32 w = 0; w < 4; w++) eight.words[4 * i + w] = words.words[w];
        }
    } else {
        UNROLL for (u32 i = 0; i < 8; i++) {
            if (i < inside) set_number(eight, i, from[i]);
        }
    }
    return eight;
}

// Writes eight neighbours, number `at` and the next of the input, where the mask keeps them, and zeros.
DEVICE void put_eight(Number* to, const Job& job, u64 at, Eight eight) {
    if (job.threshold) {
        UNROLL for (u32 i = 0; i < 8; i++) {
            if (!is_kept(job.key, at + i, job.threshold)) set_number(eight, i, rounded(0.0f));
        }
    }
    *(Eight*)to = eight;
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

// A tile of the input, SIDE rows from `first` on of which there are `rows`, at columns `at` on: what a thread has of it.
struct Rows { Eight eights[SIDE * SIDE / 8 / BLOCK]; };

DEVICE u32 row_of(u32 step) { return threadIdx.x / (SIDE / 8) + step * (BLOCK / (SIDE / 8)); }
DEVICE u32 column_of() { return threadIdx.x % (SIDE / 8) * 8; }

DEVICE Rows read_rows(const Job& job, u32 first, u32 rows, u32 at) {
    Rows tile;
    UNROLL for (u32 s = 0; s < SIDE * SIDE / 8 / BLOCK; s++) {
        const u32 row = first + row_of(s), column = at + column_of();
        tile.eights[s] = read_eight(job, (u64)row * job.stride + column, inside_row(job, column, row, rows));
    }
    return tile;
}

DEVICE void put_rows(Number* to, const Job& job, u32 first, u32 at, const Rows& tile) {
    UNROLL for (u32 s = 0; s < SIDE * SIDE / 8 / BLOCK; s++) {
        const u64 from = (u64)(first + row_of(s)) * job.width + at + column_of();
        put_eight(to + row_of(s) * WIDE + column_of(), job, from, tile.eights[s]);
    }
}

// Numbers of the matrix that a thread has of R ranks and SIDE columns.
template <u32 R>
struct Ranks { float numbers[R * SIDE / BLOCK]; };

template <u32 R>
DEVICE Ranks<R> read_ranks(const Job& job, u32 first_rank, u32 at) {
    const u32 l = at + threadIdx.x % SIDE, below = first_rank + threadIdx.x / SIDE;
    const float* from = job.matrix + place(job, below, l);
    const u64 step = place(job, BLOCK / SIDE, 0);
    const u32 there = l < job.width ? job.rank : 0;
    Ranks<R> tile;
    UNROLL for (u32 s = 0; s < R * SIDE / BLOCK; s++, from += step) {
        tile.numbers[s] = 0.0f;
        if (below + s * (BLOCK / SIDE) < there) tile.numbers[s] = read(from);
    }
    return tile;
}

// c (16 x R) of the warp's rows = input matrix^T at ranks `first_rank` on. A tile is read while the one before is multiplied.
template <u32 R>
DEVICE void down_piece(float (*c)[4], const Job& job, u32 first, u32 rows, u32 first_rank, Number* inputs, Number* matrix) {
    Rows next = read_rows(job, first, rows, 0);
    Ranks<R> next_ranks = read_ranks<R>(job, first_rank, 0);
    for (u32 at = 0; at < job.width; at += SIDE) {
        __syncthreads();
        put_rows(inputs, job, first, at, next);
        UNROLL for (u32 s = 0; s < R * SIDE / BLOCK; s++) {
            const u32 j = threadIdx.x / SIDE + s * (BLOCK / SIDE);
            put_parts(matrix, TILE(R, SIDE), j * WIDE + threadIdx.x % SIDE, next_ranks.numbers[s]);
        }
        __syncthreads();
        if (at + SIDE < job.width) {
            next = read_rows(job, first, rows, at + SIDE);
            next_ranks = read_ranks<R>(job, first_rank, at + SIDE);
        }
        multiply_parts<SIDE, R / 8, 1>(c, inputs + warp() * 16 * WIDE, 0, matrix, TILE(R, SIDE));
    }
}

// out (rows x rank) = scale keep input (rows x width) matrix^T, the input masked.
CROWDED(BLOCK, 3, adapters_down)(JOBS, u32 count, u32 rows) {
    SHARED(Number, inputs, TILE(SIDE, SIDE));
    SHARED(Number, matrix, PARTS * TILE(RANKS, SIDE));
    u32 index = 0, piece = blockIdx.x;
    Job job = pick(0, ALL_JOBS);
    while (index + 1 < count && piece >= pieces(job.rank, RANKS)) {
        piece -= pieces(job.rank, RANKS);
        job = pick(++index, ALL_JOBS);
    }
    const u32 first = blockIdx.y * SIDE, first_rank = piece * RANKS;
    float c[RANKS / 8][4] = {};
    if (job.rank - first_rank <= 16) {
        down_piece<16>(c, job, first, rows, first_rank, inputs, matrix);
    } else {
        down_piece<32>(c, job, first, rows, first_rank, inputs, matrix);
    }
    UNROLL for (u32 n = 0; n < RANKS / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            u32 row = first + warp() * 16 + lane() / 4 + e / 2 * 8, j = first_rank + 8 * n + lane() % 4 * 2 + e % 2;
            if (row >= rows || j >= job.rank) continue;
            const float value = c[n][e] * job.scale * job.keep;
            job.out[(u64)row * job.rank + j] = value;
            if (job.border) job.border[(u64)row * job.border_stride + j] = narrow(value);
        }
    }
}

// c (16 x 64) of the warp's rows = input (rows x rank) matrix at columns `column` on.
DEVICE void up_piece(float (*c)[4], const Job& job, u32 first, u32 rows, u32 column, Number* inputs, Number* matrix) {
    constexpr u32 SIZE = TILE(SIDE, 16), ACROSS = 16 + PAD, STEPS = SIDE * 16 / BLOCK;
    // Neighbours in memory are read by neighbours among the threads.
    const u32 j = threadIdx.x % 16, below = threadIdx.x / 16;
    const u32 matrix_j = job.by_rank ? threadIdx.x / SIDE : j, matrix_l = job.by_rank ? threadIdx.x % SIDE : below;
    const u32 down_j = job.by_rank ? BLOCK / SIDE : 0, down_l = job.by_rank ? 0 : BLOCK / 16;
    const u64 left_step = (u64)job.rank * (BLOCK / 16), right_step = place(job, down_j, down_l);
    for (u32 at = 0; at < job.rank; at += 16) {
        float left[STEPS], right[STEPS];
        const float* from = (const float*)job.input + (u64)(first + below) * job.rank + at + j;
        const u32 there = at + j < job.rank ? rows : 0;
        UNROLL for (u32 s = 0; s < STEPS; s++, from += left_step) {
            left[s] = 0.0f;
            if (first + below + s * (BLOCK / 16) < there) left[s] = read(from);
        }
        from = job.matrix + place(job, at + matrix_j, column + matrix_l);
        UNROLL for (u32 s = 0; s < STEPS; s++, from += right_step) {
            right[s] = 0.0f;
            if (at + matrix_j + s * down_j < job.rank && column + matrix_l + s * down_l < job.width) right[s] = read(from);
        }
        __syncthreads();
        UNROLL for (u32 s = 0; s < STEPS; s++) {
            put_parts(inputs, SIZE, (below + s * (BLOCK / 16)) * ACROSS + j, left[s]);
            put_parts(matrix, SIZE, (matrix_l + s * down_l) * ACROSS + matrix_j + s * down_j, right[s]);
        }
        __syncthreads();
        multiply_parts<16, SIDE / 8, 2>(c, inputs + warp() * 16 * ACROSS, SIZE, matrix, SIZE);
    }
}

// Adds a tile (16 x 64) to the rows of the job's result from `row` on, at columns `column` on: all are read before any is
// written, in twos where every row begins at an even place.
DEVICE void add_tile(const float (*sum)[4], const Job& job, u32 row, u32 rows, u32 column) {
    const bool even = job.width % 2 == 0;
    Two old[SIDE / 8][2];
    UNROLL for (u32 n = 0; n < SIDE / 8; n++) {
        UNROLL for (u32 half = 0; half < 2; half++) {
            const u32 r = row + half * 8, l = column + 8 * n;
            const float* from = job.out + (u64)r * job.width + l;
            old[n][half] = Two{};
            if (r >= rows || l >= job.width) continue;
            if (even) {
                old[n][half] = read((const Two*)from);
            } else {
                old[n][half].numbers[0] = from[0];
                if (l + 1 < job.width) old[n][half].numbers[1] = from[1];
            }
        }
    }
    UNROLL for (u32 n = 0; n < SIDE / 8; n++) {
        UNROLL for (u32 half = 0; half < 2; half++) {
            const u32 r = row + half * 8, l = column + 8 * n;
            float* to = job.out + (u64)r * job.width + l;
            const Two now = {{old[n][half].numbers[0] + sum[n][2 * half], old[n][half].numbers[1] + sum[n][2 * half + 1]}};
            if (r >= rows || l >= job.width) continue;
            if (even) {
                *(Two*)to = now;
            } else {
                to[0] = now.numbers[0];
                if (l + 1 < job.width) to[1] = now.numbers[1];
            }
        }
    }
}

// out (rows x width) += scale input (rows x rank) matrix, or, where `joint`, that of all jobs to the first one's, each masked.
CROWDED(BLOCK, 3, adapters_up)(JOBS, u32 count, u32 rows, u32 joint) {
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
    add_tile(sum, job, first + warp() * 16 + lane() / 4, rows, column + lane() % 4 * 2);
}

// What a thread has of SIDE rows, from `at` on of which there are `end`, and R ranks of what stands in the matrix's place.
template <u32 R>
DEVICE Ranks<R> read_narrow(const Job& job, u32 at, u32 end, u32 first_rank) {
    const u32 row = at + threadIdx.x / R, j = first_rank + threadIdx.x % R, there = j < job.rank ? end : 0;
    const float* from = job.matrix + (u64)row * job.rank + j;
    const u64 step = (u64)job.rank * (BLOCK / R);
    Ranks<R> tile;
    UNROLL for (u32 s = 0; s < R * SIDE / BLOCK; s++, from += step) {
        tile.numbers[s] = 0.0f;
        if (row + s * (BLOCK / R) < there) tile.numbers[s] = read(from);
    }
    return tile;
}

// c (16 x R) of the warp's columns of the input = their sums over rows `begin` to `end` with ranks `first_rank` on. Both tiles
// stand by rows, as they are read.
template <u32 R>
DEVICE void gradient_piece(float (*c)[4], const Job& job, u32 begin, u32 end, u32 column, u32 first_rank, Number* inputs,
                           Number* ranks) {
    constexpr u32 SIZE = TILE(SIDE, R), ACROSS = R + PAD;
    Rows next = read_rows(job, begin, end, column);
    Ranks<R> next_ranks = read_narrow<R>(job, begin, end, first_rank);
    for (u32 at = begin; at < end; at += SIDE) {
        __syncthreads();
        put_rows(inputs, job, at, column, next);
        UNROLL for (u32 s = 0; s < R * SIDE / BLOCK; s++) {
            const u32 row = threadIdx.x / R + s * (BLOCK / R);
            put_parts(ranks, SIZE, row * ACROSS + threadIdx.x % R, next_ranks.numbers[s]);
        }
        __syncthreads();
        if (at + SIDE < end) {
            next = read_rows(job, at + SIDE, end, column);
            next_ranks = read_narrow<R>(job, at + SIDE, end, first_rank);
        }
        multiply_transposed<SIDE, R / 8, WIDE, ACROSS>(c, inputs + warp() * 16, ranks);
#if PARTS == 2
        multiply_transposed<SIDE, R / 8, WIDE, ACROSS>(c, inputs + warp() * 16, ranks + SIZE);
#endif
    }
}

// Where number e of tile n of a warp's sums belongs.
DEVICE u32 gradient_column(u32 column, u32 e) { return column + warp() * 16 + lane() / 4 + e / 2 * 8; }
DEVICE u32 gradient_rank(u32 first_rank, u32 n, u32 e) { return first_rank + 8 * n + lane() % 4 * 2 + e % 2; }

// out, laid out as the matrix whose gradient it is, += scale keep input^T (width x rows) narrow rows (rows x rank), which stand
// in the matrix's place. A block takes `split` rows; where there are more, it puts its sums into `partial`, as many after each
// other as all jobs have, and the last block of those that share a place in the result adds all of them up, in their order.
// `tickets` has a 0 for each place, and again when all are done.
CROWDED(BLOCK, 4, adapters_gradient)(JOBS, u32 count, u32 rows, u32 split, float* partial, u32* tickets) {
    SHARED(Number, inputs, TILE(SIDE, SIDE));
    SHARED(Number, ranks, PARTS * TILE(SIDE, RANKS));
    SHARED(u32, ticket, 1);
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
    const u32 begin = blockIdx.y * split, end = rows - begin < split ? rows : begin + split;
    float c[RANKS / 8][4] = {};
    if (job.rank - first_rank <= 16) {
        gradient_piece<16>(c, job, begin, end, column, first_rank, inputs, ranks);
    } else {
        gradient_piece<32>(c, job, begin, end, column, first_rank, inputs, ranks);
    }
    partial += before;
    UNROLL for (u32 n = 0; n < RANKS / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            c[n][e] *= job.scale * job.keep;
            const u32 l = gradient_column(column, e), j = gradient_rank(first_rank, n, e);
            if (gridDim.y > 1 && l < job.width && j < job.rank) partial[blockIdx.y * total + place(job, j, l)] = c[n][e];
        }
    }
    if (gridDim.y > 1) {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) ticket[0] = atomicAdd(tickets + blockIdx.x, 1u);
        __syncthreads();
        if (ticket[0] + 1 < gridDim.y) return;
        __threadfence();
        if (threadIdx.x == 0) tickets[blockIdx.x] = 0;
    }
    UNROLL for (u32 n = 0; n < RANKS / 8; n++) {
        UNROLL for (u32 e = 0; e < 4; e++) {
            const u32 l = gradient_column(column, e), j = gradient_rank(first_rank, n, e);
            if (l >= job.width || j >= job.rank) continue;
            float sum = gridDim.y > 1 ? 0.0f : c[n][e];
            for (u32 part = 0; gridDim.y > 1 && part < gridDim.y; part++) {
                sum += *(const volatile float*)(partial + part * total + place(job, j, l));
            }
            job.out[place(job, j, l)] += sum;
        }
    }
}
