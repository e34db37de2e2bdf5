//! The operations of the CPU backend: arguments are checked here, the kernels take them as given.

use super::buffer::Buffer;
use super::check::{inside, length, linear_lengths, room, whole_rows};
use super::matmul::{Matmul, View};
use super::real::{Real, for_reals};
use super::weight::Weight;
use super::{BaseDtype, Bf16Kernel, Cpu, attention, gather, norm, pointwise};
use crate::Result;
use crate::Stored;
use crate::backend::{
    Attention, AttentionGradients, AttentionInputs, AttentionSaved, Gemm, Kernels, Norm, Rope, Write, check,
};

for_reals! {
impl Kernels for Cpu<T> {
    type Buffer = Buffer<T>;
    type Weight = Weight<T>;

    fn name(&self) -> String {
        let level = self.simd.isa().name().to_owned() + if self.accelerate { " accelerate" } else { "" };
        let base = match self.base {
            BaseDtype::Full => return format!("cpu {} {level}", T::NAME),
            BaseDtype::Bf16 => "bf16",
            BaseDtype::Int8 => "int8",
        };
        let products = match self.context().integers {
            Some(kernel) if self.base == BaseDtype::Bf16 => format!("int16 {}", kernel.name()),
            Some(kernel) => kernel.name().to_owned(),
            None if self.kernel == Bf16Kernel::Int16 => Bf16Kernel::Upcast.name().to_owned(),
            None => self.kernel.name().to_owned(),
        };
        format!("cpu {} {level}, {base} base {products}", T::NAME)
    }

    fn zeros(&self, len: usize) -> Result<Buffer<T>> {
        room(&self.pool, len.saturating_mul(size_of::<T>()))?;
        Ok(Buffer::zeros(&self.pool, len))
    }

    fn upload(&self, values: &[f32]) -> Result<Buffer<T>> {
        Ok(self.filled(values, |value| T::of(f64::from(value))))
    }

    fn download(&self, buffer: &Buffer<T>) -> Result<Vec<f32>> {
        Ok(buffer.iter().map(|value| value.to_f64() as f32).collect())
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
        check::ranges(len, from, src.len(), at, dst.len())?;
        if len > 0 {
            gather::store(self.simd, &src[from..from + len], &mut dst[at..at + len], write);
        }
        Ok(())
    }

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize) -> Result<Weight<T>> {
        Weight::new(self.context(), stored, n, k, self.base)
    }

    fn weight_shape(&self, weight: &Weight<T>) -> (usize, usize) {
        weight.shape()
    }

    fn linear(
        &self,
        x: &Buffer<T>,
        m: usize,
        weight: &Weight<T>,
        bias: Option<&Buffer<T>>,
        y: &mut Buffer<T>,
    ) -> Result<()> {
        linear_lengths(x, m, weight, bias, y)?;
        weight.forward(self.context(), x, m, bias.map(|bias| &bias[..]), y);
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
            weight.row(self.simd, id as usize, y);
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
        Matmul::new(self.simd, m, n, k).alpha(T::of(f64::from(alpha))).write(write).everywhere(a, b, c, n);
        Ok(())
    }

    fn norm(&self, x: &Buffer<T>, norm: Norm<'_, Buffer<T>>, y: &mut Buffer<T>) -> Result<()> {
        let (Norm::Layer { weight, .. } | Norm::RootMeanSquare { weight, .. }) = norm;
        whole_rows("x", x.len(), weight.len())?;
        length("y", y.len(), x.len())?;
        match norm {
            Norm::Layer { weight, bias, eps } => {
                length("bias", bias.len(), weight.len())?;
                norm::layer_norm(self.simd, x, weight, bias, eps, y);
            }
            Norm::RootMeanSquare { weight, eps } => norm::rms_norm(self.simd, x, weight, eps, y),
        }
        Ok(())
    }

    fn norm_backward(
        &self,
        dy: &Buffer<T>,
        x: &Buffer<T>,
        norm: Norm<'_, Buffer<T>>,
        dx: &mut Buffer<T>,
        write: Write,
    ) -> Result<()> {
        let (Norm::Layer { weight, .. } | Norm::RootMeanSquare { weight, .. }) = norm;
        whole_rows("x", x.len(), weight.len())?;
        length("dy", dy.len(), x.len())?;
        length("dx", dx.len(), x.len())?;
        match norm {
            Norm::Layer { weight, eps, .. } => {
                norm::layer_norm_backward(self.simd, dy, x, weight, eps, dx, write);
            }
            Norm::RootMeanSquare { weight, eps } => {
                norm::rms_norm_backward(self.simd, dy, x, weight, eps, dx, write);
            }
        }
        Ok(())
    }

    fn rope(&self, x: &mut Buffer<T>, rope: Rope<'_>) -> Result<()> {
        check::rotary(x.len(), rope)?;
        if rope.heads > 0 {
            self.rope.rotate(self.simd, x, rope);
        }
        Ok(())
    }

    fn swiglu(&self, gate: &Buffer<T>, up: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        length("up", up.len(), gate.len())?;
        length("y", y.len(), gate.len())?;
        pointwise::swiglu(self.simd, gate, up, y);
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
        pointwise::swiglu_backward(self.simd, dy, gate, up, dgate, dup);
        Ok(())
    }

    fn gelu(&self, x: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        length("y", y.len(), x.len())?;
        pointwise::gelu(self.simd, x, y);
        Ok(())
    }

    fn gelu_backward(&self, dy: &Buffer<T>, x: &Buffer<T>, dx: &mut Buffer<T>) -> Result<()> {
        length("dy", dy.len(), x.len())?;
        length("dx", dx.len(), x.len())?;
        pointwise::gelu_backward(self.simd, dy, x, dx);
        Ok(())
    }

    fn attention(
        &self,
        shape: Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<T>>,
        o: &mut Buffer<T>,
        lse: &mut Buffer<T>,
    ) -> Result<()> {
        let AttentionInputs { q, k, v } = inputs;
        attention::forward(self.context(), &shape, AttentionInputs { q: &q[..], k, v }, o, lse)
    }

    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Buffer<T>,
        saved: AttentionSaved<'_, Buffer<T>>,
        gradients: AttentionGradients<'_, Buffer<T>>,
    ) -> Result<()> {
        let AttentionSaved { q, k, v, o, lse } = saved;
        let AttentionGradients { dq, dk, dv } = gradients;
        let saved = AttentionSaved { q: &q[..], k, v, o, lse };
        attention::backward(
            self.context(),
            &shape,
            d_o,
            saved,
            AttentionGradients { dq: &mut dq[..], dk, dv },
        )
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
        gather::scatter(self.simd, src, width, rows, dst, write);
        Ok(())
    }

    fn add(&self, alpha: f32, x: &Buffer<T>, y: &mut Buffer<T>) -> Result<()> {
        if y.is_empty() {
            return length("x", x.len(), 0);
        }
        whole_rows("y", y.len(), x.len())?;
        pointwise::add(self.simd, T::of(f64::from(alpha)), x, y);
        Ok(())
    }
}
}
