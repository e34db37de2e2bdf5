//! Probabilities and their gradients as bf16, in the pass that computes them: the operands of attention's products.

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(not(target_arch = "x86_64"))]
pub(in super::super) use self::portable::{exponentials, probabilities};
#[cfg(target_arch = "x86_64")]
pub(in super::super) use self::x86::{exponentials, probabilities};

use super::STEP;

/// The scores of one query: so many, of which the first `visible` count, to be multiplied by `scale`.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Scores<'a> {
    pub(in super::super) row: &'a [f32],
    pub(in super::super) visible: usize,
    pub(in super::super) scale: f32,
}

/// What the backward pass knows of one query: the gradients of its probabilities, its log-sum-exp, and the sum of the
/// probabilities times their gradients.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Upstream<'a> {
    pub(in super::super) dp: &'a [f32],
    pub(in super::super) lse: f32,
    pub(in super::super) delta: f32,
}

fn check_lengths(scores: Scores<'_>, outputs: &[usize]) {
    let Scores { row, visible, .. } = scores;
    assert!(row.len().is_multiple_of(STEP) && visible <= row.len(), "rows are whole steps");
    assert!(outputs.iter().all(|&len| len == row.len()), "outputs are as long as the row");
}

#[cfg(test)]
mod tests {
    use super::super::pairs;
    use super::*;

    type Exponentials = fn(Scores<'_>, &mut [u16]) -> (f32, f32);
    type Probabilities = fn(Scores<'_>, Upstream<'_>, &mut [u16], &mut [u16]);

    /// The plain loops, and what this CPU computes with where it multiplies in bf16.
    fn ways() -> Vec<(Exponentials, Probabilities)> {
        let mut ways: Vec<(Exponentials, Probabilities)> =
            vec![(portable::exponentials, portable::probabilities)];
        if pairs::available() {
            ways.push((exponentials, probabilities));
        }
        ways
    }

    fn value(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    /// Scores from -700 to 700 in an order that mixes them.
    fn scores(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919) % 1401) as f32 - 700.0 + i as f32 * 0.01).collect()
    }

    #[test]
    fn exponentials_agree_with_f64() {
        for (exponentials, _) in ways() {
            check_exponentials(exponentials);
        }
    }

    fn check_exponentials(exponentials: Exponentials) {
        for (len, visible) in [(32, 1), (32, 32), (96, 33), (160, 160), (160, 95)] {
            for scale in [0.125, 0.01] {
                let row = scores(len);
                let mut bits = vec![0xffff; len];
                let (largest, total) = exponentials(Scores { row: &row, visible, scale }, &mut bits);
                let scaled = |x: f32| f64::from(x) * f64::from(scale);
                let expected = row[..visible].iter().map(|&x| scaled(x)).fold(f64::MIN, f64::max);
                assert!((f64::from(largest) - expected).abs() < 1e-5 * expected.abs().max(1.0));
                let mut sum = 0.0;
                for (i, &x) in row.iter().enumerate() {
                    let exact = if i < visible { (scaled(x) - expected).exp() } else { 0.0 };
                    sum += exact;
                    let error = (value(bits[i]) - exact).abs();
                    assert!(error <= 0.004 * exact + 1e-26, "{i}: {exact}");
                }
                assert!((f64::from(total) - sum).abs() < 2e-5 * sum, "{total} {sum}");
            }
        }
    }

    #[test]
    fn probabilities_agree_with_f64() {
        for (_, probabilities) in ways() {
            check_probabilities(probabilities);
        }
    }

    fn check_probabilities(probabilities: Probabilities) {
        for (len, visible) in [(32, 5), (64, 64), (96, 70)] {
            let (row, dp) = (scores(len), scores(len).into_iter().rev().collect::<Vec<_>>());
            let (scale, delta) = (0.125, 3.0);
            let exact_of = |x: f32| f64::from(x) * f64::from(scale);
            let lse = row[..visible].iter().map(|&x| exact_of(x).exp()).sum::<f64>().ln() as f32;
            let (mut p, mut ds) = (vec![0xffff; len], vec![0xffff; len]);
            let upstream = Upstream { dp: &dp, lse, delta };
            probabilities(Scores { row: &row, visible, scale }, upstream, &mut p, &mut ds);
            for i in 0..len {
                let exact = if i < visible { (exact_of(row[i]) - f64::from(lse)).exp() } else { 0.0 };
                assert!((value(p[i]) - exact).abs() <= 0.004 * exact + 1e-26, "{i}");
                let gradient = exact * f64::from(dp[i] - delta) * f64::from(scale);
                assert!((value(ds[i]) - gradient).abs() <= 0.005 * gradient.abs() + 1e-24, "{i}");
            }
        }
    }

    #[test]
    fn a_score_that_is_no_number_stays_visible_in_the_sum() {
        let mut row = scores(32);
        row[3] = f32::NAN;
        for (exponentials, _) in ways() {
            let mut bits = vec![0; 32];
            let (_, total) = exponentials(Scores { row: &row, visible: 32, scale: 0.1 }, &mut bits);
            assert!(total.is_nan(), "{total}");
        }
    }
}
