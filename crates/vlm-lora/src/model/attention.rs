use super::linear::{Linear, LinearSaved};
use super::params::{Grads, Pass};
use crate::Result;
use crate::backend::{self, AttentionGradients, AttentionInputs, Backend, Rope, Write};
use crate::rotary::Rotary;

/// Where the sequences of a batch stand in its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// Start of each sequence, and the total.
    pub(crate) offsets: Vec<usize>,
    /// Position of each row in its sequence; empty where nothing rotates.
    pub(crate) positions: Vec<u32>,
}

/// A batch, and what somebody reads of a tower's output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'a> {
    /// The rows of the input.
    pub(crate) layout: &'a Layout,
    /// The rows of the output that are read; `None`: all.
    pub(crate) rows: Option<&'a [u32]>,
}

/// The rows of `x` that are read, where not all are.
pub(crate) fn select_rows<B: Backend>(
    pass: Pass<'_, B>,
    x: &B::Buffer,
    width: usize,
    read: Option<&[u32]>,
) -> Result<Option<B::Buffer>> {
    let Some(rows) = read else { return Ok(None) };
    let mut y = pass.backend.scratch(rows.len() * width)?;
    pass.backend.gather_rows(x, width, rows, &mut y)?;
    Ok(Some(y))
}

/// The gradient of all `rows` rows, of that of those that are read.
pub(crate) fn scatter_to_all<B: Backend>(
    backend: &B,
    dy: B::Buffer,
    rows: usize,
    width: usize,
    read: Option<&[u32]>,
) -> Result<B::Buffer> {
    let Some(indices) = read else { return Ok(dy) };
    let mut all = backend.zeros(rows * width)?;
    backend.scatter_rows(&dy, width, indices, &mut all, Write::Set)?;
    Ok(all)
}

impl Layout {
    /// Sequences of these lengths, one behind the other.
    pub(crate) fn packed(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut layout = Self { offsets: vec![0], positions: Vec::new() };
        for length in lengths {
            layout.offsets.push(layout.positions.len() + length);
            layout.positions.extend(0..length as u32);
        }
        layout
    }
}

/// Self-attention with its four projections.
pub(crate) struct SelfAttention<B: Backend> {
    pub(crate) q: Linear<B>,
    pub(crate) k: Linear<B>,
    pub(crate) v: Linear<B>,
    pub(crate) out: Linear<B>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// The rotary embedding, with which the attention is causal; the vision tower has neither.
    pub(crate) rotary: Option<Rotary>,
}

/// What the backward pass needs: rotated queries and keys, values, outputs of the heads, log-sum-exps.
pub(crate) struct AttentionSaved<B: Backend> {
    qkv: Qkv<B>,
    o: B::Buffer,
    /// The rows of `o` that are read, where not all are.
    o_read: Option<B::Buffer>,
    lse: B::Buffer,
    out: LinearSaved<B>,
}

/// Projected, rotated rows.
pub(crate) struct Qkv<B: Backend> {
    pub(crate) q: B::Buffer,
    pub(crate) k: B::Buffer,
    pub(crate) v: B::Buffer,
    saved: [LinearSaved<B>; 3],
}

impl<B: Backend> SelfAttention<B> {
    /// Whether queries, keys or values have an adapter, so that the backward pass reads the input.
    pub(crate) fn reads_input(&self) -> bool {
        [&self.q, &self.k, &self.v].iter().any(|linear| linear.trains())
    }

    pub(crate) fn trains(&self) -> bool {
        self.reads_input() || self.out.trains()
    }

