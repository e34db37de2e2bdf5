//! What queries, keys and values of packed sequences look like in memory.

use super::super::check::{ensure, length};
use super::super::real::Real;
use crate::Result;
use crate::backend::Attention;

/// One packed sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) first_query: usize,
    pub(super) queries: usize,
    pub(super) first_key: usize,
    pub(super) keys: usize,
    pub(super) causal: bool,
}

impl Segment {
    /// How many keys query `i` of the sequence sees.
    pub(super) fn visible(&self, i: usize) -> usize {
        if self.causal { self.keys - self.queries + i + 1 } else { self.keys }
    }
}

/// What queries, keys and values look like in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl Layout {
    pub(super) fn query_stride(self) -> usize {
        self.heads * self.head_dim
    }

    pub(super) fn key_stride(self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Where query row `row` of head `head` starts.
    pub(super) fn query(self, row: usize, head: usize) -> usize {
        row * self.query_stride() + head * self.head_dim
    }

    /// Where key row `row` of the head that query head `head` uses starts.
    pub(super) fn key(self, row: usize, head: usize) -> usize {
        row * self.key_stride() + head / (self.heads / self.kv_heads) * self.head_dim
    }

    pub(super) fn scale<T: Real>(self) -> T {
        T::of(1.0 / (self.head_dim as f64).sqrt())
    }
}

pub(super) fn layout(shape: &Attention<'_>) -> Layout {
    Layout { heads: shape.heads, kv_heads: shape.kv_heads, head_dim: shape.head_dim }
}

/// The sequences of a call, after all its sizes have been checked.
pub(super) fn segments<T>(shape: &Attention<'_>, q: &[T], k: &[T], v: &[T]) -> Result<Vec<Segment>> {
    let Attention { heads, kv_heads, head_dim, causal, q_offsets, k_offsets } = *shape;
    ensure(kv_heads > 0 && head_dim > 0 && heads.is_multiple_of(kv_heads), || {
        format!("attention with {heads} heads of {head_dim} over {kv_heads} key heads")
    })?;
    ensure(q_offsets.len() == k_offsets.len() && !q_offsets.is_empty(), || {
        format!("{} query offsets and {} key offsets", q_offsets.len(), k_offsets.len())
    })?;
    ensure(q_offsets.is_sorted() && k_offsets.is_sorted() && q_offsets[0] == 0 && k_offsets[0] == 0, || {
        "offsets of sequences must ascend from 0".to_owned()
    })?;
    length("q", q.len(), q_offsets[q_offsets.len() - 1] * heads * head_dim)?;
    length("k", k.len(), k_offsets[k_offsets.len() - 1] * kv_heads * head_dim)?;
    length("v", v.len(), k.len())?;
    let sequence = |(q, k): (&[usize], &[usize])| {
        let (queries, keys) = (q[1] - q[0], k[1] - k[0]);
        ensure(queries == 0 || keys > 0 && (!causal || keys >= queries), || {
            format!("{queries} queries cannot attend to {keys} keys")
        })?;
        Ok(Segment { first_query: q[0], queries, first_key: k[0], keys, causal })
    };
    q_offsets.windows(2).zip(k_offsets.windows(2)).map(sequence).collect()
}
