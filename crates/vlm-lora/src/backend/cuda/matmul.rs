//! Products, and frozen matrices read by rows.

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{ensure, length, to_u32};
use super::device::{Address, CudaDtype, Device, Factor, Matmul, Operands};
use super::weight::{Rows, Weight};
use crate::Result;
use crate::backend::{FrozenLinear, Gemm, Kernels as _, Write};

/// What stands before scaled operands: the bits of the largest magnitude, the factor of the product, and room for alignment.
const HEADER: usize = 16;
/// The exponent that the largest magnitude of an f16 operand is brought to: as large as f16 holds.
const TARGET: i32 = 14;

impl<D: Device> Cuda<D> {
    fn operands(&self) -> Operands {
        match self.dtype {
            CudaDtype::Float32 => Operands::Exact,
            CudaDtype::Float16 => Operands::Float16,
            CudaDtype::Bfloat16 => Operands::Bfloat16,
        }
    }

    /// The numbers of a buffer as operands of a product, and the factor that undoes their scale.
    pub(super) fn operand(&self, x: &Buffer<D>) -> Result<(Address, Factor)> {
        if self.dtype == CudaDtype::Float32 {
            return Ok((x.at(), Factor::Value(1.0)));
        }
        let block = x.operand(|| self.cast(x))?;
        let factor = match self.dtype {
            CudaDtype::Float16 => Factor::At(block.address + 4),
            _ => Factor::Value(1.0),
        };
        Ok((block.address + HEADER as u64, factor))
    }

    /// Numbers that only products with frozen matrices read: in bf16 their operands alone.
    pub(super) fn for_products(&self, len: usize) -> Result<Buffer<D>> {
        if self.dtype == CudaDtype::Bfloat16 {
            return Ok(Buffer::of_operands(len));
        }
        Buffer::new(&self.pool, len)
    }

    /// Where a kernel writes all numbers of `y`, or 0, and where the same as operands of the product that reads them next, or 0.
    /// In f16 the largest magnitude must be known first.
    pub(super) fn output(&self, y: &mut Buffer<D>) -> Result<[Address; 2]> {
        if self.dtype != CudaDtype::Bfloat16 {
            return Ok([y.at_mut(), 0]);
        }
        let operand = Block::new(&self.pool, HEADER + y.len() * self.dtype.bytes())?;
        let to = operand.address + HEADER as u64;
        Ok([y.at_mut_with(operand), to])
    }

    fn cast(&self, x: &Buffer<D>) -> Result<Block<D>> {
        let n = x.len() as u64;
        let block = Block::new(&self.pool, HEADER + x.len() * self.dtype.bytes())?;
        let header = if self.dtype == CudaDtype::Float16 {
            self.find_largest(x, block.address)?;
            block.address
        } else {
            0
        };
        let to = block.address + HEADER as u64;
        self.each("cast", x.len(), &[x.at().into(), to.into(), n.into(), header.into(), TARGET.into()])?;
        Ok(block)
    }

    /// Writes the bits of the largest magnitude of `x`.
    pub(super) fn find_largest(&self, x: &Buffer<D>, to: Address) -> Result<()> {
        self.device().clear(to, 4)?;
        self.each("largest", x.len(), &[x.at().into(), (x.len() as u64).into(), to.into()])
    }

    /// A frozen matrix as an operand; integers are dequantized into a block that is kept until the product is queued.
    fn with_weight(&self, weight: &Weight<D>, product: impl FnOnce(Address) -> Result<()>) -> Result<()> {
        match &weight.rows {
            Rows::Operands(block) => product(block.address),
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
                product(wide.address)
            }
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
        let (a, factor) = self.operand(x)?;
        self.with_weight(weight, |b| {
            self.matmul(Matmul {
                m,
                n,
                k,
                transpose_a: false,
                transpose_b: true,
                a,
                b,
                c: y.at_mut(),
                operands: self.operands(),
                factor,
                accumulate: write == Write::Add,
                bias: bias.map(Buffer::at),
            })
        })
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
        let ((a, factor), (bias, _), [_, c]) =
            (self.operand(x)?, self.operand(bias)?, self.output(&mut activated)?);
        let mut is_queued = false;
        self.with_weight(weight, |b| {
            is_queued = self.device().matmul_to_gelu(Matmul {
                m,
                n,
                k,
                transpose_a: false,
                transpose_b: true,
                a,
                b,
                c,
                operands: self.operands(),
                factor,
                accumulate: false,
                bias: Some(bias),
            })?;
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
        let (a, factor) = self.operand(dy)?;
        self.with_weight(weight, |b| {
            self.matmul(Matmul {
                m,
                n: k,
                k: n,
                transpose_a: false,
                transpose_b: false,
                a,
                b,
                c: dx.at_mut(),
                operands: self.operands(),
                factor,
                accumulate: write == Write::Add,
                bias: None,
            })
        })
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
            a: a.at(),
            b: b.at(),
            c: c.at_mut(),
            operands,
            factor: Factor::Value(alpha),
            accumulate: write == Write::Add,
            bias: None,
        })
    }

    fn matmul(&self, product: Matmul) -> Result<()> {
        let Matmul { m, n, k, c, accumulate, .. } = product;
        if m == 0 || n == 0 {
            return Ok(());
        }
        if k == 0 {
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
            Rows::Operands(block) => {
                let to = y.at_mut();
                let arguments =
                    [block.address.into(), rows.address.into(), width.into(), to.into(), n.into()];
                self.each("embed", len, &arguments)
            }
            Rows::Integers { values, scales } => {
                let arguments = [
                    values.address.into(),
                    scales.address.into(),
                    rows.address.into(),
                    width.into(),
                    y.at_mut().into(),
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
        let to = out.at_mut();
        match &weight.rows {
            Rows::Operands(block) => {
                let arguments = [block.address.into(), to.into(), rows.into(), width.into()];
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
