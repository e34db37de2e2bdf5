//! Products in integers: activations and frozen matrices as integers of 8 or 16 bits, a scale for each row of either, sums
//! exact in 32 bits.
//!
//! A row of activations is divided by its largest magnitude over 127 (8 bits) or 1023 (16 bits). The largest columns of the
//! batch, 16 of them, are left out of that magnitude and kept to twice the bits, as two integers each: outliers stand in few
//! columns, and neither they nor their neighbours lose precision (the idea of Dettmers et al. 2022, in integers throughout).
//! The gradient of the input takes the same integers of the matrix: the scales of its rows go into the gradient of the output
//! before that is rounded. A sum of integers does not depend on its order, and what is rounded after it is rounded in one
//! order, so every instruction set and every number of threads give the same bits.

#![expect(unsafe_code, reason = "the kernels write blocks of the result through pointers")]

mod kernel;
mod matrix;
mod quantise;
mod rows;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use self::matrix::IntegerMatrix;
pub(super) use self::quantise::Input;
pub(super) use self::rows::Quantised;

use super::buffer::Pool;
use super::isa::{Isa, Simd};
use super::panels::{self, Initial, Target};
use crate::backend::Write;

/// Columns of a batch that are kept to twice the bits.
pub(super) const LARGE: usize = 16;
/// The longest sum that 32 bits hold in 8-bit integers: `131,072 · 127² + 16 · 127 · 128 · 127 < 2^31`.
pub(super) const LONGEST_SUM: usize = 1 << 17;
/// Elements after which a sum of 16-bit integers is put aside: `2048 · 1023² < 2^31`.
const EXACT_SUM: usize = 2048;

/// How products in integers are computed; all give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntegerKernel {
    /// Tiles of AMX-INT8; 16-bit integers by AVX512-VNNI.
    Amx,
    /// Dot products of AVX512-VNNI.
    Avx512Vnni,
    /// Products of pairs of 16 bits in AVX-512.
    Avx512,
    /// Dot products of AVX-VNNI, in registers of 256 bits.
    AvxVnni,
    /// Products of pairs of 16 bits in AVX2.
    Avx2,
    /// Plain loops: any CPU.
    Plain,
}

impl IntegerKernel {
    /// The kernels that this CPU can run, the fastest first.
    pub fn available() -> Vec<Self> {
        Self::available_with(Isa::detected())
    }

    /// As [`available`](Self::available), of those that need no more than this instruction set.
    pub fn available_with(isa: Isa) -> Vec<Self> {
        let isa = isa.min(Isa::detected());
        [Self::Amx, Self::Avx512Vnni, Self::Avx512, Self::AvxVnni, Self::Avx2, Self::Plain]
            .into_iter()
            .filter(|kernel| kernel.runs_with(isa))
            .collect()
    }

    /// The name that a backend's description shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx-int8",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512 => "avx512",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Plain => "plain",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn runs_with(self, isa: Isa) -> bool {
        match self {
            Self::Amx => Self::Avx512Vnni.runs_with(isa) && kernel::has_tiles(),
            Self::Avx512Vnni => isa == Isa::Avx512 && is_x86_feature_detected!("avx512vnni"),
            Self::Avx512 => isa == Isa::Avx512,
            Self::AvxVnni => isa >= Isa::Avx2 && is_x86_feature_detected!("avxvnni"),
            Self::Avx2 => isa >= Isa::Avx2,
            Self::Plain => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn runs_with(self, _: Isa) -> bool {
        self == Self::Plain
    }

    /// What its products take of integers of this width.
    fn form(self, width: Width) -> Form {
        match (width, self) {
            (Width::Eight, Self::Amx | Self::Avx512Vnni | Self::AvxVnni) => Form::Bytes,
            _ => Form::Halves,
        }
    }
}

/// Bits of the integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Width {
    /// Magnitudes up to 127.
    Eight,
    /// Magnitudes up to 1023.
    Sixteen,
}

impl Width {
    /// The largest magnitude.
    pub(super) fn most(self) -> i32 {
        match self {
            Self::Eight => 127,
            Self::Sixteen => 1023,
        }
    }

    /// Bits by which the first integer of a large column counts more than the second.
    const fn shift(self) -> u32 {
        match self {
            Self::Eight => 7,
            Self::Sixteen => 10,
        }
    }

    /// Elements of a word of a panel.
    fn each(self) -> usize {
        match self {
            Self::Eight => 4,
            Self::Sixteen => 2,
        }
    }
}

/// What a dot product takes: four bytes, the first operand's with an offset of 128, or two integers of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bytes,
    Halves,
}

impl Form {
    /// Elements of a word of a row.
    fn each(self) -> usize {
        match self {
            Self::Bytes => 4,
            Self::Halves => 2,
        }
    }
}

/// How to multiply, and where memory comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) simd: Simd,
    pub(super) kernel: IntegerKernel,
}

/// `y (m, n) = initial + x (m, k) · Wᵀ`.
pub(super) fn forward(x: &Quantised, w: &IntegerMatrix, y: &mut [f32], initial: Initial<'_>) {
    let (n, k) = w.shape();
    assert_eq!((x.columns(), x.width()), (k, w.width()), "columns of the input");
    panels::multiply(x, Target::new(y, x.rows(), n, initial), 0, w.panels());
}

/// `dx (m, k) (+)= dy (m, n) · W`.
pub(super) fn backward(
    means: Means<'_>,
    dy: &[f32],
    m: usize,
    w: &IntegerMatrix,
    dx: &mut [f32],
    write: Write,
) {
    let (n, k) = w.shape();
    let scales = w.scales();
    let input = Input { x: dy, m, k: n, gelu: false, factors: Some(&scales) };
    let a = Quantised::new(means, w.width(), input);
    let target = Target::new(dx, m, k, write.into());
    panels::multiply_packing(means.pool, &a, target, |panel, out| w.repack(means.simd, panel, out));
}
