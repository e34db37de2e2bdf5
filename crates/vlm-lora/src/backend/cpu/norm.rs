//! Layer norm and root-mean-square norm, row by row.

use rayon::prelude::*;

use super::isa::Simd;
use super::real::Real;
use super::simd::{lane_sum, simd_fn};
use super::tasks::rows_per_task;
use crate::backend::Write;

simd_fn! {
    /// `y = (x - mean) / sqrt(var + eps) · weight + bias` of one row.
    fn layer_norm_row(x: &[T], weight: &[T], bias: &[T], eps: T, y: &mut [T]) {
        let (mean, scale) = moments(x, eps);
        let n = x.len();
        let (weight, bias, y) = (&weight[..n], &bias[..n], &mut y[..n]);
        for i in 0..n {
            y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        }
    }
}

simd_fn! {
    /// With `g = dy · weight` and `h` the normed row: `dx (+)= (g - mean(g) - h · mean(g · h)) / sqrt(var + eps)`.
    fn layer_norm_backward_row(dy: &[T], x: &[T], weight: &[T], eps: T, dx: &mut [T], add: bool) {
        let (mean, scale) = moments(x, eps);
        let n = x.len();
        let (dy, weight, dx) = (&dy[..n], &weight[..n], &mut dx[..n]);
        let count = T::of(n as f64);
        let mean_g = lane_sum(n, |i| dy[i] * weight[i]) / count;
        let mean_gh = lane_sum(n, |i| dy[i] * weight[i] * ((x[i] - mean) * scale)) / count;
        let gradient = |i: usize| (dy[i] * weight[i] - mean_g - (x[i] - mean) * scale * mean_gh) * scale;
        write_row(dx, add, gradient);
    }
}

simd_fn! {
    /// `y = x / sqrt(mean(x²) + eps) · weight` of one row.
    fn rms_norm_row(x: &[T], weight: &[T], eps: T, y: &mut [T]) {
        let scale = rms_scale(x, eps);
        let n = x.len();
        let (weight, y) = (&weight[..n], &mut y[..n]);
        for i in 0..n {
            y[i] = x[i] * scale * weight[i];
        }
    }
}

simd_fn! {
    /// With `g = dy · weight` and `h` the normed row: `dx (+)= (g - h · mean(g · h)) / sqrt(mean(x²) + eps)`.
    fn rms_norm_backward_row(dy: &[T], x: &[T], weight: &[T], eps: T, dx: &mut [T], add: bool) {
        let scale = rms_scale(x, eps);
        let n = x.len();
        let (dy, weight, dx) = (&dy[..n], &weight[..n], &mut dx[..n]);
        let mean_gh = lane_sum(n, |i| dy[i] * weight[i] * x[i]) * scale / T::of(n as f64);
        let gradient = |i: usize| (dy[i] * weight[i] - x[i] * scale * mean_gh) * scale;
        write_row(dx, add, gradient);
    }
}

#[inline(always)]
fn write_row<T: Real>(row: &mut [T], add: bool, value: impl Fn(usize) -> T) {
    if add {
        for (i, out) in row.iter_mut().enumerate() {
            *out += value(i);
        }
    } else {
        for (i, out) in row.iter_mut().enumerate() {
            *out = value(i);
        }
    }
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn moments<T: Real>(x: &[T], eps: T) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = lane_sum(x.len(), |i| x[i]) / n;
    let variance = lane_sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, T::ONE / (variance + eps).sqrt())
}

#[inline(always)]
fn rms_scale<T: Real>(x: &[T], eps: T) -> T {
    T::ONE / (lane_sum(x.len(), |i| x[i] * x[i]) / T::of(x.len() as f64) + eps).sqrt()
}

pub(super) fn layer_norm<T: Real>(simd: Simd, x: &[T], weight: &[T], bias: &[T], eps: f64, y: &mut [T]) {
    let width = weight.len();
    each_row(x, y, width, |x, y| layer_norm_row(simd, x, weight, bias, T::of(eps), y));
}

pub(super) fn rms_norm<T: Real>(simd: Simd, x: &[T], weight: &[T], eps: f64, y: &mut [T]) {
    let width = weight.len();
    each_row(x, y, width, |x, y| rms_norm_row(simd, x, weight, T::of(eps), y));
}

pub(super) fn layer_norm_backward<T: Real>(
    simd: Simd,
    dy: &[T],
    x: &[T],
    weight: &[T],
    eps: f64,
    dx: &mut [T],
    write: Write,
) {
    let add = write == Write::Add;
    each_row_of_two(dy, x, dx, weight.len(), |dy, x, dx| {
        layer_norm_backward_row(simd, dy, x, weight, T::of(eps), dx, add);
    });
}

pub(super) fn rms_norm_backward<T: Real>(
    simd: Simd,
    dy: &[T],
    x: &[T],
    weight: &[T],
    eps: f64,
    dx: &mut [T],
    write: Write,
) {
    let add = write == Write::Add;
    each_row_of_two(dy, x, dx, weight.len(), |dy, x, dx| {
        rms_norm_backward_row(simd, dy, x, weight, T::of(eps), dx, add);
    });
}

fn each_row<T: Real>(x: &[T], y: &mut [T], width: usize, row: impl Fn(&[T], &mut [T]) + Sync) {
    y.par_chunks_mut(width)
        .with_min_len(rows_per_task(width))
        .zip(x.par_chunks(width))
        .for_each(|(y, x)| row(x, y));
}

fn each_row_of_two<T: Real>(
    a: &[T],
    b: &[T],
    y: &mut [T],
    width: usize,
    row: impl Fn(&[T], &[T], &mut [T]) + Sync,
) {
    y.par_chunks_mut(width)
        .with_min_len(rows_per_task(width))
        .zip(a.par_chunks(width).zip(b.par_chunks(width)))
        .for_each(|(y, (a, b))| row(a, b, y));
}
