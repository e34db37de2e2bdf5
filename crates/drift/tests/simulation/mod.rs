//! Teams, made up from a seed: decks that differ, models that err, users who correct only what is wrong.
#![allow(dead_code, reason = "the tests and the bench need different parts")]

pub(crate) mod experiments;
pub(crate) mod year;

use std::collections::{BTreeMap, BTreeSet};

use drift::{
    CollectedFile, Counting, Drawing, DriftConfig, DriftInput, DriftReport, Failures, Foretold, Interval,
    PerformanceConfig, PerformanceInput, PerformanceReport, ValidationResults, compare, draw_audits, measure,
};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use repeatable_random::fnv1a;
use slide_data::{Audit, FailedInput, FailureKind, Label, Prediction, Score, VisionSketch, expected_score};

pub(crate) const CRITERIA: [&str; 5] =
    ["clarity", "design", "data_visualization", "readability", "content_quality"];
const PROPERTIES: [&str; 8] = [
    "brightness",
    "contrast",
    "colourfulness",
    "edge_density",
    "background_brightness",
    "ink_share",
    "whitespace_share",
    "entropy",
];

pub(crate) fn start() -> Timestamp {
    "2025-01-06T12:00:00Z".parse().expect("a timestamp")
}

pub(crate) fn at(days: f64) -> Timestamp {
    start() + SignedDuration::from_secs_f64(days * 86_400.0)
}

/// A standard normal draw (Box and Muller 1958).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

/// What decks are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    /// Slides of a deck, at least and at most.
    pub(crate) slides: (usize, usize),
    /// Whether the last of recent decks keeps all its slides, so that there may be more slides than were asked for.
    pub(crate) whole: bool,
    /// Added to every property, in standard deviations.
    pub(crate) season: f64,
    /// Added to every score, in points.
    pub(crate) score_shift: f64,
    /// Every so many decks one has a new template (0: none): five of eight properties move by 1.5 to 3 standard deviations.
    pub(crate) template: usize,
    /// The share of slides with a chart, which alone have a score for data visualization.
    pub(crate) charts: f64,
    /// The chance that a score of the model is off by more than a point.
    pub(crate) wrong: f64,
    /// Whether there is a vision tower.
    pub(crate) has_vision: bool,
    /// Every so many decks one looks different to the vision tower alone (0: none): eight of its directions move by one and a half
    /// standard deviations.
    pub(crate) unnamed: usize,
    /// The share of the variance that lies between decks.
    pub(crate) alike: f64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            slides: (6, 14),
            whole: false,
            season: 0.0,
            score_shift: 0.0,
            template: 0,
            charts: 0.45,
            wrong: 0.1,
            has_vision: true,
            unnamed: 0,
            alike: 0.3,
        }
    }
}

/// A deck's slides with what people would say of them.
pub(crate) struct Deck {
    pub(crate) slides: Vec<Prediction>,
    pub(crate) labels: Vec<Label>,
}

