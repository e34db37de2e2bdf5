//! Distribution functions.

/// The distribution function of the standard normal distribution.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// The chance that Student's t with a whole number of degrees of freedom (at least 1) is above `t`, by the finite series of
/// Abramowitz and Stegun, 26.7.3 and 26.7.4.
///
/// As they subtract from 1, a chance below about 1e-15 comes out as 0.
pub(crate) fn student_t_above(t: f64, degrees: usize) -> f64 {
    let nu = degrees.max(1) as f64;
    let theta = (t.abs() / nu.sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let is_odd = degrees.max(1) % 2 == 1;
    let (mut term, mut sum) = if is_odd { (cos, if nu > 1.0 { cos } else { 0.0 }) } else { (1.0, 1.0) };
    let mut k = if is_odd { 3 } else { 2 };
    while k + 2 <= degrees {
        term *= cos * cos * f64::from(u32::try_from(k - 1).unwrap_or(u32::MAX)) / k as f64;
        sum += term;
        k += 2;
    }
    let within = if is_odd { (theta + sin * sum) * std::f64::consts::FRAC_2_PI } else { sin * sum };
    let beyond = (1.0 - within).max(0.0) / 2.0;
    if t >= 0.0 { beyond } else { 1.0 - beyond }
}

/// The t above which Student's t lies with this chance, 0 to 1/2.
pub(crate) fn student_t_quantile(above: f64, degrees: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while student_t_above(high, degrees) > above && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if student_t_above(middle, degrees) > above { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        normal_cdf: Vec<[f64; 2]>,
        student_t: Vec<(f64, usize, f64)>,
        student_t_quantile: Vec<(f64, usize, f64)>,
    }

    #[test]
    fn the_distribution_functions_equal_scipys() {
        let reference: Reference =
            serde_json::from_str(include_str!("../tests/reference/statistics.json")).unwrap();
        for [z, expected] in reference.normal_cdf {
            pq_testing::assert_close(&[normal_cdf(z)], &[expected], 1e-14);
        }
        for (t, degrees, expected) in reference.student_t {
            pq_testing::assert_close(&[student_t_above(t, degrees)], &[expected], 1e-12);
        }
        for (above, degrees, expected) in reference.student_t_quantile {
            let found = student_t_quantile(above, degrees);
            assert!((found / expected - 1.0).abs() < 1e-9, "{above} {degrees}: {found}, scipy {expected}");
        }
    }
}
