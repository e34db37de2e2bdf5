//! Attention over packed sequences: scores exist for one block of query rows of one head at a time, the half that causality
//! hides is never computed, and the backward pass recomputes the probabilities from the log-sum-exp (Dao et al. 2022).

mod bf16;
mod layout;

use rayon::prelude::*;

use self::bf16::Packed;
use self::layout::{Layout, Segment, layout, segments};
use super::bf16::Context;
use super::buffer::Buffer;
use super::check::length;
use super::isa::Simd;
use super::loss::negligible_is_zero;
use super::matmul::{Matmul, View};
use super::real::Real;
use super::simd::{LANES, lane_max, lane_sum, simd_fn, sum_lanes};
use crate::Result;
use crate::backend::{Attention, AttentionGradients, AttentionInputs, AttentionSaved, Write};

/// Query rows whose scores are computed together: whole blocks of every kernel.
const BLOCK: usize = 96;
/// Sequences with fewer queries than this are computed in full precision whatever the base: packing would not pay.
const FEW_QUERIES: usize = 24;

simd_fn! {
    /// Softmax of the first `visible` scores of a row, times `scale`, in place, exact zeros after them; returns the
    /// log-sum-exp.
    fn softmax_row(row: &mut [T], visible: usize, scale: T) -> T {
        let (seen, hidden) = row.split_at_mut(visible);
        let largest = lane_max(seen) * scale;
        let mut lanes = [T::ZERO; LANES];
        let (chunks, rest) = seen.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for (sum, x) in lanes.iter_mut().zip(chunk) {
                *x = negligible_is_zero(*x * scale - largest);
                *sum += *x;
            }
        }
        for (sum, x) in lanes.iter_mut().zip(rest) {
            *x = negligible_is_zero(*x * scale - largest);
            *sum += *x;
        }
        let total = sum_lanes(lanes);
        let factor = T::ONE / total;
        for x in seen {
            *x *= factor;
        }
        hidden.fill(T::ZERO);
        largest + total.ln()
    }
}

simd_fn! {
    /// Turns scores, unscaled, into probabilities and `dp` into their gradient, `p (dp - delta) scale`.
    fn probabilities_row(scores: &mut [T], dp: &mut [T], visible: usize, lse: T, delta: T, scale: T) {
        let (seen, hidden) = scores.split_at_mut(visible);
        let (ds, hidden_ds) = dp.split_at_mut(visible);
        for (p, ds) in seen.iter_mut().zip(ds) {
            *p = negligible_is_zero(*p * scale - lse);
            *ds = *p * (*ds - delta) * scale;
        }
        hidden.fill(T::ZERO);
        hidden_ds.fill(T::ZERO);
    }
}

simd_fn! {
    fn dot(a: &[T], b: &[T]) -> T {
        lane_sum(a.len(), |i| a[i] * b[i])
    }
}

