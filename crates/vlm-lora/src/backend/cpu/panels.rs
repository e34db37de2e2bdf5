//! The loop that the products with frozen matrices share: blocks of rows times panels of 32 columns.
//!
//! `C (m, n) = initial + A (m, k) · B (k, n)`: as many rows of `A` as fit the second-level cache are worked through together
//! while the panels of `B` go by. What a row and a panel look like in memory is each kernel's own.

#![expect(unsafe_code, reason = "threads write disjoint blocks of one result through pointers")]

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use rayon::prelude::*;

use super::buffer::{Buffer, Pool};
use crate::backend::Write;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// The most rows of a block among the kernels.
const MOST_ROWS: usize = 32;
/// Bytes of rows that are worked through together: half of a second-level cache.
pub(super) const TOGETHER: usize = 1 << 19;
/// Elements that are packed at a time where a matrix is not kept packed: four megabytes, which stay in the third-level cache.
const PACKED: usize = 1 << 20;

/// Rows of a result, `stride` elements apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    pub(super) at: *mut f32,
    pub(super) stride: usize,
}

/// Rows that are read, `stride` elements apart; 0 where they are one and the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) at: *const f32,
    pub(super) stride: usize,
}

/// What the sums of a block start from: nothing, or rows of a panel.
pub(super) type Start = Option<Source>;

/// A block of rows, of which the first `rows` count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) index: usize,
    pub(super) rows: usize,
}

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

/// The first columns of rows of a result.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) data: &'a mut [f32],
    /// Elements from one row to the next.
    pub(super) stride: usize,
    pub(super) columns: usize,
}

impl<'a> Part<'a> {
    /// All columns of rows that lie side by side.
    pub(super) fn whole(data: &'a mut [f32], columns: usize) -> Self {
        Self { data, stride: columns, columns }
    }
}

/// The left operand of a product, as one kernel wants it.
pub(super) trait Rows: Sync {
    /// What panels are made of, four bytes each.
    type Element: Pod + Send + Sync;
    /// What a thread keeps while it works through some blocks.
    type Thread;

    /// Rows of a block, at most [`MOST_ROWS`].
    fn block(&self) -> usize;

    /// Bytes of a row.
    fn row_bytes(&self) -> usize;

    /// Elements of a panel.
    fn panel(&self) -> usize;

    /// Makes a thread ready for these blocks.
    fn thread(&self, blocks: Range<usize>) -> Self::Thread;

    /// Makes a thread ready for this panel.
    fn ready(&self, _thread: &mut Self::Thread, _panel: &[Self::Element]) {}

    /// `C (rows, 32) = start + A · panel` for the rows of a block that count; up to a whole block of rows may be written.
    ///
    /// # Safety
    /// `c` has a block's rows of 32 elements that no one else uses; `start` likewise has rows to read, which may be one and
    /// the same.
    unsafe fn multiply(
        &self,
        thread: &Self::Thread,
        block: Block,
        panel: &[Self::Element],
        c: Out,
        start: Start,
    );
}

/// A result that threads write block by block.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    data: *mut f32,
    rows: usize,
    columns: usize,
    initial: Initial<'a>,
}

impl<'a> Target<'a> {
    /// A result of `rows` rows, borrowed for as long as it is written.
    pub(super) fn new(data: &'a mut [f32], rows: usize, columns: usize, initial: Initial<'a>) -> Self {
        assert_eq!(data.len(), rows * columns, "a result of {rows} rows");
        assert!(!matches!(initial, Initial::Bias(bias) if bias.len() != columns), "a bias of the same width");
        Self { data: data.as_mut_ptr(), rows, columns, initial }
    }

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

    /// The result of empty sums.
    fn begin(&self) {
        for at in 0..self.rows * self.columns {
            let (row, column) = (at / self.columns, at % self.columns);
            // SAFETY: inside the result.
            unsafe { *self.at(row, column) = self.initial(row, column) };
        }
    }
}

// SAFETY: every block of the result is written by exactly one task (see `multiply`), while the slice is borrowed mutably.
unsafe impl Send for Target<'_> {}
// SAFETY: as above.
unsafe impl Sync for Target<'_> {}

