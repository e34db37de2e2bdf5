// Norms, sums, loss and optimizer.

// One warp normalises one row; a block has four warps. The order of every sum is fixed.
#define NORM_ROWS 4u

DEVICE float rms_scale(const float* x, u32 width, float eps) {
    float sum = 0.0f;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) sum += x[i] * x[i];
    return 1.0f / sqrtf(warp_sum(sum) / (float)width + eps);
}

DEVICE float row_mean(const float* x, u32 width) {
    float sum = 0.0f;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) sum += x[i];
    return warp_sum(sum) / (float)width;
}

DEVICE float deviation_scale(const float* x, u32 width, float mean, float eps) {
    float sum = 0.0f;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) sum += (x[i] - mean) * (x[i] - mean);
    return 1.0f / sqrtf(warp_sum(sum) / (float)width + eps);
}

KERNEL(rms_norm)
(const float* __restrict__ x, const float* __restrict__ weight, float eps, float* __restrict__ y, Element* __restrict__ operand,
 u32 stride, u64 rows, u32 width) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    u64 at = row * width;
    x += at;
    float scale = rms_scale(x, width, eps);
    BY_SIX for (u32 i = lane(); i < width; i += LANES) put_in_row(y, operand, row, i, width, stride, x[i] * scale * weight[i]);
}

// With g = dy weight and h the normed row: dx (+)= (g - h mean(g h)) scale.
KERNEL(rms_norm_backward)
(const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ weight, float eps, float* __restrict__ dx,
 Element* __restrict__ operand, u32 stride, u64 rows, u32 width, u32 accumulate) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    u64 at = row * width;
    dy += at;
    x += at;
    float scale = rms_scale(x, width, eps), sum = 0.0f;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) sum += dy[i] * weight[i] * x[i];
    float mean = warp_sum(sum) * scale / (float)width;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) {
        float gradient = (dy[i] * weight[i] - x[i] * scale * mean) * scale;
        put_in_row(dx, operand, row, i, width, stride, accumulate ? dx[at + i] + gradient : gradient);
    }
}

KERNEL(layer_norm)
(const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, float eps, float* __restrict__ y,
 Element* __restrict__ operand, u32 stride, u64 rows, u32 width) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    u64 at = row * width;
    x += at;
    float mean = row_mean(x, width), scale = deviation_scale(x, width, mean, eps);
    BY_SIX for (u32 i = lane(); i < width; i += LANES) {
        put_in_row(y, operand, row, i, width, stride, (x[i] - mean) * scale * weight[i] + bias[i]);
    }
}

// With g = dy weight and h the normed row: dx (+)= (g - mean(g) - h mean(g h)) scale.
KERNEL(layer_norm_backward)
(const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ weight, float eps, float* __restrict__ dx,
 Element* __restrict__ operand, u32 stride, u64 rows, u32 width, u32 accumulate) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    u64 at = row * width;
    dy += at;
    x += at;
    float mean = row_mean(x, width), scale = deviation_scale(x, width, mean, eps);
    float sum = 0.0f, product = 0.0f;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) {
        float g = dy[i] * weight[i];
        sum += g;
        product += g * ((x[i] - mean) * scale);
    }
    float mean_g = warp_sum(sum) / (float)width, mean_gh = warp_sum(product) / (float)width;
    BY_SIX for (u32 i = lane(); i < width; i += LANES) {
        float gradient = (dy[i] * weight[i] - mean_g - (x[i] - mean) * scale * mean_gh) * scale;
        put_in_row(dx, operand, row, i, width, stride, accumulate ? dx[at + i] + gradient : gradient);
    }
}

