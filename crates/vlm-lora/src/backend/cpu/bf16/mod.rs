//! Products with a frozen matrix of bf16 and sums in f32, by AMX tiles or AVX-512's dot products of pairs.
//!
//! `C (m, n) (+)= A (m, k) · B (k, n)`: `A` is rounded to bf16 rows, `B` is brought, 32 columns at a time, into a panel of
//! pairs along `k`. A panel is used for all rows of `A` while it lies in the second-level cache, so that packing it anew in
//! every call costs a few percent at 64 rows and nothing at 1000; the matrix itself is kept once, as the checkpoint has it.

#![expect(unsafe_code, reason = "threads write disjoint blocks of one result through pointers")]

mod amx;
mod avx512;

use std::sync::Arc;

use rayon::prelude::*;

use super::buffer::{Buffer, Pool};
use crate::backend::Write;

/// Columns of a panel.
const PANEL: usize = 32;
/// The summed dimension is padded with zeros to a multiple of this many elements.
const STEP: usize = 32;
/// The most rows of a block among the kernels.
const MOST_ROWS: usize = 32;

/// How products with a bf16 matrix are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bf16Kernel {
    /// Tiles of AMX-BF16.
    Amx,
    /// Dot products of AVX512-BF16.
    Avx512,
    /// Blocks of the matrix are widened to f32 and go through the f32 product: any processor.
    Widened,
}

impl Bf16Kernel {
    /// The kernels that this processor and system can run, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        if avx512::available() {
            if amx::available() {
                kernels.push(Self::Amx);
            }
            kernels.push(Self::Avx512);
        }
        kernels.push(Self::Widened);
        kernels
    }

    /// The name that a backend's description shows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512-bf16",
            Self::Widened => "widened",
        }
    }

    /// Rows of a block.
    fn rows(self) -> usize {
        match self {
            Self::Amx => amx::ROWS,
            Self::Avx512 | Self::Widened => avx512::ROWS,
        }
    }
}

/// A frozen matrix `(n, k)` of bf16 bits, row-major.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) bits: &'a [u16],
    pub(super) n: usize,
    pub(super) k: usize,
}

/// A result that threads write block by block.
#[derive(Clone, Copy)]
struct Target {
    data: *mut f32,
    rows: usize,
    columns: usize,
    write: Write,
}

impl Target {
    /// The element in this row and column.
    ///
    /// # Safety
    /// Both lie inside the result.
    unsafe fn at(&self, row: usize, column: usize) -> *mut f32 {
        debug_assert!(row < self.rows && column < self.columns, "outside the result");
        // SAFETY: the caller's promise; the pointer is that of a slice of `rows · columns` elements.
        unsafe { self.data.add(row * self.columns + column) }
    }
}

// SAFETY: every block of the result is written by exactly one task (see `blocks`), while the slice is borrowed mutably.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// `y (m, n) (+)= x (m, k) · Wᵀ`. `kernel` is one of those available, not `Widened`.
pub(super) fn forward(
    kernel: Bf16Kernel,
    pool: &Arc<Pool>,
    x: &[f32],
    m: usize,
    w: Matrix<'_>,
    y: &mut [f32],
    write: Write,
) {
    assert_eq!((x.len(), w.bits.len(), y.len()), (m * w.k, w.n * w.k, m * w.n));
    let a = Rounded::new(kernel, pool, x, m, w.k);
    let target = Target { data: y.as_mut_ptr(), rows: m, columns: w.n, write };
    if m <= avx512::FEW_ROWS {
        few_rows(&a, w, target);
    } else {
        blocks(kernel, pool, &a, target, |panel, out| avx512::pack_rows(w, panel * PANEL, out));
    }
}

/// `dx (m, k) (+)= dy (m, n) · W`. `kernel` is one of those available, not `Widened`.
pub(super) fn backward(
    kernel: Bf16Kernel,
    pool: &Arc<Pool>,
    dy: &[f32],
    m: usize,
    w: Matrix<'_>,
    dx: &mut [f32],
    write: Write,
) {
    assert_eq!((dy.len(), w.bits.len(), dx.len()), (m * w.n, w.n * w.k, m * w.k));
    let a = Rounded::new(kernel, pool, dy, m, w.n);
    let target = Target { data: dx.as_mut_ptr(), rows: m, columns: w.k, write };
    blocks(kernel, pool, &a, target, |panel, out| avx512::pack_columns(w, panel * PANEL, out));
}

/// Rows rounded to bf16 and padded with zeros to whole steps and whole blocks of the kernel.
struct Rounded {
    storage: Buffer<f32>,
    stride: usize,
}

