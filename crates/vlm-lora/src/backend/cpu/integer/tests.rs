//! Products in integers against a plain loop over integers, bit for bit, and against products in f64.

use super::super::real::Real as _;
use super::*;

/// A value between -1 and 1 for every index and seed (splitmix64).
fn value(seed: u64, i: usize) -> f32 {
    let mut z = (seed << 32 | i as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ z >> 31) >> 40) as f32 / 8_388_608.0 - 1.0
}

fn values(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| value(seed, i)).collect()
}

/// A matrix of values between -1 and 1, as it is kept.
fn matrix(width: Width, n: usize, k: usize, of: impl Fn(usize) -> f32 + Sync) -> IntegerMatrix {
    let most = width.most() as f32;
    IntegerMatrix::new(width, n, k, |row, out| {
        let values: Vec<f32> = (0..k).map(|l| of(row * k + l)).collect();
        let scale = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs())) / most;
        out.iter_mut().zip(values).for_each(|(out, x)| *out = (x / scale).round().clamp(-most, most) as i16);
        scale
    })
}

/// The integers and scales of rows by the definition, one element at a time: of large columns in full, others once.
fn rounded(width: Width, x: &[f32], m: usize, k: usize) -> (Vec<i64>, Vec<f32>, Vec<bool>) {
    let largest = |l: usize| (0..m).map(|r| x[r * k + l].abs()).fold(0.0_f32, f32::max);
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| largest(b).total_cmp(&largest(a)).then(a.cmp(&b)));
    let mut is_large = vec![false; k];
    order.iter().take(LARGE).for_each(|&l| is_large[l] = true);
    let most = width.most() as f32;
    let (mut integers, mut scales) = (vec![0; m * k], vec![0.0; m]);
    for r in 0..m {
        let row = &x[r * k..(r + 1) * k];
        let of = |wanted: bool| {
            let part = row.iter().zip(&is_large).filter(|(_, large)| **large == wanted);
            part.fold(0.0_f32, |largest, (x, _)| largest.max(x.abs()))
        };
        scales[r] = (of(false) / most).max(of(true) / (most * (1 << width.shift()) as f32));
        if scales[r] > 0.0 {
            let factor = 1.0 / scales[r];
            for l in 0..k {
                integers[r * k + l] = (row[l] * factor).round_ties_even() as i64;
            }
        }
    }
    (integers, scales, is_large)
}

