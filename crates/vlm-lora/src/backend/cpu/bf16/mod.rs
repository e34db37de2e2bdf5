//! Products with a frozen matrix of bf16 and sums in f32, by AMX tiles or AVX-512's dot products of pairs.
//!
//! `C (m, n) (+)= A (m, k) · B (k, n)`: `A` is rounded to bf16 rows, of which as many as fit the second-level cache are worked
//! through together; `B` goes by in panels of 32 columns, each of which holds pairs along `k`. A matrix that is kept in bf16 is
//! packed once, as the forward pass wants it; the backward pass packs its panels anew, a few percent of its work.

#![expect(unsafe_code, reason = "threads write disjoint blocks of one result through pointers")]

mod amx;
mod avx512;
mod engine;

use std::sync::Arc;

use rayon::prelude::*;

pub(super) use engine::Engine;

use super::Isa;
use super::buffer::{Buffer, Pool};
use crate::backend::Write;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// The summed dimension is padded with zeros to a multiple of this many elements.
pub(super) const STEP: usize = 32;
/// The most rows of a block among the kernels.
const MOST_ROWS: usize = 32;
/// Rounded elements that are worked through together: half a megabyte, half of a second-level cache.
const ROUNDED: usize = 1 << 18;
/// Pairs that are packed at a time where a matrix is not kept packed: four megabytes, which stay in the third-level cache.
const PACKED: usize = 1 << 20;

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
        if Isa::in_use() == Isa::Avx512 && avx512::available() {
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

    /// This kernel, or where so few rows would leave most of its blocks empty a smaller one.
    fn for_rows(self, m: usize) -> Self {
        if m <= avx512::ROWS { Self::Avx512 } else { self }
    }

    /// Rows of a block.
    pub(super) fn rows(self) -> usize {
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

/// A frozen matrix `(n, k)` packed by [`pack_rows`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [u32],
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Panels<'_> {
    /// Elements of a panel.
    fn panel(self) -> usize {
        self.k.next_multiple_of(STEP) / 2 * PANEL
    }

    /// The bits of row `row`.
    pub(super) fn row(self, row: usize) -> impl Iterator<Item = u16> {
        let pairs = self.data[row / PANEL * self.panel()..][..self.panel()].chunks_exact(PANEL);
        pairs
            .flat_map(move |pairs| [pairs[row % PANEL] as u16, (pairs[row % PANEL] >> 16) as u16])
            .take(self.k)
    }
}

/// A frozen matrix in one form or the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frozen<'a> {
    Rows(Matrix<'a>),
    Panels(Panels<'a>),
}

impl Frozen<'_> {
    fn shape(self) -> (usize, usize) {
        match self {
            Self::Rows(Matrix { n, k, .. }) | Self::Panels(Panels { n, k, .. }) => (n, k),
        }
    }
}

/// Packs the rows of a matrix once for all products.
pub(super) fn packed(w: Matrix<'_>) -> Vec<u32> {
    let panel = w.k.next_multiple_of(STEP) / 2 * PANEL;
    let mut data = vec![0; w.n.div_ceil(PANEL) * panel];
    data.par_chunks_mut(panel.max(1)).enumerate().for_each(|(i, out)| avx512::pack_rows(w, i * PANEL, out));
    data
}

/// How the rounded rows of a block follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Row after row.
    Rows,
    /// Step after step of all rows, so that a tile lies in one piece.
    Steps,
}

/// What the sums of a block start from: nothing, or rows of a panel, so many elements apart.
type Start = Option<(*const f32, usize)>;

/// What the sums of a product start from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Initial<'a> {
    /// Nothing.
    Zero,
    /// What the result holds.
    Result,
    /// This row, in every row.
    Bias(&'a [f32]),
}

impl From<Write> for Initial<'_> {
    fn from(write: Write) -> Self {
        if write == Write::Add { Self::Result } else { Self::Zero }
    }
}

/// A result that threads write block by block.
#[derive(Clone, Copy)]
struct Target<'a> {
    data: *mut f32,
    rows: usize,
    columns: usize,
    initial: Initial<'a>,
}

impl Target<'_> {
    /// The element in this row and column.
    ///
    /// # Safety
    /// Both lie inside the result.
    unsafe fn at(&self, row: usize, column: usize) -> *mut f32 {
        debug_assert!(row < self.rows && column < self.columns, "outside the result");
        // SAFETY: the caller's promise; the pointer is that of a slice of `rows · columns` elements.
        unsafe { self.data.add(row * self.columns + column) }
    }

    /// What the sum of the element in this row and column starts from.
    ///
    /// # Safety
    /// Both lie inside the result.
    unsafe fn initial(&self, row: usize, column: usize) -> f32 {
        match self.initial {
            Initial::Zero => 0.0,
            // SAFETY: the caller's promise.
            Initial::Result => unsafe { *self.at(row, column) },
            Initial::Bias(bias) => bias[column],
        }
    }
}

