//! Instruction sets, and which of them this CPU has.

use std::sync::OnceLock;

/// An instruction set that loops and products are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every CPU of the target has.
    Plain,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// The name that a backend's description shows: `plain`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The instruction set of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Avx2, Self::Avx512].into_iter().find(|isa| isa.name() == name)
    }

    /// The widest instruction set of this CPU.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(detect)
    }
}

/// An instruction set that this CPU has: what a backend computes with. Results differ in rounding only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Simd(Isa);

impl Simd {
    /// The widest there is, at most `limit`.
    pub(super) fn at_most(limit: Option<Isa>) -> Self {
        let detected = Isa::detected();
        Self(limit.map_or(detected, |limit| limit.min(detected)))
    }

    /// Which one it is.
    pub(super) fn isa(self) -> Isa {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        _ => Isa::Plain,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Plain
}
