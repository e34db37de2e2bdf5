//! Attention over sequences of one length by a way of the device's own, once it has been held against the kernels.
//!
//! That is asked for where the results are read as operands alone. The first use of every shape is computed by both, on what was to be
//! computed anyway, and results and log-sum-exps are compared.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use half::bf16;

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{length, to_u32};
use super::device::{CudaDtype, Device, EvenAttention, EvenShape};
use crate::Result;
use crate::backend::{Attention, AttentionInputs, Kernels as _};

/// What is asked of addresses and of what lies between rows, in bytes.
const ALIGNMENT: usize = 16;
/// Shapes whose trust is remembered; with more of them the kernels take the rest.
const MOST_SHAPES: usize = 256;
/// How often a shape is tried with inputs that tell nothing before it is left to the kernels.
const MOST_TRIES: u8 = 24;

/// How far all results together may lie from those of the kernels, as a part of their norm. Both round probabilities and results to
/// bf16, by a 512th at most each, which makes about a 450th.
const TOGETHER: f64 = 1.0 / 128.0;
/// The same of one head of one row, of its norm and the usual one: a row that was left out is off by all of it.
const EACH: f64 = 1.0 / 16.0;
/// How much rows must differ among each other for a comparison to say something about the scores.
const TELLING: f64 = 1.0 / 16.0;

/// How far a log-sum-exp may lie from that of the kernels, as a part of it or, where that is less than 1, of 1: both are f32 sums of the same
/// products.
const OF_SUMS: f64 = 1.0 / 128.0;

/// Whether the device's own way is used for a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It agreed with the kernels.
    Given,
    /// There is none, or none that agrees.
    None,
    /// So many inputs told nothing.
    Open(u8),
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
enum Found {
    Agreement,
    /// The inputs would have given the same with other scores.
    Nothing,
    /// By which part of the norm all are off, and the worst of the single ones.
    Difference(f64, f64),
}

/// The length of every sequence, of queries as of keys, where they all have one.
fn even_length(shape: &Attention<'_>) -> Option<(usize, usize)> {
    let Attention { q_offsets, k_offsets, .. } = *shape;
    let length = q_offsets.get(1)?.checked_sub(q_offsets[0])?;
    let is_even = q_offsets.windows(2).all(|pair| pair[1] - pair[0] == length);
    let is_whole = q_offsets[0] == 0 && q_offsets == k_offsets && length > 0;
    (is_even && is_whole).then_some((q_offsets.len() - 1, length))
}

/// Holds results in bf16 against those of the kernels, rows of `heads` with `head_dim` elements each.
fn compare(ours: &[u16], theirs: &[u16], heads: usize, head_dim: usize) -> Found {
    let number = |bits: u16| f64::from(bf16::from_bits(bits).to_f32());
    let norm = |of: &dyn Fn(usize) -> f64| (0..head_dim).map(|i| of(i).powi(2)).sum::<f64>();
    let width = heads * head_dim;
    let rows = (ours.len() / width) as f64;
    let mut means = vec![0.0; width];
    for row in ours.chunks_exact(width) {
        row.iter().zip(&mut means).for_each(|(value, mean)| *mean += number(*value) / rows);
    }
    // Of each head of each row: its squared norm, and the squared distances from the mean of the rows and from the other result.
    let parts: Vec<[f64; 3]> = ours
        .chunks_exact(head_dim)
        .zip(theirs.chunks_exact(head_dim))
        .enumerate()
        .map(|(part, (ours, theirs))| {
            let own = |i: usize| number(ours[i]);
            let mean = &means[part % heads * head_dim..];
            [norm(&own), norm(&|i| own(i) - mean[i]), norm(&|i| own(i) - number(theirs[i]))]
        })
        .collect();
    let [norms, spread, apart] =
        parts.iter().fold([0.0; 3], |sums, part| [0, 1, 2].map(|i| sums[i] + part[i]));
    let usual = (norms / parts.len() as f64).sqrt();
    let together = (apart / norms).sqrt();
    let each = |part: &[f64; 3]| part[2].sqrt() / (part[0].sqrt() + usual);
    // A NaN is worse than anything.
    let worse = |worst: f64, one: f64| if one > worst || one.is_nan() { one } else { worst };
    let worst = parts.iter().map(each).fold(0.0, worse);
    let is_zero = norms == 0.0 && apart == 0.0;
    let agrees = together <= TOGETHER && worst <= EACH;
    match (is_zero, agrees) {
        (true, _) => Found::Nothing,
        (false, true) if spread < TELLING.powi(2) * norms => Found::Nothing,
        (false, true) => Found::Agreement,
        (false, false) => Found::Difference(together, worst),
    }
}