// SAFETY: every block of the result is written by exactly one task (see `blocks`), while the slice is borrowed mutably.
unsafe impl Send for Target<'_> {}
// SAFETY: as above.
unsafe impl Sync for Target<'_> {}

/// `y (m, n) = initial + x (m, k) · Wᵀ`. `kernel` is one of those available, not `Widened`.
pub(super) fn forward(
    kernel: Bf16Kernel,
    pool: &Arc<Pool>,
    (x, m): (&[f32], usize),
    w: Frozen<'_>,
    y: &mut [f32],
    initial: Initial<'_>,
) {
    let (n, k) = w.shape();
    assert_eq!((x.len(), y.len()), (m * k, m * n));
    let target = Target { data: y.as_mut_ptr(), rows: m, columns: n, initial };
    let kernel = kernel.for_rows(m);
    let a = Rounded::new(kernel, pool, x, m, k);
    match w {
        Frozen::Panels(w) => blocks(kernel, &a, target, 0, w.data),
        Frozen::Rows(w) => {
            packed_blocks(kernel, pool, &a, target, |panel, out| avx512::pack_rows(w, panel * PANEL, out));
        }
    }
}

/// `dx (m, k) (+)= dy (m, n) · W`. `kernel` is one of those available, not `Widened`.
pub(super) fn backward(
    kernel: Bf16Kernel,
    pool: &Arc<Pool>,
    (dy, m): (&[f32], usize),
    w: Frozen<'_>,
    dx: &mut [f32],
    write: Write,
) {
    let (n, k) = w.shape();
    assert_eq!((dy.len(), dx.len()), (m * n, m * k));
    let kernel = kernel.for_rows(m);
    let a = Rounded::new(kernel, pool, dy, m, n);
    let target = Target { data: dx.as_mut_ptr(), rows: m, columns: k, initial: write.into() };
    packed_blocks(kernel, pool, &a, target, |panel, out| match w {
        Frozen::Panels(w) => avx512::repack(w, panel * PANEL, out),
        Frozen::Rows(w) => avx512::pack_columns(w, panel * PANEL, out),
    });
}

/// Rows rounded to bf16 and padded with zeros to whole steps and whole blocks of the kernel.
struct Rounded {
    storage: Buffer<f32>,
    stride: usize,
    order: Order,
}

impl Rounded {
    fn new(kernel: Bf16Kernel, pool: &Arc<Pool>, x: &[f32], m: usize, k: usize) -> Self {
        let order = if kernel == Bf16Kernel::Amx { Order::Steps } else { Order::Rows };
        let (stride, block) = (k.next_multiple_of(STEP), kernel.rows());
        let mut storage = Buffer::uninitialised(pool, m.next_multiple_of(block) * stride / 2);
        let bits: &mut [u16] = bytemuck::cast_slice_mut(&mut storage);
        bits.par_chunks_mut((block * stride).max(1)).enumerate().for_each(|(index, out)| {
            for r in 0..block {
                let row = index * block + r;
                let x = if row < m { &x[row * k..(row + 1) * k] } else { &[] };
                match order {
                    Order::Rows => round_row(x, &mut out[r * stride..(r + 1) * stride]),
                    Order::Steps if x.is_empty() => {
                        out.chunks_exact_mut(block * STEP).for_each(|step| step[r * STEP..][..STEP].fill(0));
                    }
                    Order::Steps => avx512::round(x, &mut out[r * STEP..], block * STEP),
                }
            }
        });
        Self { storage, stride, order }
    }

    fn bits(&self) -> &[u16] {
        bytemuck::cast_slice(&self.storage)
    }
}

/// Packs a few panels at a time and multiplies by them.
fn packed_blocks(
    kernel: Bf16Kernel,
    pool: &Arc<Pool>,
    a: &Rounded,
    target: Target<'_>,
    pack: impl Fn(usize, &mut [u32]) + Sync,
) {
    let (panel, panels) = ((a.stride / 2 * PANEL).max(1), target.columns.div_ceil(PANEL));
    let at_once = (PACKED / panel).clamp(1, panels.max(1));
    let mut storage = Buffer::<f32>::uninitialised(pool, at_once * panel);
    for first in (0..panels).step_by(at_once) {
        let count = at_once.min(panels - first);
        let packed: &mut [u32] = &mut bytemuck::cast_slice_mut(&mut storage)[..count * panel];
        packed.par_chunks_mut(panel).enumerate().for_each(|(i, out)| pack(first + i, out));
        blocks(kernel, a, target, first, packed);
    }
}

