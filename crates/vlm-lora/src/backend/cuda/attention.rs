//! Attention: which block works on which part of which sequence.

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{ensure, length, to_u32};
use super::device::{Argument, CudaDtype, Device};
use super::storage::Operand as Source;
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
        to_u32("rows of queries", heads * head_dim)?;
        Ok(Checked { tiling: Tiling::of(self.dtype, head_dim)?, queries, sizes })
    }

    /// Launches a kernel for every part and head.
    fn each_part(
        &self,
        kernel: &str,
        rows: usize,
        parts: &[u32],
        heads: usize,
        others: &[Argument],
    ) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let grid = [to_u32("parts", parts.len() / 5)?, heads as u32];
        let parts = self.words(parts)?;
        let arguments: Vec<Argument> =
            std::iter::once(Argument::Word(parts.address)).chain(others.iter().copied()).collect();
        self.launch(kernel, grid, rows as u32 * 2, &arguments) // a warp has 16 rows
    }

    /// Where the kernels read rows of `width` numbers, and how far apart they are: operands in bf16.
    fn source(&self, x: &Buffer<D>, width: usize) -> Result<Source<D>> {
        if self.dtype == CudaDtype::Bfloat16 {
            return self.operand(x, width);
        }
        Ok(Source::at(self.numbers(x)?, width))
    }

    /// Queries, keys and values.
    pub(super) fn sources(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
    ) -> Result<[Source<D>; 3]> {
        let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let AttentionInputs { q, k, v } = inputs;
        Ok([self.source(q, queries)?, self.source(k, keys)?, self.source(v, keys)?])
    }

    pub(super) fn attend(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
        o: &mut Buffer<D>,
        lse: &mut Buffer<D>,
    ) -> Result<()> {
        if self.attend_evenly(shape, inputs, o, lse)? {
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
        length("o", o.len(), inputs.q.len())?;
        length("lse", lse.len(), queries * shape.heads)?;
        let parts = parts(shape, tiling.forward_rows, false);
        let sources = self.sources(shape, inputs)?;
        let output = self.output(o, shape.heads * shape.head_dim)?;
        let mut arguments: Vec<Argument> = sources.iter().flat_map(arguments_of).collect();
        arguments.extend(output.arguments());
        arguments.push(self.overwritten(lse)?.into());
        arguments.extend(sizes);
        let kernel = format!("attention_forward_{}", tiling.dim);
        self.each_part(&kernel, tiling.forward_rows, &parts, shape.heads, &arguments)
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
        let inputs = AttentionInputs { q, k, v };
        let Checked { tiling, queries, sizes } = self.check_attention(shape, inputs)?;
        length("d_o", d_o.len(), q.len())?;
        length("o", o.len(), q.len())?;
        length("lse", lse.len(), queries * shape.heads)?;
        length("dq", dq.len(), q.len())?;
        length("dk", dk.len(), k.len())?;
        length("dv", dv.len(), k.len())?;
        let (rows, width) = (queries * shape.heads, shape.heads * shape.head_dim);
        to_u32("heads of queries", rows)?;
        let mut delta = Buffer::new(&self.pool, rows)?;
        let delta_at = self.overwritten(&mut delta)?;
        let (d_o_source, o_source) = (self.source(d_o, width)?, self.source(o, width)?);
        let [at, count] = [delta_at.into(), (rows as u64).into()];
        let both = [arguments_of(&d_o_source), arguments_of(&o_source)].concat();
        self.each_row("attention_delta", rows, &[&both[..], &[at, count, sizes[0], sizes[2]]].concat())?;
        let largest = (self.dtype == CudaDtype::Float16).then(|| Block::new(&self.pool, 4)).transpose()?;
        if let Some(largest) = &largest {
            self.find_largest(d_o, largest.address)?;
        }
        let sources = self.sources(shape, inputs)?;
        let mut read: Vec<Argument> =
            std::iter::once(&d_o_source).chain(&sources).flat_map(arguments_of).collect();
        let largest_at = largest.as_ref().map_or(0, |block| block.address);
        read.extend([self.numbers(lse)?, delta_at, largest_at].map(Argument::Word));
        let kernel = format!("attention_backward_queries_{}", tiling.dim);
        let of_queries = parts(shape, tiling.backward_rows, false);
        let arguments = [&read[..], &self.output(dq, width)?.arguments(), &sizes].concat();
        self.each_part(&kernel, tiling.backward_rows, &of_queries, shape.heads, &arguments)?;
        let kernel = format!("attention_backward_keys_{}", tiling.dim);
        let of_keys = parts(shape, tiling.backward_rows, true);
        let width = shape.kv_heads * shape.head_dim;
        let outputs = [self.output(dk, width)?.arguments(), self.output(dv, width)?.arguments()].concat();
        let arguments = [&read[..], &outputs, &sizes].concat();
        self.each_part(&kernel, tiling.backward_rows, &of_keys, shape.kv_heads, &arguments)
    }
}

/// Where rows begin, and elements from one to the next, as the kernels take both.
pub(super) fn arguments_of<D: Device>(source: &Source<D>) -> [Argument; 2] {
    [source.at.into(), (source.stride as u32).into()]
}