simd_fn! {
    fn add_to(y: &mut [T], x: &[T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

/// A block of query rows with the part of the outputs that it owns.
struct Task<'a, T> {
    segment: Segment,
    index: usize,
    first: usize,
    o: &'a mut [T],
    lse: &'a mut [T],
}

impl<'a, T: Real> Task<'a, T> {
    /// The task of the one type that computes in bf16.
    fn cast(self) -> Task<'a, f32> {
        let Self { segment, index, first, o, lse } = self;
        Task { segment, index, first, o: bytemuck::cast_slice_mut(o), lse: bytemuck::cast_slice_mut(lse) }
    }
}

/// Keys and values of every sequence by head, packed; none of a sequence that is computed in full precision.
fn pack<T: Real>(
    context: Context<'_>,
    layout: Layout,
    segments: &[Segment],
    [k, v]: [&[T]; 2],
    backward: bool,
) -> Vec<Vec<Packed>> {
    let in_bf16 = context.kernel.is_native() && T::HAS_KERNELS;
    let pack = |segment: &Segment| {
        let heads = if in_bf16 && segment.queries >= FEW_QUERIES { layout.kv_heads } else { 0 };
        let one = |head| {
            let keys_and_values = [k, v].map(bytemuck::cast_slice);
            Packed::new(context.pool, layout, keys_and_values, *segment, head, backward)
        };
        (0..heads).into_par_iter().map(one).collect()
    };
    segments.par_iter().map(pack).collect()
}

pub(super) fn forward<T: Real>(
    context: Context<'_>,
    shape: &Attention<'_>,
    inputs: AttentionInputs<'_, [T]>,
    mut o: &mut [T],
    mut lse: &mut [T],
) -> Result<()> {
    let AttentionInputs { q, k, v } = inputs;
    let segments = segments(shape, q, k, v)?;
    let layout = layout(shape);
    length("o", o.len(), q.len())?;
    length("lse", lse.len(), q.len() / layout.head_dim)?;
    let mut tasks = Vec::new();
    for (index, &segment) in segments.iter().enumerate() {
        for first in (0..segment.queries).step_by(BLOCK) {
            let rows = BLOCK.min(segment.queries - first);
            let (mine, rest) = o.split_at_mut(rows * layout.query_stride());
            o = rest;
            let (my_lse, rest) = lse.split_at_mut(rows * layout.heads);
            lse = rest;
            tasks.push(Task { segment, index, first, o: mine, lse: my_lse });
        }
    }
    let packed = pack(context, layout, &segments, [k, v], false);
    tasks.into_par_iter().with_max_len(1).for_each(|task| {
        if packed[task.index].is_empty() {
            return forward_block(context, layout, inputs, task);
        }
        let (q, packed) = (bytemuck::cast_slice(q), &packed[task.index]);
        bf16::forward_block(context, layout, q, packed, task.cast());
    });
    Ok(())
}

fn forward_block<T: Real>(
    context: Context<'_>,
    layout: Layout,
    inputs: AttentionInputs<'_, [T]>,
    task: Task<'_, T>,
) {
    let (Context { pool, simd, .. }, AttentionInputs { q, k, v }) = (context, inputs);
    let Task { segment, first, o, lse, .. } = task;
    let (heads, head_dim) = (layout.heads, layout.head_dim);
    let rows = lse.len() / heads;
    let keys = segment.visible(first + rows - 1);
    let mut scratch = Buffer::uninitialised(pool, rows * segment.keys);
    let scores = &mut scratch[..rows * keys];
    for head in 0..heads {
        let q = &q[layout.query(segment.first_query + first, head)..];
        let at = layout.key(segment.first_key, head);
        Matmul::new(simd, rows, keys, head_dim).here(
            View::rows(q, layout.query_stride()),
            View::columns(&k[at..], layout.key_stride()),
            scores,
            keys,
        );
        for (r, row) in scores.chunks_exact_mut(keys).enumerate() {
            lse[r * heads + head] = softmax_row(simd, row, segment.visible(first + r), layout.scale());
        }
        Matmul::new(simd, rows, head_dim, keys).here(
            View::rows(scores, keys),
            View::rows(&v[at..], layout.key_stride()),
            &mut o[head * head_dim..],
            layout.query_stride(),
        );
    }
}

/// One query head of one sequence, with gradients of its own, `(rows, head_dim)` each.
struct HeadTask<'a, T> {
    segment: Segment,
    index: usize,
    head: usize,
    dq: &'a mut [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
}

impl<'a, T: Real> HeadTask<'a, T> {
    /// The task of the one type that computes in bf16.
    fn cast(self) -> HeadTask<'a, f32> {
        let Self { segment, index, head, dq, dk, dv } = self;
        let [dq, dk, dv] = [dq, dk, dv].map(bytemuck::cast_slice_mut);
        HeadTask { segment, index, head, dq, dk, dv }
    }
}

/// What a backward pass reads: what its forward pass saved, and the gradient of the output.
#[derive(Clone, Copy)]
struct Read<'a, T> {
    d_o: &'a [T],
    saved: AttentionSaved<'a, [T]>,
}

impl<'a, T: Real> Read<'a, T> {
    /// What the one type that computes in bf16 reads.
    fn cast(self) -> Read<'a, f32> {
        let AttentionSaved { q, k, v, o, lse } = self.saved;
        let [d_o, q, k, v, o, lse] = [self.d_o, q, k, v, o, lse].map(bytemuck::cast_slice);
        Read { d_o, saved: AttentionSaved { q, k, v, o, lse } }
    }
}

pub(super) fn backward<T: Real>(
    context: Context<'_>,
    shape: &Attention<'_>,
    d_o: &[T],
    saved: AttentionSaved<'_, [T]>,
    gradients: AttentionGradients<'_, [T]>,
) -> Result<()> {
    let AttentionGradients { dq, dk, dv } = gradients;
    let segments = segments(shape, saved.q, saved.k, saved.v)?;
    let layout = layout(shape);
    length("d_o", d_o.len(), saved.q.len())?;
    length("o", saved.o.len(), saved.q.len())?;
    length("lse", saved.lse.len(), saved.q.len() / layout.head_dim)?;
    length("dq", dq.len(), saved.q.len())?;
    length("dk", dk.len(), saved.k.len())?;
    length("dv", dv.len(), saved.k.len())?;
    // Every head writes gradients of its own, head after head; they are brought into place afterwards, in a fixed order.
    let mut by_head_q = Buffer::uninitialised(context.pool, dq.len());
    let mut by_head_k = Buffer::zeros(context.pool, dk.len() / layout.kv_heads * layout.heads);
    let mut by_head_v = Buffer::zeros(context.pool, by_head_k.len());
    let (mut rest_q, mut rest_k, mut rest_v) = (&mut by_head_q[..], &mut by_head_k[..], &mut by_head_v[..]);
    let mut tasks = Vec::new();
    for (index, &segment) in segments.iter().enumerate() {
        for head in 0..layout.heads {
            let (dq, dk, dv);
            (dq, rest_q) = rest_q.split_at_mut(segment.queries * layout.head_dim);
            (dk, rest_k) = rest_k.split_at_mut(segment.keys * layout.head_dim);
            (dv, rest_v) = rest_v.split_at_mut(segment.keys * layout.head_dim);
            tasks.push(HeadTask { segment, index, head, dq, dk, dv });
        }
    }
    let packed = pack(context, layout, &segments, [saved.k, saved.v], true);
    let read = Read { d_o, saved };
    tasks.into_par_iter().with_max_len(1).for_each(|task| {
        if packed[task.index].is_empty() {
            return backward_head(context, layout, read, task);
        }
        let packed = &packed[task.index][task.head / (layout.heads / layout.kv_heads)];
        bf16::backward_head(context, layout, read.cast(), packed, task.cast());
    });
    for segment in segments {
        let Segment { first_query, queries, first_key, keys, .. } = segment;
        let Layout { heads, kv_heads, head_dim } = layout;
        let of_queries = ByHead { first: first_query, rows: queries, heads, heads_out: heads, head_dim };
        let of_keys = ByHead { first: first_key, rows: keys, heads, heads_out: kv_heads, head_dim };
        of_queries.gather(context.simd, &by_head_q, dq);
        of_keys.gather(context.simd, &by_head_k, dk);
        of_keys.gather(context.simd, &by_head_v, dv);
    }
    Ok(())
}

