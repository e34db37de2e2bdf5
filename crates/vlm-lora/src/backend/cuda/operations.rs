//! The operations of the CUDA backend: arguments are checked here, the kernels take them as given.

use crate::Stored;
use std::sync::Arc;

use super::attention::Saved;
use super::buffer::Buffer;
use super::check::{ensure, inside, length, to_u32, whole_rows};
use super::device::Device;
use super::weight::Weight;
use super::{Cuda, count, element, flag};
use crate::backend::check;
use crate::backend::dropout::Mask;
use crate::backend::{
    AdamWStep, AdamWTensor, Attention, Backend, Gemm, LowRankBackward, LowRankForward, Pending, RowTarget,
    Write,
};
use crate::{Result, Tiles};

impl<D: Device> Backend for Cuda<D> {
    type Buffer = Buffer<D>;
    type Weight = Weight<D>;

    fn name(&self) -> String {
        let base = if self.integers { "int8 base in " } else { "" };
        format!("{}, {base}{}", self.device().name(), self.dtype.name())
    }

    fn zeros(&self, len: usize) -> Result<Buffer<D>> {
        let mut buffer = Buffer::new(&self.pool, len)?;
        self.clear(&mut buffer)?;
        Ok(buffer)
    }

    fn scratch(&self, len: usize) -> Result<Buffer<D>> {
        Buffer::new(&self.pool, len)
    }

    fn upload(&self, values: &[f32]) -> Result<Buffer<D>> {
        let mut buffer = Buffer::new(&self.pool, values.len())?;
        self.device().write(buffer.at_mut(), bytemuck::cast_slice(values))?;
        Ok(buffer)
    }