/// `y = initial + x · Wᵀ` by the definition, and the largest sum on the way.
fn expected(width: Width, x: &[f32], m: usize, w: &IntegerMatrix, bias: Option<&[f32]>) -> (Vec<f32>, i64) {
    let (n, k) = w.shape();
    let (integers, scales, is_large) = rounded(width, x, m, k);
    let rows: Vec<(f32, Vec<i64>)> = (0..n)
        .map(|j| {
            let (scale, row) = w.row(j);
            (scale, row.map(i64::from).collect())
        })
        .collect();
    let (mut y, mut largest) = (Vec::new(), 0);
    for r in 0..m {
        let x = &integers[r * k..(r + 1) * k];
        for (j, (scale, row)) in rows.iter().enumerate() {
            let total = match width {
                Width::Eight => {
                    let sum: i64 = x.iter().zip(row).map(|(x, w)| x * w).sum();
                    largest = largest.max(sum.abs());
                    sum as f32
                }
                Width::Sixteen => {
                    let large = (0..k).filter(|&l| is_large[l]);
                    let high: i64 = large.map(|l| ((x[l] + 512) >> 10) * row[l]).sum();
                    let low = |l: usize| {
                        if is_large[l] { x[l] - (((x[l] + 512) >> 10) << 10) } else { x[l] }
                    };
                    let columns: Vec<usize> = (0..k).collect();
                    let mut total = high as f32 * 1024.0;
                    for part in columns.chunks(EXACT_SUM) {
                        let sum: i64 = part.iter().map(|&l| low(l) * row[l]).sum();
                        largest = largest.max(sum.abs());
                        total += sum as f32;
                    }
                    total
                }
            };
            y.push(bias.map_or(0.0, |bias| bias[j]) + total * scale * scales[r]);
        }
    }
    (y, largest)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Every kernel of this CPU with the loops of the instruction set that it needs.
fn every_means(mut check: impl FnMut(Means<'_>)) {
    let pool = Arc::default();
    for kernel in IntegerKernel::available() {
        check(Means { pool: &pool, simd: Simd::at_most(Some(kernel.isa())), kernel });
    }
}

fn product(means: Means<'_>, x: &[f32], m: usize, w: &IntegerMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let (n, k) = w.shape();
    let input = Input { x, m, k, gelu: false, factors: None };
    let mut y = vec![f32::NAN; m * n];
    let rows = Quantised::new(means, w.width(), input);
    forward(&rows, w, &mut y, bias.map_or(Initial::Zero, Initial::Bias));
    y
}

/// Rows with columns that are up to a hundred times as large as the others.
fn with_outliers(m: usize, k: usize) -> Vec<f32> {
    let mut x = values(3, m * k);
    for row in x.chunks_mut(k) {
        for (l, value) in row.iter_mut().enumerate() {
            *value *= [1.0, 30.0, 100.0, 1.0][usize::from(l % 37 == 5) + 2 * usize::from(l % 211 == 7)];
        }
    }
    x
}

#[test]
fn every_kernel_gives_the_bits_of_a_plain_loop_over_integers() {
    let shapes =
        [(1, 5, 1), (3, 40, 33), (7, 64, 32), (12, 97, 70), (25, 301, 96), (61, 130, 31), (2, 2600, 40)];
    for width in [Width::Eight, Width::Sixteen] {
        for (m, k, n) in shapes {
            let (x, bias) = (with_outliers(m, k), values(5, n));
            let w = matrix(width, n, k, |i| value(7, i));
            for bias in [None, Some(&bias[..])] {
                let (expected, _) = expected(width, &x, m, &w, bias);
                every_means(|means| {
                    let y = product(means, &x, m, &w, bias);
                    assert_eq!(bits(&y), bits(&expected), "{:?} {width:?} {m} {k} {n}", means.kernel);
                });
            }
        }
    }
}

/// The gradient of the input is the product by the transposed integers, with the scales of the rows in the other operand.
#[test]
fn every_kernel_gives_the_bits_of_a_plain_loop_backward() {
    for width in [Width::Eight, Width::Sixteen] {
        for (m, k, n) in [(3, 33, 40), (13, 70, 97), (5, 64, 2100), (1, 3, 5)] {
            let w = matrix(width, n, k, |i| value(11, i));
            let dy = with_outliers(m, n);
            let scaled: Vec<f32> = dy.iter().zip(w.scales().iter().cycle()).map(|(dy, s)| dy * s).collect();
            let rows: Vec<Vec<i16>> = (0..n).map(|row| w.row(row).1.collect()).collect();
            let transposed = IntegerMatrix::new(width, k, n, |column, out| {
                out.iter_mut().zip(&rows).for_each(|(out, row)| *out = row[column]);
                1.0
            });
            let (of_nothing, _) = expected(width, &scaled, m, &transposed, None);
            for write in [Write::Set, Write::Add] {
                let before = values(13, m * k);
                let start = |i: usize| if write == Write::Add { before[i] } else { 0.0 };
                let expected: Vec<f32> = of_nothing.iter().enumerate().map(|(i, y)| start(i) + y).collect();
                every_means(|means| {
                    let mut dx = before.clone();
                    backward(means, &dy, m, &w, &mut dx, write);
                    assert_eq!(bits(&dx), bits(&expected), "{:?} {width:?} {m} {k} {n}", means.kernel);
                });
            }
        }
    }
}

/// Every element at its largest, in the longest sums that there may be; a matrix of integers has no longer rows, and the
/// released models none longer than 12,288.
#[test]
fn the_largest_sums_do_not_overflow() {
    for (width, k, bound) in [(Width::Eight, LONGEST_SUM, 1 << 31), (Width::Sixteen, 16_384, 1 << 31)] {
        for (sign, large) in [(1.0, 1.0), (-1.0, (1 << width.shift()) as f32)] {
            let x: Vec<f32> = (0..k).map(|l| if l < LARGE { large } else { 1.0 }).collect();
            let w = matrix(width, 2, k, |i| if i < k { sign } else { 1.0 });
            let (expected, largest) = expected(width, &x, 1, &w, None);
            assert!(largest < bound && largest > bound / 2, "{width:?}: {largest}");
            every_means(|means| {
                assert_eq!(
                    bits(&product(means, &x, 1, &w, None)),
                    bits(&expected),
                    "{:?} {width:?}",
                    means.kernel
                );
            });
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let (m, k, n) = (150, 200, 170);
    for width in [Width::Eight, Width::Sixteen] {
        let (w, x) = (matrix(width, n, k, |i| value(17, i)), with_outliers(m, k));
        every_means(|means| {
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let y = product(means, &x, m, &w, None);
                    let mut dx = vec![0.0; m * k];
                    backward(means, &y, m, &w, &mut dx, Write::Set);
                    (bits(&y), bits(&dx))
                })
            };
            let one = on(1);
            assert!(one == on(2) && one == on(3), "{:?} {width:?}", means.kernel);
        });
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row_and_shows() {
    let (m, k, n) = (4, 50, 40);
    let w = matrix(Width::Eight, n, k, |i| value(19, i));
    let mut x = values(23, m * k);
    x[k + 3] = f32::NAN;
    x[2 * k..3 * k].fill(0.0);
    x[3 * k + 7] = f32::INFINITY;
    let bias = values(29, n);
    every_means(|means| {
        let y = product(means, &x, m, &w, Some(&bias));
        assert!(y[..n].iter().all(|y| y.is_finite()));
        assert!(y[n..2 * n].iter().chain(&y[3 * n..]).all(|y| y.is_nan()));
        assert_eq!(bits(&y[2 * n..3 * n]), bits(&bias));
    });
}

/// The error of a product relative to its norm.
fn error(width: Width, x: &[f32], m: usize, n: usize) -> f64 {
    let k = x.len() / m;
    let of = |i: usize| value(31, i);
    let w = matrix(width, n, k, of);
    let (y, _) = expected(width, x, m, &w, None);
    let (mut off, mut norm) = (0.0, 0.0);
    for r in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|l| f64::from(x[r * k + l]) * f64::from(of(j * k + l))).sum();
            off += (f64::from(y[r * n + j]) - exact).powi(2);
            norm += exact * exact;
        }
    }
    f64::sqrt(off / norm)
}

/// The same of operands rounded to bf16.
fn error_in_bf16(x: &[f32], m: usize, n: usize) -> f64 {
    let k = x.len() / m;
    let round = |x: f32| f64::from(f32::from_bits(u32::from(x.bf16_bits()) << 16));
    let (mut off, mut norm) = (0.0, 0.0);
    for r in 0..m {
        for j in 0..n {
            let (mut exact, mut rounded) = (0.0, 0.0);
            for l in 0..k {
                let (x, w) = (x[r * k + l], value(31, j * k + l));
                exact += f64::from(x) * f64::from(w);
                rounded += round(x) * round(w);
            }
            off += (rounded - exact) * (rounded - exact);
            norm += exact * exact;
        }
    }
    f64::sqrt(off / norm)
}

#[test]
fn errors_are_small_with_and_without_outliers() {
    let (m, k, n) = (20, 400, 50);
    for x in [values(37, m * k), with_outliers(m, k)] {
        assert!(error(Width::Eight, &x, m, n) < 8e-3);
        let (sixteen, bf16) = (error(Width::Sixteen, &x, m, n), error_in_bf16(&x, m, n));
        assert!(sixteen < bf16, "{sixteen:e} in 16 bits, {bf16:e} in bf16");
    }
}