/// The largest difference between log-sum-exps, as [`OF_SUMS`] has it; a NaN where there is one.
fn farthest(ours: &[f32], theirs: &[f32]) -> f64 {
    let apart =
        |(ours, theirs): (&f32, &f32)| f64::from((ours - theirs).abs()) / f64::from(ours.abs().max(1.0));
    ours.iter()
        .zip(theirs)
        .map(apart)
        .fold(0.0, |worst, one| if one > worst || one.is_nan() { one } else { worst })
}

impl<D: Device> Cuda<D> {
    fn trust(&self) -> MutexGuard<'_, HashMap<EvenShape, Trust>> {
        // Entries are set whole.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked of the device, but for how the inputs lie; `None` where that is not its to compute. Masked attention is left to the kernels: the lengths of texts
    /// change from batch to batch, and each would be planned anew.
    fn even_shape(&self, shape: &Attention<'_>, o: &Buffer<D>) -> Option<EvenShape> {
        let Attention { heads, kv_heads, head_dim, causal, .. } = *shape;
        let (sequences, length) = even_length(shape)?;
        let is_aligned = (head_dim * CudaDtype::Bfloat16.bytes()).is_multiple_of(ALIGNMENT);
        let is_taken = self.dtype == CudaDtype::Bfloat16 && o.is_operand() && !causal && is_aligned;
        let even = EvenShape { sequences, length, heads, kv_heads, head_dim, causal, apart: [0; 3] };
        is_taken.then_some(even)
    }

    /// Attention by the device's own way, where there is one that agrees with the kernels, and whether it was.
    pub(super) fn attend_evenly(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
        o: &mut Buffer<D>,
        lse: &mut Buffer<D>,
    ) -> Result<bool> {
        let Some(even) = self.even_shape(shape, o) else { return Ok(false) };
        self.check_attention(shape, inputs)?;
        length("o", o.len(), inputs.q.len())?;
        length("lse", lse.len(), even.sequences * even.length * even.heads)?;
        let sources = self.sources(shape, inputs)?;
        let even = EvenShape { apart: [0, 1, 2].map(|i| sources[i].stride), ..even };
        let trust = {
            let known = self.trust();
            let unknown = if known.len() < MOST_SHAPES { Trust::Open(0) } else { Trust::None };
            known.get(&even).copied().unwrap_or(unknown)
        };
        if trust == Trust::None {
            return Ok(false);
        }
        let scale = (1.0 / (even.head_dim as f64).sqrt()) as f32;
        let [q, k, v] = [0, 1, 2].map(|i| sources[i].at);
        let mut attention = EvenAttention { shape: even, q, k, v, o: 0, lse: None, scale };
        if let Trust::Open(tries) = trust {
            let trust = self.hold_against_kernels(shape, inputs, attention, tries)?;
            self.trust().insert(even, trust);
            if trust != Trust::Given {
                return Ok(false);
            }
        }
        attention.o = self.dense_output(o, even.heads * even.head_dim)?;
        attention.lse = Some(self.overwritten(lse)?);
        let is_queued = self.device().attention(&attention)?;
        if !is_queued {
            self.trust().insert(even, Trust::None);
        }
        Ok(is_queued)
    }

