//! Products of strided matrices of activations, by the `gemm` crate or our own kernels.

#![expect(
    unsafe_code,
    reason = "the product works on pointers and strides, which are checked against the slices here"
)]

use super::f32_kernels;
#[cfg(any(test, target_arch = "x86_64"))]
use super::isa::Isa;
use super::isa::Simd;
use super::real::{Multiply, Operand, Product, Real};
use crate::backend::Write;

/// The longest sum that is taken in one piece. The `gemm` crate cuts longer ones where the number of rows suggests it; cut here,
/// they are the same whatever rows stand beside a row.
const LONGEST: usize = 512;
/// Asks the `gemm` crate for the conjugate of the result, which is the result, since it is real: its ways for a single row and
/// for few rows and columns, which sum in another order than that for many, are then left out.
const CONJUGATE: bool = true;

/// A matrix inside a slice: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a, T> {
    pub(super) data: &'a [T],
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a, T: Real> View<'a, T> {
    /// The same matrix of the one type that has kernels of its own.
    pub(super) fn cast(self) -> View<'a, f32> {
        View { data: bytemuck::cast_slice(self.data), row: self.row, column: self.column }
    }
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
pub(super) struct Matmul<T> {
    pub(super) simd: Simd,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: T,
    pub(super) write: Write,
}

impl<T: Real> Matmul<T> {
    /// A product with factor 1 that overwrites.
    pub(super) fn new(simd: Simd, m: usize, n: usize, k: usize) -> Self {
        Self { simd, m, n, k, alpha: T::ONE, write: Write::Set }
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
        if T::HAS_KERNELS && self.alpha == T::ONE && f32_kernels::suits(self.simd, self.m, self.n, b.cast()) {
            let Self { simd, m, n, k, write, .. } = self;
            self.check(a, b, c, stride);
            let product = Matmul::new(simd, m, n, k).write(write);
            let c = bytemuck::cast_slice_mut(c);
            return f32_kernels::multiply_activations(product, a.cast(), b.cast(), c, stride);
        }
        self.run(a, b, c, stride, gemm_common::Parallelism::None);
    }

    /// As [`here`](Self::here), on all threads of the current pool. Threads share out the result, never the summed dimension,
    /// so that their number does not change a bit.
    pub(super) fn everywhere(self, a: View<'_, T>, b: View<'_, T>, c: &mut [T], stride: usize) {
        self.run(a, b, c, stride, gemm_common::Parallelism::Rayon(0));
    }

    /// Panics where the product would leave a slice.
    pub(super) fn check(self, a: View<'_, T>, b: View<'_, T>, c: &[T], stride: usize) {
        let Self { m, n, k, .. } = self;
        let target = View { data: c, row: stride, column: 1 };
        assert!(n <= stride && target.holds(m, n), "the result lies outside its slice");
        assert!(k == 0 || (a.holds(m, k) && b.holds(k, n)), "an operand lies outside its slice");
    }

    fn run(
        self,
        a: View<'_, T>,
        b: View<'_, T>,
        c: &mut [T],
        stride: usize,
        threads: gemm_common::Parallelism,
    ) {
        let Self { simd, m, n, k, alpha, write } = self;
        if m == 0 || n == 0 {
            return;
        }
        self.check(a, b, c, stride);
        let mut product = Product {
            simd,
            m,
            n,
            k: k.min(LONGEST),
            alpha,
            a: Operand { at: a.data.as_ptr(), row: a.row, column: a.column },
            b: Operand { at: b.data.as_ptr(), row: b.row, column: b.column },
            c: c.as_mut_ptr(),
            stride,
            add: write == Write::Add,
            threads,
        };
        // SAFETY: every element the product touches was just checked to lie inside the slices; `c` is borrowed mutably and
        // its rows do not overlap, since they are at least `n` apart.
        unsafe { T::gemm(product) };
        for first in (LONGEST..k).step_by(LONGEST) {
            product.k = LONGEST.min(k - first);
            product.a.at = a.data[first * a.column..].as_ptr();
            product.b.at = b.data[first * b.row..].as_ptr();
            product.add = true;
            // SAFETY: as above; these are the next columns of `a` and rows of `b`.
            unsafe { T::gemm(product) };
        }
    }
}

macro_rules! multiply {
    ($t:ident, $kernels:ident, $scalar:literal, $fma:literal, $avx512:literal) => {
        impl Multiply for $t {
            unsafe fn gemm(product: Product<Self>) {
                let Product { simd, m, n, k, alpha, a, b, c, stride, add, threads } = product;
                macro_rules! call {
                    ($module:ident, $lanes:literal, $simd:expr) => {{
                        use $kernels::microkernel::$module::$t::{MR_DIV_N, NR, UKR};
                        // SAFETY: the caller's promise.
                        unsafe {
                            gemm_common::gemm::gemm_basic_generic::<
                                _, $t, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, 0, 0,
                            >(
                                // Its vectors run down columns, so it is given the transpose: Cᵀ = Bᵀ · Aᵀ.
                                $simd, n, m, k, c, stride as isize, 1, add, b.at, b.row as isize, b.column as isize, a.at,
                                a.row as isize, a.column as isize, 1.0, alpha, CONJUGATE, false, false,
                                |a, b, c| a * b + c, &UKR, &[], false, threads,
                            )
                        }
                    }};
                }
                #[cfg(target_arch = "x86_64")]
                {
                    use gemm_common::simd::{V3, V4};
                    let isa = simd.isa();
                    if isa == Isa::Avx512 && let Some(simd) = V4::try_new() {
                        return call!(avx512f, $avx512, simd);
                    }
                    if isa >= Isa::Avx2 && let Some(simd) = V3::try_new() {
                        return call!(fma, $fma, simd);
                    }
                }
                #[cfg(not(target_arch = "x86_64"))]
                let _ = simd;
                #[cfg(target_arch = "aarch64")]
                if std::arch::is_aarch64_feature_detected!("neon") {
                    return call!(neon, $scalar, gemm_common::simd::Scalar);
                }
                call!(scalar, 1, gemm_common::simd::Scalar);
            }
        }
    };
}

multiply!(f32, gemm_f32, 4, 8, 16);
#[cfg(feature = "f64")]
multiply!(f64, gemm_f64, 2, 4, 8);

#[cfg(test)]
mod tests {
    use super::super::rows_alone::{assert_rows_stand_alone, values};
    use super::*;

    /// The products of adapters, with sums on both sides of where they are cut.
    #[test]
    fn a_row_does_not_depend_on_those_beside_it() {
        let m = 35;
        for (n, k) in [(8, 70), (8, LONGEST), (8, LONGEST + 70), (70, 8), (1, 960), (33, 1100), (70, 2)] {
            let (x, b, before) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
            for isa in Isa::available() {
                for (transposed, alpha, write) in
                    [(true, 1.0, Write::Set), (true, 1.7, Write::Add), (false, 0.3, Write::Add)]
                {
                    let what = format!("{isa:?} ({n}, {k}) {transposed} {alpha} {write:?}");
                    assert_rows_stand_alone(m, n, &what, |rows| {
                        let mut c = before[rows.start * n..rows.end * n].to_vec();
                        let x = View::rows(&x[rows.start * k..rows.end * k], k);
                        let b = if transposed { View::columns(&b, k) } else { View::rows(&b, n) };
                        let product = Matmul::new(Simd::at_most(Some(isa)), rows.len(), n, k);
                        product.alpha(alpha).write(write).everywhere(x, b, &mut c, n);
                        c
                    });
                }
            }
        }
    }
}
