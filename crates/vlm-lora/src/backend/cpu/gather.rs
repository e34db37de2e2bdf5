//! Copies of rows.

use rayon::prelude::*;

use super::isa::Simd;
use super::real::Real;
use super::tasks::rows_per_task;
use crate::backend::Write;

/// `dst[i] = src[rows[i]]`.
pub(super) fn gather<T: Real>(src: &[T], width: usize, rows: &[u32], dst: &mut [T]) {
    dst.par_chunks_mut(width).with_min_len(rows_per_task(width)).zip(rows).for_each(|(dst, &row)| {
        dst.copy_from_slice(&src[row as usize * width..][..width]);
    });
}

/// `dst[rows[i]] (+)= src[i]`.
pub(super) fn scatter<T: Real>(
    simd: Simd,
    src: &[T],
    width: usize,
    rows: &[u32],
    dst: &mut [T],
    write: Write,
) {
    for (src, &row) in src.chunks_exact(width).zip(rows) {
        store(simd, src, &mut dst[row as usize * width..][..width], write);
    }
}

/// `dst (+)= src`.
pub(super) fn store<T: Real>(simd: Simd, src: &[T], dst: &mut [T], write: Write) {
    match write {
        Write::Set => dst.copy_from_slice(src),
        Write::Add => super::pointwise::add(simd, T::ONE, src, dst),
    }
}
