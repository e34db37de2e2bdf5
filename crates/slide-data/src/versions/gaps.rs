//! Pages between those that are matched already.

use super::page::Page;

/// From this on pages look alike that stand in the same gap.
const ALIKE: f64 = 0.5;
/// So many pages of a gap are taken one for one, whatever they look like.
const FEW: usize = 3;

/// The longest part of pairs, in the order of their second places, whose first places rise too.
pub(super) fn longest_rise(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(pairs.len());
    for (at, pair) in pairs.iter().enumerate() {
        let before = (0..at).filter(|&other| pairs[other].0 < pair.0).max_by_key(|&other| best[other].0);
        best.push((1 + before.map_or(0, |other| best[other].0), before));
    }
    let mut at = (0..pairs.len()).max_by_key(|&at| best[at].0);
    let mut rise = Vec::new();
    while let Some(pair) = at {
        rise.push(pairs[pair]);
        at = best[pair].1;
    }
    rise.reverse();
    rise
}

/// Pairs of pages that have no partner yet and stand between the same matched ones.
pub(super) fn pair_in_gaps(
    before: &[Page],
    after: &[Page],
    matched: &[(usize, usize)],
) -> Vec<(usize, usize)> {
    let is_open_before = |old: &usize| !matched.iter().any(|pair| pair.0 == *old);
    let is_open_after = |new: &usize| !matched.iter().any(|pair| pair.1 == *new);
    let mut from = (0, 0);
    let mut pairs = Vec::new();
    let end = (before.len(), after.len());
    for (old, new) in longest_rise(matched).into_iter().chain([end]) {
        let gap = Gap {
            before: (from.0..old).filter(is_open_before).collect(),
            after: (from.1..new).filter(is_open_after).collect(),
            is_between: !matched.is_empty(),
        };
        pairs.extend(gap.pair(before, after));
        from = (old + 1, new + 1);
    }
    pairs
}

struct Gap {
    before: Vec<usize>,
    after: Vec<usize>,
    /// Whether anything of the decks is the same.
    is_between: bool,
}

impl Gap {
    fn pair(self, before: &[Page], after: &[Page]) -> Vec<(usize, usize)> {
        let Self { before: olds, after: news, is_between } = self;
        if is_between && olds.len() == news.len() && olds.len() <= FEW {
            return olds.into_iter().zip(news).collect();
        }
        let likeness = |old: usize, new: usize| {
            let (old, new) = (&before[olds[old]], &after[news[new]]);
            let looks = old.looks(new);
            (looks >= ALIKE).then_some(looks + old.says(new).unwrap_or_default())
        };
        let pairs = align(olds.len(), news.len(), &likeness);
        pairs.into_iter().map(|(old, new)| (olds[old], news[new])).collect()
    }
}

/// The pairs, rising in both, whose likenesses have the largest sum (S. Needleman and C. Wunsch, 1970).
fn align(olds: usize, news: usize, likeness: &dyn Fn(usize, usize) -> Option<f64>) -> Vec<(usize, usize)> {
    let width = news + 1;
    let mut sums = vec![0.0; (olds + 1) * width];
    for old in 0..olds {
        for new in 0..news {
            let skipped = f64::max(sums[old * width + new + 1], sums[(old + 1) * width + new]);
            let paired = likeness(old, new).map_or(0.0, |like| sums[old * width + new] + like);
            sums[(old + 1) * width + new + 1] = skipped.max(paired);
        }
    }
    let (mut old, mut new, mut pairs) = (olds, news, Vec::new());
    while old > 0 && new > 0 {
        let sum = sums[old * width + new];
        if sum <= sums[(old - 1) * width + new] {
            old -= 1;
        } else if sum <= sums[old * width + new - 1] {
            new -= 1;
        } else {
            (old, new) = (old - 1, new - 1);
            pairs.push((old, new));
        }
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rise_leaves_out_what_moved() {
        assert_eq!(longest_rise(&[]), []);
        let pairs = [(0, 0), (5, 1), (1, 2), (2, 3), (3, 4)];
        assert_eq!(longest_rise(&pairs), [(0, 0), (1, 2), (2, 3), (3, 4)]);
    }

    #[test]
    fn the_alignment_takes_the_likest_pairs_in_order() {
        let likeness = |old: usize, new: usize| match (old, new) {
            (0, 0) | (2, 1) => Some(0.9),
            (1, 1) => Some(0.6),
            _ => None,
        };
        assert_eq!(align(3, 2, &likeness), [(0, 0), (2, 1)]);
        assert_eq!(align(0, 2, &likeness), []);
    }
}
