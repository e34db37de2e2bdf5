//! The operations of the CPU backend: arguments are checked here, the kernels take them as given.

use super::bf16::Activation;
use super::buffer::Buffer;
use super::check::{ensure, inside, length, linear_lengths, norm_backward_lengths, room, whole_rows};
use super::matmul::{Matmul, View};
use super::real::Real;
use super::weight::Weight;
use super::{BaseDtype, Cpu, Isa, attention, gather, loss, norm, optimizer, pointwise};
use crate::Result;
use crate::Stored;
use crate::backend::dropout::Mask;
use crate::backend::{AdamWStep, Attention, Backend, Gemm, LinearOutput, RowTarget, Write, check};

impl<T: Real> Backend for Cpu<T> {
    type Buffer = Buffer<T>;
    type Weight = Weight<T>;

    fn name(&self) -> String {
        let level = Isa::in_use().name();
        match self.base {
            BaseDtype::Full => format!("cpu {} {level}", T::NAME),
            BaseDtype::Bf16 => format!("cpu {} {level}, bf16 base {}", T::NAME, self.kernel.name()),
            BaseDtype::Int8 => format!("cpu {} {level}, int8 base {}", T::NAME, self.kernel.name()),
        }
    }

    fn zeros(&self, len: usize) -> Result<Buffer<T>> {
        room(&self.pool, len.saturating_mul(size_of::<T>()))?;
        Ok(Buffer::zeros(&self.pool, len))
    }

    fn scratch(&self, len: usize) -> Result<Buffer<T>> {
        room(&self.pool, len.saturating_mul(size_of::<T>()))?;
        Ok(Buffer::uninitialised(&self.pool, len))
    }

    fn upload(&self, values: &[f32]) -> Result<Buffer<T>> {
        Ok(self.filled(values, |value| T::of(f64::from(value))))
    }

    fn download(&self, buffer: &Buffer<T>) -> Result<Vec<f32>> {
        Ok(buffer.iter().map(|value| value.to_f64() as f32).collect())
    }

    fn upload_f64(&self, values: &[f64]) -> Result<Buffer<T>> {
        Ok(self.filled(values, T::of))
    }

    fn download_f64(&self, buffer: &Buffer<T>) -> Result<Vec<f64>> {
        Ok(buffer.iter().map(|value| value.to_f64()).collect())
    }

    fn len(&self, buffer: &Buffer<T>) -> usize {
        buffer.len()
    }

