//! Products with a frozen matrix of f32, packed once in panels of 32 columns, by AVX-512 or AVX2 and FMA.
//!
//! `y = x · Wᵀ` takes the panels as they are; `dx = dy · W` transposes a few of them at a time. The rows of activations are
//! taken in place. Every element is one sum in the order of the summed dimension, the same with every instruction set.

#![expect(unsafe_code, reason = "the kernels write blocks of the result through pointers")]

mod activations;
mod kernel;
mod transpose;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub(super) use self::activations::{multiply as multiply_activations, suits};
use self::transpose::transpose;
use super::bf16::Context;
use super::buffer::{Buffer, Pool};
use super::isa::{Isa, Simd};
use super::panels::{self, Block, Initial, Out, PANEL, Rows, Start, Target};
use crate::backend::Write;

/// Rows that are this many elements apart share the sets of a first-level cache, which holds fewer of them than a block has.
const CONFLICT: usize = 1024;

/// A frozen matrix `(n, k)`, packed: `data[p][l][j]` is element `l` of row `32 p + j`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [f32],
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Panels<'_> {
    /// The elements of row `row`.
    pub(super) fn row(self, row: usize) -> impl Iterator<Item = f32> {
        let panel = &self.data[row / PANEL * self.k * PANEL..][..self.k * PANEL];
        panel.chunks_exact(PANEL).map(move |line| line[row % PANEL])
    }
}

/// Whether there are kernels for packed matrices under this instruction set that are worth packing for. There is none for NEON:
/// the `gemm` crate's keeps its multiply-add units as busy as one of ours would, as far as can be said without measuring.
pub(super) fn worth_packing(simd: Simd) -> bool {
    simd.isa() >= Isa::Avx2
}

/// Packs a matrix `(n, k)` of which `read` copies elements `column..` of a row.
pub(super) fn packed(
    simd: Simd,
    n: usize,
    k: usize,
    read: impl Fn(usize, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut data = vec![0.0; n.div_ceil(PANEL) * k * PANEL];
    data.par_chunks_mut((k * PANEL).max(1)).enumerate().for_each(|(panel, out)| {
        let mut rows = [0.0; PANEL * PANEL];
        for (step, out) in out.chunks_mut(PANEL * PANEL).enumerate() {
            let columns = out.len() / PANEL;
            for (row, part) in (panel * PANEL..n).zip(rows.chunks_exact_mut(PANEL)) {
                read(row, step * PANEL, &mut part[..columns]);
            }
            if let Ok(out) = out.try_into() {
                transpose(simd, &rows, out);
            } else {
                for (l, line) in out.chunks_exact_mut(PANEL).enumerate() {
                    line.iter_mut().zip(rows[l..].iter().step_by(PANEL)).for_each(|(to, &from)| *to = from);
                }
            }
        }
    });
    data
}

/// `y (m, n) = initial + x (m, k) · Wᵀ`.
pub(super) fn forward(
    context: Context<'_>,
    x: &[f32],
    m: usize,
    w: Panels<'_>,
    y: &mut [f32],
    initial: Initial<'_>,
) {
    assert_eq!(x.len(), m * w.k);
    let a = InPlace::new(context, x, w.k, w.k);
    panels::multiply(&a, Target::new(y, m, w.n, initial), 0, w.data);
}

/// `dx (m, k) (+)= dy (m, n) · W`.
pub(super) fn backward(
    context: Context<'_>,
    dy: &[f32],
    m: usize,
    w: Panels<'_>,
    dx: &mut [f32],
    write: Write,
) {
    assert_eq!(dy.len(), m * w.n);
    let a = InPlace::new(context, dy, w.n, w.n.next_multiple_of(PANEL));
    let target = Target::new(dx, m, w.k, write.into());
    panels::multiply_packing(context.pool, &a, target, |panel, out| {
        columns(context.simd, w, panel * PANEL, out);
    });
}

/// Packs columns `first..first + 32` of the matrix: `out[i][j]` is element `first + j` of row `i`.
fn columns(simd: Simd, w: Panels<'_>, first: usize, out: &mut [f32]) {
    let count = PANEL.min(w.k - first) * PANEL;
    let panels = w.data.chunks_exact(w.k * PANEL).map(|panel| &panel[first * PANEL..][..count]);
    let mut padded = [0.0; PANEL * PANEL];
    for (block, out) in panels.zip(out.as_chunks_mut().0) {
        if let Ok(block) = block.try_into() {
            transpose(simd, block, out);
        } else {
            padded[..count].copy_from_slice(block);
            transpose(simd, &padded, out);
        }
    }
}

/// Rows of activations as they lie in memory.
struct InPlace<'a> {
    simd: Simd,
    pool: &'a Arc<Pool>,
    data: &'a [f32],
    /// Elements of a row.
    k: usize,
    /// Rows of a panel, of which the first `k` count.
    depth: usize,
}

impl<'a> InPlace<'a> {
    fn new(context: Context<'a>, data: &'a [f32], k: usize, depth: usize) -> Self {
        Self { simd: context.simd, pool: context.pool, data, k, depth }
    }
}

/// Rows copied a little further apart, where a cache could not hold a block of them otherwise.
struct Apart {
    first: usize,
    rows: Buffer<f32>,
    stride: usize,
}

impl Rows for InPlace<'_> {
    type Element = f32;
    type Thread = Option<Apart>;

    fn block(&self) -> usize {
        kernel::ROWS
    }

    fn row_bytes(&self) -> usize {
        size_of::<f32>() * self.k
    }

    fn panel(&self) -> usize {
        self.depth * PANEL
    }

    fn thread(&self, blocks: Range<usize>) -> Option<Apart> {
        if self.k == 0 || !self.k.is_multiple_of(CONFLICT) {
            return None;
        }
        let (first, stride) = (blocks.start * kernel::ROWS, self.k + PANEL / 2);
        let part = &self.data[first * self.k..(blocks.end * kernel::ROWS * self.k).min(self.data.len())];
        let mut rows = Buffer::uninitialised(self.pool, part.len() / self.k * stride);
        for (to, from) in rows.chunks_exact_mut(stride).zip(part.chunks_exact(self.k)) {
            to[..self.k].copy_from_slice(from);
        }
        Some(Apart { first, rows, stride })
    }

    unsafe fn multiply(&self, apart: &Option<Apart>, block: Block, panel: &[f32], c: Out, start: Start) {
        let first = block.index * kernel::ROWS;
        let (data, first, stride) =
            apart.as_ref().map_or((self.data, first, self.k), |a| (&a.rows[..], first - a.first, a.stride));
        let a = kernel::Strided {
            data: &data[first * stride..],
            row: stride,
            column: 1,
            rows: block.rows,
            k: self.k,
        };
        // SAFETY: the caller's promise about `c` and `start`.
        unsafe { kernel::multiply(self.simd, a, &panel[..self.k * PANEL], c, start) };
    }
}

#[cfg(test)]
mod tests;
