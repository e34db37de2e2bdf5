//! What queries, keys and values of packed sequences look like in memory.

use super::super::real::Real;
use crate::Result;
use crate::backend::{Attention, check};

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
    check::attention(shape, [q.len(), k.len(), v.len()])?;
    let sequence = |(q, k): (&[usize], &[usize])| Segment {
        first_query: q[0],
        queries: q[1] - q[0],
        first_key: k[0],
        keys: k[1] - k[0],
        causal: shape.causal,
    };
    Ok(shape.q_offsets.windows(2).zip(shape.k_offsets.windows(2)).map(sequence).collect())
}
