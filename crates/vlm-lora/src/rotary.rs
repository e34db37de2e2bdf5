//! The angles of the rotary position embedding (Su et al. 2021), plain and as Llama 3 stretches them.

/// How Llama 3.1 stretches a rotary embedding to longer sequences: angles that turn slowly are divided by `factor`, those that
/// turn fast stay, and between the two it goes over smoothly (`rope_type` = `llama3` in transformers).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Divides the slow angles.
    pub factor: f64,
    /// Angles that turn round fewer times than this over `original_max_position_embeddings` are slow.
    pub low_freq_factor: f64,
    /// Angles that turn round more often than this are fast; above `low_freq_factor`.
    pub high_freq_factor: f64,
    /// Tokens of the longest sequence before stretching.
    pub original_max_position_embeddings: usize,
}

/// By how much a position turns each pair of elements of a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// Base of the angles.
    pub theta: f64,
    /// How they are stretched; `None` leaves them.
    pub scaling: Option<Llama3Scaling>,
}

impl From<f64> for Rotary {
    fn from(theta: f64) -> Self {
        Self { theta, scaling: None }
    }
}

/// The scaled frequency, each operation rounded to `$real` as transformers rounds it in its own type.
macro_rules! scaled {
    ($name:ident, $real:ident) => {
        fn $name(self, frequency: $real) -> $real {
            let (low, high) = (self.low_freq_factor as $real, self.high_freq_factor as $real);
            let (factor, length) = (self.factor as $real, self.original_max_position_embeddings as $real);
            let wavelength = 2.0 * std::$real::consts::PI / frequency;
            if wavelength > length / low {
                return frequency / factor;
            }
            if wavelength < length / high {
                return frequency;
            }
            let smooth = (length / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    };
}

impl Llama3Scaling {
    scaled!(scaled_f32, f32);
    #[cfg(feature = "f64")]
    scaled!(scaled_f64, f64);
}

impl Rotary {
    /// Radians by which a position turns this pair of elements, `theta^(-2 pair / head_dim)` before scaling, rounded as
    /// transformers rounds it.
    pub(crate) fn frequency_f32(self, pair: usize, head_dim: usize) -> f32 {
        let exponent = (2 * pair) as f32 / head_dim as f32;
        let plain = 1.0 / (self.theta.powf(f64::from(exponent)) as f32);
        self.scaling.map_or(plain, |scaling| scaling.scaled_f32(plain))
    }

    /// The same without rounding.
    #[cfg(feature = "f64")]
    pub(crate) fn frequency_f64(self, pair: usize, head_dim: usize) -> f64 {
        let plain = self.theta.powf(-((2 * pair) as f64) / head_dim as f64);
        self.scaling.map_or(plain, |scaling| scaling.scaled_f64(plain))
    }

    /// By which equal angles are found again.
    pub(crate) fn key(self) -> [u64; 5] {
        let scaling =
            self.scaling.map(|scaling| {
                let Llama3Scaling {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings,
                } = scaling;
                let bits = [factor, low_freq_factor, high_freq_factor].map(f64::to_bits);
                [bits[0], bits[1], bits[2], original_max_position_embeddings as u64]
            });
        let [a, b, c, d] = scaling.unwrap_or_default();
        [self.theta.to_bits(), a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ROPE_INIT_FUNCTIONS["llama3"]` of transformers 5.24, and its default, for a head of 128 as Idefics3-8B-Llama3 has it.
    #[test]
    fn frequencies_are_those_of_transformers() {
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let rotary = Rotary { theta: 500_000.0, scaling: Some(scaling) };
        for (pair, bits) in EXPECTED {
            assert_eq!(rotary.frequency_f32(pair, 128).to_bits(), bits, "pair {pair}");
            let exact = rotary.frequency_f64(pair, 128);
            let rounded = f64::from(f32::from_bits(bits));
            assert!((exact / rounded - 1.0).abs() < 1e-6, "pair {pair}: {exact} {rounded}");
        }
    }

    /// Pair and bits of its frequency.
    const EXPECTED: [(usize, u32); 16] = [
        (0, 0x3f80_0000),
        (1, 0x3f50_8ac1),
        (7, 0x3e73_c461),
        (20, 0x3c87_a9c3),
        (28, 0x3b52_7720),
        (29, 0x3b0d_fd06),
        (30, 0x3ab3_d11d),
        (31, 0x3a60_979e),
        (32, 0x3a09_95d2),
        (33, 0x39a3_f108),
        (34, 0x393b_2dd2),
        (35, 0x38c8_6886),
        (36, 0x38a3_418d),
        (40, 0x380f_c8f8),
        (50, 0x3694_06cb),
        (63, 0x34a4_c2ff),
    ];
}