/// The number at the end of a deck's name.
fn number_of(deck: &str) -> usize {
    deck.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// The model's distribution around a centre.
pub(crate) fn distribution(center: f64) -> [f64; 5] {
    let raw: [f64; 5] = std::array::from_fn(|i| (-1.2 * (i as f64 + 1.0 - center).powi(2)).exp());
    let total: f64 = raw.iter().sum();
    raw.map(|p| p / total)
}

impl World {
    /// A standard normal draw of a slide, given that of its deck.
    fn draw(&self, rng: &mut Rng, deck: f64) -> f64 {
        self.alike.sqrt() * deck + (1.0 - self.alike).sqrt() * normal(rng)
    }

    pub(crate) fn deck(&self, name: &str, slides: usize, when: Timestamp, rng: &mut Rng) -> Deck {
        let effects: [f64; 13] = std::array::from_fn(|_| normal(rng));
        let number = number_of(name);
        let is_new = self.template > 0 && number.is_multiple_of(self.template);
        let moved: [f64; 5] = [1.5, -2.0, 2.5, 3.0, -1.5];
        // Some decks are harder than others: the odds of an error differ by deck.
        let wrong = (self.wrong * (0.5 + rng.f64())).min(1.0);
        let mut deck = Deck { slides: Vec::new(), labels: Vec::new() };
        for slide in 0..slides {
            let mut features = BTreeMap::new();
            for (index, property) in PROPERTIES.iter().enumerate() {
                let template = if is_new { moved.get(index).copied().unwrap_or(0.0) } else { 0.0 };
                features
                    .insert((*property).to_owned(), self.draw(rng, effects[index]) + self.season + template);
            }
            let (mut distributions, mut label) = (BTreeMap::new(), Label::default());
            let has_chart = rng.f64() < self.charts;
            for (index, key) in CRITERIA.iter().enumerate() {
                if *key == "data_visualization" && !has_chart {
                    continue;
                }
                let center =
                    (3.2 + 0.8 * self.draw(rng, effects[8 + index]) + self.score_shift).clamp(1.0, 5.0);
                let shares = distribution(center);
                label.scores.insert((*key).to_owned(), Score::new(truth(&shares, wrong, rng)));
                distributions.insert((*key).to_owned(), shares);
            }
            let slide_id = format!("{name}-{slide}");
            let vision =
                if self.has_vision { self.sketch(name, &slide_id, effects[0].to_bits()) } else { None };
            deck.slides.push(Prediction {
                deck_id: name.to_owned(),
                sha256: format!("pixels of {slide_id}"),
                scored_at: when,
                expected: distributions.iter().map(|(k, d)| (k.clone(), expected_score(d))).collect(),
                distributions,
                features,
                vision,
                ..Prediction::sample(&slide_id)
            });
            deck.labels.push(label);
        }
        deck
    }

    /// What a vision tower says of a slide, from generators of its own, so that all other draws are as without it; `salt` differs from
    /// deck to deck and from simulation to simulation. Later directions matter less and less.
    fn sketch(&self, deck: &str, slide_id: &str, salt: u64) -> Option<VisionSketch> {
        let mut of_deck = Rng::with_seed(fnv1a(deck.as_bytes()) ^ salt);
        let mut of_slide = Rng::with_seed(fnv1a(slide_id.as_bytes()) ^ salt);
        let is_new = |every: usize| every > 0 && number_of(deck).is_multiple_of(every);
        let projected = std::array::from_fn(|at| {
            let season = if at % 8 == 0 { self.season } else { 0.0 };
            let usual = self.draw(&mut of_slide, normal(&mut of_deck)) + season;
            let shift = if at % 8 == 0 { 1.5 } else { 0.0 };
            let moved = if is_new(self.template) || is_new(self.unnamed) { shift } else { 0.0 };
            ((usual + moved) / (1.0 + at as f64 / 8.0)) as f32
        });
        VisionSketch::new("base", &projected)
    }

    pub(crate) fn decks(&self, name: &str, count: usize, when: Timestamp, rng: &mut Rng) -> Vec<Prediction> {
        let mut slides = Vec::new();
        for deck in 0..count {
            let size = rng.usize(self.slides.0..=self.slides.1);
            slides.extend(self.deck(&format!("{name}-{deck}"), size, when, rng).slides);
        }
        slides
    }
}

/// What people say: within a point of what the model says, or two points off.
fn truth(shares: &[f64; 5], wrong: f64, rng: &mut Rng) -> u8 {
    let said = (expected_score(shares) + 0.5).floor().clamp(1.0, 5.0) as i64;
    let off = if rng.f64() < wrong {
        if said <= 2 || said < 4 && rng.bool() { 2 } else { -2 }
    } else {
        rng.i64(-1..=1)
    };
    (said + off).clamp(1, 5) as u8
}

/// Training decks without scores, and a fifth more for validation with them, as a run keeps them.
pub(crate) fn reference(world: &World, training: usize, rng: &mut Rng) -> Vec<Prediction> {
    let mut slides = world.decks("train", training, start(), rng);
    for slide in &mut slides {
        slide.distributions.clear();
        slide.expected.clear();
    }
    slides.extend(world.decks("val", (training / 4).max(9), start(), rng));
    slides
}

/// Of a hundred decks that are handed in one cannot be read and one is refused, in collecting and in production.
const BROKEN: f64 = 0.02;

/// What became no slide where these did, drawn without a generator, so that nothing else depends on it.
fn failures(slides: &[Prediction]) -> Vec<FailedInput> {
    let mut first: BTreeMap<&str, &Prediction> = BTreeMap::new();
    for slide in slides {
        let known = first.entry(&slide.deck_id).or_insert(slide);
        if (&slide.slide_id, slide.scored_at) < (&known.slide_id, known.scored_at) {
            *known = slide;
        }
    }
    let broken = |(deck, slide): (&str, &Prediction)| {
        let share = fnv1a(format!("{deck} {:?}", slide.features.get("brightness")).as_bytes()) as f64
            / u64::MAX as f64;
        (share < BROKEN).then(|| {
            let kind = if share < BROKEN / 2.0 { FailureKind::Error } else { FailureKind::Refusal };
            let model_version = slide.model_version.clone();
            FailedInput { model_version, ..failed(&format!("{deck}-broken"), slide.scored_at, kind) }
        })
    };
    first.into_iter().filter_map(broken).collect()
}

/// What collecting made of these decks, and of those that could not be read.
pub(crate) fn collected(slides: &[Prediction]) -> Vec<CollectedFile> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for slide in slides {
        *sizes.entry(&slide.deck_id).or_default() += 1;
    }
    let file = |name: String, slides, failed| CollectedFile { name, slides, failed };
    let good = sizes.into_iter().map(|(deck, slides)| file(format!("collected {deck}"), slides, Vec::new()));
    let broken = failures(slides).into_iter().map(|failed| file(failed.id, 0, vec![failed.kind]));
    good.chain(broken).collect()
}

