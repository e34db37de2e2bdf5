// Rows of operands with room behind them: what lies between the products of a layer in bf16.

// Rows of `width` operands, from rows that are `from_stride` apart to rows that are `to_stride` apart.
KERNEL(copy_operands)
(const Element* __restrict__ from, u32 width, u32 from_stride, Element* __restrict__ to, u32 to_stride, u64 n) {
    EACH(i, n) to[(u64)((u32)i / width) * to_stride + (u32)i % width] = from[(u64)((u32)i / width) * from_stride + (u32)i % width];
}

// A matrix of floats, its rows one behind the other, that is written as operands times `scale`.
#define PATCH(p) u64 p##_from, u64 p##_to, u64 p##_size, u64 p##_how
#define PATCH_OF(p)                                                                                                          \
    { (const float*)p##_from, (Element*)p##_to, (u32)p##_size, (u32)(p##_size >> 32), (u32)p##_how, __uint_as_float((u32)(p##_how >> 32)) }
struct Patch {
    const float* from;
    Element* to;
    u32 rows, width, stride;
    float scale;
};

// The matrices of up to four adapters beside and below what they belong to.
KERNEL(border)(PATCH(a), PATCH(b), PATCH(c), PATCH(d), PATCH(e), PATCH(f), PATCH(g), PATCH(h), u64 n) {
    const Patch patches[8] = {PATCH_OF(a), PATCH_OF(b), PATCH_OF(c), PATCH_OF(d),
                              PATCH_OF(e), PATCH_OF(f), PATCH_OF(g), PATCH_OF(h)};
    EACH(i, n) {
        u32 left = (u32)i;
        bool found = false;
        UNROLL for (u32 p = 0; p < 8; p++) {
            const u32 size = patches[p].rows * patches[p].width;
            if (!found && left < size) {
                const u32 row = left / patches[p].width, column = left % patches[p].width;
                patches[p].to[(u64)row * patches[p].stride + column] = narrow(patches[p].from[left] * patches[p].scale);
                found = true;
            }
            left -= found ? 0 : size;
        }
    }
}

// Those of all adapters, one block a matrix: `parts` has its words.
KERNEL(borders)(const u64* parts) {
    const u64* part = parts + 4 * (u64)blockIdx.x;
    const Patch patch = {(const float*)part[0], (Element*)part[1], (u32)part[2], (u32)(part[2] >> 32), (u32)part[3],
                         __uint_as_float((u32)(part[3] >> 32))};
    for (u32 i = threadIdx.x; i < patch.rows * patch.width; i += blockDim.x) {
        const u32 row = i / patch.width, column = i % patch.width;
        patch.to[(u64)row * patch.stride + column] = narrow(patch.from[i] * patch.scale);
    }
}

// Two operands that stand side by side at an even place.
#if PRECISION == 0
DEVICE Two two_of(const Element* at) { return {{at[0], at[1]}}; }
DEVICE void put_two(Element* at, const Two& two) {
    at[0] = two.numbers[0];
    at[1] = two.numbers[1];
}
#else
DEVICE Two two_of(const Element* at) {
    const u32 both = *(const u32*)at;
    return {{widen(Element{(u16)both}), widen(Element{(u16)(both >> 16)})}};
}
DEVICE void put_two(Element* at, const Two& two) { *(u32*)at = pack(two.numbers[0], two.numbers[1]); }
#endif

// As `swiglu` of operands; rows have `width` of them, an even number, as the strides are.
KERNEL(swiglu_operands)
(const Element* __restrict__ gate, u32 gate_stride, const Element* __restrict__ up, u32 up_stride, float* __restrict__ y,
 Element* __restrict__ operand, u32 stride, u32 width, u64 n) {
    EACH(i, n / 2) {
        const u64 row = 2 * (u32)i / width;
        const u32 column = 2 * (u32)i % width;
        const Two g = two_of(gate + row * gate_stride + column), u = two_of(up + row * up_stride + column);
        Two result;
        UNROLL for (u32 e = 0; e < 2; e++) result.numbers[e] = g.numbers[e] * sigmoid(g.numbers[e]) * u.numbers[e];
        if (y) *(Two*)(y + 2 * i) = result;
        if (operand) put_two(operand + row * stride + column, result);
    }
}

// As `swiglu_backward` of operands; the gradient comes as one or, where `dy` is not null, as floats.
KERNEL(swiglu_backward_operands)
(const float* __restrict__ dy, const Element* __restrict__ dy_operand, u32 dy_stride, const Element* __restrict__ gate,
 u32 gate_stride, const Element* __restrict__ up, u32 up_stride, float* __restrict__ dgate, Element* __restrict__ dgate_operand,
 u32 dgate_stride, float* __restrict__ dup, Element* __restrict__ dup_operand, u32 dup_stride, u32 width, u64 n) {
    EACH(i, n / 2) {
        const u64 row = 2 * (u32)i / width;
        const u32 column = 2 * (u32)i % width;
        const Two g = two_of(gate + row * gate_stride + column), u = two_of(up + row * up_stride + column);
        const Two d = dy ? *(const Two*)(dy + 2 * i) : two_of(dy_operand + row * dy_stride + column);
        Two of_gate, of_up;
        UNROLL for (u32 e = 0; e < 2; e++) {
            float s = sigmoid(g.numbers[e]), silu = g.numbers[e] * s;
            of_gate.numbers[e] = d.numbers[e] * u.numbers[e] * (s + silu * (1.0f - s));
            of_up.numbers[e] = d.numbers[e] * silu;
        }
        if (dgate) *(Two*)(dgate + 2 * i) = of_gate;
        if (dgate_operand) put_two(dgate_operand + row * dgate_stride + column, of_gate);
        if (dup) *(Two*)(dup + 2 * i) = of_up;
        if (dup_operand) put_two(dup_operand + row * dup_stride + column, of_up);
    }
}

// As `rope` of operands, in rows that are `stride` apart.
KERNEL(rope_operands)
(Element* x, u32 stride, const u32* positions, const float* frequencies, u64 pairs, u32 heads, u32 head_dim, float sign) {
    u32 half = head_dim / 2;
    EACH(i, pairs) {
        u64 row = (u32)i / half;
        u32 pair = (u32)i % half;
        float sine, cosine;
        sincosf((float)positions[row] * frequencies[pair], &sine, &cosine);
        sine *= sign;
        u64 at = row * stride + pair;
        for (u32 h = 0; h < heads; h++, at += head_dim) {
            float a = widen(x[at]), b = widen(x[at + half]);
            x[at] = narrow(a * cosine - b * sine);
            x[at + half] = narrow(b * cosine + a * sine);
        }
    }
}
