//! A year in which nothing changes.

use std::collections::BTreeMap;

use drift::{
    Decision, DriftConfig, Evidence, Known, Learnable, Look, MonitoringConfig, Release, Request, TriggerName,
    TriggerState, Usable, VersionFile, decide, usable,
};
use fastrand::Rng;
use jiff::Timestamp;
use slide_data::{Correction, Label, Prediction, expected_score};

use super::{Deck, World, accuracy, at, draw_new, drift, reference, start, validated};

/// What happened in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Year {
    pub(crate) drift: usize,
    pub(crate) performance: usize,
    pub(crate) others: usize,
    pub(crate) retrained: usize,
    /// Corrections that users sent.
    pub(crate) corrections: usize,
    /// Looks at which the drift report itself called it drift.
    pub(crate) reported: usize,
}

/// A team of seven decks a week whose model stays as good as it was validated. Users correct three tenths of the slides that they find
/// wrong, and only what is wrong. Four weeks a quarter pictures differ by half a standard deviation; one customer uploads a deck of
/// 500 slides in the twentieth week.
pub(crate) fn year(seed: u64, has_vision: bool) -> Year {
    let mut rng = Rng::with_seed(seed);
    let usual = World { has_vision, ..World::default() };
    let before = reference(&usual, 60, &mut rng);
    let validated = validated(&usual, 30, &mut rng);
    let drift_config = DriftConfig { permutations: 99, ..DriftConfig::default() };
    let config = MonitoringConfig { drift: drift_config, ..MonitoringConfig::default() };
    let releases = releases();
    let (mut scored, mut drawn, mut past) = (Vec::<Prediction>::new(), Vec::new(), Vec::<Decision>::new());
    let mut labels: BTreeMap<String, Label> = BTreeMap::new();
    let (mut corrections, mut year) = (Vec::new(), Year::default());
    for week in 0..52 {
        let season = if week % 13 < 4 { 0.5 } else { 0.0 };
        let world = World { season, ..usual };
        for deck in 0..7 {
            let size = if week == 20 && deck == 3 { 500 } else { rng.usize(6..=14) };
            let when = at(7.0 * f64::from(week) + f64::from(deck));
            let deck = world.deck(&format!("w{week}-{deck}"), size, when, &mut rng);
            corrections.extend(correct(&deck, when, &mut rng));
            labels.extend(deck.slides.iter().map(|slide| slide.slide_id.clone()).zip(deck.labels));
            scored.extend(deck.slides);
        }
        let now = at(7.0 * f64::from(week + 1));
        scored.retain(|slide| slide.scored_at > at(7.0 * f64::from(week) - 30.0));
        drawn.extend(draw_new(&scored, &drawn, &config.performance, now));
        let report = drift(&before, &scored, &config.drift, now);
        let measured = accuracy(&scored, &drawn, &labels, &validated, &config.performance, now);
        year.reported += usize::from(report.drift_score > Some(report.threshold));
        let evidence = Evidence {
            usable: &learn(&corrections, week, now),
            known: &Known::default(),
            releases: &releases,
            drift: Some(&report),
            performance: Some(&measured),
            look: Look { past: &past, ..Look::default() },
            inputs: &BTreeMap::new(),
        };
        let decision = decide(&evidence, &config, &Request { now, by: "cron", manual: None });
        year.count(&decision);
        past.push(decision);
    }
    year.corrections = corrections.len();
    year
}

impl Year {
    fn count(&mut self, decision: &Decision) {
        for trigger in decision.triggers.iter().filter(|trigger| trigger.state == TriggerState::Fired) {
            match trigger.name {
                TriggerName::Drift => self.drift += 1,
                TriggerName::Performance => self.performance += 1,
                _ => self.others += 1,
            }
        }
        self.retrained += usize::from(decision.should_retrain);
    }
}

/// One release, at the start.
pub(crate) fn releases() -> VersionFile {
    let release = Release { version: "v1".to_owned(), released_at: start(), ..Release::default() };
    let mut releases = VersionFile { history: vec![release], ..VersionFile::default() };
    releases.promote("v1");
    releases
}

/// What users correct: three tenths of the slides with a wrong score, and only that score.
fn correct(deck: &Deck, when: Timestamp, rng: &mut Rng) -> Vec<Correction> {
    let wrong = |(slide, label): (&Prediction, &Label)| {
        let off = |(key, score): &(&str, slide_data::Score)| {
            let said = (expected_score(&slide.distributions[*key]) + 0.5).floor();
            (f64::from(score.get()) - said).abs() > 1.0
        };
        let (key, score) = label.scored().find(off)?;
        (rng.f64() < 0.3).then(|| Correction {
            schema_version: 1,
            id: format!("c-{}", slide.slide_id),
            slide_id: slide.slide_id.clone(),
            model_version: "v1".to_owned(),
            annotator: "user".to_owned(),
            corrected_at: when,
            predicted: slide.expected.clone(),
            scores: [(key.to_owned(), Some(score))].into(),
            notes: String::new(),
        })
    };
    deck.slides.iter().zip(&deck.labels).filter_map(wrong).collect()
}

/// The corrected slides were never collected; the answers to the audit change the labels each week.
fn learn(corrections: &[Correction], week: i32, now: Timestamp) -> Usable {
    usable(corrections, &Learnable::default(), &Known::default(), &format!("labels of week {week}"), now)
}
