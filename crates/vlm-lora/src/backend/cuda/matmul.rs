//! Products, and frozen matrices read by rows.

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{ensure, length, to_u32};
use super::device::{Address, CudaDtype, Device, Factor, Matmul, Operands, Results};
use super::storage::{Operand, Output};
use super::weight::{Rows, Weight};
use crate::Result;
use crate::backend::{FrozenLinear, Gemm, Kernels as _, Write};

impl<D: Device> Cuda<D> {
    /// A frozen matrix as an operand; integers are dequantized into a block that is kept until the product is queued.
    fn with_weight(
        &self,
        weight: &Weight<D>,
        product: impl FnOnce(Address, usize) -> Result<()>,
    ) -> Result<()> {
        match &weight.rows {
            Rows::Operands { block, first } => {
                let whole = block.whole();
                product(whole.row(*first, self.dtype.bytes()), whole.stride)
            }
            Rows::Integers { values, scales } => {
                let (n, width) = (weight.n * weight.k, to_u32("a row of", weight.k)?);
                to_u32("a matrix of", n)?;
                let wide = Block::new(&self.pool, n * self.dtype.bytes())?;
                let arguments = [
                    values.address.into(),
                    scales.address.into(),
                    width.into(),
                    wide.address.into(),
                    (n as u64).into(),
                ];
                self.each("dequantize", n, &arguments)?;
                product(wide.address, weight.k)
            }
        }
    }

    /// `x (m, k) · Wᵀ`, of dense results.
    fn product(&self, x: &Operand<D>, m: usize, weight: &Weight<D>) -> Matmul {
        let (n, k) = (weight.n, weight.k);
        Matmul {
            m,
            n,
            k,
            transpose_a: false,
            transpose_b: true,
            a: x.at,
            b: 0,
            c: 0,
            strides: [x.stride, k, n],
            results: Results::Float32,
            operands: self.operands(),
            factor: x.factor,
            accumulate: false,
            addend: None,
            bias: None,
        }
    }

    /// `y (m, n) (+)= x (m, k) · Wᵀ + bias (n)`.
    pub(super) fn multiply(
        &self,
        x: &Buffer<D>,
        m: usize,
        linear: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        y: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        let FrozenLinear { weight, bias } = linear;
        let (n, k) = (weight.n, weight.k);
        length("x", x.len(), m * k)?;
        length("y", y.len(), m * n)?;
        if let Some(bias) = bias {
            length("bias", bias.len(), n)?;
            to_u32("a result of", m * n)?;
            ensure(k > 0, || "a matrix without columns, and a bias".to_owned())?;
        }
        if y.is_operand() && write == Write::Set && m * n * k > 0 {
            return self.multiply_to_operand(x, m, linear, y);
        }
        let operand = self.operand(x, k)?;
        let product = Matmul {
            c: self.written(y, write)?,
            accumulate: write == Write::Add,
            bias: bias.map(|bias| self.numbers(bias)).transpose()?,
            ..self.product(&operand, m, weight)
        };
        self.with_weight(weight, |b, stride| self.matmul(product.with_b(b, stride)))
    }

    /// As [`multiply`](Self::multiply) of results that are kept as operands.
    fn multiply_to_operand(
        &self,
        x: &Buffer<D>,
        m: usize,
        linear: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        let FrozenLinear { weight, bias } = linear;
        let operand = self.operand(x, weight.k)?;
        let bias = bias.map(|bias| self.operand(bias, weight.n)).transpose()?;
        let Output { operand: c, stride, .. } = self.output(y, weight.n)?;
        let whole = self.product(&operand, m, weight);
        let [a, b, _] = whole.strides;
        let strides = [a, b, stride as usize];
        let bias = bias.as_ref().map(|bias| bias.at);
        let product = Matmul { c, strides, results: Results::Operands, bias, ..whole };
        self.with_weight(weight, |b, stride| self.matmul(product.with_b(b, stride)))
    }

    /// As [`multiply`](Self::multiply) of the activations `gelu(x)`.
    pub(super) fn multiply_of_gelu(
        &self,
        x: &Buffer<D>,
        m: usize,
        linear: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        y: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        let mut activated = self.for_products(x.len())?;
        self.gelu(x, &mut activated)?;
        self.multiply(&activated, m, linear, y, write)
    }

