use slide_data::Score;

/// Spearman's rank correlation with mean ranks for ties, -1 to 1.
///
/// Nothing where the lengths differ, a value is NaN, or either side is constant.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.iter().chain(y).any(|value| value.is_nan()) {
        return None;
    }
    let weights = vec![1.0; x.len()];
    weighted_spearman(&Ranked::new(x), &Ranked::new(y), &weights)
}

/// Kendall's rank correlation with the correction for ties (tau-b; Kendall 1945), -1 to 1, between any values and scores.
///
/// Nothing where the lengths differ, a value is NaN, or either side is constant.
pub fn kendall(x: &[f64], scores: &[Score]) -> Option<f64> {
    if x.len() != scores.len() || x.iter().any(|value| value.is_nan()) {
        return None;
    }
    weighted_kendall(&Ranked::new(x), scores, &vec![1.0; x.len()])
}

/// The area under the ROC curve: the chance that a value of those that are `true` is above one of the others, ties counting half (Hanley
/// and `McNeil` 1982).
///
/// Nothing where the lengths differ, a value is NaN, or all are of one kind.
pub fn auc(values: &[f64], is: &[bool]) -> Option<f64> {
    if values.len() != is.len() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let ranks = Ranked::new(values).ranks(&vec![1.0; values.len()]);
    let positive = is.iter().filter(|is| **is).count() as f64;
    let pairs = positive * (is.len() as f64 - positive);
    let sum: f64 = ranks.iter().zip(is).filter(|(_, is)| **is).map(|(rank, _)| rank).sum();
    (pairs > 0.0).then(|| (sum - positive * (positive + 1.0) / 2.0) / pairs)
}

/// Values with their sorted order, so that ranks under many weightings cost linear time each.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    values: Vec<f64>,
    order: Vec<usize>,
}

impl Ranked {
    pub(crate) fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        Self { values: values.to_vec(), order }
    }

    /// Mean ranks where element `i` is there `weights[i]` times.
    #[expect(clippy::float_cmp, reason = "ties are equal values")]
    fn ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.values.len()];
        let mut below = 0.0;
        for block in self.order.chunk_by(|&a, &b| self.values[a] == self.values[b]) {
            let weight: f64 = block.iter().map(|&i| weights[i]).sum();
            let rank = below + f64::midpoint(weight, 1.0);
            for &i in block {
                ranks[i] = rank;
            }
            below += weight;
        }
        ranks
    }
}

pub(crate) fn weighted_spearman(x: &Ranked, y: &Ranked, weights: &[f64]) -> Option<f64> {
    let (rx, ry) = (x.ranks(weights), y.ranks(weights));
    let total: f64 = weights.iter().sum();
    let mean = |ranks: &[f64]| ranks.iter().zip(weights).map(|(r, w)| r * w).sum::<f64>() / total;
    let (mx, my) = (mean(&rx), mean(&ry));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for ((rx, ry), w) in rx.iter().zip(&ry).zip(weights) {
        xx += w * (rx - mx) * (rx - mx);
        yy += w * (ry - my) * (ry - my);
        xy += w * (rx - mx) * (ry - my);
    }
    (xx > 1e-9 && yy > 1e-9).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Kendall's tau-b where element `i` is there `weights[i]` times; linear in the number of elements, because scores are few.
#[expect(clippy::float_cmp, reason = "ties are equal values")]
pub(crate) fn weighted_kendall(x: &Ranked, scores: &[Score], weights: &[f64]) -> Option<f64> {
    let pairs = |count: f64| count * (count - 1.0) / 2.0;
    let (mut below, mut total) = ([0.0; Score::LEVELS], 0.0);
    let (mut concordant_minus_discordant, mut tied_x) = (0.0, 0.0);
    for block in x.order.chunk_by(|&a, &b| x.values[a] == x.values[b]) {
        for &i in block {
            let level = scores[i].index();
            let (lower, higher): (f64, f64) = (below[..level].iter().sum(), below[level + 1..].iter().sum());
            concordant_minus_discordant += weights[i] * (lower - higher);
        }
        let mut count = 0.0;
        for &i in block {
            below[scores[i].index()] += weights[i];
            count += weights[i];
        }
        tied_x += pairs(count);
        total += count;
    }
    let tied_scores: f64 = below.iter().map(|count| pairs(*count)).sum();
    let (x_pairs, score_pairs) = (pairs(total) - tied_x, pairs(total) - tied_scores);
    let is_defined = x_pairs > 1e-9 && score_pairs > 1e-9;
    is_defined.then(|| (concordant_minus_discordant / (x_pairs * score_pairs).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_count_like_copies() {
        let x = [1.0, 2.0, 2.0, 5.0];
        let y = [2.0, 1.0, 4.0, 4.0];
        let weighted = weighted_spearman(&Ranked::new(&x), &Ranked::new(&y), &[2.0, 1.0, 0.0, 3.0]);
        let copies = spearman(&[1.0, 1.0, 2.0, 5.0, 5.0, 5.0], &[2.0, 2.0, 1.0, 4.0, 4.0, 4.0]);
        assert!((weighted.unwrap() - copies.unwrap()).abs() < 1e-12);
        let scores = |values: &[u8]| values.iter().map(|&v| Score::new(v).unwrap()).collect::<Vec<_>>();
        let weighted = weighted_kendall(&Ranked::new(&x), &scores(&[2, 1, 4, 4]), &[2.0, 1.0, 0.0, 3.0]);
        let copies = kendall(&[1.0, 1.0, 2.0, 5.0, 5.0, 5.0], &scores(&[2, 2, 1, 4, 4, 4]));
        assert!((weighted.unwrap() - copies.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn the_order_of_pairs_by_hand() {
        let scores = |values: &[u8]| values.iter().map(|&v| Score::new(v).unwrap()).collect::<Vec<_>>();
        assert_eq!(kendall(&[0.1, 0.2, 0.3], &scores(&[1, 3, 5])), Some(1.0));
        assert_eq!(kendall(&[0.3, 0.2, 0.1], &scores(&[1, 3, 5])), Some(-1.0));
        assert_eq!(kendall(&[0.3, 0.3], &scores(&[1, 3])), None);
        assert_eq!(kendall(&[0.3, 0.1], &scores(&[3, 3])), None);
        assert_eq!(kendall(&[0.3], &scores(&[3, 3])), None);
        assert_eq!(kendall(&[f64::NAN, 0.1], &scores(&[3, 1])), None);
    }
}
