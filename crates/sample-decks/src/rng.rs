use repeatable_random::{GOLDEN, SplitMix64, finalize};

/// A small generator of random numbers whose sequence never changes with a library's version (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Rng {
    generator: SplitMix64,
}

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self { generator: SplitMix64::new(finalize(seed ^ GOLDEN)) }
    }

    /// An independent generator for part `index`: parts can be drawn in any order, or in parallel.
    pub fn part(&self, index: u64) -> Self {
        let part = finalize(index.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1));
        Self { generator: SplitMix64::new(finalize(self.generator.state() ^ part)) }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `low..high`.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number in `0..bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.unit() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    /// Whether an event of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A normally distributed number with mean 0 and standard deviation 1 (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One of the items, which must not be empty.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_is_fixed() {
        let mut rng = Rng::new(7);
        let first: Vec<u64> = (0..3).map(|_| rng.below(1000) as u64).collect();
        let mut again = Rng::new(7);
        assert_eq!(first, (0..3).map(|_| again.below(1000) as u64).collect::<Vec<_>>());
        assert_ne!(Rng::new(7).next_u64(), Rng::new(8).next_u64());
        assert_ne!(Rng::new(7).part(0).next_u64(), Rng::new(7).part(1).next_u64());
    }

    /// Decks and ratings that were drawn once are drawn again: computed apart from this code, from the algorithm.
    #[test]
    fn the_numbers_are_those_of_earlier_versions() {
        let mut rng = Rng::new(7);
        assert_eq!(
            [(); 3].map(|()| rng.next_u64()),
            [9_048_807_721_209_015_062, 8_458_937_671_082_192_852, 15_962_392_400_667_662_582]
        );
        assert_eq!(Rng::new(7).part(2).next_u64(), 436_222_865_624_592_821);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(1);
        let normal: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / 20_000.0;
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let mut counts = [0; 5];
        (0..10_000).for_each(|_| counts[rng.below(5)] += 1);
        assert!(counts.iter().all(|&n| (1_800..2_200).contains(&n)), "{counts:?}");
    }
}
