//! Attention: which block works on which part of which sequence.

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{ensure, length, to_u32};
use super::device::{Address, Argument, CudaDtype, Device};
use crate::backend::{Attention, AttentionGradients, AttentionInputs, AttentionSaved, check};
use crate::{Error, Result};

/// How the kernels for heads of up to `dim` elements divide the rows; the numbers stand in `attention.cu` as well.
struct Tiling {
    dim: usize,
    forward_rows: usize,
    backward_rows: usize,
}

impl Tiling {
    fn of(dtype: CudaDtype, head_dim: usize) -> Result<Self> {
        let (dim, forward_rows, backward_rows) = match (dtype, head_dim) {
            (CudaDtype::Float32, 1..=64) => (64, 64, 32),
            (CudaDtype::Float32, 65..=128) => (128, 32, 16),
            (_, 1..=64) => (64, 64, 64),
            (_, 65..=128) => (128, 64, 32),
            _ => {
                return Err(Error::Unsupported {
                    what: format!("attention with heads of {head_dim} on CUDA"),
                });
            }
        };
        Ok(Self { dim, forward_rows, backward_rows })
    }
}

/// The sizes that all kernels take, after they have been checked.
pub(super) struct Checked {
    tiling: Tiling,
    queries: usize,
    sizes: [Argument; 5],
}

/// `(first query, queries, first key, keys, first own row)` of every block, where a block has `rows` of the queries or keys.
fn parts(shape: &Attention<'_>, rows: usize, of_keys: bool) -> Vec<u32> {
    let mut parts = Vec::new();
    for (q, k) in shape.q_offsets.windows(2).zip(shape.k_offsets.windows(2)) {
        let own = if of_keys { k[1] - k[0] } else { q[1] - q[0] };
        for first in (0..own).step_by(rows) {
            parts.extend([q[0], q[1] - q[0], k[0], k[1] - k[0], first].map(|value| value as u32));
        }
    }
    parts
}

impl<D: Device> Cuda<D> {
    pub(super) fn check_attention(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
    ) -> Result<Checked> {
        let AttentionInputs { q, k, v } = inputs;
        check::attention(shape, [q.len(), k.len(), v.len()])?;
        let Attention { heads, kv_heads, head_dim, causal, q_offsets, k_offsets } = *shape;
        let (queries, keys) = (q_offsets[q_offsets.len() - 1], k_offsets[k_offsets.len() - 1]);
        to_u32("queries", queries)?;
        to_u32("keys", keys)?;
        ensure(heads <= 65_535, || format!("{heads} heads"))?;
        let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
        let sizes = [
            (heads as u32).into(),
            (kv_heads as u32).into(),
            (head_dim as u32).into(),
            u32::from(causal).into(),
            scale.into(),
        ];
        Ok(Checked { tiling: Tiling::of(self.dtype, head_dim)?, queries, sizes })
    }

    /// Launches a kernel for every part and head.
    fn each_part(
        &self,
        kernel: &str,
        rows: usize,
        parts: &[u32],
        heads: usize,
        buffers: &[Address],
        sizes: &[Argument],
    ) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let grid = [to_u32("parts", parts.len() / 5)?, heads as u32];
        let parts = self.words(parts)?;
        let buffers = buffers.iter().map(|&address| Argument::Word(address));
        let arguments: Vec<Argument> = std::iter::once(Argument::Word(parts.address))
            .chain(buffers)
            .chain(sizes.iter().copied())
            .collect();
        self.launch(kernel, grid, rows as u32 * 2, &arguments) // a warp has 16 rows
    }

    pub(super) fn attend(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
        o: &mut Buffer<D>,
        lse: &mut Buffer<D>,
    ) -> Result<()> {
        if self.attend_evenly(shape, inputs, o)? {
            return Ok(());
        }
        self.attend_by_kernels(shape, inputs, o, lse)
    }

    pub(super) fn attend_by_kernels(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
        o: &mut Buffer<D>,
        lse: &mut Buffer<D>,
    ) -> Result<()> {
        let Checked { tiling, queries, sizes } = self.check_attention(shape, inputs)?;
        let AttentionInputs { q, k, v } = inputs;
        length("o", o.len(), q.len())?;
        length("lse", lse.len(), queries * shape.heads)?;
        let parts = parts(shape, tiling.forward_rows, false);
        let [to, operand] = self.output(o)?;
        let buffers = [q.at(), k.at(), v.at(), to, operand, lse.at_mut()];
        let kernel = format!("attention_forward_{}", tiling.dim);
        self.each_part(&kernel, tiling.forward_rows, &parts, shape.heads, &buffers, &sizes)
    }

    pub(super) fn attend_backward(
        &self,
        shape: &Attention<'_>,
        d_o: &Buffer<D>,
        saved: AttentionSaved<'_, Buffer<D>>,
        gradients: AttentionGradients<'_, Buffer<D>>,
    ) -> Result<()> {
        let AttentionSaved { q, k, v, o, lse } = saved;
        let AttentionGradients { dq, dk, dv } = gradients;
        let Checked { tiling, queries, sizes } = self.check_attention(shape, AttentionInputs { q, k, v })?;
        length("d_o", d_o.len(), q.len())?;
        length("o", o.len(), q.len())?;
        length("lse", lse.len(), queries * shape.heads)?;
        length("dq", dq.len(), q.len())?;
        length("dk", dk.len(), k.len())?;
        length("dv", dv.len(), k.len())?;
        let rows = queries * shape.heads;
        let mut delta = Buffer::new(&self.pool, rows)?;
        let arguments =
            [d_o.at().into(), o.at().into(), delta.at_mut().into(), (rows as u64).into(), sizes[2]];
        self.each_row("attention_delta", rows, &arguments)?;
        let largest = (self.dtype == CudaDtype::Float16).then(|| Block::new(&self.pool, 4)).transpose()?;
        if let Some(largest) = &largest {
            self.find_largest(d_o, largest.address)?;
        }
        let largest_at = largest.as_ref().map_or(0, |block| block.address);
        let read = [d_o.at(), q.at(), k.at(), v.at(), lse.at(), delta.at(), largest_at];
        let kernel = format!("attention_backward_queries_{}", tiling.dim);
        let of_queries = parts(shape, tiling.backward_rows, false);
        let buffers = [&read[..], &[dq.at_mut()]].concat();
        self.each_part(&kernel, tiling.backward_rows, &of_queries, shape.heads, &buffers, &sizes)?;
        let kernel = format!("attention_backward_keys_{}", tiling.dim);
        let of_keys = parts(shape, tiling.backward_rows, true);
        // Queries and keys are still turned before a product reads them.
        let [values, operand] = self.output(dv)?;
        let buffers = [&read[..], &[dk.at_mut(), values, operand]].concat();
        self.each_part(&kernel, tiling.backward_rows, &of_keys, shape.kv_heads, &buffers, &sizes)
    }
}