    pub(crate) fn shape<'a>(&self, q_offsets: &'a [usize], k_offsets: &'a [usize]) -> backend::Attention<'a> {
        backend::Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            causal: self.rotary.is_some(),
            q_offsets,
            k_offsets,
        }
    }

    /// Queries, keys and values of the normed input.
    pub(crate) fn project(&self, pass: Pass<'_, B>, input: &B::Buffer, positions: &[u32]) -> Result<Qkv<B>> {
        let [(mut q, q_saved), (mut k, k_saved), (v, v_saved)] =
            Linear::forward_all([&self.q, &self.k, &self.v], pass, input)?;
        self.rotate(pass.backend, [&mut q, &mut k], positions, false)?;
        Ok(Qkv { q, k, v, saved: [q_saved, k_saved, v_saved] })
    }

    /// Rotates queries and keys, or back, where they are.
    fn rotate(
        &self,
        backend: &B,
        [q, k]: [&mut B::Buffer; 2],
        positions: &[u32],
        inverse: bool,
    ) -> Result<()> {
        let Some(rotary) = self.rotary else { return Ok(()) };
        let rope = Rope { positions, heads: self.heads, head_dim: self.head_dim, rotary, inverse };
        backend.rope_both(q, k, rope, self.kv_heads)
    }

    /// Room for the outputs of the heads.
    fn scratch_of_heads(&self, pass: Pass<'_, B>, len: usize, read: Option<&[u32]>) -> Result<B::Buffer> {
        match read {
            None => Linear::scratch_for(pass, len, &[&self.out]),
            Some(_) => pass.backend.scratch(len),
        }
    }

    /// Queries over keys and values, and the output projection, with `residual`.
    pub(crate) fn attend(
        &self,
        pass: Pass<'_, B>,
        shape: backend::Attention<'_>,
        inputs: AttentionInputs<'_, B::Buffer>,
        read: Option<&[u32]>,
        residual: &B::Buffer,
    ) -> Result<Attended<B>> {
        let backend = pass.backend;
        let len = backend.len(inputs.q);
        let mut o = self.scratch_of_heads(pass, len, read)?;
        let mut lse = backend.scratch(len / self.head_dim)?;
        backend.attention(shape, inputs, &mut o, &mut lse)?;
        let o_read = select_rows(pass, &o, self.out.in_features, read)?;
        let (y, saved) = self.out.forward_added(pass, o_read.as_ref().unwrap_or(&o), residual)?;
        Ok(Attended { y, o, o_read, lse, saved })
    }

    /// Adds what [`forward`](Self::forward) computes to the rows that are read, with nothing saved.
    pub(crate) fn forward_onto(
        &self,
        pass: Pass<'_, B>,
        input: &B::Buffer,
        read: Read<'_>,
        y: &mut B::Buffer,
    ) -> Result<()> {
        let (backend, Read { layout: Layout { offsets, positions }, rows }) = (pass.backend, read);
        let Qkv { q, k, v, .. } = self.project(pass, input, positions)?;
        let len = backend.len(&q);
        let mut lse = backend.scratch(len / self.head_dim)?;
        let mut o = self.scratch_of_heads(pass, len, rows)?;
        let inputs = AttentionInputs { q: &q, k: &k, v: &v };
        backend.attention(self.shape(offsets, offsets), inputs, &mut o, &mut lse)?;
        drop((q, k, v));
        let o_read = select_rows(pass, &o, self.out.in_features, rows)?;
        self.out.forward_onto(pass, o_read.as_ref().unwrap_or(&o), y)
    }

    /// The residual stream in the rows that are read, of the normed input and of what stands in these rows.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        input: &B::Buffer,
        read: Read<'_>,
        residual: &B::Buffer,
    ) -> Result<(B::Buffer, AttentionSaved<B>)> {
        let Read { layout: Layout { offsets, positions }, rows } = read;
        let qkv = self.project(pass, input, positions)?;
        let inputs = AttentionInputs { q: &qkv.q, k: &qkv.k, v: &qkv.v };
        let Attended { y, o, o_read, lse, saved } =
            self.attend(pass, self.shape(offsets, offsets), inputs, rows, residual)?;
        Ok((y, AttentionSaved { qkv, o, o_read, lse, out: saved }))
    }

    /// The gradient of the normed input, where it is wanted. `input` is read by adapters of q, k and v only.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        input: Option<&B::Buffer>,
        saved: &AttentionSaved<B>,
        dy: &B::Buffer,
        read: Read<'_>,
        needs_input: bool,
    ) -> Result<Option<B::Buffer>> {
        let Layout { offsets, positions } = read.layout;
        let backend = grads.backend;
        let o_read = Some(saved.o_read.as_ref().unwrap_or(&saved.o));
        if !needs_input && !self.reads_input() {
            self.out.backward(grads, o_read, &saved.out, dy, None)?;
            return Ok(None);
        }
        let Qkv { q, k, v, saved: projections } = &saved.qkv;
        let rows = offsets.last().copied().unwrap_or(0);
        let width = self.out.in_features;
        let len = backend.len(dy) / self.out.out_features * width;
        let mut d_o = match read.rows {
            None => self.out.scratch_for_gradient(grads, len)?,
            Some(_) => backend.scratch(len)?,
        };
        self.out.backward(grads, o_read, &saved.out, dy, Some((&mut d_o, Write::Set)))?;
        let d_o = scatter_to_all(backend, d_o, rows, width, read.rows)?;
        let mut all = Linear::scratch_of(backend, [&self.q, &self.k, &self.v], rows)?;
        let [dq, dk, dv] = &mut all[..] else {
            return Err(super::adapter::invalid_argument(backend.name(), "three gradients"));
        };
        let attention = backend::AttentionSaved { q, k, v, o: &saved.o, lse: &saved.lse };
        let gradients = AttentionGradients { dq: &mut *dq, dk: &mut *dk, dv: &mut *dv };
        backend.attention_backward(self.shape(offsets, offsets), &d_o, attention, gradients)?;
        drop(d_o);
        self.rotate(backend, [&mut *dq, &mut *dk], positions, true)?;
        let mut dx = needs_input.then(|| backend.scratch(rows * self.q.in_features)).transpose()?;
        let [q_saved, k_saved, v_saved] = projections;
        let linears = [(&self.q, q_saved, &*dq), (&self.k, k_saved, &*dk), (&self.v, v_saved, &*dv)];
        Linear::backward_all(linears, grads, input, dx.as_mut().map(|dx| (dx, Write::Set)))?;
        Ok(dx)
    }
}

/// The result of [`SelfAttention::attend`].
pub(crate) struct Attended<B: Backend> {
    pub(crate) y: B::Buffer,
    o: B::Buffer,
    o_read: Option<B::Buffer>,
    lse: B::Buffer,
    saved: LinearSaved<B>,
}
