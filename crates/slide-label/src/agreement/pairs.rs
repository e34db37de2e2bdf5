use serde::Serialize;
use slide_data::Score;
use statistics::Resamples;

use super::measures::{Table, alpha_ordinal, exact, quadratic_weighted_kappa, within_one};
use super::{Estimate, RatingMatrix};

/// How two raters agree on one criterion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairAgreement {
    /// The first rater.
    pub a: String,
    /// The second rater.
    pub b: String,
    /// The criterion's key.
    pub criterion: String,
    /// How many slides both scored.
    pub slides: usize,
    /// The share of scores at most one point apart.
    pub within_one: Estimate,
    /// The share of equal scores.
    pub exact: Estimate,
    /// Cohen's kappa with quadratic weights.
    pub quadratic_weighted_kappa: Estimate,
    /// Krippendorff's alpha, ordinal.
    pub krippendorff_alpha: Estimate,
}

/// The agreement of every pair of raters who share a slide, by criterion and names. Intervals (95 %) resample the pair's slides.
pub fn pair_agreement(matrix: &RatingMatrix, resamples: usize, seed: u64) -> Vec<PairAgreement> {
    let raters = matrix.raters().len();
    let mut found = Vec::new();
    for (criterion, key) in matrix.criteria().iter().enumerate() {
        let mut tables: Vec<Option<Box<Table>>> = vec![None; raters * raters];
        for slide in 0..matrix.slides().len() {
            let scores = matrix.scores(slide, criterion);
            for (index, (rater, score)) in scores.clone().enumerate() {
                for (other, other_score) in scores.clone().skip(index + 1) {
                    // Names are in order within a slide, so a pair has one place.
                    tables[rater * raters + other].get_or_insert_default()[score][other_score] += 1.0;
                }
            }
        }
        for (place, table) in tables.iter().enumerate() {
            let Some(table) = table else { continue };
            let names = [&matrix.raters()[place / raters], &matrix.raters()[place % raters]];
            found.push(pair(names, key, table, &resample(table, resamples, seed ^ place as u64)));
        }
    }
    found
}

fn pair(names: [&String; 2], key: &str, table: &Table, draws: &[Table]) -> PairAgreement {
    let estimate = |measure: fn(&Table) -> Option<f64>| {
        Estimate::from_draws(measure(table), draws.iter().filter_map(measure).collect())
    };
    PairAgreement {
        a: names[0].clone(),
        b: names[1].clone(),
        criterion: key.to_owned(),
        slides: table.iter().flatten().sum::<f64>() as usize,
        within_one: estimate(within_one),
        exact: estimate(exact),
        quadratic_weighted_kappa: estimate(quadratic_weighted_kappa),
        krippendorff_alpha: estimate(pair_alpha),
    }
}

/// Two raters' coincidences are their table and its mirror image.
fn pair_alpha(table: &Table) -> Option<f64> {
    let mut coincidences = *table;
    for (a, row) in table.iter().enumerate() {
        for (b, count) in row.iter().enumerate() {
            coincidences[b][a] += count;
        }
    }
    alpha_ordinal(&coincidences)
}

fn resample(table: &Table, resamples: usize, seed: u64) -> Vec<Table> {
    let cells: Vec<(usize, usize)> = (0..Score::LEVELS)
        .flat_map(|a| (0..Score::LEVELS).map(move |b| (a, b)))
        .flat_map(|(a, b)| std::iter::repeat_n((a, b), table[a][b] as usize))
        .collect();
    let mut resampled = Resamples::new(cells.len(), seed);
    let draw = |_| {
        let mut drawn = Table::default();
        for place in resampled.draw() {
            let (a, b) = cells[place];
            drawn[a][b] += 1.0;
        }
        drawn
    };
    (0..resamples).map(draw).collect()
}
