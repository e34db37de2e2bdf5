use vlm_lora::Features;

/// What a vision tower says of an image, summed up over its rows: one number of each kind for each feature.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PooledFeatures {
    /// Means.
    pub mean: Vec<f32>,
    /// Maxima.
    pub max: Vec<f32>,
    /// Standard deviations.
    pub deviation: Vec<f32>,
}

impl PooledFeatures {
    /// Means, maxima and standard deviations after each other.
    pub fn concatenated(&self) -> Vec<f32> {
        [self.mean.as_slice(), &self.max, &self.deviation].concat()
    }

    /// Of the rows of an image; all zero where it has none.
    pub fn of(features: &Features) -> Self {
        let (width, rows) = (features.width, features.values.chunks_exact(features.width.max(1)));
        let count = rows.len().max(1) as f64;
        let (mut sum, mut squares) = (vec![0.0; width], vec![0.0; width]);
        let mut max = vec![f32::NEG_INFINITY; if rows.len() > 0 { width } else { 0 }];
        for row in rows {
            for (at, value) in row.iter().enumerate() {
                sum[at] += f64::from(*value);
                squares[at] += f64::from(*value).powi(2);
                max[at] = max[at].max(*value);
            }
        }
        max.resize(width, 0.0);
        let deviation =
            |(sum, squares): (&f64, &f64)| (squares / count - (sum / count).powi(2)).max(0.0).sqrt();
        Self {
            mean: sum.iter().map(|sum| (sum / count) as f32).collect(),
            max,
            deviation: sum.iter().zip(&squares).map(|pair| deviation(pair) as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_their_mean_maximum_and_deviation() {
        let of = |values: &[f32]| PooledFeatures::of(&Features { width: 2, values: values.into() });
        let pooled = of(&[1.0, -4.0, 3.0, -2.0]);
        assert_eq!(pooled.mean, [2.0, -3.0]);
        assert_eq!(pooled.max, [3.0, -2.0]);
        assert_eq!(pooled.deviation, [1.0, 1.0]);
        assert_eq!(
            of(&[]),
            PooledFeatures { mean: vec![0.0; 2], max: vec![0.0; 2], deviation: vec![0.0; 2] }
        );
    }
}