    fn copy(
        &self,
        src: &Buffer<T>,
        from: usize,
        len: usize,
        dst: &mut Buffer<T>,
        at: usize,
        write: Write,
    ) -> Result<()> {
        check::ranges(len, (from, src.len()), (at, dst.len()))?;
        if len > 0 {
            gather::store(&src[from..from + len], &mut dst[at..at + len], write);
        }
        Ok(())
    }

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize, _needs_backward: bool) -> Result<Weight<T>> {
        Weight::new(stored, (n, k), self.base, self.kernel)
    }

    fn weight_shape(&self, weight: &Weight<T>) -> (usize, usize) {
        weight.shape()
    }

    fn weight_row_norms_squared(&self, weight: &Weight<T>) -> Result<Buffer<T>> {
        let mut out = Buffer::uninitialised(&self.pool, weight.shape().0);
        weight.row_norms_squared(&mut out);
        Ok(out)
    }

    fn linear(
        &self,
        x: &Buffer<T>,
        m: usize,
        weight: &Weight<T>,
        bias: Option<&Buffer<T>>,
        y: &mut Buffer<T>,
    ) -> Result<()> {
        let (n, k) = weight.shape();
        linear_lengths((x, m, k), (y, n), bias)?;
        weight.forward(self.context(), x, m, bias.map(|bias| &bias[..]), y);
        Ok(())
    }

    fn linears(
        &self,
        x: &Buffer<T>,
        m: usize,
        outputs: &mut [LinearOutput<'_, Weight<T>, Buffer<T>>],
    ) -> Result<()> {
        let context = self.context();
        let Some((_, columns)) = outputs.first().map(|out| out.weight.shape()) else { return Ok(()) };
        if !outputs.iter().all(|out| out.weight.is_bf16(context)) {
            return outputs.iter_mut().try_for_each(|out| self.linear(x, m, out.weight, out.bias, out.y));
        }
        for out in &mut *outputs {
            let (n, k) = out.weight.shape();
            linear_lengths((x, m, k), (out.y, n), out.bias)?;
        }
        let rounded = self.rounded((x, m, columns), Activation::Identity);
        for LinearOutput { weight, bias, y } in outputs {
            weight.forward_rounded(context, &rounded, bias.map(|bias| &bias[..]), y);
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
        let ((n, k), context) = (weight.shape(), self.context());
        linear_lengths((x, m, k), (y, n), bias)?;
        let bias = bias.map(|bias| &bias[..]);
        if weight.is_bf16(context) {
            weight.forward_rounded(context, &self.rounded((x, m, k), Activation::Gelu), bias, y);
        } else {
            let mut activated = self.scratch(x.len())?;
            pointwise::gelu(x, &mut activated);
            weight.forward(context, &activated, m, bias, y);
        }
        Ok(())
    }

    fn linear_backward(
        &self,
        dy: &Buffer<T>,
        m: usize,
        weight: &Weight<T>,
        dx: &mut Buffer<T>,
        write: Write,
    ) -> Result<()> {
        let (n, k) = weight.shape();
        length("dy", dy.len(), m * n)?;
        length("dx", dx.len(), m * k)?;
        weight.backward(self.context(), dy, m, dx, write);
        Ok(())
    }

    fn embed(&self, weight: &Weight<T>, ids: &[u32], y: &mut Buffer<T>) -> Result<()> {
        let (n, k) = weight.shape();
        inside(ids, n)?;
        length("y", y.len(), ids.len() * k)?;
        for (y, &id) in y.chunks_exact_mut(k.max(1)).zip(ids) {
            weight.row(id as usize, y);
        }
        Ok(())
    }

    fn gemm(&self, shape: Gemm, a: &Buffer<T>, b: &Buffer<T>, c: &mut Buffer<T>) -> Result<()> {
        let Gemm { m, n, k, transpose_a, transpose_b, alpha, write } = shape;
        length("a", a.len(), m * k)?;
        length("b", b.len(), k * n)?;
        length("c", c.len(), m * n)?;
        let a = if transpose_a { View::columns(a, m) } else { View::rows(a, k) };
        let b = if transpose_b { View::columns(b, k) } else { View::rows(b, n) };
        Matmul::new(m, n, k).alpha(T::of(f64::from(alpha))).write(write).everywhere(a, b, c, n);
        Ok(())
    }

    fn layer_norm(
        &self,
        x: &Buffer<T>,
        weight: &Buffer<T>,
        bias: &Buffer<T>,
        eps: f64,
        y: &mut Buffer<T>,
    ) -> Result<()> {
        whole_rows("x", x.len(), weight.len())?;
        length("bias", bias.len(), weight.len())?;
        length("y", y.len(), x.len())?;
        norm::layer_norm(x, weight, bias, eps, y);
        Ok(())
    }

    fn layer_norm_backward(
        &self,
        dy: &Buffer<T>,
        x: &Buffer<T>,
        weight: &Buffer<T>,
        eps: f64,
        dx: &mut Buffer<T>,
        write: Write,
    ) -> Result<()> {
        norm_backward_lengths(dy, x, weight, dx)?;
        norm::layer_norm_backward(dy, x, weight, eps, dx, write);
        Ok(())
    }

    fn rms_norm(&self, x: &Buffer<T>, weight: &Buffer<T>, eps: f64, y: &mut Buffer<T>) -> Result<()> {
        whole_rows("x", x.len(), weight.len())?;
        length("y", y.len(), x.len())?;
        norm::rms_norm(x, weight, eps, y);
        Ok(())
    }

    fn rms_norm_backward(
        &self,
        dy: &Buffer<T>,
        x: &Buffer<T>,
        weight: &Buffer<T>,
        eps: f64,
        dx: &mut Buffer<T>,
        write: Write,
    ) -> Result<()> {
        norm_backward_lengths(dy, x, weight, dx)?;
        norm::rms_norm_backward(dy, x, weight, eps, dx, write);
        Ok(())
    }

    fn rope(
        &self,
        x: &mut Buffer<T>,
        positions: &[u32],
        heads: usize,
        head_dim: usize,
        theta: f64,
        inverse: bool,
    ) -> Result<()> {
        check::rotary(x.len(), positions.len(), heads, head_dim)?;
        if heads > 0 {
            self.rope.rotate(x, positions, head_dim, theta, inverse);
        }
        Ok(())
    }

    fn swiglu(&self, gate: &Buffer<T>, up: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        length("up", up.len(), gate.len())?;
        length("y", y.len(), gate.len())?;
        pointwise::swiglu(gate, up, y);
        Ok(())
    }

    fn swiglu_backward(
        &self,
        dy: &Buffer<T>,
        gate: &Buffer<T>,
        up: &Buffer<T>,
        dgate: &mut Buffer<T>,
        dup: &mut Buffer<T>,
    ) -> Result<()> {
        length("dy", dy.len(), gate.len())?;
        length("up", up.len(), gate.len())?;
        length("dgate", dgate.len(), gate.len())?;
        length("dup", dup.len(), gate.len())?;
        pointwise::swiglu_backward(dy, gate, up, dgate, dup);
        Ok(())
    }

    fn gelu(&self, x: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        length("y", y.len(), x.len())?;
        pointwise::gelu(x, y);
        Ok(())
    }

    fn gelu_backward(&self, dy: &Buffer<T>, x: &Buffer<T>, dx: &mut Buffer<T>) -> Result<()> {
        length("dy", dy.len(), x.len())?;
        length("dx", dx.len(), x.len())?;
        pointwise::gelu_backward(dy, x, dx);
        Ok(())
    }

    fn attention(
        &self,
        shape: Attention<'_>,
        q: &Buffer<T>,
        k: &Buffer<T>,
        v: &Buffer<T>,
        o: &mut Buffer<T>,
        lse: &mut Buffer<T>,
    ) -> Result<()> {
        attention::forward(self.context(), &shape, [q, k, v], o, lse)
    }

    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Buffer<T>,
        q: &Buffer<T>,
        k: &Buffer<T>,
        v: &Buffer<T>,
        o: &Buffer<T>,
        lse: &Buffer<T>,
        dq: &mut Buffer<T>,
        dk: &mut Buffer<T>,
        dv: &mut Buffer<T>,
    ) -> Result<()> {
        attention::backward(self.context(), &shape, attention::Saved { d_o, q, k, v, o, lse }, [dq, dk, dv])
    }

    fn gather_rows(&self, src: &Buffer<T>, width: usize, rows: &[u32], dst: &mut Buffer<T>) -> Result<()> {
        inside(rows, whole_rows("src", src.len(), width)?)?;
        length("dst", dst.len(), rows.len() * width)?;
        gather::gather(src, width, rows, dst);
        Ok(())
    }

    fn scatter_rows(
        &self,
        src: &Buffer<T>,
        width: usize,
        rows: &[u32],
        dst: &mut Buffer<T>,
        write: Write,
    ) -> Result<()> {
        inside(rows, whole_rows("dst", dst.len(), width)?)?;
        length("src", src.len(), rows.len() * width)?;
        gather::scatter(src, width, rows, dst, write);
        Ok(())
    }

    fn add(&self, alpha: f32, x: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        if y.is_empty() {
            return length("x", x.len(), 0);
        }
        whole_rows("y", y.len(), x.len())?;
        pointwise::add(T::of(f64::from(alpha)), x, y);
        Ok(())
    }

    fn scale_columns(&self, x: &Buffer<T>, s: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        whole_rows("x", x.len(), s.len())?;
        length("y", y.len(), x.len())?;
        pointwise::scale_columns(x, s, y);
        Ok(())
    }

    fn column_dot(&self, a: &Buffer<T>, b: Option<&Buffer<T>>, out: &mut Buffer<T>) -> Result<()> {
        whole_rows("a", a.len(), out.len())?;
        if let Some(b) = b {
            length("b", b.len(), a.len())?;
        }
        pointwise::column_dot(a, b.map(|b| &b[..]), out);
        Ok(())
    }

    fn dropout(&self, x: &Buffer<T>, p: f32, key: u64, y: &mut Buffer<T>) -> Result<()> {
        length("y", y.len(), x.len())?;
        ensure((0.0..=1.0).contains(&p), || format!("{p} is not a probability"))?;
        pointwise::dropout(x, Mask::new(key, p), y);
        Ok(())
    }

    fn cross_entropy(
        &self,
        logits: &mut Buffer<T>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Vec<f64>> {
        if targets.is_empty() {
            return length("logits", logits.len(), 0).map(|()| Vec::new());
        }
        let vocabulary = check::vocabulary(logits.len(), targets)?;
        Ok(loss::cross_entropy(logits, vocabulary, targets, scale))
    }

    fn sum_squares(&self, x: &Buffer<T>) -> Result<f64> {
        Ok(pointwise::sum_squares(x))
    }

    fn adamw(
        &self,
        step: AdamWStep,
        value: &mut Buffer<T>,
        grad: &Buffer<T>,
        m: &mut Buffer<T>,
        v: &mut Buffer<T>,
    ) -> Result<()> {
        length("grad", grad.len(), value.len())?;
        length("m", m.len(), value.len())?;
        length("v", v.len(), value.len())?;
        optimizer::adamw(step, value, grad, m, v);
        Ok(())
    }

    fn clear(&self, buffer: &mut Buffer<T>) -> Result<()> {
        buffer.fill(T::ZERO);
        Ok(())
    }
}
