//! Initial values, from a generator of this crate so that the same seed gives the same adapter everywhere.

use sha2::{Digest, Sha256};

use super::pissa::Principal;
use super::{AdapterSpec, AdapterWeights, InitLoraWeights, LoraConfig};
use crate::{Checkpoint, Error, Result};

/// The adapter of one module at the start.
///
/// Each matrix has its own stream, keyed by seed and name: an adapter does not change when another module is added.
pub(super) fn initial(
    config: &LoraConfig,
    spec: AdapterSpec,
    checkpoint: &Checkpoint,
    seed: u64,
) -> Result<AdapterWeights> {
    if config.init_lora_weights.is_pissa() {
        let principal = Principal::of(&spec, checkpoint)?;
        let (a, b) = (principal.a.clone(), principal.b.clone());
        return with_magnitude(
            AdapterWeights { spec, a, b, magnitude: None, principal: Some(principal) },
            checkpoint,
        );
    }
    let (a, b) = drawn(config, &spec, seed)?;
    with_magnitude(AdapterWeights { spec, a, b, magnitude: None, principal: None }, checkpoint)
}

/// `A` and `B` by a scheme that does not look at the base.
fn drawn(config: &LoraConfig, spec: &AdapterSpec, seed: u64) -> Result<(Vec<f32>, Vec<f32>)> {
    let (count_a, count_b) = (spec.r * spec.in_features, spec.out_features * spec.r);
    let mut of_a = Generator::new(seed, &format!("{}.lora_A", spec.module));
    let bound = |fan_in: usize| 1.0 / (fan_in as f64).sqrt();
    let uniform_a = |of_a: &mut Generator| of_a.uniform(bound(spec.in_features), count_a);
    match &config.init_lora_weights {
        InitLoraWeights::Default(true) => Ok((uniform_a(&mut of_a), vec![0.0; count_b])),
        InitLoraWeights::Default(false) => {
            let mut of_b = Generator::new(seed, &format!("{}.lora_B", spec.module));
            Ok((uniform_a(&mut of_a), of_b.uniform(bound(spec.r), count_b)))
        }
        InitLoraWeights::Named(name) if name == "gaussian" => {
            Ok((of_a.normal(1.0 / spec.r as f64, count_a), vec![0.0; count_b]))
        }
        InitLoraWeights::Named(name) => {
            Err(Error::Unsupported { what: format!("starting with `init_lora_weights` = `{name}`") })
        }
    }
}

/// DoRA's magnitudes start at the row norms.
fn with_magnitude(mut adapter: AdapterWeights, checkpoint: &Checkpoint) -> Result<AdapterWeights> {
    if adapter.spec.use_dora {
        adapter.magnitude = Some(adapter.row_norms(checkpoint)?);
    }
    Ok(adapter)
}

/// xoshiro256++ (Blackman & Vigna 2019).
struct Generator([u64; 4]);

impl Generator {
    /// The stream of one tensor: its state is the SHA-256 of seed and name.
    fn new(seed: u64, name: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(digest.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(state)
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`, 53 bits.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[-bound, bound)`.
    fn uniform(&mut self, bound: f64, count: usize) -> Vec<f32> {
        (0..count).map(|_| ((2.0 * self.unit() - 1.0) * bound) as f32).collect()
    }

    /// Normal with mean 0 (Box & Muller 1958), two values a pair of draws.
    fn normal(&mut self, deviation: f64, count: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * deviation;
            let (sin, cos) = (std::f64::consts::TAU * self.unit()).sin_cos();
            values.extend([(radius * cos) as f32, (radius * sin) as f32]);
        }
        values.truncate(count);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt())
    }

    #[test]
    fn a_normal_stream_has_its_deviation() {
        let values = Generator::new(7, "x").normal(0.25, 40_001);
        let (mean, deviation) = moments(&values);
        assert!(mean.abs() < 0.005 && (deviation - 0.25).abs() < 0.005, "{mean} {deviation}");
    }

    #[test]
    fn a_uniform_stream_fills_its_bounds() {
        let values = Generator::new(7, "x").uniform(0.5, 40_000);
        let (mean, deviation) = moments(&values);
        assert!(values.iter().all(|v| v.abs() <= 0.5));
        assert!(mean.abs() < 0.01 && (deviation - 0.5 / 3f64.sqrt()).abs() < 0.005, "{mean} {deviation}");
    }

    #[test]
    fn streams_depend_on_seed_and_name_alone() {
        let draw = |seed, name| Generator::new(seed, name).uniform(1.0, 8);
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }

    /// The schemes of PEFT: LoRA's uniform A within `1/√in` and B zero, `false` with a random B within `1/√r`, a normal A of
    /// deviation `1/r`.
    #[test]
    fn each_scheme_has_its_spread() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
        let checkpoint = Checkpoint::open(model).unwrap();
        let spec = AdapterSpec {
            module: "m".to_owned(),
            in_features: 4000,
            out_features: 1500,
            r: 5,
            scale: 1.0,
            dropout: 0.0,
            use_dora: false,
        };
        let start = |init: InitLoraWeights| {
            let config = LoraConfig { r: 5, init_lora_weights: init, ..LoraConfig::default() };
            initial(&config, spec.clone(), &checkpoint, 3).unwrap()
        };
        let near = |actual: f64, expected: f64| (actual - expected).abs() < 0.02 * expected;
        let uniform = |bound: f64| bound / 3_f64.sqrt();

        let default = start(InitLoraWeights::Default(true));
        assert!(near(moments(&default.a).1, uniform(1.0 / 4000_f64.sqrt())));
        assert!(default.b.iter().all(|value| *value == 0.0) && default.b.len() == 1500 * 5);
        let random = start(InitLoraWeights::Default(false));
        assert_eq!(random.a, default.a);
        assert!(near(moments(&random.b).1, uniform(1.0 / 5_f64.sqrt())));
        let gaussian = start(InitLoraWeights::Named("gaussian".to_owned()));
        assert!(near(moments(&gaussian.a).1, 0.2), "{:?}", moments(&gaussian.a));
        assert!(gaussian.b.iter().all(|value| *value == 0.0));
    }
}
