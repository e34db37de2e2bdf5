// The entry of the emulation; the kernels stand between the header and this.
#define ENTRY(name) {#name, emulation::Caller<name>::count, emulation::Caller<name>::call, emulation::Caller<name>::describe}

static const emulation::Entry ENTRIES[] = {
    ENTRY(swiglu), ENTRY(swiglu_backward), ENTRY(gelu), ENTRY(gelu_backward), ENTRY(add), ENTRY(repeat), ENTRY(scale_columns), ENTRY(cast_rows), ENTRY(widen_rows), ENTRY(repeat_operands), ENTRY(copy_operands),
    ENTRY(border), ENTRY(borders), ENTRY(swiglu_operands), ENTRY(swiglu_backward_operands), ENTRY(rope_operands),
    ENTRY(dropout), ENTRY(rope), ENTRY(gather_rows), ENTRY(scatter_rows), ENTRY(embed), ENTRY(embed_integers), ENTRY(patches), ENTRY(clear),
    ENTRY(dequantize), ENTRY(largest), ENTRY(cast), ENTRY(rms_norm), ENTRY(rms_norm_backward), ENTRY(layer_norm),
    ENTRY(layer_norm_backward), ENTRY(column_dot), ENTRY(row_norms_squared), ENTRY(integer_row_norms_squared),
    ENTRY(cross_entropy), ENTRY(sum_squares), ENTRY(adamw), ENTRY(attention_delta), ENTRY(attention_forward_64),
    ENTRY(attention_forward_128), ENTRY(attention_backward_queries_64), ENTRY(attention_backward_queries_128),
    ENTRY(attention_backward_keys_64), ENTRY(attention_backward_keys_128),
    ENTRY(adapters_down), ENTRY(adapters_up), ENTRY(adapters_gradient),
};

// 0 when the launch ran, 1 where there is no such kernel, 2 where it takes another number of arguments, 3 where its threads
// wait for each other in vain, 4 where a block is not made of whole warps.
extern "C" int emulate(const char* name, const u32* grid, u32 threads, const u64* arguments, size_t count, int reversed) {
    for (const emulation::Entry& entry : ENTRIES) {
        if (entry.name != name) continue;
        if (entry.arguments != count) return 2;
        if (threads == 0 || threads % 32 != 0) return 4;
        emulation::Block& block = emulation::block;
        block.threads = threads;
        while (block.fibers.size() < threads) block.fibers.emplace_back();
        block.warps.resize(threads / 32);
        block.kernel = entry.call;
        block.arguments = arguments;
        gridDim = {grid[0], grid[1], grid[2]};
        blockDim = {threads, 1, 1};
        for (u32 z = 0; z < grid[2]; z++) {
            for (u32 y = 0; y < grid[1]; y++) {
                for (u32 x = 0; x < grid[0]; x++) {
                    blockIdx = {x, y, z};
                    if (!emulation::run_block(reversed != 0)) return 3;
                }
            }
        }
        return 0;
    }
    return 1;
}

// The sizes and kinds of a kernel's arguments, unless there is no room for them, and how many there are; -1 where there is no
// such kernel.
extern "C" int describe(const char* name, size_t* sizes, int* kinds) {
    for (const emulation::Entry& entry : ENTRIES) {
        if (entry.name != name) continue;
        if (sizes && kinds) entry.describe(sizes, kinds);
        return (int)entry.arguments;
    }
    return -1;
}
