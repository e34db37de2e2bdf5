//! Products of strided matrices of activations, by the `gemm` crate.

#![expect(
    unsafe_code,
    reason = "the product works on pointers and strides, which are checked against the slices here"
)]

use super::real::Real;
use crate::backend::Write;

/// A matrix inside a slice: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a, T> {
    data: &'a [T],
    row: usize,
    column: usize,
}

impl<'a, T> View<'a, T> {
    /// Rows of contiguous elements, `stride` apart.
    pub(super) fn rows(data: &'a [T], stride: usize) -> Self {
        Self { data, row: stride, column: 1 }
    }

    /// The transpose of [`rows`](Self::rows).
    pub(super) fn columns(data: &'a [T], stride: usize) -> Self {
        Self { data, row: 1, column: stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1)
                .checked_mul(self.row)
                .zip((columns - 1).checked_mul(self.column))
                .and_then(|(down, right)| down.checked_add(right))
                .is_some_and(|last| last < self.data.len())
    }
}

/// Sizes of a product `C (m, n) (+)= alpha · A (m, k) · B (k, n)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<T> {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: T,
    pub(super) write: Write,
}

impl<T: Real> Product<T> {
    /// A product with factor 1 that overwrites.
    pub(super) fn new(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, alpha: T::ONE, write: Write::Set }
    }

    /// With factor `alpha`.
    pub(super) fn alpha(self, alpha: T) -> Self {
        Self { alpha, ..self }
    }

    /// With this way of writing.
    pub(super) fn write(self, write: Write) -> Self {
        Self { write, ..self }
    }

    /// Computes into rows of `c` that are `stride` apart, on this thread.
    pub(super) fn here(self, a: View<'_, T>, b: View<'_, T>, c: &mut [T], stride: usize) {
        self.run(a, b, c, stride, gemm::Parallelism::None);
    }

    /// As [`here`](Self::here), on all threads of the current pool. Threads share out the result, never the summed dimension,
    /// so that their number does not change a bit.
    pub(super) fn everywhere(self, a: View<'_, T>, b: View<'_, T>, c: &mut [T], stride: usize) {
        self.run(a, b, c, stride, gemm::Parallelism::Rayon(0));
    }

    fn run(self, a: View<'_, T>, b: View<'_, T>, c: &mut [T], stride: usize, threads: gemm::Parallelism) {
        let Self { m, n, k, alpha, write } = self;
        if m == 0 || n == 0 {
            return;
        }
        let target = View { data: &*c, row: stride, column: 1 };
        assert!(n <= stride && target.holds(m, n), "the result lies outside its slice");
        assert!(k == 0 || (a.holds(m, k) && b.holds(k, n)), "an operand lies outside its slice");
        // SAFETY: every element the product touches was just checked to lie inside the slices; `c` is borrowed mutably and
        // its rows do not overlap, since they are at least `n` apart.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                stride as isize,
                write == Write::Add,
                a.data.as_ptr(),
                a.column as isize,
                a.row as isize,
                b.data.as_ptr(),
                b.column as isize,
                b.row as isize,
                T::ONE,
                alpha,
                false,
                false,
                false,
                threads,
            );
        }
    }
}
