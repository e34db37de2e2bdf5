//! The reference backend: plain candle operations, gradients by candle's own autograd. Slow, short, and independent of the
//! kernels that are tested against it.

mod buffer;
mod forms;

use candle_core::{DType, Device, Result as CandleResult, Tensor};

pub(crate) use self::buffer::{Buffer, Weight};

use self::buffer::run;
use super::dropout::Mask;
use super::{AdamWStep, Attention, Backend, Gemm, RowTarget, Write};
use crate::Stored;
use crate::{Error, Result};

/// The reference backend on any candle device, computing in `f32` or `f64`.
#[derive(Debug, Clone)]
pub(crate) struct Candle {
    device: Device,
    dtype: DType,
}

impl Candle {
    /// The backend on `device`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another dtype than F32 and F64.
    pub(crate) fn new(device: Device, dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 | DType::F64 => Ok(Self { device, dtype }),
            other => Err(Error::Unsupported { what: format!("the reference backend in {other:?}") }),
        }
    }

    fn tensor<V: candle_core::WithDType>(&self, values: &[V]) -> Result<Buffer> {
        run(|| {
            let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?.to_dtype(self.dtype)?;
            tensor.to_device(&self.device).map(Buffer)
        })
    }

    fn ids(&self, rows: &[u32]) -> CandleResult<Tensor> {
        Tensor::new(rows, &self.device)
    }
}

impl Backend for Candle {
    type Buffer = Buffer;
    type Weight = Weight;

    fn name(&self) -> String {
        format!("candle {:?} {:?}", self.device.location(), self.dtype).to_lowercase()
    }

    fn zeros(&self, len: usize) -> Result<Buffer> {
        run(|| Tensor::zeros(len, self.dtype, &self.device).map(Buffer))
    }

    fn upload(&self, values: &[f32]) -> Result<Buffer> {
        self.tensor(values)
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        run(|| buffer.0.to_dtype(DType::F32)?.to_vec1())
    }

    fn upload_f64(&self, values: &[f64]) -> Result<Buffer> {
        self.tensor(values)
    }

    fn download_f64(&self, buffer: &Buffer) -> Result<Vec<f64>> {
        run(|| buffer.0.to_dtype(DType::F64)?.to_vec1())
    }

    fn len(&self, buffer: &Buffer) -> usize {
        buffer.len()
    }

