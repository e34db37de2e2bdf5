use crate::columns::{Column, Table};
use statistics::standard_deviation;

use crate::distances::ks_of_sorted;

/// How surprising each column's Kolmogorov–Smirnov statistic is where nothing has changed.
///
/// Slides of a deck resemble each other, so whole decks are re-labelled at random between the sides, all features at once. The
/// largest statistic over all features in each re-labelling corrects for looking at many (Westfall and Young 1993, single step).
#[derive(Debug)]
pub(crate) struct Significance {
    /// For each column the share of re-labellings with at least its statistic.
    pub(crate) p_values: Vec<f64>,
    /// For each column the share of re-labellings in which any column had at least its statistic.
    pub(crate) adjusted: Vec<f64>,
    /// The scaled statistic from which on an adjusted p-value is at most alpha.
    critical: f64,
}

/// The statistic times `sqrt(n m / (n + m))`, which makes columns with different sample sizes comparable.
fn scaled_ks(column: &Column, is_recent: &[bool]) -> f64 {
    let recent = column.cells.iter().filter(|(_, deck)| is_recent[*deck]).count() as f64;
    let reference = column.cells.len() as f64 - recent;
    if recent == 0.0 || reference == 0.0 {
        return 0.0;
    }
    let (mut a, mut b, mut largest) = (0.0, 0.0, 0f64);
    for (index, (value, deck)) in column.cells.iter().enumerate() {
        if is_recent[*deck] {
            b += 1.0;
        } else {
            a += 1.0;
        }
        let is_last_of_ties = column.cells.get(index + 1).is_none_or(|next| next.0 > *value);
        if is_last_of_ties {
            largest = largest.max((a / reference - b / recent).abs());
        }
    }
    largest * (reference * recent / (reference + recent)).sqrt()
}

pub(crate) fn significance(columns: &Table, permutations: usize, alpha: f64, seed: u64) -> Significance {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut labels = columns.labels();
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let observed: Vec<f64> = columns.columns.iter().map(|column| scaled_ks(column, &labels)).collect();
    let mut reached = vec![0usize; observed.len()];
    let mut largest = Vec::with_capacity(permutations);
    for _ in 0..permutations {
        rng.shuffle(&mut order);
        let mut most = 0f64;
        for ((column, observed), reached) in columns.columns.iter().zip(&observed).zip(&mut reached) {
            column.label_first(&order, &mut labels);
            let statistic = scaled_ks(column, &labels);
            *reached += usize::from(statistic >= observed - 1e-12);
            most = most.max(statistic);
        }
        largest.push(most);
    }
    largest.sort_by(f64::total_cmp);
    let p = |count: usize| (1 + count) as f64 / (1 + permutations) as f64;
    let at_least = |value: f64| largest.len() - largest.partition_point(|most| *most < value - 1e-12);
    // The (1 - alpha) quantile of the largest statistics, counting the observation itself as one of them.
    let rank = ((1.0 - alpha) * (1 + permutations) as f64).ceil() as usize;
    Significance {
        p_values: reached.into_iter().map(p).collect(),
        adjusted: observed.iter().map(|value| p(at_least(*value))).collect(),
        critical: largest.get(rank.min(largest.len()).saturating_sub(1)).copied().unwrap_or(f64::INFINITY),
    }
}

/// For each column the chance that a shift of `shift` standard deviations of it alone would have been flagged.
///
/// The shift is planted into the recent side of random re-labellings of the decks, so that the resemblance of slides within a
/// deck counts. Nothing for constant columns.
pub(crate) fn power(columns: &Table, significance: &Significance, shift: f64, seed: u64) -> Vec<Option<f64>> {
    const TRIALS: usize = 100;
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x706f_7765_7200_0000);
    let observed = columns.labels();
    let deviation = |column: &Column| standard_deviation(&column.sides(&observed).0).unwrap_or(0.0);
    let shifts: Vec<f64> = columns.columns.iter().map(|column| shift * deviation(column)).collect();
    let mut found = vec![0usize; shifts.len()];
    let mut labels = observed;
    let mut order: Vec<usize> = (0..labels.len()).collect();
    for _ in 0..TRIALS {
        rng.shuffle(&mut order);
        for ((column, shift), found) in columns.columns.iter().zip(&shifts).zip(&mut found) {
            column.label_first(&order, &mut labels);
            let (reference, recent) = column.sides(&labels);
            let (n, m) = (reference.len() as f64, recent.len() as f64);
            let statistic = ks_of_sorted(&reference, &recent, *shift) * (n * m / (n + m)).sqrt();
            *found += usize::from(statistic > significance.critical);
        }
    }
    let chance = |(found, shift): (usize, f64)| (shift > 0.0).then(|| found as f64 / TRIALS as f64);
    found.into_iter().zip(shifts).map(chance).collect()
}