    fn download(&self, buffer: &Buffer<D>) -> Result<Vec<f32>> {
        let mut values = vec![0.0; buffer.len()];
        self.device().read(buffer.at(), bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    fn upload_f64(&self, values: &[f64]) -> Result<Buffer<D>> {
        self.upload(&values.iter().map(|&value| value as f32).collect::<Vec<_>>())
    }

    fn download_f64(&self, buffer: &Buffer<D>) -> Result<Vec<f64>> {
        Ok(self.download(buffer)?.into_iter().map(f64::from).collect())
    }

    fn len(&self, buffer: &Buffer<D>) -> usize {
        buffer.len()
    }

    fn copy(
        &self,
        src: &Buffer<D>,
        from: usize,
        len: usize,
        dst: &mut Buffer<D>,
        at: usize,
        write: Write,
    ) -> Result<()> {
        check::ranges(len, (from, src.len()), (at, dst.len()))?;
        if len == 0 {
            return Ok(());
        }
        let (from, to) = (src.at() + 4 * from as u64, dst.at_mut() + 4 * at as u64);
        match write {
            Write::Set => self.device().copy(from, to, len * 4),
            Write::Add => {
                let period = to_u32("a copy of", len)?;
                self.each("add", len, &[1_f32.into(), from.into(), period.into(), to.into(), count(len)])
            }
        }
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

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize, _needs_backward: bool) -> Result<Weight<D>> {
        self.new_weight(stored, n, k)
    }

    fn weight_shape(&self, weight: &Weight<D>) -> (usize, usize) {
        (weight.n, weight.k)
    }

    fn weight_row_norms_squared(&self, weight: &Weight<D>) -> Result<Buffer<D>> {
        self.norms_of(weight)
    }

    fn linear(
        &self,
        x: &Buffer<D>,
        m: usize,
        weight: &Weight<D>,
        bias: Option<&Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.multiply(x, m, weight, bias, y)
    }

    fn linear_of_gelu(
        &self,
        x: &Buffer<D>,
        m: usize,
        weight: &Weight<D>,
        bias: Option<&Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.multiply_of_gelu(x, m, weight, bias, y)
    }

    fn linear_backward(
        &self,
        dy: &Buffer<D>,
        m: usize,
        weight: &Weight<D>,
        dx: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        self.multiply_backward(dy, m, weight, dx, write)
    }

    fn embed(&self, weight: &Weight<D>, ids: &[u32], y: &mut Buffer<D>) -> Result<()> {
        self.rows_of(weight, ids, y)
    }

    fn gemm(&self, shape: Gemm, a: &Buffer<D>, b: &Buffer<D>, c: &mut Buffer<D>) -> Result<()> {
        self.multiply_buffers(shape, a, b, c)
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

    fn layer_norm(
        &self,
        x: &Buffer<D>,
        weight: &Buffer<D>,
        bias: &Buffer<D>,
        eps: f64,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.norm("layer_norm", &[x], (weight, Some(bias), eps), y, None)
    }

    fn layer_norm_backward(
        &self,
        dy: &Buffer<D>,
        x: &Buffer<D>,
        weight: &Buffer<D>,
        eps: f64,
        dx: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        self.norm("layer_norm_backward", &[dy, x], (weight, None, eps), dx, Some(write))
    }

    fn rms_norm(&self, x: &Buffer<D>, weight: &Buffer<D>, eps: f64, y: &mut Buffer<D>) -> Result<()> {
        self.norm("rms_norm", &[x], (weight, None, eps), y, None)
    }

    fn rms_norm_backward(
        &self,
        dy: &Buffer<D>,
        x: &Buffer<D>,
        weight: &Buffer<D>,
        eps: f64,
        dx: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        self.norm("rms_norm_backward", &[dy, x], (weight, None, eps), dx, Some(write))
    }

    fn rope(
        &self,
        x: &mut Buffer<D>,
        positions: &[u32],
        heads: usize,
        head_dim: usize,
        theta: f64,
        inverse: bool,
    ) -> Result<()> {
        self.rotate(x, positions, (heads, head_dim), theta, inverse)
    }

    fn swiglu(&self, gate: &Buffer<D>, up: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        length("up", up.len(), gate.len())?;
        length("y", y.len(), gate.len())?;
        let n = gate.len();
        let [to, operand] = self.output(y)?;
        self.each("swiglu", n, &[gate.at().into(), up.at().into(), to.into(), operand.into(), count(n)])
    }

    fn swiglu_backward(
        &self,
        dy: &Buffer<D>,
        gate: &Buffer<D>,
        up: &Buffer<D>,
        dgate: &mut Buffer<D>,
        dup: &mut Buffer<D>,
    ) -> Result<()> {
        self.swiglu_gradients(dy, gate, up, [dgate, dup])
    }

    fn gelu(&self, x: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        length("y", y.len(), x.len())?;
        let [to, operand] = self.output(y)?;
        self.each("gelu", x.len(), &[x.at().into(), to.into(), operand.into(), count(x.len())])
    }

    fn gelu_backward(&self, dy: &Buffer<D>, x: &Buffer<D>, dx: &mut Buffer<D>) -> Result<()> {
        length("dy", dy.len(), x.len())?;
        length("dx", dx.len(), x.len())?;
        let [to, operand] = self.output(dx)?;
        let arguments = [dy.at().into(), x.at().into(), to.into(), operand.into(), count(x.len())];
        self.each("gelu_backward", x.len(), &arguments)
    }

    fn attention(
        &self,
        shape: Attention<'_>,
        q: &Buffer<D>,
        k: &Buffer<D>,
        v: &Buffer<D>,
        o: &mut Buffer<D>,
        lse: &mut Buffer<D>,
    ) -> Result<()> {
        self.attend(&shape, [q, k, v], o, lse)
    }

    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Buffer<D>,
        q: &Buffer<D>,
        k: &Buffer<D>,
        v: &Buffer<D>,
        o: &Buffer<D>,
        lse: &Buffer<D>,
        dq: &mut Buffer<D>,
        dk: &mut Buffer<D>,
        dv: &mut Buffer<D>,
    ) -> Result<()> {
        self.attend_backward(&shape, &Saved { d_o, q, k, v, o, lse }, [dq, dk, dv])
    }

    fn gather_rows(&self, src: &Buffer<D>, width: usize, rows: &[u32], dst: &mut Buffer<D>) -> Result<()> {
        inside(rows, whole_rows("src", src.len(), width)?)?;
        length("dst", dst.len(), rows.len() * width)?;
        to_u32("rows of together", dst.len())?;
        let (n, indices) = (dst.len(), self.words(rows)?);
        let to = dst.at_mut().into();
        let arguments = [src.at().into(), indices.address.into(), (width as u32).into(), to, count(n)];
        self.each("gather_rows", n, &arguments)
    }

    fn scatter_rows(
        &self,
        src: &Buffer<D>,
        width: usize,
        rows: &[u32],
        dst: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        inside(rows, whole_rows("dst", dst.len(), width)?)?;
        length("src", src.len(), rows.len() * width)?;
        to_u32("rows of together", src.len())?;
        let (n, indices) = (src.len(), self.words(rows)?);
        let to = dst.at_mut().into();
        let arguments =
            [src.at().into(), indices.address.into(), (width as u32).into(), to, count(n), flag(write)];
        self.each("scatter_rows", n, &arguments)
    }

    fn add(&self, alpha: f32, x: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        if y.len() == 0 {
            return length("x", x.len(), 0);
        }
        whole_rows("y", y.len(), x.len())?;
        let (n, period) = (y.len(), to_u32("a sum of", x.len())?);
        to_u32("a sum of", n)?;
        self.each("add", n, &[alpha.into(), x.at().into(), period.into(), element(y.at_mut(), 0), count(n)])
    }

    fn scale_columns(&self, x: &Buffer<D>, s: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        whole_rows("x", x.len(), s.len())?;
        length("y", y.len(), x.len())?;
        let (n, width) = (x.len(), to_u32("a row of", s.len())?);
        to_u32("rows of together", n)?;
        let arguments = [x.at().into(), s.at().into(), width.into(), y.at_mut().into(), count(n)];
        self.each("scale_columns", n, &arguments)
    }

    fn column_dot(&self, a: &Buffer<D>, b: Option<&Buffer<D>>, out: &mut Buffer<D>) -> Result<()> {
        let (rows, width) = (whole_rows("a", a.len(), out.len())?, out.len());
        if let Some(b) = b {
            length("b", b.len(), a.len())?;
        }
        let second = b.map_or(0, Buffer::at);
        let arguments = [a.at().into(), second.into(), out.at_mut().into(), count(rows), count(width)];
        self.launch("column_dot", [to_u32("columns", width.div_ceil(32))?, 1], super::THREADS, &arguments)
    }

    fn dropout(&self, x: &Buffer<D>, p: f32, key: u64, y: &mut Buffer<D>) -> Result<()> {
        ensure((0.0..=1.0).contains(&p), || format!("{p} is not a probability"))?;
        self.drop_out(x, key, Mask::new(key, p), y)
    }

    fn cross_entropy(
        &self,
        logits: &mut Buffer<D>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Vec<f64>> {
        self.loss_rows(logits, targets, scale)?.wait()
    }

    fn cross_entropy_async(
        &self,
        logits: &mut Buffer<D>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        self.loss_rows(logits, targets, scale)
    }

    fn sum_squares(&self, x: &Buffer<D>) -> Result<f64> {
        self.squares(&[x])?.wait()
    }

    fn sums_of_squares(&self, tensors: &[&Buffer<D>]) -> Result<Pending<f64>> {
        self.squares(tensors)
    }

    fn adamw(
        &self,
        step: AdamWStep,
        value: &mut Buffer<D>,
        grad: &Buffer<D>,
        m: &mut Buffer<D>,
        v: &mut Buffer<D>,
    ) -> Result<()> {
        self.adamw_steps(vec![AdamWTensor { step, value, grad, m, v }])
    }

    fn adamw_all(&self, tensors: Vec<AdamWTensor<'_, Buffer<D>>>) -> Result<()> {
        self.adamw_steps(tensors)
    }

    fn clear(&self, buffer: &mut Buffer<D>) -> Result<()> {
        let len = buffer.len();
        if len == 0 { Ok(()) } else { self.device().clear(buffer.at_mut(), len * 4) }
    }

    fn clear_all(&self, buffers: Vec<&mut Buffer<D>>) -> Result<()> {
        self.clear_tensors(buffers)
    }
}
