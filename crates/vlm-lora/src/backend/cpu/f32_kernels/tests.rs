//! The kernels against sums of small integers, which are exact.

use super::super::bf16::Bf16Kernel;
use super::super::matmul::{Matmul, View};
use super::super::rows_alone::{assert_rows_stand_alone, values};
use super::*;

/// Small integers, of which every sum below is exact whatever its order.
fn integers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 13 + i / 11) % 9) as f32 - 4.0).collect()
}

/// `initial + A (m, k) · B (k, n)`, term by term.
fn reference(
    (m, n, k): (usize, usize, usize),
    initial: impl Fn(usize, usize) -> f32,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let element = |i, j| (0..k).fold(initial(i, j), |sum, l| sum + a(i, l) * b(l, j));
    (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

const SIZES: [usize; 7] = [1, 5, 12, 13, 31, 32, 70];

/// Sizes on both sides of every edge; rows of 1024 are copied apart.
fn sizes() -> Vec<(usize, usize, usize)> {
    let mut sizes = vec![(29, 33, CONFLICT), (29, CONFLICT, 33)];
    for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25, 40] {
        sizes.extend(SIZES.into_iter().flat_map(|n| SIZES.map(|k| (m, n, k))));
    }
    sizes
}

fn sets() -> impl Iterator<Item = Simd> {
    Isa::available().into_iter().map(|isa| Simd::at_most(Some(isa)))
}

fn widest() -> Simd {
    Simd::at_most(None)
}

fn context(pool: &Arc<Pool>, simd: Simd) -> Context<'_> {
    Context { pool, kernel: Bf16Kernel::Upcast, integers: None, simd, accelerate: false }
}

#[test]
fn packed_rows_are_read_back() {
    for (n, k) in SIZES.into_iter().flat_map(|n| SIZES.map(|k| (n, k))) {
        let matrix = integers(n * k, 1);
        let data = packed(widest(), n, k, |row, column, out| {
            out.copy_from_slice(&matrix[row * k + column..][..out.len()]);
        });
        let w = Panels { data: &data, n, k };
        for (row, expected) in matrix.chunks_exact(k).enumerate() {
            assert!(w.row(row).eq(expected.iter().copied()), "row {row} of ({n}, {k})");
        }
        for (panel, lines) in data.chunks_exact(k * PANEL).enumerate() {
            for line in lines.chunks_exact(PANEL) {
                let beyond = &line[(n - panel * PANEL).min(PANEL)..];
                assert_eq!(beyond, vec![0.0; beyond.len()]);
            }
        }
    }
}

#[test]
fn every_kernel_is_exact_in_integers() {
    let pool = Arc::default();
    for (m, n, k) in sizes() {
        let (matrix, x, bias, before) =
            (integers(n * k, 1), integers(m * k, 2), integers(n, 3), integers(m * n, 4));
        let data = packed(widest(), n, k, |row, column, out| {
            out.copy_from_slice(&matrix[row * k + column..][..out.len()]);
        });
        let expected = |initial: &dyn Fn(usize, usize) -> f32| {
            reference((m, n, k), initial, |i, l| x[i * k + l], |l, j| matrix[j * k + l])
        };
        let cases = [
            (Initial::Zero, expected(&|_, _| 0.0)),
            (Initial::Result, expected(&|i, j| before[i * n + j])),
            (Initial::Bias(&bias), expected(&|_, j| bias[j])),
        ];
        for (simd, (initial, expected)) in sets().flat_map(|simd| cases.iter().map(move |case| (simd, case)))
        {
            let mut y = before.clone();
            let a = InPlace::new(context(&pool, simd), &x, k, k);
            panels::multiply(&a, Target::new(&mut y, m, n, *initial), 0, &data);
            assert_eq!(&y, expected, "{simd:?} ({m}, {n}, {k}), {initial:?}");
        }
    }
}

