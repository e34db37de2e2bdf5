use serde::Serialize;
use slide_data::Score;

use super::measures::{Table, alpha_ordinal, exact, quadratic_weighted_kappa, within_one};
use super::{RatingMatrix, rater_groups, severity};

/// A measured value with its 95 % interval; absent where the data do not determine it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: Option<f64>,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// The interval's upper end.
    pub high: Option<f64>,
}

impl Estimate {
    /// The value with the 2.5th and 97.5th percentile of its bootstrap draws.
    pub(crate) fn from_draws(value: Option<f64>, mut draws: Vec<f64>) -> Self {
        // Fewer draws than this leave the tails to single values.
        const MIN_DRAWS: usize = 40;
        if value.is_none() || draws.len() < MIN_DRAWS {
            return Self { value, low: None, high: None };
        }
        let rank = |share: f64| (share * (draws.len() - 1) as f64).round() as usize;
        let (low, high) = (rank(0.025), rank(0.975));
        let (_, &mut low_value, _) = draws.select_nth_unstable_by(low, f64::total_cmp);
        let (_, &mut high_value, _) = draws.select_nth_unstable_by(high, f64::total_cmp);
        Self { value, low: Some(low_value), high: Some(high_value) }
    }
}

/// How the raters agree on one criterion: on each slide the mean over its pairs of ratings, then the mean over the slides, so that a
/// slide that ten people rated counts as much as one that two did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionAgreement {
    /// The criterion's key.
    pub criterion: String,
    /// Slides that at least two people scored.
    pub slides: usize,
    /// Pairs of scores of one slide.
    pub pairs: usize,
    /// The share of pairs at most one point apart.
    pub within_one: Estimate,
    /// The share of equal pairs.
    pub exact: Estimate,
    /// Cohen's kappa with quadratic weights over all pairs, each in both orders and the pairs of a slide together with weight 1.
    pub quadratic_weighted_kappa: Estimate,
    /// Krippendorff's alpha, ordinal.
    pub krippendorff_alpha: Estimate,
}

/// One rater among the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RaterSummary {
    /// Who.
    pub annotator: String,
    /// How many slides they rated.
    pub ratings: usize,
    /// How many points they score below the others on the same slides; negative for a lenient rater.
    pub severity: f64,
}

/// How people agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// How many ratings there are.
    pub ratings: usize,
    /// By criterion, in the rubric's order, on the slides that not everybody rates.
    pub criteria: Vec<CriterionAgreement>,
    /// The same on the calibration slides, which everybody rates; empty where nobody has rated any.
    pub calibration: Vec<CriterionAgreement>,
    /// By rater, in order of their names.
    pub raters: Vec<RaterSummary>,
    /// The raters in groups that share slides. Where there are several, nobody can say whether one group is more severe than another.
    pub groups: Vec<Vec<String>>,
}

/// How the intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreementOptions {
    /// Bootstrap resamples of whole clusters (decks); 0 leaves the intervals out.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for AgreementOptions {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0 }
    }
}

/// The agreement of all raters.
pub fn agreement(matrix: &RatingMatrix, options: AgreementOptions) -> Agreement {
    let draws = draw_clusters(matrix.clusters(), options);
    let has_calibration = (0..matrix.slides().len()).any(|slide| matrix.is_calibration(slide));
    let (criteria, calibration, severity) = std::thread::scope(|scope| {
        let start = |is_calibration: bool| -> Vec<_> {
            let draws = &draws;
            let of =
                move |criterion| scope.spawn(move || of_criterion(matrix, criterion, is_calibration, draws));
            (0..matrix.criteria().len()).map(of).collect()
        };
        let running = (start(false), if has_calibration { start(true) } else { Vec::new() });
        let severity = severity(matrix, None);
        (join(running.0), join(running.1), severity)
    });
    let raters = raters(matrix, severity);
    let named = |group: Vec<usize>| group.into_iter().map(|rater| matrix.raters()[rater].clone()).collect();
    let groups = rater_groups(matrix).into_iter().map(named).collect();
    Agreement { ratings: matrix.len(), criteria, calibration, raters, groups }
}

/// For each resample the clusters drawn, as often as they are drawn. The same draws serve every criterion.
fn draw_clusters(clusters: usize, options: AgreementOptions) -> Vec<Vec<u32>> {
    // One cluster alone says nothing about how clusters differ.
    if clusters < 2 {
        return Vec::new();
    }
    // Not `statistics::Resamples`: the 32-bit draws are another sequence, and the intervals of a seed must stay what they are.
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let mut draw = || (0..clusters).map(|_| rng.u32(..clusters as u32)).collect();
    (0..options.resamples).map(|_| draw()).collect()
}

/// The cells of a symmetric table on and above its diagonal.
const CELLS: usize = Score::LEVELS * (Score::LEVELS + 1) / 2;

/// The counts of one cluster side by side, so that one pass adds both: pairs, those of a slide 1 in all; then coincidences, then room
/// to a power of two.
type Counts<T> = [T; 32];