// out (width) += sum over rows of a b, or of a where b is null: a block has 32 columns and 8 groups of rows.
KERNEL(column_dot)(const float* a, const float* b, float* out, u64 rows, u64 width) {
    SHARED(float, parts, 256);
    u64 column = (u64)blockIdx.x * LANES + lane();
    float sum = 0.0f;
    if (column < width) {
        for (u64 row = warp(); row < rows; row += 8) {
            u64 i = row * width + column;
            sum += b ? a[i] * b[i] : a[i];
        }
    }
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < LANES && column < width) {
        for (u32 group = 1; group < 8; group++) sum += parts[group * LANES + threadIdx.x];
        out[column] += sum;
    }
}

// The squared norm of each row of a frozen matrix, one warp a row.
KERNEL(row_norms_squared)(const Element* weight, u32 stride, float* out, u64 rows, u32 width) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    weight += row * stride;
    float sum = 0.0f;
    for (u32 i = lane(); i < width; i += LANES) sum += widen(weight[i]) * widen(weight[i]);
    sum = warp_sum(sum);
    if (lane() == 0) out[row] = sum;
}

KERNEL(integer_row_norms_squared)(const signed char* weight, const float* scales, float* out, u64 rows, u32 width) {
    u64 row = (u64)blockIdx.x * NORM_ROWS + warp();
    if (row >= rows) return;
    weight += row * width;
    float sum = 0.0f;
    for (u32 i = lane(); i < width; i += LANES) sum += (float)weight[i] * (float)weight[i];
    sum = warp_sum(sum);
    if (lane() == 0) out[row] = sum * scales[row] * scales[row];
}

// One block a row: the weighted loss, and the row becomes its gradient times `scale`. `starts` has where the tokens of each
// row begin, and their total.
KERNEL(cross_entropy)
(float* logits, u32 vocabulary, const u32* starts, const u32* tokens, const float* probabilities, const float* weights,
 double scale, double* losses) {
    u64 row = blockIdx.x;
    logits += row * vocabulary;
    float largest = MINUS_INFINITY;
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) largest = fmaxf(largest, logits[i]);
    largest = block_max(largest);
    double mass = 0.0, expected = 0.0, weight = weights[row];
    for (u32 t = starts[row]; t < starts[row + 1]; t++) {
        mass += probabilities[t];
        expected += (double)probabilities[t] * logits[tokens[t]];
    }
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) sum += expf(logits[i] - largest);
    sum = block_sum(sum); // also: nobody reads what is overwritten below
    if (threadIdx.x == 0) losses[row] = weight * (mass * (largest + log(sum)) - expected);
    float factor = (float)(scale * weight * mass / sum);
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) logits[i] = expf(logits[i] - largest) * factor;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 t = starts[row]; t < starts[row + 1]; t++) {
            logits[tokens[t]] -= (float)(scale * weight * probabilities[t]);
        }
    }
}

// What follows works on parts of several tensors, one block a part: `parts` has their addresses and elements.

KERNEL(sum_squares)(const u64* parts, double* out) {
    const u64* part = parts + 2 * (u64)blockIdx.x;
    const float* x = (const float*)part[0];
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < part[1]; i += blockDim.x) sum += (double)x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

KERNEL(clear)(const u64* parts) {
    const u64* part = parts + 2 * (u64)blockIdx.x;
    float* x = (float*)part[0];
    for (u64 i = threadIdx.x; i < part[1]; i += blockDim.x) x[i] = 0.0f;
}

// In the order of operations of torch.optim.AdamW.
KERNEL(adamw)
(const u64* parts, float grad_scale, float keep, float take1, float beta2, float take2, float rate, float root_correction,
 float eps) {
    const u64* part = parts + 5 * (u64)blockIdx.x;
    float* value = (float*)part[0];
    const float* grad = (const float*)part[1];
    float* m = (float*)part[2];
    float* v = (float*)part[3];
    for (u64 i = threadIdx.x; i < part[4]; i += blockDim.x) {
        float g = grad[i] * grad_scale;
        m[i] += (g - m[i]) * take1;
        v[i] = v[i] * beta2 + g * g * take2;
        value[i] = value[i] * keep - rate * m[i] / (sqrtf(v[i]) / root_correction + eps);
    }
}