#[test]
fn every_kernel_of_the_gradient_is_exact_in_integers() {
    let pool = Arc::default();
    for (m, n, k) in sizes() {
        let (matrix, dy, before) = (integers(n * k, 1), integers(m * n, 2), integers(m * k, 3));
        let data = packed(widest(), n, k, |row, column, out| {
            out.copy_from_slice(&matrix[row * k + column..][..out.len()]);
        });
        let w = Panels { data: &data, n, k };
        let initial = |i, j| before[i * k + j];
        let expected = reference((m, k, n), initial, |i, l| dy[i * n + l], |l, j| matrix[l * k + j]);
        for simd in sets() {
            let mut dx = before.clone();
            let a = InPlace::new(context(&pool, simd), &dy, n, n.next_multiple_of(PANEL));
            let target = Target::new(&mut dx, m, k, Initial::Result);
            panels::multiply_packing(&pool, &a, target, |panel, out| columns(simd, w, panel * PANEL, out));
            assert_eq!(dx, expected, "{simd:?} ({m}, {n}, {k})");
        }
    }
}

#[test]
fn products_of_activations_are_exact_in_integers() {
    for (m, n, k) in sizes().into_iter().filter(|&(m, n, _)| m >= 12 && n >= 24) {
        let (a, b, before) = (integers(m * k, 1), integers(k * n, 2), integers(m * (n + 3), 3));
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let view = |data, transpose, rows, columns| {
                if transpose { View::columns(data, rows) } else { View::rows(data, columns) }
            };
            let (a, b) = (view(&a, transpose_a, m, k), view(&b, transpose_b, k, n));
            let simd = widest();
            assert!(suits(simd, m, n, b) == (simd.isa() >= Isa::Avx2));
            let element = |view: View<'_, f32>, i, j| view.data[i * view.row + j * view.column];
            for write in [Write::Set, Write::Add] {
                let mut c = before.clone();
                let product = Matmul::new(simd, m, n, k).write(write);
                multiply_activations(product, a, b, &mut c[..m * (n + 3) - 3], n + 3);
                let initial = |i, j| if write == Write::Add { before[i * (n + 3) + j] } else { 0.0 };
                let inside = reference((m, n, k), initial, |i, l| element(a, i, l), |l, j| element(b, l, j));
                let mut expected = before.clone();
                for (to, from) in expected.chunks_mut(n + 3).zip(inside.chunks(n)) {
                    to[..n].copy_from_slice(from);
                }
                assert_eq!(c, expected, "({m}, {n}, {k}) {transpose_a} {transpose_b} {write:?}");
            }
        }
    }
}

#[test]
fn nothing_times_something_is_what_it_starts_from() {
    let pool = Arc::default();
    for (m, n, k) in [(0, 40, 7), (3, 0, 7), (3, 40, 0), (0, 0, 0)] {
        let data = packed(widest(), n, k, |_, _, out| out.fill(1.0));
        let (w, bias) = (Panels { data: &data, n, k }, vec![2.0; n]);
        let mut y = vec![1.0; m * n];
        forward(context(&pool, widest()), &vec![1.0; m * k], m, w, &mut y, Initial::Bias(&bias));
        assert_eq!(y, vec![2.0; m * n], "({m}, {n}, {k})");
        let mut dx = vec![3.0; m * k];
        backward(context(&pool, widest()), &vec![1.0; m * n], m, w, &mut dx, Write::Add);
        assert_eq!(dx, vec![3.0; m * k], "({m}, {n}, {k})");
        backward(context(&pool, widest()), &vec![1.0; m * n], m, w, &mut dx, Write::Set);
        assert_eq!(dx, vec![0.0; m * k], "({m}, {n}, {k})");
    }
}

#[test]
fn a_row_does_not_depend_on_those_beside_it() {
    let (pool, m) = (Arc::default(), 27);
    for (n, k) in [(33, 70), (32, 13), (70, 33)] {
        let (matrix, x, bias) = (values(n * k, 1), values(m * k, 2), values(n, 3));
        let before = values(m * n, 4);
        let data = packed(widest(), n, k, |row, column, out| {
            out.copy_from_slice(&matrix[row * k + column..][..out.len()]);
        });
        for simd in sets() {
            for initial in [Initial::Zero, Initial::Result, Initial::Bias(&bias)] {
                assert_rows_stand_alone(m, n, &format!("{simd:?} ({n}, {k}) {initial:?}"), |rows| {
                    let mut y = before[rows.start * n..rows.end * n].to_vec();
                    let a = InPlace::new(context(&pool, simd), &x[rows.start * k..rows.end * k], k, k);
                    panels::multiply(&a, Target::new(&mut y, rows.len(), n, initial), 0, &data);
                    y
                });
            }
        }
    }
}
