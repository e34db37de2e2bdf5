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

use super::Isa;
use super::buffer::{Buffer, Pool};
use crate::backend::Write;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// The summed dimension is padded with zeros to a multiple of this many elements.
pub(super) const STEP: usize = 32;
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

/// How the rounded rows of a block follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Row after row.
    Rows,
    /// Step after step of all rows, so that a tile lies in one piece.
    Steps,
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
    let target = Target { data: y.as_mut_ptr(), rows: m, columns: w.n, write };
    if m <= avx512::FEW_ROWS {
        few_rows(&Rounded::new(Bf16Kernel::Avx512, pool, x, m, w.k), w, target);
    } else {
        let a = Rounded::new(kernel, pool, x, m, w.k);
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
            one_block(
                tiles.as_ref(),
                (rows, a.order),
                packed,
                target,
                (block * kernel.rows(), panel * PANEL),
            );
        }
    });
}

/// One block of rows times one panel. Where the block reaches over the edge of the result, it is computed beside it.
fn one_block(
    tiles: Option<&amx::Tiles>,
    (a, order): (&[u16], Order),
    b: &[u32],
    target: Target,
    (row, column): (usize, usize),
) {
    let multiply = |c: *mut f32, stride: usize, add: bool| {
        if let Some(tiles) = tiles {
            // SAFETY: `c` has `amx::ROWS` rows of a panel, `stride` apart, as both callers below see to.
            unsafe { tiles.multiply((a, order), b, c, stride, add) };
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

/// Products of small matrices on one thread, which must not run other tasks meanwhile.
pub(super) struct Engine {
    kernel: Bf16Kernel,
    tiles: Option<amx::Tiles>,
}

impl Engine {
    /// `kernel` is one of those available, not `Widened`.
    pub(super) fn new(kernel: Bf16Kernel) -> Self {
        assert!(avx512::available() && kernel != Bf16Kernel::Widened, "the kernel cannot run here");
        Self { kernel, tiles: (kernel == Bf16Kernel::Amx).then(amx::Tiles::new) }
    }

    /// `C (m, n) (+)= A (m, k) · B`, of whole blocks, steps and panels: `a` is row-major and as wide as `k`, `b` holds panels
    /// of at least `k` rows, `panel` elements apart, and the rows of `c` lie side by side.
    pub(super) fn multiply(
        &self,
        a: (&[u16], usize),
        b: (&[u32], usize),
        c: &mut [f32],
        n: usize,
        write: Write,
    ) {
        self.multiply_part(a, b, (c, n, n), write);
    }

    /// As [`multiply`](Self::multiply), into the first `n` columns of rows that are `stride` apart.
    pub(super) fn multiply_part(
        &self,
        (a, k): (&[u16], usize),
        (b, panel): (&[u32], usize),
        (c, stride, n): (&mut [f32], usize, usize),
        write: Write,
    ) {
        let rows = self.kernel.rows();
        assert!(
            k > 0 && k.is_multiple_of(STEP) && n.is_multiple_of(PANEL) && a.len().is_multiple_of(rows * k)
        );
        assert!(n <= stride && c.len() >= a.len() / k * stride, "the result is too small");
        let add = write == Write::Add;
        for column in 0..n / PANEL {
            let b = &b[column * panel..][..k / 2 * PANEL];
            for (block, a) in a.chunks_exact(rows * k).enumerate() {
                let c = &mut c[block * rows * stride + column * PANEL..];
                // SAFETY: by the assertions `c` holds whole blocks of `rows` rows, `stride` apart, of which this is one;
                // the kernel was found available by `new`.
                unsafe {
                    if let Some(tiles) = &self.tiles {
                        tiles.multiply((a, Order::Rows), b, c.as_mut_ptr(), stride, add);
                    } else {
                        avx512::multiply(a, b, c.as_mut_ptr(), stride, add);
                    }
                }
            }
        }
    }
}
