//! What a lead sees: progress, agreement, how many disputes there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::cards::SlideCard;
use super::disputes::disputed;
use crate::agreement::{
    Agreement, AgreementOptions, Ceiling, PairAgreement, RatingMatrix, agreement, human_ceiling,
    pair_agreement,
};
use crate::queue::Queue;
use crate::{EventRef, HelpEffect, Invitation, LabelConfig, Store, help_effect};

/// What a lead sees.
#[derive(Debug, Serialize)]
pub(crate) struct LeadReport {
    slides: usize,
    complete: usize,
    raters_per_slide: usize,
    corrections: usize,
    people: Vec<PersonRow>,
    agreement: Agreement,
    pairs: Vec<PairAgreement>,
    ceiling: Vec<Ceiling>,
    model_help: HelpEffect,
    /// How many disputes a lead has not decided, and has.
    disputes: DisputeCounts,
    /// Criteria that the rubric does not have (any more), with how many ratings score them.
    uncounted: BTreeMap<String, usize>,
}

/// How many slides people dispute.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct DisputeCounts {
    open: usize,
    decided: usize,
}

impl DisputeCounts {
    fn of(config: &LabelConfig, store: &Store) -> Self {
        let mut disputes = Self::default();
        for (slide, _) in disputed(config, store) {
            let is_decided = store.adjudication(slide).is_some();
            *if is_decided { &mut disputes.decided } else { &mut disputes.open } += 1;
        }
        disputes
    }
}

#[derive(Debug, Serialize)]
struct PersonRow {
    name: String,
    rated: usize,
    skipped: usize,
    open: usize,
    last_at: Option<Timestamp>,
    median_seconds: Option<f64>,
}

/// Resamples behind an interval on the page.
const RESAMPLES: usize = 400;

/// What the page knows of a slide; `None` where there is no such slide.
pub(crate) type Card<'a> = &'a dyn Fn(&str) -> Option<SlideCard>;

/// What is known of the ratings at one moment, copied out of the store so that the statistics run without its lock.
pub(crate) struct Snapshot {
    matrix: RatingMatrix,
    people: Vec<PersonRow>,
    disputes: DisputeCounts,
    uncounted: BTreeMap<String, usize>,
    model_help: HelpEffect,
    slides: usize,
    complete: usize,
}

impl Snapshot {
    /// Looks at ratings and queue.
    pub(crate) fn of(
        store: &Store,
        queue: &Queue,
        config: &LabelConfig,
        invited: &[Invitation],
        card: Card<'_>,
    ) -> Self {
        let deck_of = |slide: &str| card(slide).map_or_else(|| slide.into(), |card| card.deck_id);
        let mut matrix = RatingMatrix::from_store(store, deck_of);
        matrix.mark_calibration(|slide| queue.is_calibration(slide));
        Self {
            matrix,
            people: people(queue, store, invited),
            disputes: DisputeCounts::of(config, store),
            uncounted: store.uncounted(),
            model_help: help_effect(store),
            slides: queue.len(),
            complete: queue.complete(),
        }
    }

    /// The report, with intervals.
    pub(crate) fn report(self, raters_per_slide: usize, corrections: usize) -> LeadReport {
        let options = AgreementOptions { resamples: RESAMPLES, ..AgreementOptions::default() };
        // Beyond a dozen people the pairs are hundreds; their intervals would take longer than anybody reads them.
        let pair_resamples = if self.matrix.raters().len() <= 12 { RESAMPLES } else { 0 };
        LeadReport {
            slides: self.slides,
            complete: self.complete,
            raters_per_slide,
            corrections,
            people: self.people,
            agreement: agreement(&self.matrix, options),
            pairs: pair_agreement(&self.matrix, pair_resamples, 0),
            ceiling: human_ceiling(&self.matrix),
            model_help: self.model_help,
            disputes: self.disputes,
            uncounted: self.uncounted,
        }
    }
}

/// Whoever has rated, skipped or is invited; a lead who has only decided disputes rates nothing and is no row.
fn people(queue: &Queue, store: &Store, invited: &[Invitation]) -> Vec<PersonRow> {
    let row = |name: &str| {
        let events = store.of_annotator(name);
        let mut seconds: Vec<f64> = events.iter().filter_map(EventRef::seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let progress = queue.progress(name, Instant::now());
        PersonRow {
            name: name.to_owned(),
            rated: progress.rated,
            skipped: progress.skipped,
            open: progress.open,
            last_at: events.last().map(EventRef::at),
            median_seconds: seconds.get(seconds.len() / 2).copied(),
        }
    };
    let has_rated = |name: &&str| !store.of_annotator(name).is_empty();
    let raters = store.annotators().filter(has_rated);
    let names: BTreeSet<&str> = raters.chain(invited.iter().map(|invited| invited.name.as_str())).collect();
    names.into_iter().map(row).collect()
}
