//! Buffers and matrices of the backend in use, behind their common names.

use super::{AnyBuffer, AnyWeight};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::backend::cuda;
use crate::backend::{AdamWTensor, LowRank, LowRankBackward, LowRankForward, cpu};

/// What the backend in use calls `T`, behind its common name.
pub(super) trait Part<T> {
    fn part(&self) -> Result<&T>;
    fn part_mut(&mut self) -> Result<&mut T>;
}

macro_rules! parts {
    ($any:ident, $variant:ident, $part:ty) => {
        impl From<$part> for $any {
            fn from(part: $part) -> Self {
                Self::$variant(part)
            }
        }

        impl Part<$part> for $any {
            fn part(&self) -> Result<&$part> {
                match self {
                    Self::$variant(part) => Ok(part),
                    #[cfg(feature = "cuda")]
                    _ => Err(foreign()),
                }
            }

            fn part_mut(&mut self) -> Result<&mut $part> {
                match self {
                    Self::$variant(part) => Ok(part),
                    #[cfg(feature = "cuda")]
                    _ => Err(foreign()),
                }
            }
        }
    };
}

parts!(AnyBuffer, Cpu, cpu::Buffer<f32>);
parts!(AnyWeight, Cpu, cpu::Weight<f32>);
#[cfg(feature = "cuda")]
parts!(AnyBuffer, Cuda, cuda::Buffer<cuda::Driver>);
#[cfg(feature = "cuda")]
parts!(AnyWeight, Cuda, cuda::Weight<cuda::Driver>);

#[cfg(feature = "cuda")]
fn foreign() -> crate::Error {
    crate::Error::Backend { device: "any".to_owned(), reason: "an array of another device".to_owned() }
}

/// The same tensor as the backend in use calls it.
pub(super) fn tensor<T>(any: AdamWTensor<'_, AnyBuffer>) -> Result<AdamWTensor<'_, T>>
where
    AnyBuffer: Part<T>,
{
    let AdamWTensor { step, value, grad, m, v } = any;
    Ok(AdamWTensor { step, value: value.part_mut()?, grad: grad.part()?, m: m.part_mut()?, v: v.part_mut()? })
}

/// The same adapter as the backend in use calls its parts.
fn pair<'a, T>(any: &LowRank<'a, AnyBuffer>) -> Result<LowRank<'a, T>>
where
    AnyBuffer: Part<T>,
{
    let LowRank { a, b, r, scale, dropout } = *any;
    Ok(LowRank { a: a.part()?, b: b.part()?, r, scale, dropout })
}

/// As [`pair`], in the forward pass.
pub(super) fn forward<'a, T>(any: &'a mut LowRankForward<'_, AnyBuffer>) -> Result<LowRankForward<'a, T>>
where
    AnyBuffer: Part<T>,
{
    Ok(LowRankForward { pair: pair(&any.pair)?, down: any.down.part_mut()?, y: any.y.part_mut()? })
}

/// As [`pair`], in the backward pass.
pub(super) fn backward<'a, T>(any: &'a mut LowRankBackward<'_, AnyBuffer>) -> Result<LowRankBackward<'a, T>>
where
    AnyBuffer: Part<T>,
{
    let (down, dy) = (any.down.part()?, any.dy.part()?);
    Ok(LowRankBackward { pair: pair(&any.pair)?, down, dy, da: any.da.part_mut()?, db: any.db.part_mut()? })
}
