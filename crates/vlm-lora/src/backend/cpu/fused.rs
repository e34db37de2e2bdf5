//! The fused and optional operations of the CPU backend.

use std::sync::atomic::Ordering;

use super::bf16::Activation;
use super::buffer::Buffer;
use super::check::{length, linear_lengths, room, whole_rows};
use super::prepared::Prepared;
use super::real::{Real, for_reals};
use super::weight::Weight;
use super::{BaseDtype, Cpu, loss, optimizer, pointwise};
use crate::Result;
use crate::backend::dropout::Mask;
use crate::backend::{AdamWTensor, Backend, Kernels as _, LinearOutput, Pending, RowTarget, check};

/// What rounding of activations to 8 bits may change image features by, and to 16 bits, which is less than bf16 may.
const BOUND_OF_8_BITS: f64 = 0.03;
const BOUND_OF_16_BITS: f64 = 0.01;

for_reals! {
impl Backend for Cpu<T> {
    fn scratch(&self, len: usize) -> Result<Buffer<T>> {
        room(&self.pool, len.saturating_mul(size_of::<T>()))?;
        Ok(Buffer::uninitialised(&self.pool, len))
    }

    fn upload_f64(&self, values: &[f64]) -> Result<Buffer<T>> {
        Ok(self.filled(values, T::of))
    }

    fn download_f64(&self, buffer: &Buffer<T>) -> Result<Vec<f64>> {
        Ok(buffer.iter().map(|value| value.to_f64()).collect())
    }

    fn clear(&self, buffers: Vec<&mut Buffer<T>>) -> Result<()> {
        for buffer in buffers {
            buffer.fill(T::ZERO);
        }
        Ok(())
    }

    fn integer_bound(&self) -> Option<f64> {
        self.integers.map(|_| if self.base == BaseDtype::Int8 { BOUND_OF_8_BITS } else { BOUND_OF_16_BITS })
    }

    fn set_integers(&self, used: bool) {
        self.is_exact.store(!used, Ordering::Relaxed);
    }

    fn weight_row_norms_squared(&self, weight: &Weight<T>) -> Result<Buffer<T>> {
        let mut out = Buffer::uninitialised(&self.pool, weight.shape().0);
        weight.row_norms_squared(self.simd, &mut out);
        Ok(out)
    }

    fn linears(
        &self,
        x: &Buffer<T>,
        m: usize,
        outputs: &mut [LinearOutput<'_, Weight<T>, Buffer<T>>],
    ) -> Result<()> {
        let context = self.context();
        let Some(first) = outputs.first() else { return Ok(()) };
        let (operand, columns) = (first.weight.operand(context), first.weight.shape().1);
        let Some(operand) = operand.filter(|_| outputs.iter().all(|out| out.weight.operand(context) == operand))
        else {
            return outputs.iter_mut().try_for_each(|out| self.linear(x, m, out.weight, out.bias, out.y));
        };
        for out in &mut *outputs {
            linear_lengths(x, m, out.weight, out.bias, out.y)?;
        }
        let x = bytemuck::cast_slice(x);
        let prepared = Prepared::new(context, operand, x, (m, columns), Activation::Identity);
        for LinearOutput { weight, bias, y } in outputs {
            weight.forward_prepared(context, &prepared, bias.map(|bias| &bias[..]), y);
        }
        Ok(())
    }

    fn linear_of_gelu(
        &self,
        x: &Buffer<T>,
        m: usize,
        weight: &Weight<T>,
        bias: Option<&Buffer<T>>,
        y: &mut Buffer<T>,
    ) -> Result<()> {
        let ((_, k), context) = (weight.shape(), self.context());
        linear_lengths(x, m, weight, bias, y)?;
        let bias = bias.map(|bias| &bias[..]);
        if let Some(operand) = weight.operand(context) {
            let prepared = Prepared::new(context, operand, bytemuck::cast_slice(x), (m, k), Activation::Gelu);
            weight.forward_prepared(context, &prepared, bias, y);
        } else {
            let mut activated = self.scratch(x.len())?;
            pointwise::gelu(self.simd, x, &mut activated);
            weight.forward(context, &activated, m, bias, y);
        }
        Ok(())
    }

    fn scale_columns(&self, x: &Buffer<T>, s: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        whole_rows("x", x.len(), s.len())?;
        length("y", y.len(), x.len())?;
        pointwise::scale_columns(self.simd, x, s, y);
        Ok(())
    }

    fn column_dot(&self, a: &Buffer<T>, b: Option<&Buffer<T>>, out: &mut Buffer<T>) -> Result<()> {
        whole_rows("a", a.len(), out.len())?;
        if let Some(b) = b {
            length("b", b.len(), a.len())?;
        }
        pointwise::column_dot(self.simd, a, b.map(|b| &b[..]), out);
        Ok(())
    }

    fn dropout(&self, x: &Buffer<T>, p: f32, key: u64, y: &mut Buffer<T>) -> Result<()> {
        length("y", y.len(), x.len())?;
        check::probability(p)?;
        pointwise::dropout(self.simd, x, Mask::new(key, p), y);
        Ok(())
    }

    fn cross_entropy(
        &self,
        logits: &mut Buffer<T>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        if targets.is_empty() {
            return length("logits", logits.len(), 0).map(|()| Pending::Ready(Vec::new()));
        }
        let vocabulary = check::vocabulary(logits.len(), targets)?;
        Ok(Pending::Ready(loss::cross_entropy(self.simd, logits, vocabulary, targets, scale)))
    }

    fn sum_squares(&self, tensors: &[&Buffer<T>]) -> Result<Pending<f64>> {
        Ok(Pending::Ready(tensors.iter().map(|x| pointwise::sum_squares(self.simd, x)).sum()))
    }

    fn adamw(&self, tensors: Vec<AdamWTensor<'_, Buffer<T>>>) -> Result<()> {
        for AdamWTensor { step, value, grad, m, v } in tensors {
            length("grad", grad.len(), value.len())?;
            length("m", m.len(), value.len())?;
            length("v", v.len(), value.len())?;
            optimizer::adamw(self.simd, step, value, grad, m, v);
        }
        Ok(())
    }
}
}
