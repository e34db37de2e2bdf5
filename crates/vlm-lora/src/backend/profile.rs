//! What the work on a GPU took.

use std::collections::BTreeMap;

/// A kernel, a product of one shape, or a copy.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ProfileLine {
    /// The kernel's name, or `product m x k x n` with its type.
    pub name: String,
    /// How often it ran.
    pub calls: usize,
    /// All of them together, by the GPU's clock.
    pub milliseconds: f64,
}

/// What was timed on a GPU, and what went another way than it should.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct GpuProfile {
    /// What took longest first; empty where nothing was to be timed.
    pub lines: Vec<ProfileLine>,
    /// What went another way, and how often: products with a bias for which the library had no plan, each two passes more; attention that
    /// cuDNN did not take, with its reason, counted until nobody asks it any more.
    pub fallbacks: BTreeMap<String, usize>,
}
