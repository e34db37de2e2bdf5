//! Products of two matrices of activations on one thread.

use std::cell::RefCell;

use super::super::isa::Simd;
use super::super::matmul::{Matmul, View};
use super::super::panels::{Out, PANEL, Part, Source};
use super::kernel::{ROWS, Strided, multiply as block};
use super::transpose::transpose;
use crate::backend::Write;

thread_local! {
    /// The panel that a thread multiplies by.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Whether a product of `m` rows with such a matrix of `n` columns is faster here than elsewhere: the matrix has to be packed
/// for every call, and half-empty panels do half-empty work.
pub(in super::super) fn suits(simd: Simd, m: usize, n: usize, b: View<'_, f32>) -> bool {
    super::worth_packing(simd) && m >= ROWS && n >= 3 * PANEL / 4 && (b.row == 1 || b.column == 1)
}

/// `C (m, n) (+)= A (m, k) · B (k, n)` into rows of `c` that are `stride` apart, for what [`suits`].
pub(in super::super) fn multiply(
    product: Matmul<f32>,
    a: View<'_, f32>,
    b: View<'_, f32>,
    c: &mut [f32],
    stride: usize,
) {
    let Matmul { simd, m, n, k, write, .. } = product;
    PACKED.with_borrow_mut(|packed| {
        packed.resize(packed.len().max(k * PANEL), 0.0);
        let panel = &mut packed[..k * PANEL];
        for column in (0..n).step_by(PANEL) {
            let columns = PANEL.min(n - column);
            pack(simd, b, column, columns, panel);
            for row in (0..m).step_by(ROWS) {
                let rows = ROWS.min(m - row);
                let data = a.data.get(row * a.row..).unwrap_or_default();
                let a = Strided { data, row: a.row, column: a.column, rows, k };
                let c = &mut c[row * stride + column..];
                write_block(simd, a, panel, Part { data: c, stride, columns }, write);
            }
        }
    });
}

/// Packs so many columns from `first` on, and zeros.
fn pack(simd: Simd, b: View<'_, f32>, first: usize, columns: usize, panel: &mut [f32]) {
    if b.column == 1 {
        for (l, line) in panel.chunks_exact_mut(PANEL).enumerate() {
            line[..columns].copy_from_slice(&b.data[l * b.row + first..][..columns]);
            line[columns..].fill(0.0);
        }
        return;
    }
    let mut rows = [0.0; PANEL * PANEL];
    let mut transposed = [0.0; PANEL * PANEL];
    for (step, out) in panel.chunks_mut(PANEL * PANEL).enumerate() {
        let count = out.len() / PANEL;
        for (j, row) in rows.chunks_exact_mut(PANEL).enumerate().take(columns) {
            row[..count].copy_from_slice(&b.data[(first + j) * b.column + step * PANEL..][..count]);
        }
        if let Ok(out) = out.try_into() {
            transpose(simd, &rows, out);
        } else {
            transpose(simd, &rows, &mut transposed);
            out.copy_from_slice(&transposed[..out.len()]);
        }
    }
}

/// One block of rows times one panel into the first `columns` columns of `c`.
fn write_block(simd: Simd, a: Strided<'_>, panel: &[f32], c: Part<'_>, write: Write) {
    let Part { data: c, stride, columns } = c;
    if columns == PANEL {
        assert!((a.rows - 1) * stride + PANEL <= c.len(), "the result is too small");
        let start = (write == Write::Add).then_some(Source { at: c.as_ptr(), stride });
        // SAFETY: `c` was just found to hold the rows.
        unsafe { block(simd, a, panel, Out { at: c.as_mut_ptr(), stride }, start) };
        return;
    }
    let mut beside = [0.0; ROWS * PANEL];
    // SAFETY: there are a block's rows beside the result.
    unsafe { block(simd, a, panel, Out { at: beside.as_mut_ptr(), stride: PANEL }, None) };
    for (r, line) in beside.chunks_exact(PANEL).enumerate().take(a.rows) {
        let c = &mut c[r * stride..][..columns];
        match write {
            Write::Set => c.copy_from_slice(&line[..columns]),
            Write::Add => c.iter_mut().zip(line).for_each(|(c, value)| *c += value),
        }
    }
}