/// Packs a few panels at a time and multiplies by them.
pub(super) fn multiply_packing<A: Rows>(
    pool: &Arc<Pool>,
    a: &A,
    target: Target<'_>,
    pack: impl Fn(usize, &mut [A::Element]) + Sync,
) {
    let (panel, panels) = (a.panel(), target.columns.div_ceil(PANEL));
    if panel == 0 {
        return target.begin();
    }
    let at_once = (PACKED / panel).clamp(1, panels.max(1));
    let mut storage = Buffer::<f32>::uninitialised(pool, at_once * panel);
    for first in (0..panels).step_by(at_once) {
        let count = at_once.min(panels - first);
        let packed: &mut [A::Element] = &mut bytemuck::cast_slice_mut(&mut storage)[..count * panel];
        packed.par_chunks_mut(panel).enumerate().for_each(|(i, out)| pack(first + i, out));
        multiply(a, target, first, packed);
    }
}

/// Multiplies by panels, of which the first is number `first`. Groups of row blocks and, where there are few of them, of panels
/// are shared among the threads; an element's sum is the same however they are shared out.
pub(super) fn multiply<A: Rows>(a: &A, target: Target<'_>, first: usize, panels: &[A::Element]) {
    let panel = a.panel();
    if panel == 0 {
        return target.begin();
    }
    let (rows, count) = (a.block(), panels.len() / panel);
    let row_blocks = target.rows.div_ceil(rows);
    let groups = row_blocks.div_ceil((TOGETHER / (rows * a.row_bytes()).max(1)).max(1)).max(1);
    let slices = (4 * rayon::current_num_threads()).div_ceil(groups).clamp(1, count.max(1));
    (0..groups * slices).into_par_iter().with_max_len(1).for_each(|task| {
        let (group, slice) = (task / slices, task % slices);
        let blocks = row_blocks * group / groups..row_blocks * (group + 1) / groups;
        let mut thread = a.thread(blocks.clone());
        for index in count * slice / slices..count * (slice + 1) / slices {
            let packed = &panels[index * panel..(index + 1) * panel];
            a.ready(&mut thread, packed);
            for block in blocks.clone() {
                one_block(a, &thread, block, packed, target, (first + index) * PANEL);
            }
        }
    });
}

/// One block of rows times one panel. Where the block reaches over the edge of the result, it is computed beside it.
fn one_block<A: Rows>(
    a: &A,
    thread: &A::Thread,
    block: usize,
    panel: &[A::Element],
    target: Target<'_>,
    column: usize,
) {
    let row = block * a.block();
    let (rows, columns) = (a.block().min(target.rows - row), PANEL.min(target.columns - column));
    if (rows, columns) == (a.block(), PANEL) {
        // SAFETY: `row` and `column` lie inside the result, of which this task alone writes this block.
        let c = unsafe { target.at(row, column) };
        let start: Start = match target.initial {
            Initial::Zero => None,
            Initial::Result => Some(Source { at: c, stride: target.columns }),
            Initial::Bias(bias) => Some(Source { at: bias[column..column + PANEL].as_ptr(), stride: 0 }),
        };
        // SAFETY: the block lies inside the result as a whole, as do the rows that it starts from.
        unsafe {
            a.multiply(
                thread,
                Block { index: block, rows },
                panel,
                Out { at: c, stride: target.columns },
                start,
            );
        };
        return;
    }
    // The sums start from the same values as those of a whole block do, so that a row does not depend on where it lies.
    let mut beside = [0.0_f32; MOST_ROWS * PANEL];
    let each = || (0..rows).flat_map(|r| (0..columns).map(move |j| (r, j)));
    for (r, j) in each() {
        // SAFETY: `r < rows` and `j < columns` lie inside the block, which is inside the result.
        beside[r * PANEL + j] = unsafe { target.initial(row + r, column + j) };
    }
    let at = beside.as_mut_ptr();
    let start = Some(Source { at, stride: PANEL });
    // SAFETY: no block has more rows than there are beside the result.
    unsafe { a.multiply(thread, Block { index: block, rows }, panel, Out { at, stride: PANEL }, start) };
    for (r, j) in each() {
        // SAFETY: as above.
        unsafe { *target.at(row + r, column + j) = beside[r * PANEL + j] };
    }
}