impl Rounded {
    fn new(kernel: Bf16Kernel, pool: &Arc<Pool>, x: &[f32], m: usize, k: usize) -> Self {
        let stride = k.next_multiple_of(STEP);
        let rows = m.next_multiple_of(kernel.rows());
        let mut storage = Buffer::uninitialised(pool, rows * stride / 2);
        let bits: &mut [u16] = bytemuck::cast_slice_mut(&mut storage);
        bits.par_chunks_mut(stride.max(1)).with_min_len(super::rows_per_task(k)).enumerate().for_each(
            |(row, out)| {
                avx512::round(x.get(row * k..(row + 1) * k).unwrap_or_default(), out);
            },
        );
        Self { storage, stride }
    }

    fn bits(&self) -> &[u16] {
        bytemuck::cast_slice(&self.storage)
    }
}

/// Shares panels and, where there are few of them, groups of row blocks among the threads. An element's sum is the same
/// however they are shared out.
fn blocks(
    kernel: Bf16Kernel,
    pool: &Arc<Pool>,
    a: &Rounded,
    target: Target,
    pack: impl Fn(usize, &mut [u32]) + Sync,
) {
    let panels = target.columns.div_ceil(PANEL);
    let row_blocks = target.rows.div_ceil(kernel.rows());
    let groups = (2 * rayon::current_num_threads()).div_ceil(panels.max(1)).clamp(1, row_blocks.max(1));
    let pairs = a.stride / 2;
    (0..panels * groups).into_par_iter().with_max_len(1).for_each(|task| {
        let (panel, group) = (task / groups, task % groups);
        let mut storage = Buffer::<f32>::uninitialised(pool, pairs * PANEL);
        let packed: &mut [u32] = bytemuck::cast_slice_mut(&mut storage);
        pack(panel, packed);
        let tiles = (kernel == Bf16Kernel::Amx).then(amx::Tiles::new);
        for block in row_blocks * group / groups..row_blocks * (group + 1) / groups {
            let rows = &a.bits()[block * kernel.rows() * a.stride..][..kernel.rows() * a.stride];
            one_block(tiles.as_ref(), rows, packed, target, (block * kernel.rows(), panel * PANEL));
        }
    });
}

/// One block of rows times one panel. Where the block reaches over the edge of the result, it is computed beside it.
fn one_block(
    tiles: Option<&amx::Tiles>,
    a: &[u16],
    b: &[u32],
    target: Target,
    (row, column): (usize, usize),
) {
    let multiply = |c: *mut f32, stride: usize, add: bool| {
        if let Some(tiles) = tiles {
            // SAFETY: `c` has `amx::ROWS` rows of a panel, `stride` apart, as both callers below see to.
            unsafe { tiles.multiply(a, b, c, stride, add) };
        } else {
            // SAFETY: as above for `avx512::ROWS` rows; the kernel was found available before it was chosen.
            unsafe { avx512::multiply(a, b, c, stride, add) };
        }
    };
    let block_rows = if tiles.is_some() { amx::ROWS } else { avx512::ROWS };
    let rows = block_rows.min(target.rows - row);
    let columns = PANEL.min(target.columns - column);
    // SAFETY: `row` and `column` lie inside the result, of which this task alone writes this block.
    let c = unsafe { target.at(row, column) };
    if (rows, columns) == (block_rows, PANEL) {
        multiply(c, target.columns, target.write == Write::Add);
        return;
    }
    let mut beside = [0.0_f32; MOST_ROWS * PANEL];
    multiply(beside.as_mut_ptr(), PANEL, false);
    for (r, line) in beside.chunks_exact(PANEL).enumerate().take(rows) {
        // SAFETY: `r < rows` and `columns` end inside the result.
        let out = unsafe { std::slice::from_raw_parts_mut(c.add(r * target.columns), columns) };
        for (out, &value) in out.iter_mut().zip(line) {
            *out = if target.write == Write::Add { *out + value } else { value };
        }
    }
}

/// A few rows times the transposed matrix, which is read once and never packed: memory is all it costs.
fn few_rows(a: &Rounded, w: Matrix<'_>, target: Target) {
    const COLUMNS: usize = 16;
    (0..w.n.div_ceil(COLUMNS)).into_par_iter().with_min_len(4).for_each(|group| {
        for column in group * COLUMNS..w.n.min((group + 1) * COLUMNS) {
            let row = &w.bits[column * w.k..(column + 1) * w.k];
            let sums = avx512::dot(a.bits(), a.stride, target.rows, row);
            for (r, &sum) in sums.iter().enumerate().take(target.rows) {
                // SAFETY: `r` and `column` lie inside the result; this task alone writes this column.
                unsafe {
                    let out = target.at(r, column);
                    *out = if target.write == Write::Add { *out + sum } else { sum };
                }
            }
        }
    });
}
