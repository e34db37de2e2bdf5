use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use repeatable_random::fnv1a;
use slide_data::{Manifest, Score};

use crate::{Error, Latents, Quality, Result, Rng};

/// How much simulated raters differ, in points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disagreement {
    /// Spread of a rater's severity over all criteria.
    pub severity: f64,
    /// Spread of a rater's leaning on one criterion.
    pub leaning: f64,
    /// Spread from slide to slide.
    pub noise: f64,
}

impl Default for Disagreement {
    /// Two raters then agree exactly on about half of the scores, and within one point on nearly all.
    fn default() -> Self {
        Self { severity: 0.2, leaning: 0.15, noise: 0.4 }
    }
}

/// A simulated rater.
#[derive(Debug, Clone)]
pub struct Rater {
    /// The name the ratings carry.
    pub name: String,
    offsets: [f64; 5],
    noise: f64,
    rng: Rng,
}

impl Rater {
    /// Rater `index` of those that belong to `seed`.
    pub fn draw(seed: u64, index: usize, disagreement: Disagreement) -> Self {
        let mut rng = Rng::new(seed ^ 0x7261_7465).part(index as u64);
        let severity = disagreement.severity * rng.normal();
        let offsets = [(); 5].map(|()| severity + disagreement.leaning * rng.normal());
        Self { name: format!("rater-{}", index + 1), offsets, noise: disagreement.noise, rng }
    }

    /// Rates a slide: the latent quality, seen through severity, leaning and noise, rounded to a score. The noise depends
    /// on the slide alone, so the order in which slides are rated does not matter.
    pub fn rate(&self, slide_id: &str, quality: &Quality) -> [Option<Score>; 5] {
        let mut rng = self.rng.part(fnv1a(slide_id.as_bytes()));
        let mut scores = [None; 5];
        for (index, value) in quality.values().into_iter().enumerate() {
            let noise = self.noise * rng.normal();
            let seen = value.map(|value| (value + self.offsets[index] + noise).round().clamp(1.0, 5.0) as u8);
            scores[index] = seen.and_then(Score::new);
        }
        scores
    }
}

/// One rater's scores of one slide, in the order of [`Quality::KEYS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Rating {
    /// The slide.
    pub slide_id: String,
    /// Who rated.
    pub annotator: String,
    /// The scores; `None` where the criterion does not apply.
    pub scores: [Option<Score>; 5],
}

/// Rates every usable slide of a raw folder by simulated raters.
///
/// # Errors
/// When the manifest cannot be read, holds no usable slide, or names a slide that the latents do not know.
pub fn rate_slides(
    raw: &Path,
    latents: &Latents,
    latents_path: &Path,
    raters: usize,
    seed: u64,
    disagreement: Disagreement,
) -> Result<Vec<Rating>> {
    let manifest = Manifest::read(raw)?;
    let people: Vec<Rater> = (0..raters).map(|index| Rater::draw(seed, index, disagreement)).collect();
    let mut ratings = Vec::new();
    for slide in manifest.usable() {
        let quality = latents.quality(&slide.source.origin, slide.source.page).ok_or_else(|| {
            let (origin, page) = (slide.source.origin.clone(), slide.source.page.unwrap_or(slide.number));
            Error::UnknownSlide { origin, page, path: latents_path.to_owned() }
        })?;
        for rater in &people {
            let scores = rater.rate(&slide.slide_id, &quality);
            ratings.push(Rating { slide_id: slide.slide_id.clone(), annotator: rater.name.clone(), scores });
        }
    }
    if ratings.is_empty() {
        return Err(Error::NoSlides { path: raw.to_owned() });
    }
    Ok(ratings)
}

