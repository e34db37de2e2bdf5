use repeatable_random::mix;
use slide_data::VisionSketch;
use vlm_lora::Features;

/// Where the random directions of sketches begin; it never changes, so that sketches of different times can be compared.
const DIRECTIONS: u64 = 0x7069_7463_6871_7565;

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

    /// The means on random directions, for the log of scored slides; `None` where a number is not finite. `base` names whose vision tower
    /// it was.
    ///
    /// Each number enters each direction with one sign or the other (Achlioptas 2003): bit `d` of the random number of feature `i` is
    /// the sign of feature `i` in direction `d`.
    pub fn sketch(&self, base: &str) -> Option<VisionSketch> {
        let mut sums = [0.0f64; VisionSketch::WIDTH];
        for (feature, value) in (0u64..).zip(&self.mean) {
            let signs = mix(DIRECTIONS.wrapping_add(feature));
            for (direction, sum) in sums.iter_mut().enumerate() {
                let value = f64::from(*value);
                *sum += if signs >> direction & 1 == 1 { value } else { -value };
            }
        }
        let scale = (VisionSketch::WIDTH as f64).sqrt();
        VisionSketch::new(base, &sums.map(|sum| (sum / scale) as f32))
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

    /// Distances between vectors of 960 numbers are kept to about an eighth (a deviation of the square root of 2 / 64 in the square).
    #[test]
    fn a_sketch_keeps_distances() {
        let mean = |seed: u64| (0..960).map(|at| (mix(seed << 20 | at) >> 40) as f32 / 1e7 - 0.8).collect();
        let all: Vec<PooledFeatures> =
            (1..30).map(|seed| PooledFeatures { mean: mean(seed), ..PooledFeatures::default() }).collect();
        let sketches: Vec<Vec<f64>> =
            all.iter().map(|pooled| pooled.sketch("base").unwrap().vector().unwrap()).collect();
        let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let whole =
            |pooled: &PooledFeatures| pooled.mean.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
        let mut ratios = Vec::new();
        for (at, a) in all.iter().enumerate() {
            for (other, b) in all[..at].iter().enumerate() {
                ratios.push(squared(&sketches[at], &sketches[other]) / squared(&whole(a), &whole(b)));
            }
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((mean - 1.0).abs() < 0.1, "{mean}");
        assert!(ratios.iter().all(|ratio| (0.4..1.9).contains(ratio)), "{ratios:?}");
        let broken = PooledFeatures { mean: vec![f32::INFINITY; 4], ..PooledFeatures::default() };
        assert_eq!(broken.sketch("base"), None);
    }

    /// What is in a log must mean the same for ever.
    #[test]
    fn the_directions_never_change() {
        let pooled = PooledFeatures { mean: vec![1.0, 2.0, 4.0], ..PooledFeatures::default() };
        let sketch = pooled.sketch("base").unwrap();
        let signs: Vec<i16> =
            sketch.vector().unwrap().iter().take(8).map(|value| (value * 8.0).round() as i16).collect();
        assert_eq!(signs, [-1, -3, -1, 1, -5, 7, -1, -1]);
    }

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
