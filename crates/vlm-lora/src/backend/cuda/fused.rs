//! The fused and optional operations of the CUDA backend.

use std::sync::Arc;

use process_group::ProcessGroup;

use super::buffer::Buffer;
use super::check::{length, to_u32, whole_rows};
use super::device::{CudaDtype, Device};
use super::weight::Weight;
use super::{Cuda, count};
use crate::backend::dropout::Mask;
use crate::backend::fused::{all_reduce_on_host, over_the_hosts};
use crate::backend::{
    AdamWTensor, AdaptedBackward, AdaptedOutput, Backend, FrozenLinear, LowRankBackward, LowRankForward,
    Pending, Rope, RowTarget, Write, check,
};
use crate::{Result, Stored, Tiles};

impl<D: Device> Backend for Cuda<D> {
    fn scratch(&self, len: usize) -> Result<Buffer<D>> {
        Buffer::new(&self.pool, len)
    }

    fn scratch_for_products(&self, len: usize) -> Result<Buffer<D>> {
        self.for_products(len)
    }

    /// In bf16 they take half of the memory that they would take as numbers, and as much time as one more kernel each.
    fn keeps_inputs(&self) -> bool {
        self.dtype == CudaDtype::Bfloat16
    }

    fn clear(&self, buffers: Vec<&mut Buffer<D>>) -> Result<()> {
        self.clear_tensors(buffers)
    }

    fn tiles_at_once(&self) -> usize {
        super::pixels::TILES_AT_ONCE
    }

    fn is_async(&self) -> bool {
        true
    }

    fn stage(&self, tiles: &Arc<Tiles>) -> Result<()> {
        self.begin_copy(tiles)
    }

    fn patches(&self, tiles: &[(&Tiles, usize)], grid: usize, patch: usize) -> Result<Buffer<D>> {
        self.patches_of(tiles, grid, patch)
    }

    fn weight_row_norms_squared(&self, weight: &Weight<D>) -> Result<Buffer<D>> {
        self.norms_of(weight)
    }

    fn weights(&self, parts: &[(Stored<'_>, usize)], k: usize) -> Result<Vec<Weight<D>>> {
        self.new_weights(parts, k)
    }

    fn scratch_side_by_side(&self, rows: usize, widths: &[usize]) -> Result<Vec<Buffer<D>>> {
        self.columns(rows, widths)
    }

    fn adapted(
        &self,
        x: &Buffer<D>,
        m: usize,
        outputs: &mut [AdaptedOutput<'_, Weight<D>, Buffer<D>>],
    ) -> Result<()> {
        self.adapted_products(x, m, outputs)
    }

    fn adapted_backward(
        &self,
        x: Option<&Buffer<D>>,
        m: usize,
        linears: &mut [AdaptedBackward<'_, Weight<D>, Buffer<D>>],
        dx: Option<(&mut Buffer<D>, Write)>,
    ) -> Result<()> {
        self.adapted_gradients(x, m, linears, dx)
    }

    fn rope_both(&self, q: &mut Buffer<D>, k: &mut Buffer<D>, rope: Rope<'_>, kv_heads: usize) -> Result<()> {
        self.rotate_both(q, k, rope, kv_heads)
    }

    fn linear_of_gelu(
        &self,
        x: &Buffer<D>,
        m: usize,
        weight: &Weight<D>,
        bias: Option<&Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.multiply_of_gelu(x, m, FrozenLinear { weight, bias }, y, Write::Set)
    }

    fn linear_onto(
        &self,
        x: &Buffer<D>,
        m: usize,
        linear: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.multiply(x, m, linear, y, Write::Add)
    }

    fn perceptron_onto(
        &self,
        x: &Buffer<D>,
        m: usize,
        first: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        second: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.perceptron(x, m, first, second, y)
    }

    fn adapters(
        &self,
        x: &Buffer<D>,
        m: usize,
        adapters: &mut [LowRankForward<'_, Buffer<D>>],
    ) -> Result<()> {
        self.add_adapters(x, m, adapters)
    }

    fn adapters_backward(
        &self,
        x: &Buffer<D>,
        m: usize,
        adapters: &mut [LowRankBackward<'_, Buffer<D>>],
        dx: Option<&mut Buffer<D>>,
    ) -> Result<()> {
        self.adapter_gradients(x, m, adapters, dx)
    }

    fn scale_columns(&self, x: &Buffer<D>, s: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        whole_rows("x", x.len(), s.len())?;
        length("y", y.len(), x.len())?;
        let (n, width) = (x.len(), to_u32("a row of", s.len())?);
        to_u32("rows of together", n)?;
        let (from, factors) = (self.numbers(x)?, self.numbers(s)?);
        let arguments = [from.into(), factors.into(), width.into(), self.overwritten(y)?.into(), count(n)];
        self.each("scale_columns", n, &arguments)
    }

    fn column_dot(&self, a: &Buffer<D>, b: Option<&Buffer<D>>, out: &mut Buffer<D>) -> Result<()> {
        let (rows, width) = (whole_rows("a", a.len(), out.len())?, out.len());
        if let Some(b) = b {
            length("b", b.len(), a.len())?;
        }
        let (first, second) = (self.numbers(a)?, b.map_or(Ok(0), |b| self.numbers(b))?);
        let arguments = [first.into(), second.into(), self.changed(out)?.into(), count(rows), count(width)];
        self.launch("column_dot", [to_u32("columns", width.div_ceil(32))?, 1], super::THREADS, &arguments)
    }

    fn dropout(&self, x: &Buffer<D>, p: f32, key: u64, y: &mut Buffer<D>) -> Result<()> {
        check::probability(p)?;
        self.drop_out(x, key, Mask::new(key, p), y)
    }

    fn cross_entropy(
        &self,
        logits: &mut Buffer<D>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        self.loss_rows(logits, targets, scale)
    }

    fn sum_squares(&self, tensors: &[&Buffer<D>]) -> Result<Pending<f64>> {
        self.squares(tensors)
    }

    fn way_of_sums(&self, group: &dyn ProcessGroup) -> Result<String> {
        let joined = self.device().join(group)?;
        Ok(joined.map_or_else(
            |why| format!("{} ({why})", over_the_hosts(group)),
            |()| "on the GPUs, which NCCL connects".to_owned(),
        ))
    }

    fn all_reduce(&self, mut buffers: Vec<&mut Buffer<D>>, group: &dyn ProcessGroup) -> Result<()> {
        match self.device().join(group)? {
            Ok(()) => self.sum_in_order(&mut buffers, group),
            Err(_) => all_reduce_on_host(self, buffers, group),
        }
    }

    fn adamw(&self, tensors: Vec<AdamWTensor<'_, Buffer<D>>>) -> Result<()> {
        self.adamw_steps(tensors)
    }
}