    /// `y += second(gelu(first(x)))`. In bf16 what lies between is written once, as an operand, where the device has a way.
    pub(super) fn perceptron(
        &self,
        x: &Buffer<D>,
        m: usize,
        first: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        second: FrozenLinear<'_, Weight<D>, Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        if let Some(activated) = self.multiply_to_gelu(x, m, first)? {
            return self.multiply(&activated, m, second, y, Write::Add);
        }
        let mut before = Buffer::new(&self.pool, m * first.weight.n)?;
        self.multiply(x, m, first, &mut before, Write::Set)?;
        self.multiply_of_gelu(&before, m, second, y, Write::Add)
    }

    /// `gelu` of a product, for other products; `None` where the device has no way.
    fn multiply_to_gelu(
        &self,
        x: &Buffer<D>,
        m: usize,
        linear: FrozenLinear<'_, Weight<D>, Buffer<D>>,
    ) -> Result<Option<Buffer<D>>> {
        let FrozenLinear { weight, bias: Some(bias) } = linear else { return Ok(None) };
        let (n, k) = (weight.n, weight.k);
        if self.dtype != CudaDtype::Bfloat16 || m * n * k == 0 {
            return Ok(None);
        }
        length("x", x.len(), m * k)?;
        length("bias", bias.len(), n)?;
        let mut activated = self.for_products(m * n)?;
        let (operand, bias) = (self.operand(x, k)?, self.operand(bias, n)?);
        let Output { operand: c, stride, .. } = self.output(&mut activated, n)?;
        let whole = self.product(&operand, m, weight);
        let strides = [operand.stride, k, stride as usize];
        let product = Matmul { c, strides, results: Results::Operands, bias: Some(bias.at), ..whole };
        let mut is_queued = false;
        self.with_weight(weight, |b, stride| {
            is_queued = self.device().matmul_to_gelu(product.with_b(b, stride))?;
            Ok(())
        })?;
        Ok(is_queued.then_some(activated))
    }

    /// `dx (m, k) (+)= dy (m, n) · W`.
    pub(super) fn multiply_backward(
        &self,
        dy: &Buffer<D>,
        m: usize,
        weight: &Weight<D>,
        dx: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        let (n, k) = (weight.n, weight.k);
        length("dy", dy.len(), m * n)?;
        length("dx", dx.len(), m * k)?;
        let operand = self.operand(dy, n)?;
        let product = Matmul {
            n: k,
            k: n,
            transpose_b: false,
            strides: [operand.stride, k, k],
            c: self.written(dx, write)?,
            accumulate: write == Write::Add,
            ..self.product(&operand, m, weight)
        };
        self.with_weight(weight, |b, stride| self.matmul(product.with_b(b, stride)))
    }

    /// Adapters: their products stay in f32, or TF32 where the base is in bf16 or f16.
    pub(super) fn multiply_buffers(
        &self,
        shape: Gemm,
        a: &Buffer<D>,
        b: &Buffer<D>,
        c: &mut Buffer<D>,
    ) -> Result<()> {
        let Gemm { m, n, k, transpose_a, transpose_b, alpha, write } = shape;
        length("a", a.len(), m * k)?;
        length("b", b.len(), k * n)?;
        length("c", c.len(), m * n)?;
        let operands = if self.dtype == CudaDtype::Float32 { Operands::Exact } else { Operands::Float32 };
        self.matmul(Matmul {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            a: self.numbers(a)?,
            b: self.numbers(b)?,
            c: self.written(c, write)?,
            strides: [if transpose_a { m } else { k }, if transpose_b { k } else { n }, n],
            results: Results::Float32,
            operands,
            factor: Factor::Value(alpha),
            accumulate: write == Write::Add,
            addend: None,
            bias: None,
        })
    }

    fn matmul(&self, product: Matmul) -> Result<()> {
        let Matmul { m, n, k, c, accumulate, .. } = product;
        if m == 0 || n == 0 {
            return Ok(());
        }
        if k == 0 {
            // Only products in f32 come to this.
            return if accumulate { Ok(()) } else { self.device().clear(c, m * n * 4) };
        }
        self.device().matmul(product)
    }

    /// Rows `ids` of a frozen matrix.
    pub(super) fn rows_of(&self, weight: &Weight<D>, ids: &[u32], y: &mut Buffer<D>) -> Result<()> {
        super::check::inside(ids, weight.n)?;
        length("y", y.len(), ids.len() * weight.k)?;
        to_u32("rows of together", y.len())?;
        let (rows, width, n) = (self.words(ids)?, weight.k as u32, y.len() as u64);
        let len = y.len();
        match &weight.rows {
            Rows::Operands { block, first } => {
                let to = self.overwritten(y)?;
                let whole = block.whole();
                let from = whole.row(*first, self.dtype.bytes()).into();
                let stride = to_u32("a row of", whole.stride)?.into();
                let arguments = [from, stride, rows.address.into(), width.into(), to.into(), n.into()];
                self.each("embed", len, &arguments)
            }
            Rows::Integers { values, scales } => {
                let arguments = [
                    values.address.into(),
                    scales.address.into(),
                    rows.address.into(),
                    width.into(),
                    self.overwritten(y)?.into(),
                    n.into(),
                ];
                self.each("embed_integers", len, &arguments)
            }
        }
    }

    /// The squared norm of each row of a frozen matrix.
    pub(super) fn norms_of(&self, weight: &Weight<D>) -> Result<Buffer<D>> {
        let (rows, width) = (weight.n as u64, to_u32("a row of", weight.k)?);
        ensure(weight.k > 0, || "a matrix without columns".to_owned())?;
        let mut out = Buffer::new(&self.pool, weight.n)?;
        let to = self.overwritten(&mut out)?;
        match &weight.rows {
            Rows::Operands { block, first } => {
                let whole = block.whole();
                let from = whole.row(*first, self.dtype.bytes()).into();
                let stride = to_u32("a row of", whole.stride)?.into();
                let arguments = [from, stride, to.into(), rows.into(), width.into()];
                self.each_row("row_norms_squared", weight.n, &arguments)?;
            }
            Rows::Integers { values, scales } => {
                let arguments =
                    [values.address.into(), scales.address.into(), to.into(), rows.into(), width.into()];
                self.each_row("integer_row_norms_squared", weight.n, &arguments)?;
            }
        }
        Ok(out)
    }
}
