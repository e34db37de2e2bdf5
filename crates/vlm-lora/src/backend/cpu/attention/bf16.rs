//! Attention whose products are taken in bf16 with sums in f32, for backends whose base is bf16 or 8-bit: scores, softmax and
//! gradients stay f32, operands of products are rounded. Keys and values are packed once for all query heads that share them.

use std::sync::Arc;

use super::super::bf16::{
    Bf16Kernel, Engine, Matrix, PANEL, STEP, Scores, exponentials, pack_columns, pack_rows, probabilities,
    round_row,
};
use super::super::buffer::{Buffer, Pool};
use super::super::simd::simd_fn;
use super::layout::{Layout, Segment};
use super::{BLOCK, HeadTask, Saved, Task, dot};
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
        (segment, head): (Segment, usize),
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
        round_rows(&k[at..], layout.key_stride(), layout.head_dim, segment.keys, (bits, sizes.head));
        let (k_rows, k_columns) = (panels(bits, false), backward.then(|| panels(bits, true)));
        round_rows(&v[at..], layout.key_stride(), layout.head_dim, segment.keys, (bits, sizes.head));
        let (v_columns, v_rows) = (panels(bits, true), backward.then(|| panels(bits, false)));
        Self { k_rows, k_columns, v_rows, v_columns }
    }
}

/// Rounds `rows` rows of `width` elements, `stride` apart, into rows of `out_width`; whatever `out` holds more becomes zero.
fn round_rows(x: &[f32], stride: usize, width: usize, rows: usize, (out, out_width): (&mut [u16], usize)) {
    for (r, out) in out.chunks_exact_mut(out_width).enumerate() {
        if r < rows { round_row(&x[r * stride..][..width], out) } else { out.fill(0) }
    }
}

