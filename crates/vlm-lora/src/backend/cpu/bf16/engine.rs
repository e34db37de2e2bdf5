//! Products of small matrices, as attention takes them.

#![expect(unsafe_code, reason = "the kernels write rows through pointers")]

use super::{Bf16Kernel, Order, Out, PANEL, Part, STEP, Source, amx, pairs};
use crate::backend::Write;

/// Products of small matrices on one thread, which must not run other tasks meanwhile.
pub(in super::super) struct Engine {
    kernel: Bf16Kernel,
    tiles: Option<amx::Tiles>,
}

impl Engine {
    /// `kernel` is one that multiplies in bf16.
    pub(in super::super) fn new(kernel: Bf16Kernel) -> Self {
        assert!(pairs::available() && kernel.is_native(), "the kernel cannot run here");
        Self { kernel, tiles: (kernel == Bf16Kernel::Amx).then(amx::Tiles::new) }
    }

    /// `C (m, n) (+)= A (m, k) · B`, of whole blocks, steps and panels, into the first `n` columns of the rows of `c`.
    pub(in super::super) fn multiply(&self, a: BitRows<'_>, b: PairPanels<'_>, c: Part<'_>, write: Write) {
        let (rows, BitRows { bits: a, width: k }, Part { data: c, stride, columns: n }) =
            (self.kernel.rows(), a, c);
        assert!(
            k > 0 && k.is_multiple_of(STEP) && n.is_multiple_of(PANEL) && a.len().is_multiple_of(rows * k)
        );
        assert!(n <= stride && c.len() >= a.len() / k * stride, "the result is too small");
        for column in 0..n / PANEL {
            let b = &b.pairs[column * b.panel..][..k / 2 * PANEL];
            for (block, a) in a.chunks_exact(rows * k).enumerate() {
                let at = c[block * rows * stride + column * PANEL..].as_mut_ptr();
                let c = Out { at, stride };
                let start = (write == Write::Add).then_some(Source { at: at.cast_const(), stride });
                // SAFETY: by the assertions `c` holds whole blocks of `rows` rows, `stride` apart, of which this is one;
                // the kernel was found available by `new`.
                unsafe {
                    if let Some(tiles) = &self.tiles {
                        tiles.multiply(a, Order::Rows, b, c, start);
                    } else {
                        pairs::multiply(a, k, b, c, start);
                    }
                }
            }
        }
    }
}

/// Rows of bf16, side by side.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct BitRows<'a> {
    pub(in super::super) bits: &'a [u16],
    /// Elements of a row.
    pub(in super::super) width: usize,
}

/// Panels of pairs of bf16.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PairPanels<'a> {
    pub(in super::super) pairs: &'a [u32],
    /// Pairs from one panel to the next, which has at least as many rows as are summed.
    pub(in super::super) panel: usize,
}