/// A deck that became no slide.
pub(crate) fn failed(deck: &str, when: Timestamp, kind: FailureKind) -> FailedInput {
    FailedInput {
        schema_version: 1,
        id: format!("{deck} {when}"),
        deck_id: Some(deck.to_owned()),
        part: None,
        failed_at: when,
        model_version: "v1".to_owned(),
        kind,
        reason: String::new(),
    }
}

pub(crate) fn drift(
    reference: &[Prediction],
    scored: &[Prediction],
    config: &DriftConfig,
    now: Timestamp,
) -> DriftReport {
    compare(&DriftInput {
        reference,
        scored,
        counted: None,
        failures: Failures { collected: &collected(reference), scored: &failures(scored) },
        broken_lines: 0,
        model_version: Some("v1"),
        config,
        threshold: 0.30,
        now,
    })
}

pub(crate) fn accuracy(
    scored: &[Prediction],
    audits: &[Audit],
    labels: &BTreeMap<String, Label>,
    validated: &ValidationResults,
    config: &PerformanceConfig,
    now: Timestamp,
) -> PerformanceReport {
    let counting = Counting { model_version: "v1", seen_in_training: &BTreeSet::new(), config };
    measure(&PerformanceInput {
        scored: &Foretold::of_slides(scored, counting, now),
        unreadable: &[],
        audits,
        labels,
        validated: Some(validated),
        model_version: Some("v1"),
        config,
        now,
    })
}

pub(crate) fn draw_new(
    scored: &[Prediction],
    drawn: &[Audit],
    config: &PerformanceConfig,
    now: Timestamp,
) -> Vec<Audit> {
    draw_audits(&Drawing {
        scored,
        drawn,
        seen_in_training: &BTreeSet::new(),
        model_version: "v1",
        config,
        now,
    })
}

/// What validation finds on so many decks of the world: the accuracy, each deck counting alike, and its interval.
pub(crate) fn validated(world: &World, decks: usize, rng: &mut Rng) -> ValidationResults {
    let mut shares = Vec::new();
    for deck in 0..decks {
        let size = rng.usize(world.slides.0..=world.slides.1);
        let deck = world.deck(&format!("test-{deck}"), size, start(), rng);
        let right = deck.slides.iter().zip(&deck.labels).map(|(slide, label)| {
            let each: Vec<f64> = label
                .scored()
                .map(|(key, score)| {
                    let said = (expected_score(&slide.distributions[key]) + 0.5).floor().clamp(1.0, 5.0);
                    f64::from(u8::from((f64::from(score.get()) - said).abs() <= 1.0))
                })
                .collect();
            each.iter().sum::<f64>() / each.len() as f64
        });
        shares.push(right.sum::<f64>() / size as f64);
    }
    let mean = shares.iter().sum::<f64>() / decks as f64;
    let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (decks - 1) as f64;
    let wide = 1.96 * (variance / decks as f64).sqrt();
    let interval = Interval { low: mean - wide, high: mean + wide };
    ValidationResults {
        human_agreement: mean,
        intervals: [("overall_within_1".to_owned(), interval)].into(),
        ..ValidationResults::default()
    }
}
