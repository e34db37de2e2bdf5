// Element by element, and copies of rows. What divides an index takes fewer than 2^32 elements: 64-bit division is slow.

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

KERNEL(swiglu)
(const float* __restrict__ gate, const float* __restrict__ up, float* __restrict__ y, Element* __restrict__ operand, u64 n) {
    FOURS(i, n) {
        const Four g = four_of(gate, i, n), u = four_of(up, i, n);
        Four result;
        UNROLL for (u32 e = 0; e < 4; e++) result.numbers[e] = g.numbers[e] * sigmoid(g.numbers[e]) * u.numbers[e];
        put_fours(y, operand, i, n, result);
    }
}

KERNEL(swiglu_backward)
(const float* __restrict__ dy, const float* __restrict__ gate, const float* __restrict__ up, float* __restrict__ dgate,
 Element* __restrict__ dgate_operand, float* __restrict__ dup, Element* __restrict__ dup_operand, u64 n) {
    FOURS(i, n) {
        const Four g = four_of(gate, i, n), u = four_of(up, i, n), d = four_of(dy, i, n);
        Four of_gate, of_up;
        UNROLL for (u32 e = 0; e < 4; e++) {
            float s = sigmoid(g.numbers[e]), silu = g.numbers[e] * s;
            of_gate.numbers[e] = d.numbers[e] * u.numbers[e] * (s + silu * (1.0f - s));
            of_up.numbers[e] = d.numbers[e] * silu;
        }
        put_fours(dgate, dgate_operand, i, n, of_gate);
        put_fours(dup, dup_operand, i, n, of_up);
    }
}

// 1 + tanh(u) = 2 sigmoid(2u), which unlike the hyperbolic tangent loses nothing to cancellation.
DEVICE float gelu_gate(float x, float* slope) {
    const float scale = 1.5957691216057308f, cubic = 0.044715f;
    *slope = scale * (1.0f + 3.0f * cubic * x * x);
    return sigmoid(scale * x * (1.0f + cubic * x * x));
}

// `y` is null where only the operand is wanted.
KERNEL(gelu)(const float* __restrict__ x, float* __restrict__ y, Element* __restrict__ operand, u64 n) {
    FOURS(i, n) {
        Four four = four_of(x, i, n);
        float slope;
        UNROLL for (u32 e = 0; e < 4; e++) four.numbers[e] *= gelu_gate(four.numbers[e], &slope);
        put_fours(y, operand, i, n, four);
    }
}

KERNEL(gelu_backward)
(const float* __restrict__ dy, const float* __restrict__ x, float* __restrict__ dx, Element* __restrict__ operand, u64 n) {
    FOURS(i, n) {
        const Four at = four_of(x, i, n), d = four_of(dy, i, n);
        Four result;
        UNROLL for (u32 e = 0; e < 4; e++) {
            float slope, gate = gelu_gate(at.numbers[e], &slope);
            result.numbers[e] = d.numbers[e] * (gate + at.numbers[e] * gate * (1.0f - gate) * slope);
        }
        put_fours(dx, operand, i, n, result);
    }
}

// y += alpha x, with x repeated after `period` elements.
KERNEL(add)(float alpha, const float* __restrict__ x, u32 period, float* __restrict__ y, u64 n) {
    if (period == n) {
        FOURS(i, n) {
            const Four more = four_of(x, i, n);
            Four sum = four_of(y, i, n);
            UNROLL for (u32 e = 0; e < 4; e++) sum.numbers[e] += alpha * more.numbers[e];
            put_four_of(y, i, n, sum);
        }
    } else {
        EACH(i, n) y[i] += alpha * x[(u32)i % period];
    }
}

// y = x, repeated after `period` elements.
KERNEL(repeat)(const float* x, u32 period, float* y, u64 n) {
    EACH(i, n) y[i] = x[(u32)i % period];
}

KERNEL(scale_columns)(const float* x, const float* s, u32 width, float* y, u64 n) {
    EACH(i, n) y[i] = x[i] * s[(u32)i % width];
}

