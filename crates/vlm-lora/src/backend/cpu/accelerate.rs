//! Products in f32 by Apple's Accelerate, where that was asked for: Macs multiply matrices on units that only it uses.
//!
//! It does not promise that a row of a product is the same whatever rows stand beside it, nor that two runs give the same bits,
//! and this crate promises both of the CPU backend. So it takes the products with frozen matrices alone, and only on request.

#![expect(
    unsafe_code,
    reason = "the product works on pointers and strides, which are checked against the slices here"
)]

use std::ffi::c_int;

use super::bf16::Context;
use super::matmul::{Matmul, View};
use super::real::Real;
use crate::backend::Write;

/// `cblas_sgemm`: order, transposition of either operand, m, n, k, alpha, A, its leading dimension, B, its leading dimension,
/// beta, C, its leading dimension.
type Sgemm = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    f32,
    *const f32,
    c_int,
    *const f32,
    c_int,
    f32,
    *mut f32,
    c_int,
);

/// What the C interface to the BLAS calls matrices of contiguous rows, operands as they are, and transposed ones.
const ROW_MAJOR: c_int = 101;
const AS_IT_IS: c_int = 111;
const TRANSPOSED: c_int = 112;

#[cfg(target_os = "macos")]
fn system() -> Option<Sgemm> {
    #[link(name = "Accelerate", kind = "framework")]
    unsafe extern "C" {
        fn cblas_sgemm(
            order: c_int,
            transpose_a: c_int,
            transpose_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: f32,
            a: *const f32,
            lda: c_int,
            b: *const f32,
            ldb: c_int,
            beta: f32,
            c: *mut f32,
            ldc: c_int,
        );
    }
    Some(cblas_sgemm)
}

#[cfg(not(target_os = "macos"))]
fn system() -> Option<Sgemm> {
    None
}

/// Whether this system has it.
pub(super) fn available() -> bool {
    system().is_some()
}

impl Context<'_> {
    /// A product with a frozen matrix: by Accelerate where it was asked for, else on all threads of the current pool.
    pub(super) fn multiply<T: Real>(
        self,
        product: Matmul<T>,
        a: View<'_, T>,
        b: View<'_, T>,
        c: &mut [T],
        stride: usize,
    ) {
        if self.accelerate
            && T::HAS_KERNELS
            && let Some(sgemm) = system()
        {
            let Matmul { simd, m, n, k, alpha, write } = product;
            let product = Matmul { alpha: alpha.to_f64() as f32, write, ..Matmul::new(simd, m, n, k) };
            if call(sgemm, product, a.cast(), b.cast(), bytemuck::cast_slice_mut(c), stride) {
                return;
            }
        }
        product.everywhere(a, b, c, stride);
    }
}

/// How an operand of so many rows and columns is told: transposed or not, and its leading dimension. Nothing of one whose rows
/// and columns are both apart.
fn operand(view: View<'_, f32>, rows: usize, columns: usize) -> Option<(c_int, c_int)> {
    let (transposed, leading) = match view {
        View { row, column: 1, .. } if row >= columns => (AS_IT_IS, row),
        View { row: 1, column, .. } if column >= rows => (TRANSPOSED, column),
        _ => return None,
    };
    Some((transposed, leading.try_into().ok()?))
}

/// Whether it was computed: sizes must fit, and operands be of rows or columns that lie side by side.
fn call(
    sgemm: Sgemm,
    product: Matmul<f32>,
    a: View<'_, f32>,
    b: View<'_, f32>,
    c: &mut [f32],
    stride: usize,
) -> bool {
    let Matmul { m, n, k, alpha, write, .. } = product;
    product.check(a, b, c, stride);
    let size = |size: usize| c_int::try_from(size).ok().filter(|size| *size > 0);
    let operands = operand(a, m, k).zip(operand(b, k, n));
    let sizes = size(m).zip(size(n)).zip(size(k).zip(size(stride)));
    let (Some(((transpose_a, lda), (transpose_b, ldb))), Some(((m, n), (k, ldc)))) = (operands, sizes) else {
        return false;
    };
    let beta = if write == Write::Add { 1.0 } else { 0.0 };
    let (a, b, c) = (a.data.as_ptr(), b.data.as_ptr(), c.as_mut_ptr());
    // SAFETY: every element that these sizes and strides name was just checked to lie inside the slices; `c` is borrowed mutably.
    unsafe { sgemm(ROW_MAJOR, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) };
    true
}

