//! Instruction sets, and which of them this CPU has.

use std::sync::OnceLock;

/// An instruction set that loops and products are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every CPU of the target has.
    Plain,
    /// NEON, with products of our own where the CPU has instructions for them.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// The name that a backend's description shows: `plain`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The instruction set of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Neon, Self::Avx2, Self::Avx512].into_iter().find(|isa| isa.name() == name)
    }

    /// The instruction sets of this CPU, [`Plain`](Self::Plain) first and the widest last.
    pub fn available() -> Vec<Self> {
        let of_target: &[Self] = if cfg!(target_arch = "x86_64") {
            &[Self::Plain, Self::Avx2, Self::Avx512]
        } else {
            &[Self::Plain, Self::Neon]
        };
        of_target.iter().copied().filter(|isa| *isa <= Self::detected()).collect()
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
        let Some(limit) = limit else { return Self(Isa::detected()) };
        Self(Isa::available().into_iter().rfind(|isa| *isa <= limit).unwrap_or(Isa::Plain))
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

#[cfg(target_arch = "aarch64")]
fn detect() -> Isa {
    if std::arch::is_aarch64_feature_detected!("neon") { Isa::Neon } else { Isa::Plain }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Isa {
    Isa::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_leaves_what_the_cpu_has() {
        let available = Isa::available();
        assert_eq!((available.first(), available.last()), (Some(&Isa::Plain), Some(&Isa::detected())));
        for limit in [Isa::Plain, Isa::Neon, Isa::Avx2, Isa::Avx512] {
            assert_eq!(Isa::named(limit.name()), Some(limit));
            let taken = Simd::at_most(Some(limit)).isa();
            assert!(taken <= limit && available.contains(&taken), "{taken:?} under {limit:?}");
            assert!(taken == limit || !available.contains(&limit), "{taken:?} in place of {limit:?}");
        }
        assert_eq!(Simd::at_most(None).isa(), Isa::detected());
    }
}
