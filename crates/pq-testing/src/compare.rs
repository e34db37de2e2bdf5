//! Comparing numbers so that what is not a number never agrees.
//!
//! `f64::max` passes over a NaN, so that the usual `fold(0.0, f64::max)` over differences finds two wrong results equal; and
//! `zip` passes over what one side has more. Here both are infinitely far apart.

/// A floating-point number of either width.
pub trait Number: Copy {
    /// The same number in f64.
    fn to_f64(self) -> f64;
}

impl Number for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    fn to_f64(self) -> f64 {
        self
    }
}

impl<N: Number> Number for &N {
    fn to_f64(self) -> f64 {
        (*self).to_f64()
    }
}

/// The largest of some magnitudes: infinite where one is not a number, 0 where there are none.
pub fn largest(magnitudes: impl IntoIterator<Item = impl Number>) -> f64 {
    let magnitudes = magnitudes.into_iter().map(|magnitude| magnitude.to_f64().abs());
    magnitudes.fold(0.0, |most, next| if next.is_nan() { f64::INFINITY } else { most.max(next) })
}

/// The largest absolute difference of two sequences, element by element: infinite where either holds what is not a number,
/// where infinities are of unlike sign, where one is longer, and where there is nothing to compare.
pub fn max_difference<A: Number, B: Number>(
    actual: impl IntoIterator<Item = A>,
    expected: impl IntoIterator<Item = B>,
) -> f64 {
    let (mut actual, mut expected) = (actual.into_iter(), expected.into_iter());
    let mut worst = None;
    loop {
        let difference = match (actual.next(), expected.next()) {
            (Some(actual), Some(expected)) => difference(actual.to_f64(), expected.to_f64()),
            (None, None) => return worst.unwrap_or(f64::INFINITY),
            _ => return f64::INFINITY,
        };
        worst = Some(difference.max(worst.unwrap_or(0.0)));
    }
}

/// As [`max_difference`], over the largest expected magnitude; infinite where that is zero and the difference is not.
pub fn relative_difference<A: Number, B: Number>(actual: &[A], expected: &[B]) -> f64 {
    let difference = max_difference(actual, expected);
    if difference == 0.0 { 0.0 } else { difference / largest(expected).min(f64::MAX) }
}

/// Two numbers' distance, never NaN; equal infinities are at one place.
#[expect(clippy::float_cmp, reason = "equal infinities have no difference, though theirs is not a number")]
fn difference(actual: f64, expected: f64) -> f64 {
    let difference = if actual == expected { 0.0 } else { (actual - expected).abs() };
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// Asserts that no element is further than `tolerance` from the expected one, in the sense of [`max_difference`].
///
/// # Panics
/// If one is, or if there is nothing to compare.
#[track_caller]
pub fn assert_close<A: Number, B: Number>(actual: &[A], expected: &[B], tolerance: f64) {
    let off = max_difference(actual, expected);
    let worst = actual.iter().zip(expected).map(|(a, e)| (a.to_f64(), e.to_f64()));
    let worst =
        worst.enumerate().max_by(|a, b| difference(a.1.0, a.1.1).total_cmp(&difference(b.1.0, b.1.1)));
    assert!(
        off <= tolerance,
        "off by {off:e}, {tolerance:e} is allowed; {} and {} numbers, the worst (index, (actual, expected)): {worst:?}",
        actual.len(),
        expected.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    fn fails(actual: &[f64], expected: &[f64]) -> bool {
        std::panic::catch_unwind(|| assert_close(actual, expected, f64::MAX)).is_err()
    }

    #[test]
    fn what_is_not_a_number_never_agrees() {
        let numbers = [1.0, 2.0, 3.0];
        for at in 0..3 {
            let mut wrong = numbers;
            wrong[at] = NAN;
            for (actual, expected) in [(wrong, numbers), (numbers, wrong), (wrong, wrong)] {
                assert_eq!(max_difference(actual, expected).to_bits(), INF.to_bits());
                assert_eq!(relative_difference(&actual, &expected).to_bits(), INF.to_bits());
                assert!(fails(&actual, &expected), "{actual:?} {expected:?}");
            }
            assert_eq!(largest(wrong).to_bits(), INF.to_bits());
        }
        assert_eq!(max_difference([f32::NAN, f32::NAN], [1.0_f32, 2.0]).to_bits(), INF.to_bits());
    }

    #[test]
    fn infinities_agree_only_with_their_like() {
        assert!(fails(&[INF, 1.0], &[-INF, 1.0]) && fails(&[-INF], &[INF]));
        assert!(fails(&[INF], &[1e300]) && fails(&[0.0], &[-INF]));
        assert_eq!(max_difference([INF, -INF, 1.0], [INF, -INF, 1.5]).to_bits(), 0.5_f64.to_bits());
    }

    #[test]
    fn other_lengths_and_nothing_at_all_do_not_agree() {
        assert!(fails(&[1.0], &[1.0, 1.0]) && fails(&[1.0, 1.0], &[1.0]) && fails(&[], &[1.0]));
        assert!(fails(&[], &[]), "nothing was compared");
        assert_eq!(relative_difference::<f64, f64>(&[], &[]).to_bits(), INF.to_bits());
    }

    #[test]
    fn the_largest_difference_is_found_wherever_it_is() {
        let expected = [1.0, -4.0, 2.0];
        for at in 0..3 {
            let mut actual = expected;
            actual[at] -= 0.5;
            assert_eq!(max_difference(actual, expected).to_bits(), 0.5_f64.to_bits());
            assert_eq!(relative_difference(&actual, &expected).to_bits(), 0.125_f64.to_bits());
            assert_close(&actual, &expected, 0.5);
            assert!(std::panic::catch_unwind(|| assert_close(&actual, &expected, 0.499)).is_err());
        }
        assert_eq!(max_difference([1.0_f32], [1.5_f64]).to_bits(), 0.5_f64.to_bits());
    }

    #[test]
    fn relative_to_zero_only_zero_agrees() {
        assert_eq!(relative_difference(&[0.0, 0.0], &[0.0, -0.0]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(relative_difference(&[1e-300, 0.0], &[0.0, 0.0]).to_bits(), INF.to_bits());
        assert_eq!(largest([0.5_f32, -2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(largest(std::iter::empty::<f64>()).to_bits(), 0);
    }
}
