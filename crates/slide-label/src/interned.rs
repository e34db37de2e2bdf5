use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexSet;
use jiff::Timestamp;
use slide_data::{Rubric, Score, Scores};

use crate::{Event, Kind};

/// A score as one byte: nothing said, 1 to 5, or not applicable.
pub mod code {
    /// Nothing was said.
    pub const UNSET: u8 = 0;
    /// The criterion does not apply to the slide.
    pub const NOT_APPLICABLE: u8 = 9;
}

fn code_of(score: Option<&Option<Score>>) -> u8 {
    match score {
        None => code::UNSET,
        Some(None) => code::NOT_APPLICABLE,
        Some(Some(score)) => Score::get(*score),
    }
}

/// Each text once, numbered in the order of its first use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    list: Vec<Arc<str>>,
    by_name: BTreeMap<Arc<str>, u32>,
}

impl Names {
    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.by_name.get(name) {
            return index;
        }
        let index = self.list.len() as u32;
        let name: Arc<str> = name.into();
        self.list.push(name.clone());
        self.by_name.insert(name, index);
        index
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name(&self, index: u32) -> &Arc<str> {
        &self.list[index as usize]
    }

    /// In order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.by_name.iter().map(|(name, &index)| (name, index))
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

/// Another event that an event names: by its place where it is held, else by its id.
#[derive(Debug, Clone)]
enum Link {
    None,
    Interned(u32),
    Elsewhere(Box<str>),
}

#[derive(Debug, Clone)]
struct InternedEvent {
    at: Timestamp,
    base: Link,
    undoes: Link,
    notes: Box<str>,
    /// Not a number where it was not measured.
    seconds: f64,
    slide: u32,
    annotator: u32,
    model_version: Option<u32>,
    kind: Kind,
}

/// Every event of a journal in about 250 bytes each, its id included: names are held once, scores are one byte each.
#[derive(Debug, Clone)]
pub(crate) struct InternedEvents {
    keys: Vec<String>,
    ids: IndexSet<Box<str>>,
    held: Vec<InternedEvent>,
    /// One code per criterion and event.
    codes: Vec<u8>,
    /// By event, its scores of criteria that the rubric does not have (any more): they do not count, and are kept.
    foreign: BTreeMap<u32, Scores>,
    pub(crate) slides: Names,
    pub(crate) annotators: Names,
    models: Names,
}

impl InternedEvents {
    pub(crate) fn new(rubric: &Rubric) -> Self {
        Self {
            keys: rubric.keys().map(str::to_owned).collect(),
            ids: IndexSet::new(),
            held: Vec::new(),
            codes: Vec::new(),
            foreign: BTreeMap::new(),
            slides: Names::default(),
            annotators: Names::default(),
            models: Names::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.ids.get_index_of(id).map(|index| index as u32)
    }

    pub(crate) fn get(&self, index: u32) -> EventRef<'_> {
        EventRef { events: self, held: &self.held[index as usize], index }
    }

    /// The criteria that the rubric does not have, with how many events score them.
    pub(crate) fn foreign_criteria(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for key in self.foreign.values().flat_map(Scores::keys) {
            *found.entry(key.clone()).or_default() += 1;
        }
        found
    }

    fn link(&self, id: Option<String>) -> Link {
        match id {
            None => Link::None,
            Some(id) => self.find(&id).map_or_else(|| Link::Elsewhere(id.into()), Link::Interned),
        }
    }

    /// Keeps the scores on criteria that are not the rubric's.
    fn keep_foreign(&mut self, index: u32, scores: &Scores) {
        let foreign = scores.iter().filter(|(key, _)| !self.keys.contains(key));
        let foreign: Scores = foreign.map(|(key, score)| (key.clone(), *score)).collect();
        if !foreign.is_empty() {
            self.foreign.insert(index, foreign);
        }
    }