// The upper 24 bits of SplitMix64 at key + index against the threshold, as on every backend.
DEVICE bool is_kept(u64 key, u64 i, u64 threshold) {
    u64 z = key + (i + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return ((z ^ (z >> 31)) >> 40) >= threshold;
}

KERNEL(dropout)(const float* x, u64 key, u64 threshold, float scale, float* y, u64 n) {
    EACH(i, n) y[i] = is_kept(key, i, threshold) ? x[i] * scale : 0.0f;
}

// Rotates pairs (i, i + head_dim / 2) of every head; one thread turns one pair of all heads of a row.
KERNEL(rope)
(float* x, Element* operand, const u32* positions, const float* frequencies, u64 pairs, u32 heads, u32 head_dim, float sign) {
    u32 half = head_dim / 2;
    EACH(i, pairs) {
        u64 row = (u32)i / half;
        u32 pair = (u32)i % half;
        float sine, cosine;
        sincosf((float)positions[row] * frequencies[pair], &sine, &cosine);
        sine *= sign;
        u64 at = row * heads * head_dim + pair;
        for (u32 h = 0; h < heads; h++, at += head_dim) {
            float a = x[at], b = x[at + half];
            put(x, operand, at, a * cosine - b * sine);
            put(x, operand, at + half, b * cosine + a * sine);
        }
    }
}

// Rows of `width` numbers as operands, each `stride` behind the one before, and back.
KERNEL(cast_rows)(const float* __restrict__ x, Element* __restrict__ y, u32 width, u32 stride, u64 n) {
    EACH(i, n) y[(u64)((u32)i / width) * stride + (u32)i % width] = narrow(x[i]);
}

KERNEL(widen_rows)(const Element* __restrict__ x, u32 width, u32 stride, float* __restrict__ y, u64 n) {
    EACH(i, n) y[i] = widen(x[(u64)((u32)i / width) * stride + (u32)i % width]);
}

// Numbers as operands, repeated in every row.
KERNEL(repeat_operands)(const Element* __restrict__ x, u32 width, Element* __restrict__ y, u32 stride, u64 n) {
    EACH(i, n) y[(u64)((u32)i / width) * stride + (u32)i % width] = x[(u32)i % width];
}

KERNEL(gather_rows)(const float* src, const u32* rows, u32 width, float* dst, u64 n) {
    EACH(i, n) dst[i] = src[(u64)rows[(u32)i / width] * width + (u32)i % width];
}

KERNEL(scatter_rows)(const float* src, const u32* rows, u32 width, float* dst, u64 n, u32 accumulate) {
    EACH(i, n) {
        float* to = dst + (u64)rows[(u32)i / width] * width + (u32)i % width;
        *to = accumulate ? *to + src[i] : src[i];
    }
}

// One thread a normalised value of a patch: row, then channel, row and column in the patch. `values` has that of every byte.
KERNEL(patches)
(const unsigned char* tiles, const float* values, u32 side, u32 grid, u32 patch, float* y, u64 n) {
    u32 area = patch * patch, cells = grid * grid;
    EACH(i, n) {
        u32 row = (u32)i / (3 * area), inner = (u32)i % (3 * area);
        u32 channel = inner / area, dy = inner % area / patch, dx = inner % patch;
        u32 tile = row / cells, cell = row % cells;
        u64 pixel = (u64)(tile * side + cell / grid * patch + dy) * side + cell % grid * patch + dx;
        y[i] = values[tiles[pixel * 3 + channel]];
    }
}

// Rows of a frozen matrix in f32.
KERNEL(embed)(const Element* weight, u32 stride, const u32* rows, u32 width, float* y, u64 n) {
    EACH(i, n) y[i] = widen(weight[(u64)rows[(u32)i / width] * stride + (u32)i % width]);
}

// Rows of 8-bit integers with a scale each, in f32.
KERNEL(embed_integers)(const signed char* weight, const float* scales, const u32* rows, u32 width, float* y, u64 n) {
    EACH(i, n) {
        u64 row = rows[(u32)i / width];
        y[i] = (float)weight[row * width + (u32)i % width] * scales[row];
    }
}

// The operand of a product from rows of 8-bit integers.
KERNEL(dequantize)
(const signed char* __restrict__ weight, const float* __restrict__ scales, u32 width, Element* __restrict__ y, u64 n) {
    EACH(i, n) y[i] = narrow((float)weight[i] * scales[(u32)i / width]);
}

// The bits of the largest magnitude, which order as the magnitudes do; a NaN counts as larger than all.
KERNEL(largest)(const float* x, u64 n, u32* result) {
    u32 found = 0;
    EACH(i, n) {
        u32 bits = __float_as_uint(x[i]) & 0x7fffffffu;
        found = bits > found ? bits : found;
    }
    for (int step = 16; step > 0; step /= 2) {
        u32 other = __shfl_xor_sync(0xffffffffu, found, step);
        found = other > found ? other : found;
    }
    if (lane() == 0) atomicMax(result, found);
}

// The operand of a product. With `header`, which holds the bits of the largest magnitude, x is scaled by a power of two
// first; the reciprocal goes behind them, as the factor of the product.
KERNEL(cast)(const float* __restrict__ x, Element* __restrict__ y, u64 n, u32* header, int target) {
    float power = header ? power_for(header[0], target) : 1.0f;
    if (header && blockIdx.x == 0 && threadIdx.x == 0) header[1] = __float_as_uint(1.0f / power);
    FOURS(i, n) {
        Four four = four_of(x, i, n);
        UNROLL for (u32 e = 0; e < 4; e++) four.numbers[e] *= power;
        put_four_of_operand(y, i, n, four);
    }
}