fn backward_head<T: Real>(context: Context<'_>, layout: Layout, read: Read<'_, T>, task: HeadTask<'_, T>) {
    let (Context { pool, simd, .. }, Read { d_o, saved }) = (context, read);
    let HeadTask { segment, head, dq, dk, dv, .. } = task;
    let (head_dim, stride) = (layout.head_dim, layout.query_stride());
    let at = layout.key(segment.first_key, head);
    let (k, v) = (&saved.k[at.min(saved.k.len())..], &saved.v[at.min(saved.v.len())..]);
    let mut scratch_p = Buffer::uninitialised(pool, BLOCK.min(segment.queries) * segment.keys);
    let mut scratch_ds = Buffer::uninitialised(pool, scratch_p.len());
    for first in (0..segment.queries).step_by(BLOCK) {
        let rows = BLOCK.min(segment.queries - first);
        let keys = segment.visible(first + rows - 1);
        let (p, ds) = (&mut scratch_p[..rows * keys], &mut scratch_ds[..rows * keys]);
        let at = layout.query(segment.first_query + first, head);
        let (q, d_o, o) = (&saved.q[at..], &d_o[at..], &saved.o[at..]);
        let (q_view, d_o_view) = (View::rows(q, stride), View::rows(d_o, stride));
        Matmul::new(simd, rows, keys, head_dim).here(q_view, View::columns(k, layout.key_stride()), p, keys);
        Matmul::new(simd, rows, keys, head_dim).here(
            d_o_view,
            View::columns(v, layout.key_stride()),
            ds,
            keys,
        );
        for (r, (p, ds)) in p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys)).enumerate() {
            let lse = saved.lse[(segment.first_query + first + r) * layout.heads + head];
            let at = r * stride;
            let delta = dot(simd, &d_o[at..at + head_dim], &o[at..at + head_dim]);
            probabilities_row(simd, p, ds, segment.visible(first + r), lse, delta, layout.scale());
        }
        let dq = &mut dq[first * head_dim..];
        Matmul::new(simd, rows, head_dim, keys).here(
            View::rows(ds, keys),
            View::rows(k, layout.key_stride()),
            dq,
            head_dim,
        );
        let to_keys = Matmul::new(simd, keys, head_dim, rows).write(Write::Add);
        to_keys.here(View::columns(ds, keys), q_view, dk, head_dim);
        to_keys.here(View::columns(p, keys), d_o_view, dv, head_dim);
    }
}

/// Heads of one sequence, whose rows begin at `first` of all rows.
#[derive(Clone, Copy)]
struct ByHead {
    first: usize,
    rows: usize,
    heads: usize,
    heads_out: usize,
    head_dim: usize,
}

impl ByHead {
    /// Brings `(heads, rows, head_dim)` of the sequence into its rows of `y (rows, heads_out, head_dim)`, adding the heads that
    /// share one of the fewer `heads_out`.
    fn gather<T: Real>(self, simd: Simd, by_head: &[T], y: &mut [T]) {
        let Self { first, rows, heads, heads_out, head_dim } = self;
        let group = heads / heads_out;
        let by_head = &by_head[first * heads * head_dim..(first + rows) * heads * head_dim];
        let y = &mut y[first * heads_out * head_dim..(first + rows) * heads_out * head_dim];
        y.par_chunks_mut(heads_out * head_dim).with_min_len(16).enumerate().for_each(|(row, y)| {
            for (i, y) in y.chunks_exact_mut(head_dim).enumerate() {
                let part = |head: usize| &by_head[(head * rows + row) * head_dim..][..head_dim];
                y.copy_from_slice(part(i * group));
                for head in i * group + 1..(i + 1) * group {
                    add_to(simd, y, part(head));
                }
            }
        });
    }
}
