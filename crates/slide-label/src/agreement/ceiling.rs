use std::collections::BTreeMap;

use serde::Serialize;
use slide_data::Score;

use super::RatingMatrix;
use crate::consensus::median;

/// What the raters' noise leaves to reach on one criterion.
///
/// Each score is taken as a hidden quality plus normal noise, rounded and cut to 1 to 5. The noise and the spread of qualities are
/// those under which the ratings are most likely; the ceiling is what a model that knows every hidden quality would score against
/// the median of `raters_per_label` people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// The criterion's key.
    pub criterion: String,
    /// The raters' noise in points (standard deviation; differences in severity are part of it).
    pub noise: f64,
    /// How many people stand behind a label, as assumed (the mean over the slides, rounded).
    pub raters_per_label: usize,
    /// The best reachable share within one point of the label.
    pub within_one: f64,
    /// The best reachable share of equal scores.
    pub exact: f64,
    /// The smallest reachable mean absolute error, the prediction being any number.
    pub mae: f64,
    /// How often a person is within one point of the median of the others: what people themselves reach.
    pub person_within_one: f64,
    /// The mean distance of a person from the median of the others.
    pub person_mae: f64,
}

/// The hidden qualities that are considered.
const GRID: usize = 33;
/// The noises that are considered: 0.05, 0.10 … 2.0 points.
const NOISE_STEP: f64 = 0.05;
const NOISES: usize = 40;
const EM_STEPS: usize = 60;

type Counts = [u32; Score::LEVELS];

/// The ceiling of each criterion that at least two people scored on some slide.
pub fn human_ceiling(matrix: &RatingMatrix) -> Vec<Ceiling> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..matrix.criteria().len())
            .map(|criterion| scope.spawn(move || of_criterion(matrix, criterion)))
            .collect();
        running
            .into_iter()
            .filter_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn of_criterion(matrix: &RatingMatrix, criterion: usize) -> Option<Ceiling> {
    let mut patterns: BTreeMap<Counts, f64> = BTreeMap::new();
    for slide in 0..matrix.slides().len() {
        *patterns.entry(matrix.counts(slide, criterion)).or_default() += 1.0;
    }
    patterns.remove(&Counts::default());
    let raters = |counts: &Counts| counts.iter().sum::<u32>();
    if !patterns.keys().any(|counts| raters(counts) >= 2) {
        return None;
    }
    let slides: f64 = patterns.values().sum();
    let ratings: f64 = patterns.iter().map(|(counts, times)| f64::from(raters(counts)) * times).sum();
    // More than nine people are as good as nine for a median, and cost no enumeration.
    let raters_per_label = ((ratings / slides).round() as usize).clamp(1, 9);
    let fit = |noise: f64| fit_qualities(&patterns, noise);
    let (noise, (_, qualities)) = (1..=NOISES)
        .map(|step| step as f64 * NOISE_STEP)
        .map(|noise| (noise, fit(noise)))
        .max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    let mut ceiling = reach(&qualities, noise, raters_per_label);
    ceiling.criterion.clone_from(&matrix.criteria()[criterion]);
    (ceiling.person_within_one, ceiling.person_mae) = person_against_others(&patterns);
    Some(ceiling)
}

fn quality(point: usize) -> f64 {
    1.0 + 4.0 * point as f64 / (GRID - 1) as f64
}

/// The probabilities of the five scores given a hidden quality.
fn emission(quality: f64, noise: f64) -> [f64; Score::LEVELS] {
    let below = |edge: f64| normal_cdf((edge - quality) / noise);
    let edges = [0.0, below(1.5), below(2.5), below(3.5), below(4.5), 1.0];
    std::array::from_fn(|score| (edges[score + 1] - edges[score]).max(1e-12))
}

