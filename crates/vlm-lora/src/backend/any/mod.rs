//! A backend that is chosen when the program runs.

mod gpu;
mod parts;
mod types;

pub use types::{AnyBackend, AnyBuffer, AnyWeight};

use crate::Stored;
use std::sync::Arc;

use self::parts::{Part, backward, forward, tensor};
use super::{
    AdamWStep, AdamWTensor, Attention, Backend, Gemm, LinearOutput, LowRankBackward, LowRankForward, Pending,
    RowTarget, Write,
};
use crate::{Result, Tiles};

/// The same call on the backend in use.
macro_rules! on {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Self::Cpu($backend) => $call,
            #[cfg(feature = "cuda")]
            Self::Cuda($backend) => $call,
        }
    };
}

impl Backend for AnyBackend {
    type Buffer = AnyBuffer;
    type Weight = AnyWeight;

    fn name(&self) -> String {
        on!(self, b => b.name())
    }

    fn zeros(&self, len: usize) -> Result<AnyBuffer> {
        on!(self, b => b.zeros(len).map(Into::into))
    }

    fn scratch(&self, len: usize) -> Result<AnyBuffer> {
        on!(self, b => b.scratch(len).map(Into::into))
    }

    fn upload(&self, values: &[f32]) -> Result<AnyBuffer> {
        on!(self, b => b.upload(values).map(Into::into))
    }

    fn download(&self, buffer: &AnyBuffer) -> Result<Vec<f32>> {
        on!(self, b => b.download(buffer.part()?))
    }

    fn upload_f64(&self, values: &[f64]) -> Result<AnyBuffer> {
        on!(self, b => b.upload_f64(values).map(Into::into))
    }

    fn download_f64(&self, buffer: &AnyBuffer) -> Result<Vec<f64>> {
        on!(self, b => b.download_f64(buffer.part()?))
    }

    fn len(&self, buffer: &AnyBuffer) -> usize {
        // Of another device's buffer nothing can be done; every call with it fails.
        on!(self, b => buffer.part().map_or(0, |buffer| b.len(buffer)))
    }

    fn copy(
        &self,
        src: &AnyBuffer,
        from: usize,
        len: usize,
        dst: &mut AnyBuffer,
        at: usize,
        write: Write,
    ) -> Result<()> {
        on!(self, b => b.copy(src.part()?, from, len, dst.part_mut()?, at, write))
    }

    fn tiles_at_once(&self) -> usize {
        on!(self, b => b.tiles_at_once())
    }

    fn is_async(&self) -> bool {
        on!(self, b => b.is_async())
    }

    fn stage(&self, tiles: &Arc<Tiles>) -> Result<()> {
        on!(self, b => b.stage(tiles))
    }

