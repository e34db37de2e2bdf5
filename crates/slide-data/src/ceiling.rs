//! What people's disagreement leaves to reach.
//!
//! Each score is taken as a hidden quality plus normal noise, rounded and cut to 1 to 5. The noise and the spread of qualities are
//! those under which the ratings are most likely; the ceiling is what a model that knows every hidden quality would score against
//! the median of as many people as stand behind a label: slide by slide, since the label of one person is noisier than that of six.

use std::collections::BTreeMap;

use crate::{Answer, Score, Tally};

/// What the raters' noise leaves to reach on one criterion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// The raters' noise in points (standard deviation; differences in severity are part of it).
    pub noise: f64,
    /// How many people stand behind a label, as a mean over the slides. The ceiling is computed for each number by itself.
    pub raters_per_label: f64,
    /// The best reachable share within one point of the label.
    pub within_one: f64,
    /// The best reachable share of equal scores.
    pub exact: f64,
    /// The smallest reachable mean absolute error, in points.
    pub mae: f64,
}

/// The hidden qualities that are considered.
const GRID: usize = 33;
/// The noises that are considered: 0.05, 0.10 … 2.0 points.
const NOISE_STEP: f64 = 0.05;
const NOISES: usize = 40;
const EM_STEPS: usize = 60;
/// More people than this are as good as so many for a median, and cost no enumeration.
const MOST_RATERS: usize = 9;

type Counts = [u32; Score::LEVELS];

/// The ceiling of one criterion from how many raters of each slide gave 1 to 5; nothing where no slide has two.
pub fn reachable(slides: impl IntoIterator<Item = Counts>) -> Option<Ceiling> {
    reachable_with(slides, (1, NOISES))
}

/// The same where the noise is about as it is known to be, as when a few slides are left out: a tenth of the work.
pub fn reachable_near(noise: f64, slides: impl IntoIterator<Item = Counts>) -> Option<Ceiling> {
    let step = (noise / NOISE_STEP).round() as usize;
    reachable_with(slides, (step.saturating_sub(2).max(1), (step + 2).min(NOISES)))
}

fn reachable_with(slides: impl IntoIterator<Item = Counts>, noises: (usize, usize)) -> Option<Ceiling> {
    let mut patterns: BTreeMap<Counts, f64> = BTreeMap::new();
    for counts in slides {
        *patterns.entry(counts).or_default() += 1.0;
    }
    patterns.remove(&Counts::default());
    let raters = |counts: &Counts| counts.iter().sum::<u32>();
    if !patterns.keys().any(|counts| raters(counts) >= 2) {
        return None;
    }
    let mut behind_labels = [0.0; MOST_RATERS];
    for (counts, times) in &patterns {
        behind_labels[(raters(counts) as usize).min(MOST_RATERS) - 1] += times;
    }
    let noise = likeliest_noise(&patterns, noises)?;
    let (_, qualities) = fit_qualities(&patterns, noise);
    let slides: f64 = patterns.values().sum();
    let ratings: f64 = patterns.iter().map(|(counts, times)| f64::from(raters(counts)) * times).sum();
    let mut ceiling =
        Ceiling { noise, raters_per_label: ratings / slides, within_one: 0.0, exact: 0.0, mae: 0.0 };
    for (raters, times) in (1..).zip(behind_labels).filter(|(_, times)| *times > 0.0) {
        ceiling.add(&reach(&qualities, noise, raters), times / slides);
    }
    Some(ceiling)
}

/// The noise under which the ratings are most likely: the best step, and between its neighbours the top of the parabola through the
/// three, so that a slide more or less moves it a little and not by a step.
fn likeliest_noise(patterns: &BTreeMap<Counts, f64>, (first, last): (usize, usize)) -> Option<f64> {
    let fits: Vec<f64> =
        (first..=last).map(|step| fit_qualities(patterns, step as f64 * NOISE_STEP).0).collect();
    let best = (0..fits.len()).max_by(|&a, &b| fits[a].total_cmp(&fits[b]))?;
    let neighbours = best.checked_sub(1).and_then(|below| Some((fits[below], fits.get(best + 1)?)));
    let shift = neighbours.map_or(0.0, |(below, above)| {
        let curvature = below - 2.0 * fits[best] + above;
        if curvature < 0.0 { (0.5 * (below - above) / curvature).clamp(-0.5, 0.5) } else { 0.0 }
    });
    Some(((first + best) as f64 + shift) * NOISE_STEP)
}