    fn copy(
        &self,
        src: &Buffer,
        from: usize,
        len: usize,
        dst: &mut Buffer,
        at: usize,
        write: Write,
    ) -> Result<()> {
        let moved = || {
            let end = at + len;
            let mut part = src.0.narrow(0, from, len)?;
            if write == Write::Add {
                part = (part + dst.0.narrow(0, at, len)?)?;
            }
            let before = dst.0.narrow(0, 0, at)?;
            let after = dst.0.narrow(0, end, dst.len().saturating_sub(end))?;
            let parts: Vec<Tensor> =
                [before, part, after].into_iter().filter(|part| part.elem_count() > 0).collect();
            if parts.is_empty() { Ok(dst.0.clone()) } else { Tensor::cat(&parts, 0) }
        };
        let moved = moved();
        dst.set(moved)
    }

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize, _needs_backward: bool) -> Result<Weight> {
        let expected = n.checked_mul(k).and_then(|count| count.checked_mul(stored.dtype.bitsize() / 8));
        if expected != Some(stored.bytes.len()) {
            let reason = format!("a matrix ({n}, {k}) cannot be {} bytes", stored.bytes.len());
            return Err(Error::Backend { device: "candle".to_owned(), reason });
        }
        run(|| {
            let tensor =
                Tensor::from_raw_buffer(stored.bytes, DType::try_from(stored.dtype)?, &[n, k], &Device::Cpu)?;
            tensor.to_dtype(self.dtype)?.to_device(&self.device).map(Weight)
        })
    }

    fn weight_shape(&self, weight: &Weight) -> (usize, usize) {
        (weight.0.dims()[0], weight.0.dims()[1])
    }

    fn weight_row_norms_squared(&self, weight: &Weight) -> Result<Buffer> {
        run(|| weight.0.sqr()?.sum(1).map(Buffer))
    }

    fn linear(
        &self,
        x: &Buffer,
        m: usize,
        weight: &Weight,
        bias: Option<&Buffer>,
        y: &mut Buffer,
    ) -> Result<()> {
        let (_, k) = self.weight_shape(weight);
        let product = || {
            let product = x.0.reshape((m, k))?.matmul(&weight.0.t()?)?;
            bias.map_or(Ok(product.clone()), |bias| product.broadcast_add(&bias.0))
        };
        y.set(product())
    }

    fn linear_backward(
        &self,
        dy: &Buffer,
        m: usize,
        weight: &Weight,
        dx: &mut Buffer,
        write: Write,
    ) -> Result<()> {
        let (n, _) = self.weight_shape(weight);
        let product = || dy.0.reshape((m, n))?.matmul(&weight.0);
        dx.write(product(), write)
    }

    fn embed(&self, weight: &Weight, ids: &[u32], y: &mut Buffer) -> Result<()> {
        y.set(self.ids(ids).and_then(|ids| weight.0.index_select(&ids, 0)))
    }

    fn gemm(&self, shape: Gemm, a: &Buffer, b: &Buffer, c: &mut Buffer) -> Result<()> {
        let Gemm { m, n, k, transpose_a, transpose_b, alpha, write } = shape;
        let product = || {
            let a = if transpose_a { a.0.reshape((k, m))?.t()? } else { a.0.reshape((m, k))? };
            let b = if transpose_b { b.0.reshape((n, k))?.t()? } else { b.0.reshape((k, n))? };
            a.matmul(&b)? * f64::from(alpha)
        };
        c.write(product(), write)
    }

    fn layer_norm(&self, x: &Buffer, weight: &Buffer, bias: &Buffer, eps: f64, y: &mut Buffer) -> Result<()> {
        y.set(x.rows(weight.len()).and_then(|x| forms::layer_norm(&x, &weight.0, &bias.0, eps)))
    }

    fn layer_norm_backward(
        &self,
        dy: &Buffer,
        x: &Buffer,
        weight: &Buffer,
        eps: f64,
        dx: &mut Buffer,
        write: Write,
    ) -> Result<()> {
        let gradient = || {
            let bias = weight.0.zeros_like()?;
            let form = |x: &[Tensor]| forms::layer_norm(&x[0], &weight.0, &bias, eps);
            Ok(forms::gradients(&[&x.rows(weight.len())?], &dy.0, form)?.swap_remove(0))
        };
        dx.write(gradient().and_then(|gradient: Tensor| gradient.flatten_all()), write)
    }

    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f64, y: &mut Buffer) -> Result<()> {
        y.set(x.rows(weight.len()).and_then(|x| forms::rms_norm(&x, &weight.0, eps)))
    }

    fn rms_norm_backward(
        &self,
        dy: &Buffer,
        x: &Buffer,
        weight: &Buffer,
        eps: f64,
        dx: &mut Buffer,
        write: Write,
    ) -> Result<()> {
        let gradient = || {
            let form = |x: &[Tensor]| forms::rms_norm(&x[0], &weight.0, eps);
            Ok(forms::gradients(&[&x.rows(weight.len())?], &dy.0, form)?.swap_remove(0))
        };
        dx.write(gradient().and_then(|gradient: Tensor| gradient.flatten_all()), write)
    }

    fn rope(
        &self,
        x: &mut Buffer,
        positions: &[u32],
        heads: usize,
        head_dim: usize,
        theta: f64,
        inverse: bool,
    ) -> Result<()> {
        let shaped = x.0.reshape((positions.len(), heads, head_dim));
        x.set(shaped.and_then(|x| forms::rope(&x, positions, theta, inverse)))
    }

    fn swiglu(&self, gate: &Buffer, up: &Buffer, y: &mut Buffer) -> Result<()> {
        y.set(forms::swiglu(&gate.0, &up.0))
    }

    fn swiglu_backward(
        &self,
        dy: &Buffer,
        gate: &Buffer,
        up: &Buffer,
        dgate: &mut Buffer,
        dup: &mut Buffer,
    ) -> Result<()> {
        let found = run(|| forms::gradients(&[&gate.0, &up.0], &dy.0, |x| forms::swiglu(&x[0], &x[1])))?;
        dgate.set(Ok(found[0].clone()))?;
        dup.set(Ok(found[1].clone()))
    }

    fn gelu(&self, x: &Buffer, y: &mut Buffer) -> Result<()> {
        y.set(forms::gelu(&x.0))
    }

    fn gelu_backward(&self, dy: &Buffer, x: &Buffer, dx: &mut Buffer) -> Result<()> {
        let found = run(|| forms::gradients(&[&x.0], &dy.0, |x| forms::gelu(&x[0])))?;
        dx.set(Ok(found[0].clone()))
    }

    fn attention(
        &self,
        shape: Attention<'_>,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        o: &mut Buffer,
        lse: &mut Buffer,
    ) -> Result<()> {
        if q.len() == 0 {
            return Ok(());
        }
        let [output, sums] = run(|| forms::attention(&shape, &q.0, &k.0, &v.0))?;
        o.set(Ok(output))?;
        lse.set(Ok(sums))
    }

    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Buffer,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        _o: &Buffer,
        _lse: &Buffer,
        dq: &mut Buffer,
        dk: &mut Buffer,
        dv: &mut Buffer,
    ) -> Result<()> {
        let form = |x: &[Tensor]| forms::attention(&shape, &x[0], &x[1], &x[2]).map(|[output, _]| output);
        let found = run(|| forms::gradients(&[&q.0, &k.0, &v.0], &d_o.0, form))?;
        for (buffer, gradient) in [dq, dk, dv].into_iter().zip(found) {
            buffer.set(Ok(gradient))?;
        }
        Ok(())
    }

    fn gather_rows(&self, src: &Buffer, width: usize, rows: &[u32], dst: &mut Buffer) -> Result<()> {
        dst.set(self.ids(rows).and_then(|rows| src.rows(width)?.index_select(&rows, 0)))
    }

    fn scatter_rows(
        &self,
        src: &Buffer,
        width: usize,
        rows: &[u32],
        dst: &mut Buffer,
        write: Write,
    ) -> Result<()> {
        let scattered = || {
            let (src, old) = (src.rows(width)?, dst.rows(width)?);
            if write == Write::Add {
                return old.index_add(&self.ids(rows)?, &src, 0);
            }
            let count = old.dim(0)?;
            let mut origin: Vec<u32> = (0..count as u32).collect();
            for (i, &row) in rows.iter().enumerate() {
                let Some(origin) = origin.get_mut(row as usize) else {
                    candle_core::bail!("there is no row {row} among {count}");
                };
                *origin = (count + i) as u32;
            }
            Tensor::cat(&[&old, &src], 0)?.index_select(&self.ids(&origin)?, 0)
        };
        let scattered = scattered();
        dst.set(scattered)
    }

    fn add(&self, alpha: f32, x: &Buffer, y: &mut Buffer) -> Result<()> {
        let sum = y.rows(x.len()).and_then(|y| y.broadcast_add(&(&x.0 * f64::from(alpha))?));
        y.set(sum)
    }

    fn scale_columns(&self, x: &Buffer, s: &Buffer, y: &mut Buffer) -> Result<()> {
        y.set(x.rows(s.len()).and_then(|x| x.broadcast_mul(&s.0)))
    }

    fn column_dot(&self, a: &Buffer, b: Option<&Buffer>, out: &mut Buffer) -> Result<()> {
        let width = out.len();
        let sums = || {
            let product = b.map_or(Ok(a.0.clone()), |b| &a.0 * &b.0)?;
            product.reshape(((), width))?.sum(0)
        };
        out.write(sums(), Write::Add)
    }

    fn dropout(&self, x: &Buffer, p: f32, key: u64, y: &mut Buffer) -> Result<()> {
        let mask = Mask::new(key, p);
        let factors = (0..x.len() as u64).map(|i| if mask.keeps(i) { mask.scale() } else { 0.0 }).collect();
        y.set(forms::constant(factors, x.len(), &x.0).and_then(|factors| &x.0 * factors))
    }

    fn cross_entropy(&self, logits: &mut Buffer, targets: &[RowTarget<'_>], scale: f64) -> Result<Vec<f64>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let (losses, gradient) = run(|| {
            let rows = logits.0.reshape((targets.len(), ()))?;
            let losses = forms::cross_entropy(&rows, targets)?;
            let dy = (losses.ones_like()? * scale)?;
            let found = forms::gradients(&[&rows], &dy, |x| forms::cross_entropy(&x[0], targets))?;
            Ok((losses.to_dtype(DType::F64)?.to_vec1()?, found))
        })?;
        logits.set(Ok(gradient[0].clone()))?;
        Ok(losses)
    }

    fn sum_squares(&self, x: &Buffer) -> Result<f64> {
        run(|| x.0.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar())
    }

    fn adamw(
        &self,
        step: AdamWStep,
        value: &mut Buffer,
        grad: &Buffer,
        m: &mut Buffer,
        v: &mut Buffer,
    ) -> Result<()> {
        let AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, step: count, grad_scale } = step;
        let correction = |beta: f64| 1.0 - beta.powf(count as f64);
        let (first, second, moved) = run(|| {
            let grad = (&grad.0 * grad_scale)?;
            let first = ((&m.0 * beta1)? + (&grad * (1.0 - beta1))?)?;
            let second = ((&v.0 * beta2)? + (grad.sqr()? * (1.0 - beta2))?)?;
            let mean = (&first / correction(beta1))?;
            let root = ((&second / correction(beta2))?.sqrt()? + eps)?;
            let decayed = (&value.0 * (1.0 - learning_rate * weight_decay))?;
            let moved = (decayed - ((mean / root)? * learning_rate)?)?;
            Ok((first, second, moved))
        })?;
        m.set(Ok(first))?;
        v.set(Ok(second))?;
        value.set(Ok(moved))
    }

    fn clear(&self, buffer: &mut Buffer) -> Result<()> {
        let zeros = buffer.0.zeros_like();
        buffer.set(zeros)
    }
}
