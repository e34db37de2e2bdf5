//! Rotary position embedding (Su et al. 2021) in the rotate-half form.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::isa::Simd;
use super::real::Real;
use super::simd::simd_fn;
use super::tasks::rows_per_task;
use crate::backend::Rope;
use crate::rotary::Rotary;

/// Positions beyond this one are computed in each call and not kept.
const LONGEST_TABLE: usize = 1 << 17;

/// Cosines, then sines, of every position's angles: `(positions, 2, head_dim / 2)`.
type Angles<T> = Arc<Vec<T>>;

/// [`Rotary::key`] and the size of a head.
type Key = ([u64; 5], usize);

/// The angles that calls have in common.
#[derive(Debug, Default)]
pub(super) struct Tables<T>(Mutex<HashMap<Key, Angles<T>>>);

impl<T: Real> Tables<T> {
    /// Rotates `x (positions, heads, head_dim)` in place.
    pub(super) fn rotate(&self, simd: Simd, x: &mut [T], rope: Rope<'_>) {
        let Rope { positions, head_dim, rotary, inverse, .. } = rope;
        let Some(&last) = positions.iter().max() else { return };
        let last = last as usize;
        let table = if last < LONGEST_TABLE { self.get(last, head_dim, rotary) } else { Arc::default() };
        let width = x.len() / positions.len();
        x.par_chunks_mut(width).with_min_len(rows_per_task(width)).zip(positions).for_each(
            |(x, &position)| {
                let at = position as usize * head_dim;
                if let Some(angles) = table.get(at..at + head_dim) {
                    rotate_row(simd, x, angles, inverse);
                } else {
                    rotate_row(simd, x, &angles(position, head_dim, rotary), inverse);
                }
            },
        );
    }

    fn get(&self, last: usize, head_dim: usize, rotary: Rotary) -> Angles<T> {
        // The map is only ever replaced entry by entry, so that a panic elsewhere leaves it valid.
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry((rotary.key(), head_dim)).or_default();
        if table.len() <= last * head_dim {
            let positions = (last + 1).next_power_of_two();
            let rows: Vec<Vec<T>> = (0..positions as u32)
                .into_par_iter()
                .map(|position| angles(position, head_dim, rotary))
                .collect();
            *table = Arc::new(rows.concat());
        }
        Arc::clone(table)
    }
}

/// Cosines, then sines, of one position.
fn angles<T: Real>(position: u32, head_dim: usize, rotary: Rotary) -> Vec<T> {
    let half = head_dim / 2;
    let mut row = vec![T::ZERO; head_dim];
    for pair in 0..half {
        let angle = T::of(f64::from(position)) * T::frequency(rotary, pair, head_dim);
        let (sin, cos) = angle.sin_cos();
        row[pair] = cos;
        row[half + pair] = sin;
    }
    row
}

simd_fn! {
    fn rotate_row(x: &mut [T], angles: &[T], inverse: bool) {
        let head_dim = angles.len();
        let half = head_dim / 2;
        let (cos, sin) = angles.split_at(half);
        let sign = if inverse { -T::ONE } else { T::ONE };
        for head in x.chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(half);
            for i in 0..half {
                let (first, second, sin) = (a[i], b[i], sign * sin[i]);
                a[i] = first * cos[i] - second * sin;
                b[i] = second * cos[i] + first * sin;
            }
        }
    }
}
