//! Accuracy in production from a random sample of rated slides and from what the model said of all.

use std::collections::BTreeMap;

use project_files::Interval;
use slide_data::Score;
use statistics::student_quantile;

/// What the model foretold of all scored slides, deck by deck.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfAll<'a> {
    pub(crate) slides: usize,
    pub(crate) decks: Vec<(&'a str, Sums)>,
}

/// Sums over slides of a deck, each weighing its part of the deck, so that each deck of a day weighs 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) weight: f64,
    /// Of the chance of being right that the model itself gives, 0 to 1.
    pub(crate) foretold: f64,
}

impl Sums {
    pub(crate) fn add(&mut self, weight: f64, foretold: f64) {
        self.weight += weight;
        self.foretold += weight * foretold;
    }
}

/// A slide of the random sample that people rated.
#[derive(Debug, Clone)]
pub(crate) struct Rated {
    pub(crate) deck: String,
    /// Its part of its deck over its chance of being drawn.
    pub(crate) weight: f64,
    /// The share of its scores that are right.
    pub(crate) right: f64,
    /// The chance of it that the model itself gave.
    pub(crate) foretold: f64,
    /// Its rated criteria.
    pub(crate) ratings: usize,
}

/// An accuracy with how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    /// Standard error, decks being what was drawn.
    pub(crate) error: f64,
    /// Decks of the sample, less one.
    pub(crate) degrees: usize,
}

impl Estimate {
    /// So many errors to each side hold what is estimated with a confidence of 95 %.
    pub(crate) fn wide(&self) -> f64 {
        student_quantile(0.975, self.degrees as f64).unwrap_or(f64::INFINITY)
    }

    /// The interval that holds the accuracy with a confidence of 95 %, by Student's t.
    pub(crate) fn interval(&self) -> Interval {
        let wide = self.wide() * self.error;
        Interval { low: (self.value - wide).max(0.0), high: (self.value + wide).min(1.0) }
    }
}

/// The chance that a score is at most a point from people's, by the model's own distribution; the score is its mean, rounded as
/// everywhere (halves up).
pub(crate) fn foretold(distribution: &[f64; Score::LEVELS], score: f64) -> f64 {
    let near = distribution.iter().zip(1u8..).filter(|(_, level)| (f64::from(*level) - score).abs() <= 1.0);
    near.map(|(share, _)| share).sum::<f64>() / distribution.iter().sum::<f64>()
}

fn weighted_mean(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, total) = pairs.fold((0.0, 0.0), |(sum, total), (w, v)| (sum + w * v, total + w));
    sum / total
}

/// How much of what the model foretold to use: the regression of being right on it, shrunk by the size of the sample against all
/// (Angelopoulos, Duchi and Zrnic 2023, PPI++, equation 7); 0 to 1.
fn tuning(rated: &[Rated], scored: usize) -> f64 {
    const FEWEST: usize = 10;
    let right = weighted_mean(rated.iter().map(|slide| (slide.weight, slide.right)));
    let foretold = weighted_mean(rated.iter().map(|slide| (slide.weight, slide.foretold)));
    let (covariance, variance) = rated.iter().fold((0.0, 0.0), |(covariance, variance), slide| {
        let off = slide.foretold - foretold;
        (covariance + slide.weight * (slide.right - right) * off, variance + slide.weight * off * off)
    });
    if rated.len() < FEWEST || variance <= 1e-12 {
        return 0.0;
    }
    (covariance / variance / (1.0 + rated.len() as f64 / scored.max(1) as f64)).clamp(0.0, 1.0)
}

/// The prediction-powered estimate (Angelopoulos et al. 2023): the mean of what the model foretold of all slides, `λ` times, and the
/// weighted mean (Horvitz and Thompson 1952, normalised as by Hájek) of what it missed on the sample. Its error is that of sums over
/// decks, slides of one deck not being independent. `None` below two rated decks.
pub(crate) fn estimate(rated: &[Rated], scored: &OfAll<'_>) -> Option<Estimate> {
    let lambda = if scored.slides == 0 { 0.0 } else { tuning(rated, scored.slides) };
    let total = |of: fn(&Sums) -> f64| scored.decks.iter().map(|(_, sums)| of(sums)).sum::<f64>();
    let weight = total(|sums| sums.weight);
    let all = if scored.slides == 0 { 0.0 } else { total(|sums| sums.foretold) / weight };
    let missed = |slide: &Rated| slide.right - lambda * slide.foretold;
    let sample = weighted_mean(rated.iter().map(|slide| (slide.weight, missed(slide))));
    let sample_weight = rated.iter().map(|slide| slide.weight).sum::<f64>();
    let mut influence: BTreeMap<&str, f64> = BTreeMap::new();
    for slide in rated {
        *influence.entry(&slide.deck).or_default() += slide.weight * (missed(slide) - sample) / sample_weight;
    }
    let degrees = influence.len().checked_sub(1).filter(|degrees| *degrees > 0)?;
    for (deck, sums) in &scored.decks {
        *influence.entry(deck).or_default() += lambda * (sums.foretold - all * sums.weight) / weight;
    }
    let squares: f64 = influence.values().map(|part| part * part).sum();
    let decks = (degrees + 1) as f64;
    let error = (squares * decks / (decks - 1.0)).sqrt();
    Some(Estimate { value: (lambda * all + sample).clamp(0.0, 1.0), error, degrees })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        estimates: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        /// Deck, weight, right, foretold.
        rated: Vec<(usize, f64, f64, f64)>,
        /// Deck, weight, foretold.
        scored: Vec<(usize, f64, f64)>,
        value: f64,
        error: f64,
        low: f64,
        high: f64,
    }

    #[test]
    fn the_estimate_equals_that_of_the_script() {
        let reference: Reference =
            serde_json::from_str(include_str!("../tests/reference/statistics.json")).unwrap();
        assert!(reference.estimates.len() > 2);
        for case in reference.estimates {
            let rated: Vec<Rated> = case
                .rated
                .iter()
                .map(|(deck, weight, right, foretold)| Rated {
                    deck: deck.to_string(),
                    weight: *weight,
                    right: *right,
                    foretold: *foretold,
                    ratings: 1,
                })
                .collect();
            let mut decks: BTreeMap<String, Sums> = BTreeMap::new();
            for (deck, weight, foretold) in &case.scored {
                decks.entry(deck.to_string()).or_default().add(*weight, *foretold);
            }
            let decks = decks.iter().map(|(deck, sums)| (deck.as_str(), *sums)).collect();
            let scored = OfAll { slides: case.scored.len(), decks };
            let found = estimate(&rated, &scored).unwrap();
            let interval = found.interval();
            pq_testing::assert_close(
                &[found.value, found.error, interval.low, interval.high],
                &[case.value, case.error, case.low, case.high],
                1e-9,
            );
        }
    }

    #[test]
    fn what_the_model_foretells_is_the_mass_within_a_point() {
        let found = foretold(&[0.1, 0.2, 0.3, 0.25, 0.15], 3.0);
        pq_testing::assert_close(&[found], &[0.75], 1e-12);
        pq_testing::assert_close(&[foretold(&[0.1, 0.2, 0.3, 0.25, 0.15], 5.0)], &[0.4], 1e-12);
    }

    #[test]
    fn one_deck_is_no_sample() {
        let slide = Rated { deck: "a".to_owned(), weight: 1.0, right: 1.0, foretold: 0.9, ratings: 1 };
        assert_eq!(estimate(&[slide.clone(), slide], &OfAll::default()), None);
        assert_eq!(estimate(&[], &OfAll::default()), None);
    }
}
