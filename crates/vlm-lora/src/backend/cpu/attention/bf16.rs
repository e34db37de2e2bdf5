//! Attention whose products are taken in bf16 with sums in f32, for backends whose base is bf16 or 8-bit: scores, softmax and
//! gradients stay f32, operands of products are rounded. Keys and values are packed once for all query heads that share them.

use std::sync::Arc;

use super::super::bf16::Context;
use super::super::bf16::{
    Bf16Kernel, BitRows, Engine, Matrix, PANEL, PairPanels, STEP, Scores, Upstream, exponentials,
    pack_columns, pack_rows, probabilities, round_row,
};
use super::super::buffer::{Buffer, Pool};
use super::super::isa::Simd;
use super::super::panels::Part;
use super::super::simd::simd_fn;
use super::layout::{Layout, Segment};
use super::{BLOCK, HeadTask, Read, Task, dot};
use crate::backend::Write;

/// Keys and values of one sequence and head as panels: rows as columns, and columns.
pub(super) struct Packed {
    k_rows: Buffer<f32>,
    k_columns: Option<Buffer<f32>>,
    v_rows: Option<Buffer<f32>>,
    v_columns: Buffer<f32>,
}

/// Sizes padded to whole steps and panels.
#[derive(Clone, Copy)]
struct Sizes {
    head: usize,
    keys: usize,
    /// Elements of a panel of keys as columns.
    row_panel: usize,
    /// Elements of a panel of columns of keys.
    column_panel: usize,
}

impl Sizes {
    fn new(layout: Layout, segment: Segment) -> Self {
        let head = layout.head_dim.next_multiple_of(STEP);
        let keys = segment.keys.next_multiple_of(STEP);
        Self { head, keys, row_panel: head / 2 * PANEL, column_panel: keys / 2 * PANEL }
    }
}

impl Packed {
    /// Packs what the forward pass needs of a key head, and where `backward` the rest too.
    pub(super) fn new(
        pool: &Arc<Pool>,
        layout: Layout,
        [k, v]: [&[f32]; 2],
        segment: Segment,
        head: usize,
        backward: bool,
    ) -> Self {
        let sizes = Sizes::new(layout, segment);
        let mut storage = Buffer::<f32>::uninitialised(pool, segment.keys * sizes.head / 2);
        let bits: &mut [u16] = bytemuck::cast_slice_mut(&mut storage);
        let at = segment.first_key * layout.key_stride() + head * layout.head_dim;
        let panels = |bits: &[u16], columns: bool| {
            let matrix = Matrix { bits, n: segment.keys, k: sizes.head };
            let mut panels = Buffer::<f32>::uninitialised(pool, sizes.keys * sizes.head / 2);
            let out = bytemuck::cast_slice_mut(&mut panels);
            if columns {
                pack_columns(matrix, out);
            } else {
                pack_rows(matrix, out);
            }
            panels
        };
        let key_stride = layout.key_stride();
        let rows = |x| Spread { x, stride: key_stride, width: layout.head_dim, rows: segment.keys };
        rows(&k[at..]).round(bits, sizes.head);
        let (k_rows, k_columns) = (panels(bits, false), backward.then(|| panels(bits, true)));
        rows(&v[at..]).round(bits, sizes.head);
        let (v_columns, v_rows) = (panels(bits, true), backward.then(|| panels(bits, false)));
        Self { k_rows, k_columns, v_rows, v_columns }
    }
}

/// Rows of `width` elements, `stride` apart.
#[derive(Clone, Copy)]
struct Spread<'a> {
    x: &'a [f32],
    stride: usize,
    width: usize,
    rows: usize,
}

impl Spread<'_> {
    fn row(&self, r: usize) -> &[f32] {
        &self.x[r * self.stride..][..self.width]
    }

    /// Rounds them into rows of `out_width`; whatever `out` holds more becomes zero.
    fn round(&self, out: &mut [u16], out_width: usize) {
        for (r, out) in out.chunks_exact_mut(out_width).enumerate() {
            if r < self.rows { round_row(self.row(r), out) } else { out.fill(0) }
        }
    }

    /// Writes their transpose into rows of `out_stride`; whatever `out` holds more becomes zero.
    fn transpose(&self, out: &mut [f32], out_stride: usize) {
        out.fill(0.0);
        for r in 0..self.rows {
            for (j, &x) in self.row(r).iter().enumerate() {
                out[j * out_stride + r] = x;
            }
        }
    }
}

simd_fn! {
    fn divided(x: &[T], total: T, y: &mut [T]) {
        let factor = T::ONE / total;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * factor;
        }
    }
}

