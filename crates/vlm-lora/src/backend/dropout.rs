//! Which elements a dropout keeps: the same rule on every backend.

use crate::key::{GOLDEN, finalize};

/// A dropout mask: a pure function of its key and an element's index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    key: u64,
    threshold: u64,
    scale: f64,
}

impl Mask {
    /// Drops a share `p` of the elements, to within 2^-24.
    pub(crate) fn new(key: u64, p: f32) -> Self {
        let p = f64::from(p.clamp(0.0, 1.0));
        let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        Self { key, threshold: (p * 16_777_216.0) as u64, scale }
    }

    /// The factor `1 / (1 - p)` on what is kept.
    pub(crate) fn scale(self) -> f64 {
        self.scale
    }

    /// What the 24 bits of a kept element are not below.
    #[cfg(feature = "cuda")]
    pub(crate) fn threshold(self) -> u64 {
        self.threshold
    }

    /// Whether the element is kept: the upper 24 bits of `SplitMix64` (Steele, Lea & Flood 2014) at `key + index` against `p`.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it must be compiled with the instruction set of the loop around it"
    )]
    pub(crate) fn keeps(self, index: u64) -> bool {
        finalize(self.key.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN))) >> 40 >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_dropped_is_p() {
        for p in [0.0, 0.05, 0.5, 1.0] {
            let mask = Mask::new(7, p);
            let dropped = (0..100_000).filter(|&i| !mask.keeps(i)).count();
            assert!((dropped as f32 / 100_000.0 - p).abs() < 0.005, "{dropped} of 100000 dropped at p = {p}");
        }
    }

    #[test]
    fn keys_give_unrelated_masks() {
        let (a, b) = (Mask::new(1, 0.5), Mask::new(2, 0.5));
        let equal = (0..10_000).filter(|&i| a.keeps(i) == b.keeps(i)).count();
        assert!((4800..5200).contains(&equal), "{equal} of 10000 equal");
    }
}