#[cfg(test)]
mod tests {
    use super::super::isa::Simd;
    use super::super::rows_alone::values;
    use super::*;

    /// The interface by its definition (BLAS Technical Forum Standard, 2001, appendix B.2), for matrices of contiguous rows.
    unsafe extern "C" fn by_definition(
        order: c_int,
        transpose_a: c_int,
        transpose_b: c_int,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: f32,
        a: *const f32,
        lda: c_int,
        b: *const f32,
        ldb: c_int,
        beta: f32,
        c: *mut f32,
        ldc: c_int,
    ) {
        assert_eq!(order, ROW_MAJOR);
        assert!(lda >= if transpose_a == AS_IT_IS { k } else { m } && ldc >= n, "{lda} {ldc}");
        assert!(ldb >= if transpose_b == AS_IT_IS { n } else { k }, "{ldb}");
        let at = |transpose: c_int, ld: c_int, i: c_int, j: c_int| {
            (if transpose == AS_IT_IS { i * ld + j } else { j * ld + i }) as usize
        };
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            // SAFETY: the caller's promise about sizes and leading dimensions.
            unsafe {
                let term = |l| *a.add(at(transpose_a, lda, i, l)) * *b.add(at(transpose_b, ldb, l, j));
                let sum: f32 = (0..k).map(term).sum();
                let to = c.add((i * ldc + j) as usize);
                *to = alpha * sum + if beta == 0.0 { 0.0 } else { beta * *to };
            }
        }
    }

    /// A product by every view of its operands, beside the one of the `gemm` crate.
    fn check(sgemm: Sgemm) {
        let simd = Simd::at_most(None);
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (33, 20, 70), (64, 96, 32)] {
            let (x, w, before) = (values(m * k, 1), values(k * n, 2), values(m * (n + 3), 3));
            for (is_a_transposed, is_b_transposed) in
                [(false, true), (false, false), (true, false), (true, true)]
            {
                let a = if is_a_transposed { View::columns(&x, m) } else { View::rows(&x, k) };
                let b = if is_b_transposed { View::columns(&w, k) } else { View::rows(&w, n) };
                for (alpha, write) in [(1.0, Write::Set), (0.75, Write::Add)] {
                    let product = Matmul::new(simd, m, n, k).alpha(alpha).write(write);
                    let (mut ours, mut theirs) = (before.clone(), before.clone());
                    product.everywhere(a, b, &mut ours[..m * (n + 3) - 3], n + 3);
                    assert!(call(sgemm, product, a, b, &mut theirs[..m * (n + 3) - 3], n + 3));
                    let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(
                        off < 1e-4,
                        "({m}, {n}, {k}) {is_a_transposed} {is_b_transposed} {write:?}: {off:e}"
                    );
                }
            }
        }
        let empty = Matmul::new(simd, 2, 2, 0);
        assert!(
            !call(sgemm, empty, View::rows(&[], 0), View::rows(&[], 2), &mut [0.0; 4], 2),
            "sums of nothing"
        );
    }

    #[test]
    fn operands_are_told_as_the_interface_defines_them() {
        check(by_definition);
    }

    #[test]
    #[cfg(target_os = "macos")]
    fn accelerate_multiplies() {
        check(system().unwrap());
    }

    #[test]
    #[cfg(unix)]
    #[ignore = "needs a library with the C interface to the BLAS, which CBLAS_LIBRARY names (Debian: libopenblas0-pthread)"]
    fn another_blas_multiplies() {
        let path = std::env::var_os("CBLAS_LIBRARY").expect("CBLAS_LIBRARY names a library");
        // SAFETY: a BLAS does nothing but allocate where it is loaded; the symbol is a function of this type.
        unsafe {
            let library = libloading::Library::new(path).unwrap();
            check(*library.get::<Sgemm>(b"cblas_sgemm\0").unwrap());
        }
    }
}
