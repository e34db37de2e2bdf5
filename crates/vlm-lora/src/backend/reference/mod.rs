//! The reference backend: plain candle operations, gradients by candle's own autograd. Slow, short, and independent of the
//! kernels that are tested against it. It writes what every backend must, so that it also shows that the defaults suffice.

mod buffer;
mod forms;

use candle_core::{DType, Device, Result as CandleResult, Tensor};

pub(crate) use self::buffer::{Buffer, Weight};

use self::buffer::run;
use super::{
    Attention, AttentionGradients, AttentionInputs, AttentionSaved, Backend, Gemm, Kernels, Norm, Rope, Write,
};
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

impl Kernels for Candle {
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

    fn weight(&self, stored: Stored<'_>, n: usize, k: usize) -> Result<Weight> {
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

    fn norm(&self, x: &Buffer, norm: Norm<'_, Buffer>, y: &mut Buffer) -> Result<()> {
        y.set(x.rows(width(norm)).and_then(|x| forms::norm(&x, norm)))
    }

    fn norm_backward(
        &self,
        dy: &Buffer,
        x: &Buffer,
        norm: Norm<'_, Buffer>,
        dx: &mut Buffer,
        write: Write,
    ) -> Result<()> {
        let gradient = || {
            let found = forms::gradients(&[&x.rows(width(norm))?], &dy.0, |x| forms::norm(&x[0], norm))?;
            found[0].flatten_all()
        };
        dx.write(gradient(), write)
    }

    fn rope(&self, x: &mut Buffer, rope: Rope<'_>) -> Result<()> {
        let shaped = x.0.reshape((rope.positions.len(), rope.heads, rope.head_dim));
        x.set(shaped.and_then(|x| forms::rope(&x, rope)))
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
        inputs: AttentionInputs<'_, Buffer>,
        o: &mut Buffer,
        lse: &mut Buffer,
    ) -> Result<()> {
        let AttentionInputs { q, k, v } = inputs;
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
        saved: AttentionSaved<'_, Buffer>,
        gradients: AttentionGradients<'_, Buffer>,
    ) -> Result<()> {
        let (AttentionSaved { q, k, v, .. }, AttentionGradients { dq, dk, dv }) = (saved, gradients);
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
}

/// The defaults, over f64 where the backend computes in it.
impl Backend for Candle {
    fn upload_f64(&self, values: &[f64]) -> Result<Buffer> {
        self.tensor(values)
    }

    fn download_f64(&self, buffer: &Buffer) -> Result<Vec<f64>> {
        run(|| buffer.0.to_dtype(DType::F64)?.to_vec1())
    }
}

/// The width of the rows that a norm takes.
fn width(norm: Norm<'_, Buffer>) -> usize {
    let (Norm::Layer { weight, .. } | Norm::RootMeanSquare { weight, .. }) = norm;
    weight.len()
}