/// Multiplies by panels, of which the first is number `first`. Groups of row blocks and, where there are few of them, of panels
/// are shared among the threads; an element's sum is the same however they are shared out.
fn blocks(kernel: Bf16Kernel, a: &Rounded, target: Target<'_>, first: usize, panels: &[u32]) {
    let panel = (a.stride / 2 * PANEL).max(1);
    let (rows, count) = (kernel.rows(), panels.len() / panel);
    let row_blocks = target.rows.div_ceil(rows);
    let groups = row_blocks.div_ceil((ROUNDED / (rows * a.stride).max(1)).max(1)).max(1);
    let slices = (4 * rayon::current_num_threads()).div_ceil(groups).clamp(1, count.max(1));
    (0..groups * slices).into_par_iter().with_max_len(1).for_each(|task| {
        let (group, slice) = (task / slices, task % slices);
        let tiles = (kernel == Bf16Kernel::Amx).then(amx::Tiles::new);
        for index in count * slice / slices..count * (slice + 1) / slices {
            let packed = &panels[index * panel..(index + 1) * panel];
            for block in row_blocks * group / groups..row_blocks * (group + 1) / groups {
                let part = &a.bits()[block * rows * a.stride..][..rows * a.stride];
                let at = (block * rows, (first + index) * PANEL);
                one_block(tiles.as_ref(), (part, a.order), packed, target, at);
            }
        }
    });
}

/// One block of rows times one panel. Where the block reaches over the edge of the result, it is computed beside it.
fn one_block(
    tiles: Option<&amx::Tiles>,
    (a, order): (&[u16], Order),
    b: &[u32],
    target: Target<'_>,
    (row, column): (usize, usize),
) {
    let block_rows = if tiles.is_some() { amx::ROWS } else { avx512::ROWS };
    let rows = block_rows.min(target.rows - row);
    let few = tiles.is_none() && rows <= avx512::FEW_ROWS;
    let a = if few { &a[..a.len() / avx512::ROWS * avx512::FEW_ROWS] } else { a };
    let multiply = |c: *mut f32, stride: usize, start: Start| {
        if let Some(tiles) = tiles {
            // SAFETY: `c` and `start` have `amx::ROWS` rows of a panel, as both callers below see to.
            unsafe { tiles.multiply((a, order), b, c, stride, start) };
        } else {
            // SAFETY: as above for the rows of `a`; the kernel was found available before it was chosen.
            unsafe { avx512::multiply((a, b.len() / PANEL * 2), b, c, stride, start) };
        }
    };
    let columns = PANEL.min(target.columns - column);
    // SAFETY: `row` and `column` lie inside the result, of which this task alone writes this block.
    let c = unsafe { target.at(row, column) };
    if (rows, columns) == (block_rows, PANEL) {
        let start: Start = match target.initial {
            Initial::Zero => None,
            Initial::Result => Some((c, target.columns)),
            Initial::Bias(bias) => Some((bias[column..column + PANEL].as_ptr(), 0)),
        };
        multiply(c, target.columns, start);
        return;
    }
    let mut beside = [0.0_f32; MOST_ROWS * PANEL];
    multiply(beside.as_mut_ptr(), PANEL, None);
    for (r, line) in beside.chunks_exact(PANEL).enumerate().take(rows) {
        for (j, &value) in line.iter().enumerate().take(columns) {
            // SAFETY: `r < rows` and `j < columns` lie inside the block, which is inside the result.
            unsafe { *target.at(row + r, column + j) = target.initial(row + r, column + j) + value };
        }
    }
}

/// Rounds a row to bf16; what `out` is longer, a whole number of steps, becomes zero.
pub(super) fn round_row(x: &[f32], out: &mut [u16]) {
    avx512::round(x, out, STEP);
    out[x.len().next_multiple_of(STEP)..].fill(0);
}

/// All panels of the matrix's rows as columns, one after the other.
pub(super) fn pack_rows(w: Matrix<'_>, out: &mut [u32]) {
    let panel = w.k.next_multiple_of(STEP) / 2 * PANEL;
    for (i, out) in out.chunks_exact_mut(panel).enumerate() {
        avx512::pack_rows(w, i * PANEL, out);
    }
}

/// All panels of the matrix's columns, one after the other.
pub(super) fn pack_columns(w: Matrix<'_>, out: &mut [u32]) {
    let panel = w.n.next_multiple_of(STEP) / 2 * PANEL;
    for (i, out) in out.chunks_exact_mut(panel).enumerate() {
        avx512::pack_columns(w, i * PANEL, out);
    }
}