    /// Computes by both ways and compares.
    fn hold_against_kernels(
        &self,
        shape: &Attention<'_>,
        inputs: AttentionInputs<'_, Buffer<D>>,
        attention: EvenAttention,
        tries: u8,
    ) -> Result<Trust> {
        let (len, EvenShape { sequences, length, heads, head_dim, .. }) = (inputs.q.len(), attention.shape);
        let mut both = [vec![0_u16; len], vec![0_u16; len]];
        let bytes = len * CudaDtype::Bfloat16.bytes();
        let block = Block::new(&self.pool, bytes)?;
        let mut sums = [
            Buffer::new(&self.pool, sequences * length * heads)?,
            Buffer::new(&self.pool, sequences * length * heads)?,
        ];
        let [lse, their_lse] = &mut sums;
        let at = self.overwritten(their_lse)?;
        // What is not written must not look like what was there by chance.
        self.device().clear(block.address, bytes)?;
        self.device().clear(at, their_lse.len() * 4)?;
        if !self.device().attention(&EvenAttention { o: block.address, lse: Some(at), ..attention })? {
            return Ok(Trust::None);
        }
        self.device().read(block.address, bytemuck::cast_slice_mut(&mut both[1]))?;
        let mut ours = self.for_products(len)?;
        self.attend_by_kernels(shape, inputs, &mut ours, lse)?;
        // The kernels may leave room behind each row.
        let (width, dense) = (to_u32("a row of", heads * head_dim)?, Block::new(&self.pool, bytes)?);
        let operand = self.operand(&ours, heads * head_dim)?;
        self.copy_rows(&operand, width, (dense.address, width), len as u64)?;
        self.device().read(dense.address, bytemuck::cast_slice_mut(&mut both[0]))?;
        let apart = farthest(&self.download(lse)?, &self.download(their_lse)?);
        if apart.is_nan() || apart > OF_SUMS {
            self.device().leave_attention(format!(
                "its log-sum-exps are off by {apart:.1e} of the kernels' ({OF_SUMS:.1e} is allowed)"
            ));
            return Ok(Trust::None);
        }
        Ok(match compare(&both[0], &both[1], heads, head_dim) {
            Found::Agreement => Trust::Given,
            Found::Nothing if tries + 1 < MOST_TRIES => Trust::Open(tries + 1),
            Found::Nothing => Trust::None,
            Found::Difference(together, worst) => {
                self.device().leave_attention(format!(
                    "its results are off by {together:.1e} of the kernels' ({TOGETHER:.1e} is allowed), a row by {worst:.1e} ({EACH:.1e})"
                ));
                Trust::None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::scenarios::values;

    const HEADS: usize = 2;
    const HEAD_DIM: usize = 16;
    const ROWS: usize = 20;

    fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u16> {
        values.into_iter().map(|value| bf16::from_f64(value).to_bits()).collect()
    }

    fn found(theirs: &[f64]) -> Found {
        let ours = values(ROWS * HEADS * HEAD_DIM, 5);
        compare(&bits(ours), &bits(theirs.iter().copied()), HEADS, HEAD_DIM)
    }

    #[test]
    fn results_agree_up_to_their_rounding_and_not_beyond() {
        let ours = values(ROWS * HEADS * HEAD_DIM, 5);
        assert_eq!(found(&ours), Found::Agreement);
        let (rounding, scaled) = ([1.002, 0.998], |factor: f64| ours.iter().map(move |x| x * factor));
        let rounded: Vec<f64> = ours.iter().enumerate().map(|(i, x)| x * rounding[i % 2]).collect();
        assert_eq!(found(&rounded), Found::Agreement);
        let differs = |theirs: &[f64]| assert!(matches!(found(theirs), Found::Difference(..)));
        differs(&scaled(1.02).collect::<Vec<_>>());
        differs(&scaled(0.0).collect::<Vec<_>>());
        differs(&scaled(f64::NAN).collect::<Vec<_>>());
        // One head of one row that was left out, or is not a number, or infinite.
        for wrong in [0.0, f64::NAN, f64::INFINITY] {
            let mut theirs = ours.clone();
            theirs[35 * HEAD_DIM..36 * HEAD_DIM].fill(wrong);
            differs(&theirs);
        }
        let mut shifted = ours.clone();
        shifted.rotate_left(HEAD_DIM);
        differs(&shifted);
    }

    #[test]
    fn rows_that_are_all_the_same_tell_nothing_unless_they_differ() {
        let row = values(HEADS * HEAD_DIM, 5);
        let same = bits((0..ROWS).flat_map(|_| row.clone()));
        assert_eq!(compare(&same, &same, HEADS, HEAD_DIM), Found::Nothing);
        let zero = vec![0; same.len()];
        assert_eq!(compare(&zero, &zero, HEADS, HEAD_DIM), Found::Nothing);
        assert!(matches!(compare(&same, &zero, HEADS, HEAD_DIM), Found::Difference(..)));
        assert!(matches!(compare(&zero, &same, HEADS, HEAD_DIM), Found::Difference(..)));
    }

    #[test]
    fn only_whole_batches_of_one_length_are_even() {
        let of = |q_offsets: &[usize], k_offsets: &[usize]| {
            even_length(&Attention {
                heads: 1,
                kv_heads: 1,
                head_dim: 8,
                causal: false,
                q_offsets,
                k_offsets,
            })
        };
        assert_eq!(of(&[0, 4, 8, 12], &[0, 4, 8, 12]), Some((3, 4)));
        assert_eq!(of(&[0, 4], &[0, 4]), Some((1, 4)));
        assert_eq!(of(&[0, 4, 9], &[0, 4, 9]), None);
        assert_eq!(of(&[0, 4], &[0, 5]), None);
        assert_eq!(of(&[0, 0], &[0, 0]), None);
        assert_eq!(of(&[0], &[0]), None);
    }
}