/// What the threads found, in their order.
fn join(threads: Vec<std::thread::ScopedJoinHandle<'_, CriterionAgreement>>) -> Vec<CriterionAgreement> {
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        .collect()
}

fn raters(matrix: &RatingMatrix, severity: Vec<f64>) -> Vec<RaterSummary> {
    let rater = |((name, ratings), severity): ((&String, usize), f64)| RaterSummary {
        annotator: name.clone(),
        ratings,
        severity,
    };
    matrix.raters().iter().zip(matrix.ratings_by_rater()).zip(severity).map(rater).collect()
}

/// The pairs of scores of a criterion, by cluster, and how many pairs and slides those are.
struct Counted {
    clusters: Vec<Counts<f64>>,
    slides: usize,
    pairs: usize,
}

impl Counted {
    fn of(matrix: &RatingMatrix, criterion: usize, is_calibration: bool) -> Self {
        let mut found = Self { clusters: vec![[0.0; 32]; matrix.clusters().max(1)], slides: 0, pairs: 0 };
        let is_meant = |slide: &usize| matrix.is_calibration(*slide) == is_calibration;
        for slide in (0..matrix.slides().len()).filter(is_meant) {
            let counts = matrix.counts(slide, criterion);
            let raters: u32 = counts.iter().sum();
            if raters >= 2 {
                found.slides += 1;
                found.pairs += (raters * (raters - 1) / 2) as usize;
                add_pairs(&mut found.clusters[matrix.cluster_of(slide)], &counts, raters);
            }
        }
        found
    }
}

/// On the calibration slides, or on the others.
fn of_criterion(
    matrix: &RatingMatrix,
    criterion: usize,
    is_calibration: bool,
    draws: &[Vec<u32>],
) -> CriterionAgreement {
    let Counted { clusters, slides, pairs } = Counted::of(matrix, criterion, is_calibration);
    let pooled = Pooled::of(&clusters, draws);
    CriterionAgreement {
        criterion: matrix.criteria()[criterion].clone(),
        slides,
        pairs,
        within_one: pooled.estimate(0, within_one),
        exact: pooled.estimate(0, exact),
        quadratic_weighted_kappa: pooled.estimate(0, quadratic_weighted_kappa),
        krippendorff_alpha: pooled.estimate(1, alpha_ordinal),
    }
}

/// The tables of pairs of all clusters together, and of each draw of clusters.
struct Pooled {
    whole: [Table; 2],
    drawn: Vec<[Table; 2]>,
}

impl Pooled {
    fn of(clusters: &[Counts<f64>], draws: &[Vec<u32>]) -> Self {
        let sum = clusters.iter().fold([0.0; 32], |mut sum, cluster| {
            sum.iter_mut().zip(cluster).for_each(|(sum, count)| *sum += count);
            sum
        });
        let single: Vec<Counts<f32>> =
            clusters.iter().map(|counts| counts.map(|count| count as f32)).collect();
        let drawn = draws.iter().map(|draw| tables(&resampled(&single, draw))).collect();
        Self { whole: tables(&sum), drawn }
    }

    fn estimate(&self, which: usize, measure: fn(&Table) -> Option<f64>) -> Estimate {
        let draws = self.drawn.iter().filter_map(|tables| measure(&tables[which])).collect();
        Estimate::from_draws(measure(&self.whole[which]), draws)
    }
}

/// Adds the ordered pairs of one slide's scores, which count 1 together, and their coincidences.
fn add_pairs(cluster: &mut Counts<f64>, counts: &[u32; Score::LEVELS], raters: u32) {
    let share = 1.0 / f64::from(raters - 1);
    let pair = share / f64::from(raters);
    let mut cell = 0;
    for (a, &count) in counts.iter().enumerate() {
        let row = Score::LEVELS - a;
        if count > 0 {
            for (place, &other) in counts[a..].iter().enumerate() {
                let ordered = f64::from(count * if place == 0 { count - 1 } else { other });
                cluster[cell + place] += ordered * pair;
                cluster[CELLS + cell + place] += ordered * share;
            }
        }
        cell += row;
    }
}

/// Single precision serves: an interval's end needs three digits, and the sums of a resample stay far below 2²⁴.
fn resampled(clusters: &[Counts<f32>], draw: &[u32]) -> Counts<f64> {
    let mut sum = [0.0f32; 32];
    for &cluster in draw {
        sum.iter_mut().zip(&clusters[cluster as usize]).for_each(|(sum, count)| *sum += count);
    }
    sum.map(f64::from)
}

/// The tables of pairs and of coincidences.
fn tables(counts: &Counts<f64>) -> [Table; 2] {
    [0, CELLS].map(|offset| {
        let mut table = Table::default();
        let above = (0..Score::LEVELS).flat_map(|a| (a..Score::LEVELS).map(move |b| (a, b)));
        for ((a, b), &count) in above.zip(&counts[offset..]) {
            table[a][b] = count;
            table[b][a] = count;
        }
        table
    })
}