pub(super) fn forward_block(
    context: Context<'_>,
    layout: Layout,
    q: &[f32],
    packed: &[Packed],
    task: Task<'_, f32>,
) {
    let Context { pool, kernel, simd, .. } = context;
    let Task { segment, first, o, lse, .. } = task;
    let (heads, head_dim, stride) = (layout.heads, layout.head_dim, layout.query_stride());
    let sizes = Sizes::new(layout, segment);
    let rows = lse.len() / heads;
    let padded = rows.next_multiple_of(kernel.rows());
    let keys = segment.visible(first + rows - 1).next_multiple_of(STEP);
    let mut scores = Buffer::uninitialised(pool, BLOCK * sizes.keys);
    let mut p_storage = Buffer::<f32>::uninitialised(pool, BLOCK * sizes.keys / 2);
    let mut q_storage = Buffer::<f32>::uninitialised(pool, BLOCK * sizes.head / 2);
    let mut out = Buffer::uninitialised(pool, BLOCK * sizes.head);
    let mut totals = [0.0; BLOCK];
    let scores = &mut scores[..padded * keys];
    let p_bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut p_storage)[..padded * keys];
    let q_bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut q_storage)[..padded * sizes.head];
    let engine = Engine::new(kernel);
    for head in 0..heads {
        let packed = &packed[head / (heads / layout.kv_heads)];
        let q = &q[layout.query(segment.first_query + first, head)..];
        Spread { x: q, stride, width: head_dim, rows }.round(q_bits, sizes.head);
        let q = BitRows { bits: q_bits, width: sizes.head };
        let k = panels(&packed.k_rows, sizes.row_panel);
        engine.multiply(q, k, Part::whole(scores, keys), Write::Set);
        for (r, (row, bits)) in scores.chunks_exact(keys).zip(p_bits.chunks_exact_mut(keys)).enumerate() {
            if r >= rows {
                bits.fill(0);
                continue;
            }
            let (visible, scale) = (segment.visible(first + r), layout.scale());
            let (largest, total) = exponentials(Scores { row, visible, scale }, bits);
            lse[r * heads + head] = largest + total.ln();
            totals[r] = total;
        }
        let out = &mut out[..padded * sizes.head];
        let p = BitRows { bits: p_bits, width: keys };
        let v = panels(&packed.v_columns, sizes.column_panel);
        engine.multiply(p, v, Part::whole(out, sizes.head), Write::Set);
        for (r, out) in out.chunks_exact(sizes.head).enumerate().take(rows) {
            divided(simd, &out[..head_dim], totals[r], &mut o[r * stride + head * head_dim..][..head_dim]);
        }
    }
}

fn panels(buffer: &Buffer<f32>, panel: usize) -> PairPanels<'_> {
    PairPanels { pairs: bytemuck::cast_slice(buffer), panel }
}

/// What the backward pass of one head works in.
struct Scratch {
    scores: Buffer<f32>,
    dp: Buffer<f32>,
    p_bits: Buffer<f32>,
    ds_bits: Buffer<f32>,
    rows: Buffer<f32>,
    row_bits: Buffer<f32>,
    panels: Buffer<f32>,
    dk: Buffer<f32>,
    dv: Buffer<f32>,
}

impl Scratch {
    fn new(pool: &Arc<Pool>, kernel: Bf16Kernel, sizes: Sizes) -> Self {
        let buffer = |len| Buffer::uninitialised(pool, len);
        let width = sizes.head.next_multiple_of(kernel.rows());
        Self {
            scores: buffer(BLOCK * sizes.keys),
            dp: buffer(BLOCK * sizes.keys),
            p_bits: buffer(BLOCK * sizes.keys / 2),
            ds_bits: buffer(BLOCK * sizes.keys / 2),
            rows: buffer(BLOCK * width),
            row_bits: buffer(BLOCK * width / 2),
            panels: buffer(BLOCK * sizes.keys / 2),
            dk: Buffer::zeros(pool, width * sizes.keys),
            dv: Buffer::zeros(pool, width * sizes.keys),
        }
    }
}

/// One head's backward pass and its constants.
struct Backward<'a> {
    engine: Engine,
    kernel: Bf16Kernel,
    simd: Simd,
    layout: Layout,
    read: Read<'a, f32>,
    packed: &'a Packed,
    sizes: Sizes,
    segment: Segment,
    head: usize,
}

pub(super) fn backward_head(
    context: Context<'_>,
    layout: Layout,
    read: Read<'_, f32>,
    packed: &Packed,
    task: HeadTask<'_, f32>,
) {
    let Context { pool, kernel, simd, .. } = context;
    let HeadTask { segment, head, dq, dk, dv, .. } = task;
    let sizes = Sizes::new(layout, segment);
    let mut scratch = Scratch::new(pool, kernel, sizes);
    let engine = Engine::new(kernel);
    let pass = Backward { engine, kernel, simd, layout, read, packed, sizes, segment, head };
    for first in (0..segment.queries).step_by(BLOCK) {
        pass.block(&mut scratch, first, dq);
    }
    // The gradients of keys and values were summed transposed.
    for (sums, out) in [(&scratch.dk, dk), (&scratch.dv, dv)] {
        for (key, out) in out.chunks_exact_mut(layout.head_dim).enumerate() {
            for (j, out) in out.iter_mut().enumerate() {
                *out = sums[j * sizes.keys + key];
            }
        }
    }
}