    fn patches(&self, tiles: &[(&Tiles, usize)], grid: usize, patch: usize) -> Result<AnyBuffer> {
        on!(self, b => b.patches(tiles, grid, patch).map(Into::into))
    }

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize, needs_backward: bool) -> Result<AnyWeight> {
        on!(self, b => b.weight(stored, n, k, needs_backward).map(Into::into))
    }

    fn weight_shape(&self, weight: &AnyWeight) -> (usize, usize) {
        on!(self, b => weight.part().map_or((0, 0), |weight| b.weight_shape(weight)))
    }

    fn weight_row_norms_squared(&self, weight: &AnyWeight) -> Result<AnyBuffer> {
        on!(self, b => b.weight_row_norms_squared(weight.part()?).map(Into::into))
    }

    fn linear(
        &self,
        x: &AnyBuffer,
        m: usize,
        weight: &AnyWeight,
        bias: Option<&AnyBuffer>,
        y: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => {
            b.linear(x.part()?, m, weight.part()?, bias.map(Part::part).transpose()?, y.part_mut()?)
        })
    }

    fn linears(
        &self,
        x: &AnyBuffer,
        m: usize,
        outputs: &mut [LinearOutput<'_, AnyWeight, AnyBuffer>],
    ) -> Result<()> {
        on!(self, b => {
            let mut parts = Vec::with_capacity(outputs.len());
            for LinearOutput { weight, bias, y } in outputs {
                let bias = bias.map(Part::part).transpose()?;
                parts.push(LinearOutput { weight: weight.part()?, bias, y: y.part_mut()? });
            }
            b.linears(x.part()?, m, &mut parts)
        })
    }

    fn linear_of_gelu(
        &self,
        x: &AnyBuffer,
        m: usize,
        weight: &AnyWeight,
        bias: Option<&AnyBuffer>,
        y: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => {
            b.linear_of_gelu(x.part()?, m, weight.part()?, bias.map(Part::part).transpose()?, y.part_mut()?)
        })
    }

    fn linear_backward(
        &self,
        dy: &AnyBuffer,
        m: usize,
        weight: &AnyWeight,
        dx: &mut AnyBuffer,
        write: Write,
    ) -> Result<()> {
        on!(self, b => b.linear_backward(dy.part()?, m, weight.part()?, dx.part_mut()?, write))
    }

    fn embed(&self, weight: &AnyWeight, ids: &[u32], y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.embed(weight.part()?, ids, y.part_mut()?))
    }

    fn gemm(&self, shape: Gemm, a: &AnyBuffer, b: &AnyBuffer, c: &mut AnyBuffer) -> Result<()> {
        on!(self, backend => backend.gemm(shape, a.part()?, b.part()?, c.part_mut()?))
    }

    fn adapters(
        &self,
        x: &AnyBuffer,
        m: usize,
        adapters: &mut [LowRankForward<'_, AnyBuffer>],
    ) -> Result<()> {
        on!(self, b => {
            b.adapters(x.part()?, m, &mut adapters.iter_mut().map(forward).collect::<Result<Vec<_>>>()?)
        })
    }

    fn adapters_backward(
        &self,
        x: &AnyBuffer,
        m: usize,
        adapters: &mut [LowRankBackward<'_, AnyBuffer>],
        dx: Option<&mut AnyBuffer>,
    ) -> Result<()> {
        on!(self, b => {
            let dx = dx.map(Part::part_mut).transpose()?;
            let mut adapters = adapters.iter_mut().map(backward).collect::<Result<Vec<_>>>()?;
            b.adapters_backward(x.part()?, m, &mut adapters, dx)
        })
    }

    fn layer_norm(
        &self,
        x: &AnyBuffer,
        weight: &AnyBuffer,
        bias: &AnyBuffer,
        eps: f64,
        y: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => b.layer_norm(x.part()?, weight.part()?, bias.part()?, eps, y.part_mut()?))
    }

    fn layer_norm_backward(
        &self,
        dy: &AnyBuffer,
        x: &AnyBuffer,
        weight: &AnyBuffer,
        eps: f64,
        dx: &mut AnyBuffer,
        write: Write,
    ) -> Result<()> {
        on!(self, b => {
            b.layer_norm_backward(dy.part()?, x.part()?, weight.part()?, eps, dx.part_mut()?, write)
        })
    }

    fn rms_norm(&self, x: &AnyBuffer, weight: &AnyBuffer, eps: f64, y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.rms_norm(x.part()?, weight.part()?, eps, y.part_mut()?))
    }

    fn rms_norm_backward(
        &self,
        dy: &AnyBuffer,
        x: &AnyBuffer,
        weight: &AnyBuffer,
        eps: f64,
        dx: &mut AnyBuffer,
        write: Write,
    ) -> Result<()> {
        on!(self, b => {
            b.rms_norm_backward(dy.part()?, x.part()?, weight.part()?, eps, dx.part_mut()?, write)
        })
    }

    fn rope(
        &self,
        x: &mut AnyBuffer,
        positions: &[u32],
        heads: usize,
        head_dim: usize,
        theta: f64,
        inverse: bool,
    ) -> Result<()> {
        on!(self, b => b.rope(x.part_mut()?, positions, heads, head_dim, theta, inverse))
    }

    fn swiglu(&self, gate: &AnyBuffer, up: &AnyBuffer, y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.swiglu(gate.part()?, up.part()?, y.part_mut()?))
    }

    fn swiglu_backward(
        &self,
        dy: &AnyBuffer,
        gate: &AnyBuffer,
        up: &AnyBuffer,
        dgate: &mut AnyBuffer,
        dup: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => {
            b.swiglu_backward(dy.part()?, gate.part()?, up.part()?, dgate.part_mut()?, dup.part_mut()?)
        })
    }

    fn gelu(&self, x: &AnyBuffer, y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.gelu(x.part()?, y.part_mut()?))
    }

    fn gelu_backward(&self, dy: &AnyBuffer, x: &AnyBuffer, dx: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.gelu_backward(dy.part()?, x.part()?, dx.part_mut()?))
    }

    fn attention(
        &self,
        shape: Attention<'_>,
        q: &AnyBuffer,
        k: &AnyBuffer,
        v: &AnyBuffer,
        o: &mut AnyBuffer,
        lse: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => {
            b.attention(shape, q.part()?, k.part()?, v.part()?, o.part_mut()?, lse.part_mut()?)
        })
    }

    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &AnyBuffer,
        q: &AnyBuffer,
        k: &AnyBuffer,
        v: &AnyBuffer,
        o: &AnyBuffer,
        lse: &AnyBuffer,
        dq: &mut AnyBuffer,
        dk: &mut AnyBuffer,
        dv: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => b.attention_backward(
            shape,
            d_o.part()?,
            q.part()?,
            k.part()?,
            v.part()?,
            o.part()?,
            lse.part()?,
            dq.part_mut()?,
            dk.part_mut()?,
            dv.part_mut()?,
        ))
    }

    fn gather_rows(&self, src: &AnyBuffer, width: usize, rows: &[u32], dst: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.gather_rows(src.part()?, width, rows, dst.part_mut()?))
    }

    fn scatter_rows(
        &self,
        src: &AnyBuffer,
        width: usize,
        rows: &[u32],
        dst: &mut AnyBuffer,
        write: Write,
    ) -> Result<()> {
        on!(self, b => b.scatter_rows(src.part()?, width, rows, dst.part_mut()?, write))
    }

    fn add(&self, alpha: f32, x: &AnyBuffer, y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.add(alpha, x.part()?, y.part_mut()?))
    }

    fn scale_columns(&self, x: &AnyBuffer, s: &AnyBuffer, y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.scale_columns(x.part()?, s.part()?, y.part_mut()?))
    }

    fn column_dot(&self, a: &AnyBuffer, b: Option<&AnyBuffer>, out: &mut AnyBuffer) -> Result<()> {
        on!(self, backend => {
            backend.column_dot(a.part()?, b.map(Part::part).transpose()?, out.part_mut()?)
        })
    }

    fn dropout(&self, x: &AnyBuffer, p: f32, key: u64, y: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.dropout(x.part()?, p, key, y.part_mut()?))
    }

    fn cross_entropy(
        &self,
        logits: &mut AnyBuffer,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Vec<f64>> {
        on!(self, b => b.cross_entropy(logits.part_mut()?, targets, scale))
    }

    fn cross_entropy_async(
        &self,
        logits: &mut AnyBuffer,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        on!(self, b => b.cross_entropy_async(logits.part_mut()?, targets, scale))
    }

    fn sum_squares(&self, x: &AnyBuffer) -> Result<f64> {
        on!(self, b => b.sum_squares(x.part()?))
    }

    fn sums_of_squares(&self, tensors: &[&AnyBuffer]) -> Result<Pending<f64>> {
        on!(self, b => {
            b.sums_of_squares(&tensors.iter().map(|x| x.part()).collect::<Result<Vec<_>>>()?)
        })
    }

    fn adamw(
        &self,
        step: AdamWStep,
        value: &mut AnyBuffer,
        grad: &AnyBuffer,
        m: &mut AnyBuffer,
        v: &mut AnyBuffer,
    ) -> Result<()> {
        on!(self, b => {
            b.adamw(step, value.part_mut()?, grad.part()?, m.part_mut()?, v.part_mut()?)
        })
    }

    fn adamw_all(&self, tensors: Vec<AdamWTensor<'_, AnyBuffer>>) -> Result<()> {
        on!(self, b => b.adamw_all(tensors.into_iter().map(tensor).collect::<Result<_>>()?))
    }

    fn clear(&self, buffer: &mut AnyBuffer) -> Result<()> {
        on!(self, b => b.clear(buffer.part_mut()?))
    }

    fn clear_all(&self, buffers: Vec<&mut AnyBuffer>) -> Result<()> {
        on!(self, b => b.clear_all(buffers.into_iter().map(Part::part_mut).collect::<Result<_>>()?))
    }
}