    /// Takes up an event whose id is new; returns its place.
    pub(crate) fn push(&mut self, event: Event) -> u32 {
        let index = self.held.len() as u32;
        self.codes.extend(self.keys.iter().map(|key| code_of(event.scores.get(key))));
        self.keep_foreign(index, &event.scores);
        self.held.push(InternedEvent {
            at: event.at,
            base: self.link(event.base),
            undoes: self.link(event.undoes),
            notes: event.notes.into(),
            seconds: event.seconds.unwrap_or(f64::NAN),
            slide: self.slides.intern(&event.slide_id),
            annotator: self.annotators.intern(&event.annotator),
            model_version: event.model_version.map(|version| self.models.intern(&version)),
            kind: event.kind,
        });
        self.ids.insert(event.id.into());
        index
    }
}

/// An event that a [`crate::Store`] holds.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    events: &'a InternedEvents,
    held: &'a InternedEvent,
    index: u32,
}

impl std::fmt::Debug for EventRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_event().fmt(formatter)
    }
}

impl<'a> EventRef<'a> {
    /// The event's id.
    pub fn id(&self) -> &'a str {
        self.events.ids.get_index(self.index as usize).map_or("", |id| id)
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.held.kind
    }

    /// The slide.
    pub fn slide_id(&self) -> &'a str {
        self.events.slides.name(self.held.slide)
    }

    /// Who did it.
    pub fn annotator(&self) -> &'a str {
        self.events.annotators.name(self.held.annotator)
    }

    /// When it reached the journal.
    pub fn at(&self) -> Timestamp {
        self.held.at
    }

    /// Notes, or the reason of a final word.
    pub fn notes(&self) -> &'a str {
        &self.held.notes
    }

    /// How long the slide was looked at, in seconds.
    pub fn seconds(&self) -> Option<f64> {
        Some(self.held.seconds).filter(|seconds| !seconds.is_nan())
    }

    /// The version of the model whose scores were on screen.
    pub fn model_version(&self) -> Option<&'a str> {
        self.held.model_version.map(|index| &**self.events.models.name(index))
    }

    /// The event that an undo takes back.
    pub fn undoes(&self) -> Option<&'a str> {
        self.linked(&self.held.undoes)
    }

    fn linked(&self, link: &'a Link) -> Option<&'a str> {
        match link {
            Link::None => None,
            Link::Interned(index) => Some(self.events.get(*index).id()),
            Link::Elsewhere(id) => Some(id),
        }
    }

    /// The scores as [`code`]s in the rubric's order.
    pub fn codes(&self) -> &'a [u8] {
        let width = self.events.keys.len();
        &self.events.codes[self.index as usize * width..][..width]
    }

    /// Whether anything is said of a criterion of the rubric.
    pub fn has_scores(&self) -> bool {
        self.codes().iter().any(|&code| code != code::UNSET)
    }

    /// The scores by criterion of the rubric.
    pub fn scores(&self) -> Scores {
        let said = self.events.keys.iter().zip(self.codes()).filter(|(_, code)| **code != code::UNSET);
        said.map(|(key, &code)| (key.clone(), Score::new(code))).collect()
    }

    /// Whether the event sets a value, as [`Event::sets_value`].
    pub fn sets_value(&self) -> bool {
        self.held.kind.sets_value()
    }

    /// The event as it stands in the journal.
    pub fn to_event(&self) -> Event {
        let mut event = Event::new(self.id(), self.kind(), self.slide_id(), self.annotator(), self.at());
        event.base = self.linked(&self.held.base).map(str::to_owned);
        event.scores = self.scores();
        if let Some(foreign) = self.events.foreign.get(&self.index) {
            event.scores.extend(foreign.iter().map(|(key, score)| (key.clone(), *score)));
        }
        self.notes().clone_into(&mut event.notes);
        event.undoes = self.undoes().map(str::to_owned);
        event.model_version = self.model_version().map(str::to_owned);
        event.seconds = self.seconds();
        event
    }

    pub(crate) fn slide_index(&self) -> u32 {
        self.held.slide
    }

    pub(crate) fn annotator_index(&self) -> u32 {
        self.held.annotator
    }

    /// Events of a chain follow each other in time; equal times are told apart by the id.
    pub(crate) fn order(&self) -> (Timestamp, &'a str) {
        (self.held.at, self.id())
    }
}
