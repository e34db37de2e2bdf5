//! Products of small matrices, as attention takes them.

#![expect(unsafe_code, reason = "the kernels write rows through pointers")]

use super::{Bf16Kernel, Order, PANEL, STEP, amx, avx512};
use crate::backend::Write;

/// Products of small matrices on one thread, which must not run other tasks meanwhile.
pub(in super::super) struct Engine {
    kernel: Bf16Kernel,
    tiles: Option<amx::Tiles>,
}

impl Engine {
    /// `kernel` is one of those available, not `Upcast`.
    pub(in super::super) fn new(kernel: Bf16Kernel) -> Self {
        assert!(avx512::available() && kernel != Bf16Kernel::Upcast, "the kernel cannot run here");
        Self { kernel, tiles: (kernel == Bf16Kernel::Amx).then(amx::Tiles::new) }
    }

    /// `C (m, n) (+)= A (m, k) · B`, of whole blocks, steps and panels: `a` is row-major and as wide as `k`, `b` holds panels
    /// of at least `k` rows, `panel` elements apart, and the rows of `c` lie side by side.
    pub(in super::super) fn multiply(
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
    pub(in super::super) fn multiply_part(
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
        for column in 0..n / PANEL {
            let b = &b[column * panel..][..k / 2 * PANEL];
            for (block, a) in a.chunks_exact(rows * k).enumerate() {
                let c = c[block * rows * stride + column * PANEL..].as_mut_ptr();
                let start = (write == Write::Add).then_some((c.cast_const(), stride));
                // SAFETY: by the assertions `c` holds whole blocks of `rows` rows, `stride` apart, of which this is one;
                // the kernel was found available by `new`.
                unsafe {
                    if let Some(tiles) = &self.tiles {
                        tiles.multiply((a, Order::Rows), b, c, stride, start);
                    } else {
                        avx512::multiply((a, k), b, c, stride, start);
                    }
                }
            }
        }
    }
}
