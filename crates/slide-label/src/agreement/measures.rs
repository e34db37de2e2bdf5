use slide_data::Score;

/// Counts of score pairs: `table[a][b]` is how often one rating was `a + 1` and the other `b + 1`.
pub type Table = [[f64; Score::LEVELS]; Score::LEVELS];

fn total(table: &Table) -> f64 {
    table.iter().flatten().sum()
}

fn share(table: &Table, counts: impl Fn(usize, usize) -> bool) -> Option<f64> {
    let total = total(table);
    let mut hits = 0.0;
    for (a, row) in table.iter().enumerate() {
        for (b, count) in row.iter().enumerate() {
            if counts(a, b) {
                hits += count;
            }
        }
    }
    (total > 0.0).then(|| hits / total)
}

/// The share of pairs at most one point apart.
pub fn within_one(table: &Table) -> Option<f64> {
    share(table, |a, b| a.abs_diff(b) <= 1)
}

/// The share of equal pairs.
pub fn exact(table: &Table) -> Option<f64> {
    share(table, |a, b| a == b)
}

/// Cohen's kappa with quadratic weights over the five scores (Cohen 1968): 1 − observed / expected squared distance.
/// `None` where the expected distance is zero.
pub fn quadratic_weighted_kappa(table: &Table) -> Option<f64> {
    let total = total(table);
    let rows: Vec<f64> = table.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<f64> = (0..Score::LEVELS).map(|b| table.iter().map(|row| row[b]).sum()).collect();
    let (mut observed, mut expected) = (0.0, 0.0);
    for (a, row) in table.iter().enumerate() {
        for (b, count) in row.iter().enumerate() {
            let weight = (a.abs_diff(b) * a.abs_diff(b)) as f64;
            observed += weight * count;
            expected += weight * rows[a] * columns[b] / total;
        }
    }
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Krippendorff's alpha with the ordinal metric, from a symmetric table of coincidences in which each pair of ratings of a unit
/// counts `1 / (ratings of the unit − 1)` in both orders (Krippendorff 2011). `None` where all ratings are equal.
pub fn alpha_ordinal(coincidences: &Table) -> Option<f64> {
    let counts: Vec<f64> = coincidences.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = counts.iter().sum();
    let (mut observed, mut expected) = (0.0, 0.0);
    for a in 0..Score::LEVELS {
        let mut between = counts[a];
        for b in a + 1..Score::LEVELS {
            between += counts[b];
            let distance = between - f64::midpoint(counts[a], counts[b]);
            let squared = distance * distance;
            observed += 2.0 * coincidences[a][b] * squared;
            expected += 2.0 * counts[a] * counts[b] * squared;
        }
    }
    (expected > 0.0).then(|| 1.0 - (total - 1.0) * observed / expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_agreement_is_one_and_a_constant_has_no_kappa() {
        let mut table = Table::default();
        table[0][0] = 3.0;
        assert_eq!(
            (exact(&table), quadratic_weighted_kappa(&table), alpha_ordinal(&table)),
            (Some(1.0), None, None)
        );
        table[4][4] = 2.0;
        assert_eq!(quadratic_weighted_kappa(&table), Some(1.0));
        assert_eq!(alpha_ordinal(&table), Some(1.0));
        assert_eq!(within_one(&Table::default()), None);
    }
}
