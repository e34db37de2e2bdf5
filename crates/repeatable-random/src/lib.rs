//! Random numbers and keys that never change with a library's version: `SplitMix64` and its mixing function (Steele, Lea and
//! Flood 2014), and FNV-1a (Fowler, Noll and Vo).
//!
//! For what is written down, or must come out the same on every machine: orders, drawn samples, dropout masks, names of parts.
//! Both are published algorithms, held to their published values. None is for secrets.
//!
//! ```
//! use repeatable_random::{SplitMix64, fnv1a, mix};
//!
//! let mut generator = SplitMix64::new(1_234_567);
//! assert_eq!(generator.next_u64(), 6_457_827_717_110_365_317);
//! assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
//! assert_ne!(fnv1a(b"layers.0.q_proj"), fnv1a(b"layers.0.k_proj"));
//! ```
#![no_std]
#![forbid(unsafe_code)]

/// The increment of `SplitMix64`: 2^64 over the golden ratio, made odd.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The mixing function at the end of `SplitMix64`: neighbouring numbers come out far apart, no two alike. 0 stays 0.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled with the instruction set of the loop around it"
)]
pub const fn finalize(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number that `SplitMix64` gives first from this state.
#[inline]
pub const fn mix(state: u64) -> u64 {
    finalize(state.wrapping_add(GOLDEN))
}

/// The 64-bit FNV-1a hash of `bytes`: a key for a name.
#[inline]
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// The generator `SplitMix64`: 64 bits of state, every number once in its period of 2^64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The generator that starts from this state.
    #[inline]
    pub const fn new(state: u64) -> Self {
        Self { state }
    }

    /// What it would be started from to go on as it does.
    #[inline]
    pub const fn state(&self) -> u64 {
        self.state
    }

    /// The next 64 random bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        let next = mix(self.state);
        self.state = self.state.wrapping_add(GOLDEN);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the authors' C program, as Rosetta Code and the test suites of `NumPy`, the JDK and `rand_xoshiro` have them.
    #[test]
    fn the_generator_gives_the_published_numbers() {
        let first = |state: u64| {
            let mut generator = SplitMix64::new(state);
            [(); 5].map(|()| generator.next_u64())
        };
        assert_eq!(
            first(1_234_567),
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
        assert_eq!(first(0)[..3], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    /// Of the authors' own list of test vectors.
    #[test]
    fn names_have_the_published_hashes() {
        for (name, hash) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("b", 0xaf63_df4c_8601_f1a5),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(fnv1a(name.as_bytes()), hash, "{name}");
        }
    }

    #[test]
    fn a_generator_goes_on_from_its_state() {
        let mut generator = SplitMix64::new(7);
        assert_eq!(generator.next_u64(), mix(7));
        let mut again = SplitMix64::new(generator.state());
        assert_eq!(generator.next_u64(), again.next_u64());
        assert_eq!(mix(u64::MAX), finalize(GOLDEN - 1), "the state wraps");
    }
}