/// Scores `(rows, keys)` of the queries from `first` on, and the gradients of their probabilities.
#[derive(Clone, Copy)]
struct BlockScores<'a> {
    first: usize,
    rows: usize,
    keys: usize,
    scores: &'a [f32],
    dp: &'a [f32],
}

impl Backward<'_> {
    fn block(&self, scratch: &mut Scratch, first: usize, dq: &mut [f32]) {
        let (sizes, segment, head_dim) = (self.sizes, self.segment, self.layout.head_dim);
        let rows = BLOCK.min(segment.queries - first);
        let padded = rows.next_multiple_of(self.kernel.rows());
        let keys = segment.visible(first + rows - 1).next_multiple_of(STEP);
        let at = self.layout.query(segment.first_query + first, self.head);
        let (q, d_o) = (&self.read.saved.q[at..], &self.read.d_o[at..]);
        let scores = &mut scratch.scores[..padded * keys];
        let dp = &mut scratch.dp[..padded * keys];
        let row_bits: &mut [u16] = bytemuck::cast_slice_mut(&mut scratch.row_bits);
        let stride = self.layout.query_stride();
        let v_rows = self.packed.v_rows.as_ref().unwrap_or(&self.packed.k_rows);
        for (x, b, c) in [(q, &self.packed.k_rows, &mut *scores), (d_o, v_rows, &mut *dp)] {
            let bits = &mut row_bits[..padded * sizes.head];
            Spread { x, stride, width: head_dim, rows }.round(bits, sizes.head);
            let a = BitRows { bits, width: sizes.head };
            self.engine.multiply(a, panels(b, sizes.row_panel), Part::whole(c, keys), Write::Set);
        }
        let p_bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut scratch.p_bits)[..padded * keys];
        let ds_bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut scratch.ds_bits)[..padded * keys];
        let scores = BlockScores { first, rows, keys, scores, dp };
        self.gradients_of_scores(scores, p_bits, ds_bits);

        let out = &mut scratch.rows[..padded * sizes.head];
        let k_columns = self.packed.k_columns.as_ref().unwrap_or(&self.packed.v_columns);
        let ds = BitRows { bits: ds_bits, width: keys };
        let k = panels(k_columns, sizes.column_panel);
        self.engine.multiply(ds, k, Part::whole(out, sizes.head), Write::Set);
        for (r, out) in out.chunks_exact(sizes.head).enumerate().take(rows) {
            dq[(first + r) * head_dim..][..head_dim].copy_from_slice(&out[..head_dim]);
        }

        // Transposed, `dK` is `Qᵀ · dS` and `dV` is `dOᵀ · P`: the large operand is packed without a transposition.
        let depth = rows.next_multiple_of(STEP);
        let width = sizes.head.next_multiple_of(self.kernel.rows());
        for (x, bits, sums) in [(q, &*ds_bits, &mut scratch.dk), (d_o, &*p_bits, &mut scratch.dv)] {
            let transposed = &mut scratch.rows[..width * depth];
            Spread { x, stride, width: head_dim, rows }.transpose(transposed, depth);
            let transposed_bits = &mut row_bits[..width * depth];
            Spread { x: transposed, stride: depth, width: depth, rows: width }.round(transposed_bits, depth);
            let panel = depth / 2 * PANEL;
            let packed: &mut [u32] =
                &mut bytemuck::cast_slice_mut(&mut scratch.panels)[..keys / PANEL * panel];
            pack_columns(Matrix { bits: &bits[..rows * keys], n: rows, k: keys }, packed);
            let a = BitRows { bits: transposed_bits, width: depth };
            let sums = Part { data: sums, stride: sizes.keys, columns: keys };
            self.engine.multiply(a, PairPanels { pairs: packed, panel }, sums, Write::Add);
        }
    }

    /// Probabilities and gradients of the scores, of scores and `dp`.
    fn gradients_of_scores(&self, block: BlockScores<'_>, p_bits: &mut [u16], ds_bits: &mut [u16]) {
        let BlockScores { first, rows, keys, scores, dp } = block;
        let (layout, Read { d_o, saved }) = (self.layout, self.read);
        let outputs = p_bits.chunks_exact_mut(keys).zip(ds_bits.chunks_exact_mut(keys));
        let inputs = scores.chunks_exact(keys).zip(dp.chunks_exact(keys));
        for (r, ((scores, dp), (p, ds))) in inputs.zip(outputs).enumerate() {
            if r >= rows {
                p.fill(0);
                ds.fill(0);
                continue;
            }
            let row = self.segment.first_query + first + r;
            let at = layout.query(row, self.head);
            let range = at..at + layout.head_dim;
            let lse = saved.lse[row * layout.heads + self.head];
            let delta = dot(self.simd, &d_o[range.clone()], &saved.o[range]);
            let (visible, scale) = (self.segment.visible(first + r), layout.scale());
            probabilities(Scores { row: scores, visible, scale }, Upstream { dp, lse, delta }, p, ds);
        }
    }
}
