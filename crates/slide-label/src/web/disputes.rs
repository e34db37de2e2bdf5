//! Slides on which people disagree, for a lead to decide or to decide anew.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slide_data::Score;

use super::cards::SlideCard;
use crate::consensus::median;
use crate::queue::spread;
use crate::{Event, LabelConfig, Store};

/// Which disputes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Those that no lead has decided, the largest first.
    #[default]
    Open,
    /// Those that a lead has decided, the newest decision first.
    Decided,
}

/// A slide on which people disagree.
#[derive(Debug, Serialize)]
pub(crate) struct Disputed {
    slide_id: String,
    deck: String,
    number: usize,
    spread: u8,
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

/// The disputes of a state from place `from` on, at most `count`. Slides that left the manifest keep their place: their ratings and
/// decisions are there, though no image.
pub(crate) fn page(
    config: &LabelConfig,
    store: &Store,
    (state, from, count): (State, usize, usize),
    card: &dyn Fn(&str) -> Option<SlideCard>,
) -> Page {
    let decided_at = |slide: &str| store.adjudication(slide).map(|event| event.at());
    let mut found: Vec<(&str, u8)> = disputed(config, store)
        .filter(|(slide, _)| decided_at(slide).is_some() == (state == State::Decided))
        .collect();
    match state {
        State::Open => found.sort_by_key(|(_, spread)| Reverse(*spread)),
        State::Decided => found.sort_by_key(|(slide, _)| Reverse(decided_at(slide))),
    }
    let describe = |&(slide, spread): &(&str, u8)| {
        let card = card(slide);
        Disputed {
            slide_id: slide.to_owned(),
            deck: card.as_ref().map_or_else(|| slide.to_owned(), |card| card.deck.to_string()),
            number: card.map_or(0, |card| card.number),
            spread,
            ratings: store.ratings(slide).map(|rating| rating.event.to_event()).collect(),
            median: medians(store, slide),
            adjudication: store.adjudication(slide).map(|event| event.to_event()),
            adjudication_head: store.adjudication_head(slide).map(str::to_owned),
        }
    };
    Page { total: found.len(), slides: found.iter().skip(from).take(count).map(describe).collect() }
}

fn medians(store: &Store, slide: &str) -> BTreeMap<String, Option<Score>> {
    let of = |(index, key): (usize, &str)| {
        let codes: Vec<u8> = store.ratings(slide).map(|rating| rating.codes[index]).collect();
        Some((key.to_owned(), median(&codes)?))
    };
    store.rubric().keys().enumerate().filter_map(of).collect()
}
