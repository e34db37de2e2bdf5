//! The two element types that the kernels are written for.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use super::isa::Simd;
use crate::rotary::Rotary;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    #[cfg(feature = "f64")]
    impl Sealed for f64 {}
}

/// The arithmetic of a [`Cpu`](super::Cpu): `f32`, or with the feature `f64` that, for checks of the mathematics.
pub trait Real:
    sealed::Sealed
    + Multiply
    + bytemuck::Pod
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + SubAssign
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The type's name.
    const NAME: &'static str;
    /// Whether it is f32, the type that has kernels of its own and narrow matrices; slices of it may be cast to f32.
    const HAS_KERNELS: bool;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The least finite value.
    const LEAST: Self;
    /// Differences from the largest score below which a softmax's term is an exact zero: it adds nothing to the sum, and the
    /// denormal numbers that it would spread slow every later product down.
    const NEGLIGIBLE: Self;

    /// Rounds to the type.
    fn of(value: f64) -> Self;
    /// The exact value.
    fn to_f64(self) -> f64;
    /// The bits of the nearest bf16, ties to even, of a number that is not a NaN.
    fn bf16_bits(self) -> u16;
    /// `e^self` in a form that compilers vectorise.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Radians by which a position turns a pair of elements, rounded as the reference implementation rounds it.
    fn frequency(rotary: Rotary, pair: usize, head_dim: usize) -> Self;
    /// Sine and cosine.
    fn sin_cos(self) -> (Self, Self);
}

/// An operand of a strided product: elements from `at` on, so many elements from row to row and from column to column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand<T> {
    pub(super) at: *const T,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// A strided product of the `gemm` crate: `C (m, n) (+)= alpha · A (m, k) · B (k, n)`, with rows of `C` `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Product<T> {
    pub(super) simd: Simd,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: T,
    pub(super) a: Operand<T>,
    pub(super) b: Operand<T>,
    pub(super) c: *mut T,
    pub(super) stride: usize,
    pub(super) add: bool,
    pub(super) threads: gemm_common::Parallelism,
}

/// The products of one element type, by an instruction set of our choice: the `gemm` crate alone always takes the widest.
#[expect(unsafe_code, reason = "the product works on pointers and strides, which the caller checks")]
pub trait Multiply: Sized {
    /// Computes the product.
    ///
    /// # Safety
    /// Every element that the sizes and strides name lies inside its slice; no one else uses those of `C`.
    #[doc(hidden)]
    unsafe fn gemm(product: Product<Self>);
}

/// The items of the block with `T` as `f32` and, with the feature `f64`, as `f64`: they are compiled in this crate, once, rather than in each crate that
/// computes with them.
macro_rules! for_reals {
    ($($items:tt)*) => {
        const _: () = {
            type T = f32;
            $($items)*
        };
        #[cfg(feature = "f64")]
        const _: () = {
            type T = f64;
            $($items)*
        };
    };
}
pub(super) use for_reals;

impl Real for f32 {
    const NAME: &'static str = "f32";
    const HAS_KERNELS: bool = true;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LEAST: Self = f32::MIN;
    const NEGLIGIBLE: Self = -64.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        let exact = self.to_bits();
        ((exact + 0x7fff + (exact >> 16 & 1)) >> 16) as u16
    }

    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }

    fn ln(self) -> Self {
        f32::ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    fn frequency(rotary: Rotary, pair: usize, head_dim: usize) -> Self {
        rotary.frequency_f32(pair, head_dim)
    }

    fn sin_cos(self) -> (Self, Self) {
        f32::sin_cos(self)
    }
}

#[cfg(feature = "f64")]
impl Real for f64 {
    const NAME: &'static str = "f64";
    const HAS_KERNELS: bool = false;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LEAST: Self = f64::MIN;
    const NEGLIGIBLE: Self = -600.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        (self as f32).bf16_bits()
    }

    fn exp(self) -> Self {
        f64::exp(self)
    }

    fn ln(self) -> Self {
        f64::ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    fn frequency(rotary: Rotary, pair: usize, head_dim: usize) -> Self {
        rotary.frequency_f64(pair, head_dim)
    }

    fn sin_cos(self) -> (Self, Self) {
        f64::sin_cos(self)
    }
}

/// `e^x` without branches: the Cephes polynomial (Moshier 1992) on `|r| <= ln 2 / 2` and a scaling by `2^n`. The relative
/// error is below 2e-7; below -86 the result is an exact zero, above 88.7 infinite, of a NaN it is a NaN.
#[inline(always)]
#[expect(
    clippy::excessive_precision,
    reason = "the published coefficients, of which the nearest f32 is taken"
)]
fn exp_f32(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it leaves the nearest integer in the low bits
    let bounded = if x > 89.0 { 89.0 } else { x };
    let bounded = if bounded < -87.0 { -87.0 } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = bounded - n * 0.693_359_375 + n * 2.121_944_40e-4;
    let p = 1.987_569_15e-4;
    let p = p * r + 1.398_199_95e-3;
    let p = p * r + 8.333_451_9e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_55e-1;
    let p = p * r + 5.000_000_12e-1;
    let p = p * r * r + r + 1.0;
    // Half of 2^n, because 2^128 has no bits of its own; the sum cannot overflow since |n| <= 129.
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32).wrapping_add(126);
    let scaled = p * f32::from_bits((exponent << 23) as u32) * 2.0;
    if x < -86.0 { 0.0 } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_good_to_two_units_in_the_last_place() {
        let mut errors = Vec::new();
        let mut x = -86.0_f32;
        while x < 88.7 {
            let exact = f64::from(x).exp();
            errors.push((f64::from(exp_f32(x)) - exact) / exact);
            x += 0.000_37;
        }
        let worst = pq_testing::largest(errors);
        assert!(worst < 2e-7, "relative error {worst:e}");
    }

    #[test]
    fn exponential_at_its_ends() {
        assert_eq!(exp_f32(0.0).to_bits(), 1.0_f32.to_bits());
        for x in [-86.1, -1000.0, f32::NEG_INFINITY, f32::MIN] {
            assert_eq!(exp_f32(x).to_bits(), 0, "exp({x})");
        }
        for x in [88.8, 1000.0, f32::INFINITY] {
            assert!(exp_f32(x).is_infinite(), "exp({x})");
        }
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
