//! What is counted over many made-up teams.

use std::collections::BTreeMap;

use drift::{
    Decision, DriftConfig, DriftReport, DriftStatus, Evidence, FeatureGroup, Known, Look, MonitoringConfig,
    PerformanceConfig, Request, TriggerName, TriggerState, Usable, decide,
};
use fastrand::Rng;
use jiff::SignedDuration;
use slide_data::{Label, Prediction};

use super::year::releases;
use super::{World, accuracy, at, draw_new, drift, reference, validated};

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) found: usize,
    pub(crate) of: usize,
}

impl Count {
    pub(crate) fn percent(self) -> f64 {
        100.0 * self.found as f64 / self.of as f64
    }

    /// Of the percentage, in points.
    pub(crate) fn standard_error(self) -> f64 {
        let share = self.found as f64 / self.of as f64;
        100.0 * (share * (1.0 - share) / self.of as f64).sqrt()
    }
}

/// Decks of the world until there are so many slides.
pub(crate) fn until(world: &World, slides: usize, rng: &mut Rng) -> Vec<Prediction> {
    let mut scored = Vec::new();
    let mut deck = 0;
    while scored.len() < slides {
        let drawn = rng.usize(world.slides.0..=world.slides.1);
        let size = if world.whole { drawn } else { drawn.min(slides - scored.len()) };
        scored.extend(world.deck(&format!("new-{deck}"), size, at(20.0), rng).slides);
        deck += 1;
    }
    scored
}

/// Slides of so many training decks, and so many recent ones with one deck of so many slides more (0: none).
pub(crate) fn both_sides(
    [before, now]: [&World; 2],
    training: usize,
    slides: usize,
    giant: usize,
    rng: &mut Rng,
) -> [Vec<Prediction>; 2] {
    let reference = reference(before, training, rng);
    let mut scored = until(now, slides, rng);
    if giant > 0 {
        scored.extend(now.deck("giant", giant, at(20.0), rng).slides);
    }
    [reference, scored]
}

/// Few re-labellings, which is enough at 5 %.
pub(crate) fn few() -> DriftConfig {
    DriftConfig { permutations: 199, max_permutations: 199, ..DriftConfig::default() }
}

/// Compares them, with re-labellings of a seed of their own.
pub(crate) fn compared(
    [reference, scored]: &[Vec<Prediction>; 2],
    config: &DriftConfig,
    rng: &mut Rng,
) -> DriftReport {
    drift(reference, scored, &DriftConfig { seed: rng.u64(..), ..config.clone() }, at(21.0))
}

/// How many of `sims` comparisons without a change flag anything, and by which of the two families of tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alarms {
    pub(crate) any: Count,
    pub(crate) features: Count,
    pub(crate) vision: Count,
}

/// Decks of training and recent ones may differ in size.
pub(crate) fn false_alarms(
    [before, now]: [&World; 2],
    training: usize,
    slides: usize,
    giant: usize,
    sims: usize,
    seed: u64,
) -> Alarms {
    let mut rng = Rng::with_seed(seed);
    let mut flags = || {
        let sides = both_sides([before, now], training, slides, giant, &mut rng);
        flagged(&compared(&sides, &few(), &mut rng))
    };
    let all: Vec<[bool; 2]> = (0..sims).map(|_| flags()).collect();
    let count = |is_one: fn(&[bool; 2]) -> bool| Count {
        found: all.iter().filter(|flags| is_one(flags)).count(),
        of: sims,
    };
    Alarms {
        any: count(|flags| flags.contains(&true)),
        features: count(|flags| flags[0]),
        vision: count(|flags| flags[1]),
    }
}

