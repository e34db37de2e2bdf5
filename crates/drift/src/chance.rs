//! Distribution functions.

/// The distribution function of the standard normal distribution.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        normal_cdf: Vec<[f64; 2]>,
    }

    #[test]
    fn the_distribution_function_equals_scipys() {
        let reference: Reference =
            serde_json::from_str(include_str!("../tests/reference/statistics.json")).unwrap();
        for [z, expected] in reference.normal_cdf {
            pq_testing::assert_close(&[normal_cdf(z)], &[expected], 1e-14);
        }
    }
}