fn tally_median(codes: &[u8]) -> Option<Score> {
    let answers = codes.iter().filter_map(|&code| Score::new(code).map(Answer::Score));
    Tally::of(answers).target().score()
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

/// What is reached within one point and exactly, and the mean error.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    within_one: f64,
    exact: f64,
    mae: f64,
}

impl Ceiling {
    /// Adds what is reached on a share of the slides.
    fn add(&mut self, reached: &Reached, share: f64) {
        self.within_one += share * reached.within_one;
        self.exact += share * reached.exact;
        self.mae += share * reached.mae;
    }
}

/// What a model that knows the hidden quality reaches against the median of `raters` people.
fn reach(qualities: &[f64; GRID], noise: f64, raters: usize) -> Reached {
    let mut reached = Reached::default();
    for (point, weight) in qualities.iter().enumerate() {
        let label = median_distribution(&emission(quality(point), noise), raters);
        let near = |at: usize| label[at.saturating_sub(1)..(at + 2).min(Score::LEVELS)].iter().sum::<f64>();
        let distance = |at: usize| (0..Score::LEVELS).map(|s| label[s] * s.abs_diff(at) as f64).sum::<f64>();
        let best = |value: &dyn Fn(usize) -> f64| (0..Score::LEVELS).map(value).fold(f64::MIN, f64::max);
        reached.within_one += weight * best(&near);
        reached.exact += weight * best(&|at| label[at]);
        reached.mae -= weight * best(&|at| -distance(at));
    }
    reached
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
            if let Some(score) = tally_median(&self.codes) {
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

    /// A draw from the standard normal (Box and Muller).
    fn normal(rng: &mut fastrand::Rng) -> f64 {
        (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
    }

    /// Twenty slides by six people and 180 by one: the mean is 1.5, but most labels are one person's.
    #[test]
    fn slides_with_unequal_numbers_of_raters_are_mixed_and_not_averaged() {
        const NOISE: f64 = 0.6;
        let (mut found, mut truth) = ([0.0; 2], [0.0; 2]);
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..60 {
            let mut slides = Vec::new();
            for slide in 0..200 {
                let hidden = (3.0 + 0.9 * normal(&mut rng)).clamp(1.0, 5.0);
                let raters = if slide < 20 { 6 } else { 1 };
                let codes: Vec<u8> = (0..raters)
                    .map(|_| (hidden + NOISE * normal(&mut rng)).round().clamp(1.0, 5.0) as u8)
                    .collect();
                let label = tally_median(&codes).unwrap().get();
                let apart = (f64::from(label) - hidden.round()).abs();
                truth[0] += f64::from(u8::from(apart < 0.5)) / 12_000.0;
                truth[1] += apart / 12_000.0;
                let mut counts = Counts::default();
                for code in &codes {
                    counts[usize::from(*code) - 1] += 1;
                }
                slides.push(counts);
            }
            let ceiling = reachable(slides).unwrap();
            assert!((ceiling.raters_per_label - 1.5).abs() < 1e-12);
            found[0] += ceiling.exact / 60.0;
            found[1] += ceiling.mae / 60.0;
        }
        // The rounded mean would have said 0.70 and 0.33.
        assert!((found[0] - truth[0]).abs() < 0.035, "exact {found:?}, simulated {truth:?}");
        assert!((found[1] - truth[1]).abs() < 0.04, "error {found:?}, simulated {truth:?}");
    }

    #[test]
    fn the_error_function_matches_known_values() {
        for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_746), (-1.96, 0.024_997_895), (3.0, 0.998_650_102)]
        {
            assert!((normal_cdf(x) - expected).abs() < 2e-7, "{x}");
        }
    }
}