/// The standard normal distribution function by the error function's rational form (Abramowitz and Stegun 7.1.26, error < 1.5e-7).
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let polynomial = series.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    let erf = 1.0 - polynomial * (-z * z).exp();
    if x < 0.0 { 0.5 - erf / 2.0 } else { 0.5 + erf / 2.0 }
}

/// The most likely distribution of hidden qualities for this noise, by expectation maximisation, and its log likelihood.
fn fit_qualities(patterns: &BTreeMap<Counts, f64>, noise: f64) -> (f64, [f64; GRID]) {
    let emissions: Vec<_> = (0..GRID).map(|point| emission(quality(point), noise).map(f64::ln)).collect();
    let likelihood = |counts: &Counts, point: usize| {
        counts.iter().zip(&emissions[point]).map(|(&n, log)| f64::from(n) * log).sum::<f64>().exp()
    };
    let likelihoods: Vec<([f64; GRID], f64)> = patterns
        .iter()
        .map(|(counts, &times)| (std::array::from_fn(|point| likelihood(counts, point)), times))
        .collect();
    let slides: f64 = patterns.values().sum();
    let mut qualities = [1.0 / GRID as f64; GRID];
    let mut log_likelihood = f64::MIN;
    for _ in 0..EM_STEPS {
        let mut next = [0.0; GRID];
        log_likelihood = 0.0;
        for (likelihood, times) in &likelihoods {
            let joint: [f64; GRID] = std::array::from_fn(|point| qualities[point] * likelihood[point]);
            let total: f64 = joint.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            log_likelihood += times * total.ln();
            next.iter_mut().zip(joint).for_each(|(next, joint)| *next += times * joint / total / slides);
        }
        qualities = next;
    }
    (log_likelihood, qualities)
}

/// What a model that knows the hidden quality reaches against the median of `raters` people.
fn reach(qualities: &[f64; GRID], noise: f64, raters: usize) -> Ceiling {
    let mut ceiling = Ceiling {
        criterion: String::new(),
        noise,
        raters_per_label: raters,
        within_one: 0.0,
        exact: 0.0,
        mae: 0.0,
        person_within_one: 0.0,
        person_mae: 0.0,
    };
    for (point, weight) in qualities.iter().enumerate() {
        let label = median_distribution(&emission(quality(point), noise), raters);
        let near = |at: usize| label[at.saturating_sub(1)..(at + 2).min(Score::LEVELS)].iter().sum::<f64>();
        let distance = |at: usize| (0..Score::LEVELS).map(|s| label[s] * s.abs_diff(at) as f64).sum::<f64>();
        let best = |value: &dyn Fn(usize) -> f64| (0..Score::LEVELS).map(value).fold(f64::MIN, f64::max);
        ceiling.within_one += weight * best(&near);
        ceiling.exact += weight * best(&|at| label[at]);
        ceiling.mae -= weight * best(&|at| -distance(at));
    }
    ceiling
}

/// The distribution of the median of `raters` independent scores, by going through all multisets of scores.
fn median_distribution(single: &[f64; Score::LEVELS], raters: usize) -> [f64; Score::LEVELS] {
    let mut multisets =
        Multisets { single, codes: Vec::with_capacity(raters + 1), out: [0.0; Score::LEVELS] };
    multisets.descend(0, raters, 1.0);
    multisets.out
}

/// Multisets of scores, each added to the probability of its median.
struct Multisets<'a> {
    /// Probabilities of one score.
    single: &'a [f64; Score::LEVELS],
    /// The scores that are chosen, in ascending order.
    codes: Vec<u8>,
    out: [f64; Score::LEVELS],
}

