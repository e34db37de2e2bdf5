// Element by element, and copies of rows. What divides an index takes fewer than 2^32 elements: 64-bit division is slow.

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

KERNEL(swiglu)(const float* gate, const float* up, float* y, Element* operand, u64 n) {
    EACH(i, n) put(y, operand, i, gate[i] * sigmoid(gate[i]) * up[i]);
}

KERNEL(swiglu_backward)
(const float* dy, const float* gate, const float* up, float* dgate, Element* dgate_operand, float* dup, Element* dup_operand,
 u64 n) {
    EACH(i, n) {
        float s = sigmoid(gate[i]), silu = gate[i] * s, d = dy[i];
        put(dgate, dgate_operand, i, d * up[i] * (s + silu * (1.0f - s)));
        put(dup, dup_operand, i, d * silu);
    }
}

// 1 + tanh(u) = 2 sigmoid(2u), which unlike the hyperbolic tangent loses nothing to cancellation.
DEVICE float gelu_gate(float x, float* slope) {
    const float scale = 1.5957691216057308f, cubic = 0.044715f;
    *slope = scale * (1.0f + 3.0f * cubic * x * x);
    return sigmoid(scale * x * (1.0f + cubic * x * x));
}

// `y` is null where only the operand is wanted.
KERNEL(gelu)(const float* x, float* y, Element* operand, u64 n) {
    EACH(i, n) {
        float slope, value = x[i] * gelu_gate(x[i], &slope);
        if (y) put(y, operand, i, value);
        else operand[i] = narrow(value);
    }
}

KERNEL(gelu_backward)(const float* dy, const float* x, float* dx, Element* operand, u64 n) {
    EACH(i, n) {
        float slope, gate = gelu_gate(x[i], &slope);
        put(dx, operand, i, dy[i] * (gate + x[i] * gate * (1.0f - gate) * slope));
    }
}

// y += alpha x, with x repeated after `period` elements.
KERNEL(add)(float alpha, const float* x, u32 period, float* y, u64 n) {
    if (period == n) {
        EACH(i, n) y[i] += alpha * x[i];
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
KERNEL(embed)(const Element* weight, const u32* rows, u32 width, float* y, u64 n) {
    EACH(i, n) y[i] = widen(weight[(u64)rows[(u32)i / width] * width + (u32)i % width]);
}

// Rows of 8-bit integers with a scale each, in f32.
KERNEL(embed_integers)(const signed char* weight, const float* scales, const u32* rows, u32 width, float* y, u64 n) {
    EACH(i, n) {
        u64 row = rows[(u32)i / width];
        y[i] = (float)weight[row * width + (u32)i % width] * scales[row];
    }
}

// The operand of a product from rows of 8-bit integers.
KERNEL(dequantize)(const signed char* weight, const float* scales, u32 width, Element* y, u64 n) {
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
KERNEL(cast)(const float* x, Element* y, u64 n, u32* header, int target) {
    float power = header ? power_for(header[0], target) : 1.0f;
    if (header && blockIdx.x == 0 && threadIdx.x == 0) header[1] = __float_as_uint(1.0f / power);
    EACH(i, n) y[i] = narrow(x[i] * power);
}
