/// The arithmetic mean; `None` of no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample (the sum of squares divided by one less than their number); `None` of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// A sorted copy, in the total order of floats: a NaN comes last (or, with its sign bit set, first).
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The linearly interpolated quantile `q` of sorted values, as numpy has it by default; `None` of no values, and of a `q` outside
/// 0 to 1.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let at = q * last as f64;
    let (below, above) = (at.floor() as usize, (at.ceil() as usize).min(last));
    Some(sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below]))
}

/// The median, the mean of the middle two where their number is even; `None` of no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `numpy.quantile([1, 2, 4, 8], q)`.
    #[test]
    fn quantiles_interpolate_like_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0];
        for (q, expected) in
            [(0.0, 1.0), (0.025, 1.075), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (0.975, 7.7), (1.0, 8.0)]
        {
            pq_testing::assert_close(&[quantile(&values, q).unwrap()], &[expected], 1e-14);
        }
        assert_eq!(quantile(&[3.0], 0.7), Some(3.0));
        for (values, q) in [(&[][..], 0.5), (&values, -0.1), (&values, 1.1), (&values, f64::NAN)] {
            assert_eq!(quantile(values, q), None, "{q}");
        }
    }

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(median(vec![5.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![5.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    /// `numpy.std([2, 4, 4, 4, 5, 5, 7, 9], ddof=1)`.
    #[test]
    fn deviations_are_those_of_a_sample() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        pq_testing::assert_close(&[standard_deviation(&values).unwrap()], &[2.138_089_935_299_395], 1e-15);
        assert_eq!((standard_deviation(&[1.0]), standard_deviation(&[]), mean(&[])), (None, None, None));
    }

    #[test]
    fn a_value_that_is_none_sorts_to_the_end() {
        let values = sorted(&[2.0, f64::NAN, -1.0]);
        assert!(values[..2] == [-1.0, 2.0] && values[2].is_nan());
    }

    proptest! {
        #[test]
        fn a_quantile_lies_among_the_values_and_rises(
            values in prop::collection::vec(-1e9..1e9f64, 1..50), p in 0.0..=1.0f64, q in 0.0..=1.0f64,
        ) {
            let values = sorted(&values);
            let (low, high) = (quantile(&values, p.min(q)).unwrap(), quantile(&values, p.max(q)).unwrap());
            let slack = 1e-6;
            prop_assert!(values[0] - slack <= low && low <= high + slack && high <= values[values.len() - 1] + slack);
        }
    }
}
