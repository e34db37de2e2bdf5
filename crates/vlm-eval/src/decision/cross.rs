//! Cross-validation over whole groups.

use super::Rated;

/// Parts at most that the groups are divided into; up to so many groups each is left out once.
const FOLDS: usize = 10;

/// For each rating what is told of it by what was learned without its group.
pub(super) fn out_of_fold<M, T: Clone>(
    ratings: &[&Rated],
    learn: impl Fn(&[&Rated]) -> M,
    tell: impl Fn(&M, &Rated) -> T,
) -> Vec<T> {
    let folds = folds(ratings);
    let count = folds.iter().max().map_or(0, |last| last + 1);
    let mut told: Vec<Option<T>> = vec![None; ratings.len()];
    for fold in 0..count {
        let rest: Vec<&Rated> =
            folds.iter().zip(ratings).filter(|(own, _)| **own != fold).map(|(_, rating)| *rating).collect();
        let learned = learn(&rest);
        for (place, rating) in ratings.iter().enumerate().filter(|(place, _)| folds[*place] == fold) {
            told[place] = Some(tell(&learned, rating));
        }
    }
    told.into_iter().flatten().collect()
}

/// The part of each rating: its group's place among the groups that are there, modulo the number of parts.
fn folds(ratings: &[&Rated]) -> Vec<usize> {
    let mut groups: Vec<usize> = ratings.iter().map(|rating| rating.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let parts = groups.len().clamp(1, FOLDS);
    ratings.iter().map(|rating| groups.binary_search(&rating.group).unwrap_or_default() % parts).collect()
}
