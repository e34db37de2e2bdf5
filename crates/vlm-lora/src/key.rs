//! Keys and repeatable random numbers: the mixing function of `SplitMix64` (Steele et al. 2014) and FNV-1a.

/// The increment of `SplitMix64`: 2^64 over the golden ratio.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of `SplitMix64`.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled with the instruction set of the loop around it"
)]
pub(crate) fn finalize(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number that `SplitMix64` gives first from this state.
pub(crate) fn mix(state: u64) -> u64 {
    finalize(state.wrapping_add(GOLDEN))
}

/// A key of its own for each module name (FNV-1a).
pub(crate) fn name_key(name: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, hash)
}
