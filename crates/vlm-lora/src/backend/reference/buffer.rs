//! Tensors as buffers.

use candle_core::{Result as CandleResult, Tensor};

use crate::backend::Write;
use crate::{Error, Result};

/// A flat tensor.
#[derive(Debug)]
pub(crate) struct Buffer(pub(super) Tensor);

/// A matrix `(n, k)`.
#[derive(Debug)]
pub(crate) struct Weight(pub(super) Tensor);

pub(super) fn failed(error: &candle_core::Error) -> Error {
    Error::Backend { device: "candle".to_owned(), reason: error.to_string() }
}

/// Runs a formula, with its error as one of this crate.
pub(super) fn run<T>(formula: impl FnOnce() -> CandleResult<T>) -> Result<T> {
    formula().map_err(|error| failed(&error))
}

impl Buffer {
    /// Stores `value`, which must have as many elements as there are.
    pub(super) fn set(&mut self, value: CandleResult<Tensor>) -> Result<()> {
        self.0 = run(|| value?.contiguous()?.reshape(self.0.elem_count())?.detach().copy())?;
        Ok(())
    }

    /// Stores or adds `value`.
    pub(super) fn write(&mut self, value: CandleResult<Tensor>, write: Write) -> Result<()> {
        let old = self.0.clone();
        self.set(value.and_then(|value| match write {
            Write::Set => Ok(value),
            Write::Add => old.reshape(value.shape())? + value,
        }))
    }

    /// As rows of `width`.
    pub(super) fn rows(&self, width: usize) -> CandleResult<Tensor> {
        self.0.reshape(((), width))
    }

    pub(super) fn len(&self) -> usize {
        self.0.elem_count()
    }
}
