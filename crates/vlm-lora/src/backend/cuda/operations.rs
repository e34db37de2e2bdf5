//! The operations of the CUDA backend: arguments are checked here, the kernels take them as given.

use super::buffer::Buffer;
use super::check::{inside, length, to_u32, whole_rows};
use super::device::Device;
use super::weight::Weight;
use super::{Cuda, count, flag};
use crate::backend::check;
use crate::backend::{
    Attention, AttentionGradients, AttentionInputs, AttentionSaved, FrozenLinear, Gemm, Kernels, Norm, Rope,
    Write,
};
use crate::{Result, Stored};

impl<D: Device> Kernels for Cuda<D> {
    type Buffer = Buffer<D>;
    type Weight = Weight<D>;

    fn name(&self) -> String {
        let base = if self.integers { "int8 base in " } else { "" };
        format!("{}, {base}{}", self.device().name(), self.dtype.name())
    }

    fn zeros(&self, len: usize) -> Result<Buffer<D>> {
        let mut buffer = Buffer::new(&self.pool, len)?;
        if len > 0 {
            self.device().clear(self.overwritten(&mut buffer)?, len * 4)?;
        }
        Ok(buffer)
    }

    fn upload(&self, values: &[f32]) -> Result<Buffer<D>> {
        let mut buffer = Buffer::new(&self.pool, values.len())?;
        self.device().write(self.overwritten(&mut buffer)?, bytemuck::cast_slice(values))?;
        Ok(buffer)
    }

    fn download(&self, buffer: &Buffer<D>) -> Result<Vec<f32>> {
        let mut values = vec![0.0; buffer.len()];
        self.device().read(self.numbers(buffer)?, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
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
        check::ranges(len, from, src.len(), at, dst.len())?;
        if len == 0 {
            return Ok(());
        }
        let (from, to) = (self.numbers(src)? + 4 * from as u64, self.changed(dst)? + 4 * at as u64);
        match write {
            Write::Set => self.device().copy(from, to, len * 4),
            Write::Add => {
                let period = to_u32("a copy of", len)?;
                self.each("add", len, &[1_f32.into(), from.into(), period.into(), to.into(), count(len)])
            }
        }
    }

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize) -> Result<Weight<D>> {
        self.new_weight(stored, n, k)
    }

    fn weight_shape(&self, weight: &Weight<D>) -> (usize, usize) {
        (weight.n, weight.k)
    }

    fn linear(
        &self,
        x: &Buffer<D>,
        m: usize,
        weight: &Weight<D>,
        bias: Option<&Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        self.multiply(x, m, FrozenLinear { weight, bias }, y, Write::Set)
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

    fn norm(&self, x: &Buffer<D>, norm: Norm<'_, Buffer<D>>, y: &mut Buffer<D>) -> Result<()> {
        self.normalise(x, norm, y)
    }

    fn norm_backward(
        &self,
        dy: &Buffer<D>,
        x: &Buffer<D>,
        norm: Norm<'_, Buffer<D>>,
        dx: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        self.normalise_backward(dy, x, norm, dx, write)
    }

    fn rope(&self, x: &mut Buffer<D>, rope: Rope<'_>) -> Result<()> {
        self.rotate(x, rope)
    }

    fn swiglu(&self, gate: &Buffer<D>, up: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        length("up", up.len(), gate.len())?;
        length("y", y.len(), gate.len())?;
        let n = gate.len();
        if let Some(width) = Self::width_of_operands(gate, up)? {
            return self.swiglu_of_operands([gate, up], width, y);
        }
        let (gate, up) = (self.numbers(gate)?, self.numbers(up)?);
        let [to, operand] = self.flat_output(y)?;
        self.each("swiglu", n, &[gate.into(), up.into(), to.into(), operand.into(), count(n)])
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
        let (from, [to, operand]) = (self.numbers(x)?, self.flat_output(y)?);
        self.each("gelu", x.len(), &[from.into(), to.into(), operand.into(), count(x.len())])
    }

    fn gelu_backward(&self, dy: &Buffer<D>, x: &Buffer<D>, dx: &mut Buffer<D>) -> Result<()> {
        length("dy", dy.len(), x.len())?;
        length("dx", dx.len(), x.len())?;
        let (dy, from, [to, operand]) = (self.numbers(dy)?, self.numbers(x)?, self.flat_output(dx)?);
        let arguments = [dy.into(), from.into(), to.into(), operand.into(), count(x.len())];
        self.each("gelu_backward", x.len(), &arguments)
    }

    fn attention(
        &self,
        shape: Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
        o: &mut Buffer<D>,
        lse: &mut Buffer<D>,
    ) -> Result<()> {
        self.attend(&shape, inputs, o, lse)
    }

    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Buffer<D>,
        saved: AttentionSaved<'_, Buffer<D>>,
        gradients: AttentionGradients<'_, Buffer<D>>,
    ) -> Result<()> {
        self.attend_backward(&shape, d_o, saved, gradients)
    }

    fn gather_rows(&self, src: &Buffer<D>, width: usize, rows: &[u32], dst: &mut Buffer<D>) -> Result<()> {
        inside(rows, whole_rows("src", src.len(), width)?)?;
        length("dst", dst.len(), rows.len() * width)?;
        to_u32("rows of together", dst.len())?;
        let (n, indices) = (dst.len(), self.words(rows)?);
        let (from, to) = (self.numbers(src)?.into(), self.overwritten(dst)?.into());
        let arguments = [from, indices.address.into(), (width as u32).into(), to, count(n)];
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
        // Rows that are not named stay as they are.
        let (from, to) = (self.numbers(src)?.into(), self.changed(dst)?.into());
        let arguments = [from, indices.address.into(), (width as u32).into(), to, count(n), flag(write)];
        self.each("scatter_rows", n, &arguments)
    }

    fn add(&self, alpha: f32, x: &Buffer<D>, y: &mut Buffer<D>) -> Result<()> {
        if y.len() == 0 {
            return length("x", x.len(), 0);
        }
        whole_rows("y", y.len(), x.len())?;
        let (n, period) = (y.len(), to_u32("a sum of", x.len())?);
        to_u32("a sum of", n)?;
        let (from, to) = (self.numbers(x)?, self.changed(y)?);
        self.each("add", n, &[alpha.into(), from.into(), period.into(), to.into(), count(n)])
    }
}
