//! What a lead sees: progress, agreement, disputes.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::agreement::{
    Agreement, AgreementOptions, Ceiling, PairAgreement, RatingMatrix, agreement, human_ceiling,
    pair_agreement,
};
use crate::queue::{Queue, spread};
use crate::{Event, EventRef, HelpEffect, LabelConfig, Store, help_effect};

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
    disputed: Vec<Disputed>,
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

#[derive(Debug, Serialize)]
struct Disputed {
    slide_id: String,
    deck_id: String,
    number: usize,
    spread: u8,
    ratings: Vec<Event>,
    adjudication: Option<Event>,
    adjudication_head: Option<String>,
}

/// The most disputed slides that are listed.
const MAX_DISPUTED: usize = 100;
/// Resamples behind an interval on the page.
const RESAMPLES: usize = 400;

/// Where a slide stands: its deck and its place there; `None` where there is no such slide.
pub(crate) type Place<'a> = &'a dyn Fn(&str) -> Option<(Arc<str>, usize)>;

/// What is known of the ratings at one moment, copied out of the store so that the statistics run without its lock.
pub(crate) struct Snapshot {
    matrix: RatingMatrix,
    people: Vec<PersonRow>,
    disputed: Vec<Disputed>,
    model_help: HelpEffect,
    slides: usize,
    complete: usize,
}

impl Snapshot {
    /// Looks at ratings and queue.
    pub(crate) fn of(store: &Store, queue: &Queue, config: &LabelConfig, place: Place<'_>) -> Self {
        let deck_of = |slide: &str| place(slide).map_or_else(|| slide.into(), |(deck, _)| deck);
        Self {
            matrix: RatingMatrix::from_store(store, deck_of),
            people: people(queue, store),
            disputed: disputed(config, store, place),
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
            disputed: self.disputed,
        }
    }
}

fn people(queue: &Queue, store: &Store) -> Vec<PersonRow> {
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
    store.annotators().map(row).collect()
}

fn disputed(config: &LabelConfig, store: &Store, place: Place<'_>) -> Vec<Disputed> {
    let limit = config.disagreement_spread.min(2);
    let mut found: Vec<(u8, &str)> = store
        .rated_slides()
        .filter_map(|(slide, ratings)| {
            let codes: Vec<&[u8]> = ratings.iter().map(|rating| rating.codes).collect();
            let spread = spread(&codes);
            (ratings.len() >= 2 && (spread >= limit || store.adjudication(slide).is_some()))
                .then_some((spread, slide))
        })
        .collect();
    // What is decided goes to the end.
    found.sort_by_key(|(spread, slide)| (store.adjudication(slide).is_some(), std::cmp::Reverse(*spread)));
    found.truncate(MAX_DISPUTED);
    let describe = |(spread, slide): (u8, &str)| {
        let (deck_id, number) = place(slide)?;
        Some(Disputed {
            slide_id: slide.to_owned(),
            deck_id: deck_id.to_string(),
            number,
            spread,
            ratings: store.ratings(slide).map(|rating| rating.event.to_event()).collect(),
            adjudication: store.adjudication(slide).map(|event| event.to_event()),
            adjudication_head: store.adjudication_head(slide).map(str::to_owned),
        })
    };
    found.into_iter().filter_map(describe).collect()
}