/// The ratings as CSV: `slide_id,annotator,<criteria>,notes,rated_at`, `na` where a criterion does not apply.
///
/// The times are made up, one minute a slide from the start of 2026.
pub fn ratings_csv(ratings: &[Rating]) -> String {
    let mut text = format!("slide_id,annotator,{},notes,rated_at\n", Quality::KEYS.join(","));
    let mut minutes: BTreeMap<&str, usize> = BTreeMap::new();
    for rating in ratings {
        let minute = minutes.entry(&rating.annotator).or_default();
        let scores: Vec<String> =
            rating.scores.iter().map(|s| s.map_or("na".to_owned(), |s| s.get().to_string())).collect();
        let (day, hour, rest) = (*minute / 480, 9 + *minute % 480 / 60, *minute % 60);
        let _ = writeln!(
            text,
            "{},{},{},,2026-{:02}-{:02}T{hour:02}:{rest:02}:00Z",
            rating.slide_id,
            rating.annotator,
            scores.join(","),
            1 + day / 28 % 12,
            1 + day % 28
        );
        *minute += 1;
    }
    text
}

/// How far two raters agree over all slides and criteria: exactly, and within one point.
pub fn agreement(ratings: &[Rating]) -> (f64, f64) {
    let mut by_slide: BTreeMap<&str, Vec<&Rating>> = BTreeMap::new();
    for rating in ratings {
        by_slide.entry(&rating.slide_id).or_default().push(rating);
    }
    let (mut pairs, mut exact, mut close) = (0_usize, 0_usize, 0_usize);
    for group in by_slide.values() {
        for (index, first) in group.iter().enumerate() {
            for second in &group[index + 1..] {
                for scores in first.scores.iter().zip(&second.scores) {
                    if let (Some(a), Some(b)) = scores {
                        pairs += 1;
                        exact += usize::from(a == b);
                        close += usize::from(a.get().abs_diff(b.get()) <= 1);
                    }
                }
            }
        }
    }
    let share = |count: usize| count as f64 / pairs.max(1) as f64;
    (share(exact), share(close))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deck;

    fn ratings(disagreement: Disagreement) -> Vec<Rating> {
        let people: Vec<Rater> = (0..3).map(|index| Rater::draw(11, index, disagreement)).collect();
        let slides = (0..30).flat_map(|deck| {
            let slides = Deck::draw(4, deck).slides;
            slides
                .into_iter()
                .enumerate()
                .map(move |(page, slide)| (format!("d{deck}-p{page}"), slide.quality))
        });
        slides
            .flat_map(|(slide_id, quality)| {
                people
                    .iter()
                    .map(|rater| Rating {
                        slide_id: slide_id.clone(),
                        annotator: rater.name.clone(),
                        scores: rater.rate(&slide_id, &quality),
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn raters_agree_as_people_do() {
        let (exact, close) = agreement(&ratings(Disagreement::default()));
        assert!((0.45..0.8).contains(&exact) && (0.93..1.0).contains(&close), "{exact} {close}");
    }

    #[test]
    fn without_disagreement_all_say_the_same() {
        let none = Disagreement { severity: 0.0, leaning: 0.0, noise: 0.0 };
        assert_eq!(agreement(&ratings(none)), (1.0, 1.0));
    }

    #[test]
    fn every_score_is_given_often_and_the_same_seed_gives_the_same_ratings() {
        let all = ratings(Disagreement::default());
        for criterion in 0..5 {
            let mut counts = [0; 5];
            all.iter().filter_map(|r| r.scores[criterion]).for_each(|s| counts[s.index()] += 1);
            let total: i32 = counts.iter().sum();
            assert!(counts.iter().all(|&n| n * 14 > total), "{criterion}: {counts:?}");
        }
        assert_eq!(ratings_csv(&all), ratings_csv(&ratings(Disagreement::default())));
    }

    #[test]
    fn a_missing_chart_is_not_applicable() {
        let quality = Quality {
            clarity: 3.0,
            design: 3.0,
            data_visualization: None,
            readability: 3.0,
            content_quality: 3.0,
        };
        let rating = Rating {
            slide_id: "s".to_owned(),
            annotator: "a".to_owned(),
            scores: Rater::draw(1, 0, Disagreement::default()).rate("s", &quality),
        };
        let csv = ratings_csv(&[rating]);
        let line = csv.lines().nth(1).unwrap();
        assert_eq!(line.split(',').nth(4), Some("na"), "{line}");
        assert!(line.ends_with(",,2026-01-01T09:00:00Z"), "{line}");
    }
}
