//! Products in several passes, where cuBLASLt has no way.

use super::blas::Blas;
use super::{Driver, failed, profile};
use crate::Result;
use crate::backend::cuda::check::to_u32;
use crate::backend::cuda::device::{Address, Argument, Device as _, Launch, Matmul, Results};
use crate::backend::cuda::{MOST_BLOCKS, THREADS};

impl Driver {
    /// A product whose result begins as its addend, its bias, or as what stands there with it: a pass that writes it and one that reads it
    /// more than with [`CublasLt`].
    pub(super) fn matmul_in_passes(&self, blas: &Blas, product: &Matmul) -> Result<()> {
        let name = profile::name_of(product);
        let mut product = *product;
        if let Some(addend) = product.addend.take() {
            if product.strides[2] != product.n || product.results != Results::Float32 {
                return Err(failed("a product", "an addend of rows that lie apart"));
            }
            self.copy(addend, product.c, 4 * product.m * product.n)?;
            product.accumulate = true;
        }
        if let Some(bias) = product.bias {
            self.begin_with_bias(&product, bias)?;
            product.accumulate = true;
        }
        *self.fallbacks().entry(name.clone()).or_default() += 1;
        let begun = self.begin()?;
        blas.multiply(&Matmul { bias: None, ..product })?;
        self.end(begun, || name)
    }

    /// Writes the bias to the result of a product, or adds it to what stands there.
    fn begin_with_bias(&self, product: &Matmul, bias: Address) -> Result<()> {
        let Matmul { accumulate, results, strides: [_, _, stride], .. } = *product;
        let n = product.m * product.n;
        let blocks = n.div_ceil(THREADS as usize).min(MOST_BLOCKS) as u32;
        let period = to_u32("a row of", product.n)?;
        let (c, n): (Argument, Argument) = (product.c.into(), (n as u64).into());
        let (kernel, arguments) = match (results, accumulate) {
            (Results::Float32, true) => ("add", vec![1_f32.into(), bias.into(), period.into(), c, n]),
            (Results::Float32, false) => ("repeat", vec![bias.into(), period.into(), c, n]),
            (Results::Operands, _) => {
                let stride = to_u32("a row of", stride)?.into();
                ("repeat_operands", vec![bias.into(), period.into(), c, stride, n])
            }
        };
        self.launch(Launch { kernel, grid: [blocks, 1], threads: THREADS, arguments: &arguments })
    }
}
