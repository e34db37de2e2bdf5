//! What the operations demand of their arguments, on every device.

use super::{Attention, Kernels, LowRank, Rope, RowTarget};
use crate::Stored;
use crate::{Error, Result};

/// The error of a call whose arguments do not fit each other.
pub(super) fn invalid_argument(reason: String) -> Error {
    Error::Backend { device: "backend".to_owned(), reason }
}

/// `Ok` where `holds`, else an error with this reason.
pub(super) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(invalid_argument(reason())) }
}

/// Checks the number of elements of a named argument.
pub(super) fn length(name: &str, actual: usize, expected: usize) -> Result<()> {
    ensure(actual == expected, || format!("`{name}` holds {actual} elements, expected {expected}"))
}

/// Checks that a named argument consists of whole rows and returns their number.
pub(super) fn whole_rows(name: &str, len: usize, width: usize) -> Result<usize> {
    ensure(width > 0 && len.is_multiple_of(width), || {
        format!("`{name}` holds {len} elements, which are not rows of {width}")
    })?;
    Ok(len / width)
}

/// Checks that every index is below `count`.
pub(super) fn inside(rows: &[u32], count: usize) -> Result<()> {
    let outside = rows.iter().find(|&&row| row as usize >= count);
    ensure(outside.is_none(), || {
        format!("there is no row {} among {count}", outside.copied().unwrap_or_default())
    })
}

/// Checks that `len` elements from `from` of `src` elements on fit at `at` of `dst` elements.
pub(super) fn ranges(len: usize, from: usize, src: usize, at: usize, dst: usize) -> Result<()> {
    let fits = |start: usize, total: usize| start.checked_add(len).is_some_and(|end| end <= total);
    ensure(fits(from, src) && fits(at, dst), || {
        format!("{len} elements from {from} of {src} do not fit at {at} of {dst}")
    })
}

/// Checks that a stored matrix has the bytes that its shape asks for.
pub(super) fn stored(Stored { dtype, bytes }: Stored<'_>, n: usize, k: usize) -> Result<()> {
    let expected = n.checked_mul(k).and_then(|count| count.checked_mul(dtype.bitsize() / 8));
    ensure(expected == Some(bytes.len()), || {
        format!("a matrix ({n}, {k}) of {dtype:?} cannot be {} bytes", bytes.len())
    })
}

/// The width of `len` logits, one row a target, after a check that every target lies in it.
pub(super) fn vocabulary(len: usize, targets: &[RowTarget<'_>]) -> Result<usize> {
    ensure(len > 0 && len.is_multiple_of(targets.len().max(1)), || {
        format!("`logits` holds {len} elements, which are not {} rows", targets.len())
    })?;
    let vocabulary = len / targets.len().max(1);
    let outside = targets.iter().flat_map(|row| row.tokens).find(|(token, _)| *token as usize >= vocabulary);
    ensure(outside.is_none(), || {
        format!("token {} is outside {vocabulary}", outside.map_or(0, |(token, _)| *token))
    })?;
    Ok(vocabulary)
}

/// Checks the length of rotated heads, and that each has pairs.
pub(super) fn rotary(len: usize, rope: Rope<'_>) -> Result<()> {
    let Rope { positions, heads, head_dim, .. } = rope;
    length("x", len, positions.len() * heads * head_dim)?;
    ensure(head_dim > 0 && head_dim.is_multiple_of(2), || format!("heads of {head_dim} cannot be rotated"))
}

/// Checks the shape of attention and that queries, keys and values hold so many elements.
pub(super) fn attention(shape: &Attention<'_>, [q, k, v]: [usize; 3]) -> Result<()> {
    let Attention { heads, kv_heads, head_dim, causal, q_offsets, k_offsets } = *shape;
    ensure(kv_heads > 0 && head_dim > 0 && heads > 0 && heads.is_multiple_of(kv_heads), || {
        format!("attention with {heads} heads of {head_dim} over {kv_heads} key heads")
    })?;
    ensure(q_offsets.len() == k_offsets.len() && !q_offsets.is_empty(), || {
        format!("{} query offsets and {} key offsets", q_offsets.len(), k_offsets.len())
    })?;
    ensure(q_offsets.is_sorted() && k_offsets.is_sorted() && q_offsets[0] == 0 && k_offsets[0] == 0, || {
        "offsets of sequences must ascend from 0".to_owned()
    })?;
    for (q, k) in q_offsets.windows(2).zip(k_offsets.windows(2)) {
        let (queries, keys) = (q[1] - q[0], k[1] - k[0]);
        ensure(queries == 0 || keys > 0 && (!causal || keys >= queries), || {
            format!("{queries} queries cannot attend to {keys} keys")
        })?;
    }
    length("q", q, q_offsets[q_offsets.len() - 1] * heads * head_dim)?;
    length("k", k, k_offsets[k_offsets.len() - 1] * kv_heads * head_dim)?;
    length("v", v, k)
}

/// Checks that a share lies in 0..=1.
pub(super) fn probability(p: f32) -> Result<()> {
    ensure((0.0..=1.0).contains(&p), || format!("{p} is not a probability"))
}

/// Sizes of an adapter over an input of `m` rows: `(n, k)`.
pub(super) fn low_rank<B: Kernels>(
    backend: &B,
    x: &B::Buffer,
    m: usize,
    pair: &LowRank<'_, B::Buffer>,
) -> Result<(usize, usize)> {
    let n = whole_rows("lora_B", backend.len(pair.b), pair.r)?;
    let k = whole_rows("lora_A", backend.len(pair.a), pair.r)?;
    length("x", backend.len(x), m * k)?;
    Ok((n, k))
}
