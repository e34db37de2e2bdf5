//! Slides on which people disagree, for a lead to decide or to decide anew.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slide_data::Score;

use super::cards::SlideCard;
use crate::consensus::median;
use crate::queue::spread;
use crate::{Doubts, Event, LabelConfig, Store};

/// Which disputes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Those that no lead has decided, the largest first.
    #[default]
    Open,
    /// Those that a lead has decided, the newest decision first.
    Decided,
    /// Ratings that a model would not have expected, whether or not people agree, the least expected first.
    Doubtful,
}

/// A slide on which people disagree.
#[derive(Debug, Serialize)]
pub(crate) struct Disputed {
    slide_id: String,
    deck: String,
    number: usize,
    spread: u8,
    /// The criteria that are doubted.
    doubted: Vec<String>,
    ratings: Vec<Event>,
    /// What follows from the ratings alone: what stays where the lead sets nothing.
    median: BTreeMap<String, Option<Score>>,
    adjudication: Option<Event>,
    adjudication_head: Option<String>,
}

/// A part of the list.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    total: usize,
    /// How many slides are doubtful; nothing where the list cannot be read.
    doubtful: Option<usize>,
    slides: Vec<Disputed>,
}

/// The slides whose ratings lie two points or more apart, or as far as calls for another rater; and those that were decided. With
/// their spread, by their ids.
pub(crate) fn disputed<'a>(
    config: &LabelConfig,
    store: &'a Store,
) -> impl Iterator<Item = (&'a str, u8)> + use<'a> {
    let limit = config.disagreement_spread.min(2);
    store.rated_slides().filter_map(move |(slide, ratings)| {
        let codes: Vec<&[u8]> = ratings.iter().map(|rating| rating.codes).collect();
        let spread = spread(&codes);
        let is_apart = ratings.len() >= 2 && spread >= limit;
        (is_apart || store.adjudication(slide).is_some()).then_some((slide, spread))
    })
}

/// The slides on which people disagree that are still open, or those that were decided.
fn disputes<'a>(config: &LabelConfig, store: &'a Store, state: State) -> Vec<(&'a str, u8)> {
    let decided_at = |slide: &str| store.adjudication(slide).map(|event| event.at());
    let of_state = |(slide, _): &(&str, u8)| decided_at(slide).is_some() == (state == State::Decided);
    let mut found: Vec<(&str, u8)> = disputed(config, store).filter(of_state).collect();
    if state == State::Decided {
        found.sort_by_key(|(slide, _)| Reverse(decided_at(slide)));
    } else {
        found.sort_by_key(|(_, spread)| Reverse(*spread));
    }
    found
}

fn doubted_criteria(doubts: &Doubts, slide: &str) -> Vec<String> {
    let mut known = doubts.slides.iter();
    known.find(|(other, _)| other == slide).map(|(_, criteria)| criteria.clone()).unwrap_or_default()
}

/// A slide with all that was said of it; its spread and its doubts are told by others.
fn ratings(store: &Store, slide: &str, card: Option<SlideCard>) -> Disputed {
    Disputed {
        slide_id: slide.to_owned(),
        deck: card.as_ref().map_or_else(|| slide.to_owned(), |card| card.deck.to_string()),
        number: card.map_or(0, |card| card.number),
        spread: 0,
        doubted: Vec::new(),
        ratings: store.ratings(slide).map(|rating| rating.event.to_event()).collect(),
        median: medians(store, slide),
        adjudication: store.adjudication(slide).map(|event| event.to_event()),
        adjudication_head: store.adjudication_head(slide).map(str::to_owned),
    }
}

/// The disputes of a state from place `from` on, at most `count`. Slides that left the manifest keep their place: their ratings and
/// decisions are there, though no image.
pub(crate) fn page(
    config: &LabelConfig,
    store: &Store,
    (state, from, count): (State, usize, usize),
    doubts: Option<&Doubts>,
    card: &dyn Fn(&str) -> Option<SlideCard>,
) -> Page {
    let doubted = doubts.map(|doubts| doubted(doubts, store));
    let doubtful = doubted.as_ref().map(Vec::len);
    let found = match state {
        State::Open | State::Decided => disputes(config, store, state),
        State::Doubtful => doubted.unwrap_or_default(),
    };
    let shown = doubts.filter(|_| state == State::Doubtful);
    let describe = |&(slide, spread): &(&str, u8)| {
        let doubted = shown.map(|doubts| doubted_criteria(doubts, slide)).unwrap_or_default();
        Disputed { spread, doubted, ..ratings(store, slide, card(slide)) }
    };
    Page { total: found.len(), doubtful, slides: found.iter().skip(from).take(count).map(describe).collect() }
}

/// The doubted slides that people rated and no lead has decided since, in their order, with their spread.
fn doubted<'a>(doubts: &'a Doubts, store: &Store) -> Vec<(&'a str, u8)> {
    let open = |(slide, _): &'a (String, Vec<String>)| {
        let codes: Vec<&[u8]> = store.ratings(slide).map(|rating| rating.codes).collect();
        let is_settled = store.adjudication(slide).is_some_and(|event| event.at() > doubts.found_at);
        (!codes.is_empty() && !is_settled).then(|| (slide.as_str(), spread(&codes)))
    };
    doubts.slides.iter().filter_map(open).collect()
}

fn medians(store: &Store, slide: &str) -> BTreeMap<String, Option<Score>> {
    let of = |(index, key): (usize, &str)| {
        let codes: Vec<u8> = store.ratings(slide).map(|rating| rating.codes[index]).collect();
        Some((key.to_owned(), median(&codes)?))
    };
    store.rubric().keys().enumerate().filter_map(of).collect()
}