/// Writes the transpose of `rows` rows of `width` elements, `stride` apart, into rows of `out_stride`.
fn transpose(x: &[f32], stride: usize, width: usize, rows: usize, (out, out_stride): (&mut [f32], usize)) {
    out.fill(0.0);
    for r in 0..rows {
        for (j, &x) in x[r * stride..][..width].iter().enumerate() {
            out[j * out_stride + r] = x;
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
    pool: &Arc<Pool>,
    kernel: Bf16Kernel,
    layout: Layout,
    q: &[f32],
    packed: &[Packed],
    task: Task<'_, f32>,
) {
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
        round_rows(q, stride, head_dim, rows, (q_bits, sizes.head));
        engine.multiply(
            (q_bits, sizes.head),
            (panels(&packed.k_rows), sizes.row_panel),
            scores,
            keys,
            Write::Set,
        );
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
        engine.multiply(
            (p_bits, keys),
            (panels(&packed.v_columns), sizes.column_panel),
            out,
            sizes.head,
            Write::Set,
        );
        for (r, out) in out.chunks_exact(sizes.head).enumerate().take(rows) {
            divided(&out[..head_dim], totals[r], &mut o[r * stride + head * head_dim..][..head_dim]);
        }
    }
}

fn panels(buffer: &Buffer<f32>) -> &[u32] {
    bytemuck::cast_slice(buffer)
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
    layout: Layout,
    saved: Saved<'a, f32>,
    packed: &'a Packed,
    sizes: Sizes,
    segment: Segment,
    head: usize,
}

pub(super) fn backward_head(
    pool: &Arc<Pool>,
    kernel: Bf16Kernel,
    layout: Layout,
    saved: Saved<'_, f32>,
    packed: &Packed,
    task: HeadTask<'_, f32>,
) {
    let HeadTask { segment, head, dq, dk, dv, .. } = task;
    let sizes = Sizes::new(layout, segment);
    let mut scratch = Scratch::new(pool, kernel, sizes);
    let engine = Engine::new(kernel);
    let pass = Backward { engine, kernel, layout, saved, packed, sizes, segment, head };
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

impl Backward<'_> {
    fn block(&self, scratch: &mut Scratch, first: usize, dq: &mut [f32]) {
        let (sizes, segment, head_dim) = (self.sizes, self.segment, self.layout.head_dim);
        let rows = BLOCK.min(segment.queries - first);
        let padded = rows.next_multiple_of(self.kernel.rows());
        let keys = segment.visible(first + rows - 1).next_multiple_of(STEP);
        let at = self.layout.query(segment.first_query + first, self.head);
        let (q, d_o) = (&self.saved.q[at..], &self.saved.d_o[at..]);
        let scores = &mut scratch.scores[..padded * keys];
        let dp = &mut scratch.dp[..padded * keys];
        let row_bits: &mut [u16] = bytemuck::cast_slice_mut(&mut scratch.row_bits);
        let stride = self.layout.query_stride();
        let v_rows = self.packed.v_rows.as_ref().unwrap_or(&self.packed.k_rows);
        for (x, b, c) in [(q, &self.packed.k_rows, &mut *scores), (d_o, v_rows, &mut *dp)] {
            let bits = &mut row_bits[..padded * sizes.head];
            round_rows(x, stride, head_dim, rows, (bits, sizes.head));
            self.engine.multiply((bits, sizes.head), (panels(b), sizes.row_panel), c, keys, Write::Set);
        }
        let p_bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut scratch.p_bits)[..padded * keys];
        let ds_bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut scratch.ds_bits)[..padded * keys];
        self.gradients_of_scores((scores, dp), first, (rows, keys), (p_bits, ds_bits));

        let out = &mut scratch.rows[..padded * sizes.head];
        let k_columns = self.packed.k_columns.as_ref().unwrap_or(&self.packed.v_columns);
        self.engine.multiply(
            (ds_bits, keys),
            (panels(k_columns), sizes.column_panel),
            out,
            sizes.head,
            Write::Set,
        );
        for (r, out) in out.chunks_exact(sizes.head).enumerate().take(rows) {
            dq[(first + r) * head_dim..][..head_dim].copy_from_slice(&out[..head_dim]);
        }

        // Transposed, `dK` is `Qᵀ · dS` and `dV` is `dOᵀ · P`: the large operand is packed without a transposition.
        let depth = rows.next_multiple_of(STEP);
        let width = sizes.head.next_multiple_of(self.kernel.rows());
        for (x, bits, sums) in [(q, &*ds_bits, &mut scratch.dk), (d_o, &*p_bits, &mut scratch.dv)] {
            let transposed = &mut scratch.rows[..width * depth];
            transpose(x, stride, head_dim, rows, (transposed, depth));
            let transposed_bits = &mut row_bits[..width * depth];
            round_rows(transposed, depth, depth, width, (transposed_bits, depth));
            let panel = depth / 2 * PANEL;
            let packed: &mut [u32] =
                &mut bytemuck::cast_slice_mut(&mut scratch.panels)[..keys / PANEL * panel];
            pack_columns(Matrix { bits: &bits[..rows * keys], n: rows, k: keys }, packed);
            self.engine.multiply_part(
                (transposed_bits, depth),
                (packed, panel),
                (sums, sizes.keys, keys),
                Write::Add,
            );
        }
    }

    /// Probabilities and gradients of the scores, of scores and `dp`.
    fn gradients_of_scores(
        &self,
        (scores, dp): (&[f32], &[f32]),
        first: usize,
        (rows, keys): (usize, usize),
        (p_bits, ds_bits): (&mut [u16], &mut [u16]),
    ) {
        let (layout, saved) = (self.layout, self.saved);
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
            let delta = dot(&saved.d_o[range.clone()], &saved.o[range]);
            let (visible, scale) = (self.segment.visible(first + r), layout.scale());
            probabilities(Scores { row: scores, visible, scale }, (dp, lse, delta), p, ds);
        }
    }
}
