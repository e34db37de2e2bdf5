//! Permutations as `torch.randperm` draws them on the CPU, so that a run visits its samples in the order of the reference.

use crate::key::{self, GOLDEN, finalize};

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister MT19937 (Matsumoto & Nishimura 1998) with its classic single-integer initialisation.
struct MersenneTwister {
    state: [u32; SIZE],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; SIZE];
        for i in 1..SIZE {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: SIZE }
    }

    fn refill(&mut self) {
        for i in 0..SIZE {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % SIZE] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % SIZE] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == SIZE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }
}

/// The permutation of `0..len` that torch's CPU generator draws from `seed`; torch uses the lower 32 bits.
pub(crate) fn permutation(len: usize, seed: u64) -> Vec<usize> {
    let mut generator = MersenneTwister::new(seed as u32);
    let mut order: Vec<usize> = (0..len).collect();
    for i in 0..len.saturating_sub(1) {
        let j = i + generator.next_u32() as usize % (len - i);
        order.swap(i, j);
    }
    order
}

/// An independent stream for each `(seed, a, b)`: the finaliser of `SplitMix64` (Steele et al. 2014) over their mixture.
pub(crate) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    [a, b]
        .into_iter()
        .fold(key::mix(seed), |state, value| finalize(state.wrapping_add(GOLDEN) ^ key::mix(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_equal_those_of_torch() {
        assert_eq!(permutation(10, 42), [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]);
        assert_eq!(permutation(10, 43), [8, 4, 9, 0, 5, 1, 6, 7, 2, 3]);
        assert_eq!(permutation(1, 7), [0]);
        assert!(permutation(0, 7).is_empty());
    }

    #[test]
    fn the_generator_gives_the_published_outputs() {
        let mut generator = MersenneTwister::new(5489); // the seed of the authors' reference program
        assert_eq!(generator.next_u32(), 3_499_211_612);
        let ten_thousandth = (1..10_000).map(|_| generator.next_u32()).last();
        assert_eq!(ten_thousandth, Some(4_123_659_995)); // required of std::mt19937 by the C++ standard
    }

    #[test]
    fn a_permutation_longer_than_the_state_holds_every_index_once() {
        let mut order = permutation(5000, 1);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..5000));
    }

    /// Runs that began with earlier versions go on with the same streams: computed apart from this code, from the algorithm.
    #[test]
    fn streams_are_those_of_earlier_versions() {
        let streams = [(0, 0, 0), (42, 3, 1), (u64::MAX, 1, 2)].map(|(seed, a, b)| mix(seed, a, b));
        assert_eq!(
            streams,
            [7_249_806_472_804_444_651, 11_718_793_711_030_511_640, 7_267_052_812_161_556_045]
        );
    }

    #[test]
    fn mixed_keys_differ() {
        let mut keys: Vec<u64> = (0..30).flat_map(|a| (0..30).map(move |b| mix(1, a, b))).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 900);
    }
}
