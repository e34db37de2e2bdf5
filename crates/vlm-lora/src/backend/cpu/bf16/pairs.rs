//! Rounding, packing and products of pairs of bf16 by what this architecture has.

#[cfg(target_arch = "x86_64")]
pub(super) use super::avx512::{available, multiply, pack_columns, pack_rows, repack, round};
#[cfg(target_arch = "aarch64")]
pub(super) use super::neon::{available, multiply};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::portable::{pack_columns, pack_rows, repack, round};
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use absent::{available, multiply};

use super::Matrix;

/// Rows of a block.
pub(super) const ROWS: usize = 12;
/// Rows of a block of which only so few are wanted.
pub(super) const FEW_ROWS: usize = 4;

/// The element, or zero outside the matrix.
pub(super) fn element(w: Matrix<'_>, row: usize, column: usize) -> u16 {
    if row < w.n && column < w.k { w.bits[row * w.k + column] } else { 0 }
}

pub(super) fn couple(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod absent {
    use super::super::{Out, Start};

    pub(in super::super) fn available() -> bool {
        false
    }

    pub(in super::super) unsafe fn multiply(_: &[u16], _: usize, _: &[u32], _: Out, _: Start) {
        unreachable!("the kernel is never chosen on this architecture");
    }
}