/// Whether drift asks for a retraining at a report, and whether it does where eight weekly looks before saw the same.
pub(crate) fn fires(report: &DriftReport) -> [bool; 2] {
    let config = MonitoringConfig::default();
    let (releases, now) = (releases(), report.created_at);
    let look = |past: &[Decision]| {
        let evidence = Evidence {
            usable: &Usable::default(),
            known: &Known::default(),
            releases: &releases,
            drift: Some(report),
            performance: None,
            look: Look { past, ..Look::default() },
            inputs: &BTreeMap::new(),
        };
        decide(&evidence, &config, &Request { now, by: "cron", manual: None })
    };
    let is_fired = |decision: &Decision| {
        let drift = decision.triggers.iter().find(|trigger| trigger.name == TriggerName::Drift);
        drift.is_some_and(|trigger| trigger.state == TriggerState::Fired)
    };
    let first = look(&[]);
    let weeks_ago = |weeks: i64| Decision {
        decided_at: now - SignedDuration::from_hours(24 * 7 * weeks),
        ..first.clone()
    };
    let lasting: Vec<Decision> = (1..=8).map(weeks_ago).collect();
    [is_fired(&first), is_fired(&look(&lasting))]
}

/// Whether a report flags a feature, and the vision features.
fn flagged(report: &DriftReport) -> [bool; 2] {
    [
        report.features.iter().any(|feature| feature.drifted),
        report.vision.as_ref().is_some_and(|vision| vision.drifted),
    ]
}

/// Whether a report flags anything.
pub(crate) fn is_flagged(report: &DriftReport) -> bool {
    flagged(report).contains(&true)
}

/// How many of `sims` comparisons with a changed world call it drift.
pub(crate) fn found(
    now: &World,
    training: usize,
    slides: usize,
    sims: usize,
    seed: u64,
    config: &DriftConfig,
) -> (Count, Vec<DriftReport>) {
    let mut rng = Rng::with_seed(seed);
    let mut one = || {
        let sides = both_sides([&World::default(), now], training, slides, 0, &mut rng);
        compared(&sides, config, &mut rng)
    };
    let reports: Vec<DriftReport> = (0..sims).map(|_| one()).collect();
    let found = reports.iter().filter(|report| report.status == DriftStatus::Drifted).count();
    (Count { found, of: sims }, reports)
}

/// Whether a report names charts as what is missing.
pub(crate) fn names_lost_charts(report: &DriftReport) -> bool {
    let is_it = |feature: &drift::FeatureDrift| {
        feature.group == FeatureGroup::Presence
            && feature.name == "presence.data_visualization"
            && feature.drifted
    };
    report.features.iter().any(is_it)
        && report.reasons.iter().any(|reason| reason.starts_with("missing: data_visualization"))
}

/// A team whose model gets worse by ten points after six weeks, with 30 decks and 50 audits a week and looks each week: in which
/// week after it the drop is called one (at the budget's level), if within `weeks`.
pub(crate) fn weeks_to_find_a_drop(drop: f64, weeks: usize, level: f64, seed: u64) -> Option<usize> {
    let mut rng = Rng::with_seed(seed);
    let (good, bad) = (World::default(), World { wrong: World::default().wrong + drop, ..World::default() });
    let validated = validated(&good, 100, &mut rng);
    let config = PerformanceConfig::default();
    let (mut scored, mut drawn) = (Vec::new(), Vec::new());
    let mut labels: BTreeMap<String, Label> = BTreeMap::new();
    for week in 0..6 + weeks {
        let world = if week < 6 { &good } else { &bad };
        for deck in 0..30 {
            let when = at(7.0 * week as f64 + f64::from(deck) * 0.23);
            let size = rng.usize(world.slides.0..=world.slides.1);
            let deck = world.deck(&format!("w{week}-{deck}"), size, when, &mut rng);
            labels.extend(deck.slides.iter().map(|slide| slide.slide_id.clone()).zip(deck.labels));
            scored.extend(deck.slides);
        }
        let now = at(7.0 * (week + 1) as f64);
        drawn.extend(draw_new(&scored, &drawn, &config, now));
        let report = accuracy(&scored, &drawn, &labels, &validated, &config, now);
        let is_found = report.accuracy_drop.is_some_and(|drop| drop > 0.05)
            && report.p_value.is_some_and(|p| p <= level);
        if is_found {
            return if week < 6 { Some(0) } else { Some(week - 5) };
        }
    }
    None
}