impl Multisets<'_> {
    /// All ways to give `left` more scores of this level and those above; `weight` is the probability of what is chosen.
    fn descend(&mut self, level: usize, left: usize, weight: f64) {
        let (probability, code, chosen) = (self.single[level], level as u8 + 1, self.codes.len());
        if level == Score::LEVELS - 1 {
            self.codes.extend(std::iter::repeat_n(code, left));
            if let Some(Some(score)) = median(&self.codes) {
                self.out[score.index()] += weight * probability.powi(left as i32);
            }
            return self.codes.truncate(chosen);
        }
        let mut choose = 1.0;
        for count in 0..=left {
            self.descend(level + 1, left - count, weight * choose);
            self.codes.push(code);
            choose *= (left - count) as f64 / (count + 1) as f64 * probability;
        }
        self.codes.truncate(chosen);
    }
}

/// How each person stands to the median of the others: the share within one point, and the mean distance.
fn person_against_others(patterns: &BTreeMap<Counts, f64>) -> (f64, f64) {
    let (mut total, mut near, mut distance) = (0.0, 0.0, 0.0);
    for (counts, times) in patterns {
        let codes: Vec<u8> = (1..=5u8)
            .zip(counts)
            .flat_map(|(code, &count)| std::iter::repeat_n(code, count as usize))
            .collect();
        if codes.len() < 2 {
            continue;
        }
        for index in 0..codes.len() {
            let mut others = codes.clone();
            let own = others.remove(index);
            let Some(Some(score)) = median(&others) else { continue };
            let apart = f64::from(own.abs_diff(score.get()));
            total += times;
            distance += times * apart;
            near += if apart <= 1.0 { *times } else { 0.0 };
        }
    }
    (near / total, distance / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_one_rater_is_that_rater_and_of_many_is_certain() {
        let single = emission(3.2, 0.8);
        let sum = |d: &[f64; 5]| d.iter().sum::<f64>();
        assert!((sum(&single) - 1.0).abs() < 1e-9);
        let one = median_distribution(&single, 1);
        pq_testing::assert_close(&one, &single, 1e-12);
        let nine = median_distribution(&single, 9);
        assert!((sum(&nine) - 1.0).abs() < 1e-9 && nine[2] > single[2] + 0.2, "{nine:?}");
    }

    #[test]
    fn the_error_function_matches_known_values() {
        for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_746), (-1.96, 0.024_997_895), (3.0, 0.998_650_102)]
        {
            assert!((normal_cdf(x) - expected).abs() < 2e-7, "{x}");
        }
    }

    /// A draw from the standard normal (Box and Muller).
    fn normal(rng: &mut fastrand::Rng) -> f64 {
        (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
    }

    #[test]
    fn noise_and_ceiling_of_simulated_raters_are_found() {
        const NOISE: f64 = 0.7;
        let mut rng = fastrand::Rng::with_seed(7);
        let raters: Vec<String> = (0..3).map(|i| format!("r{i}")).collect();
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], raters);
        let (mut near, mut error) = (0.0, 0.0);
        let slides = 4000;
        for slide in 0..slides {
            let hidden = 1.5 + 3.0 * rng.f64();
            let mut give = || [(hidden + NOISE * normal(&mut rng)).round().clamp(1.0, 5.0) as u8];
            let given = [give(), give(), give()];
            let label = median(&given.concat()).flatten().unwrap().get();
            let apart = (f64::from(label) - hidden.round()).abs();
            near += f64::from(u8::from(apart <= 1.0)) / f64::from(slides);
            error += apart / f64::from(slides);
            matrix.push(&slide.to_string(), slide as u32, (0..3).zip(given.iter().map(|g| &g[..])));
        }
        let ceiling = &human_ceiling(&matrix)[0];
        // 4,000 slides leave about one hundredth on a share and a few hundredths on the noise.
        assert!((ceiling.noise - NOISE).abs() <= 0.1, "{ceiling:?}");
        assert!((ceiling.within_one - near).abs() < 0.015, "{ceiling:?}, simulated {near}");
        assert!((ceiling.mae - error).abs() < 0.05, "{ceiling:?}, simulated {error}");
        assert!(ceiling.person_within_one < ceiling.within_one && ceiling.raters_per_label == 3);
    }
}
