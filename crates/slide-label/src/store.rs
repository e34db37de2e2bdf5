use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use slide_data::{Rubric, Score};

use crate::{Error, Event, Kind, Result};

/// A score as one byte: nothing said, 1 to 5, or not applicable.
pub mod code {
    /// Nothing was said.
    pub const UNSET: u8 = 0;
    /// The criterion does not apply to the slide.
    pub const NOT_APPLICABLE: u8 = 9;
}

/// The events of one annotator on one slide (or of all leads on one slide), oldest first.
#[derive(Debug, Clone, Default)]
struct Chain {
    events: Vec<u32>,
    /// The newest event that sets a value and was not taken back.
    current: Option<u32>,
    /// The current rating's scores in the rubric's order; empty where there is none.
    codes: Box<[u8]>,
}

#[derive(Debug, Clone, Default)]
struct SlideHistory {
    raters: BTreeMap<Arc<str>, Chain>,
    adjudication: Chain,
}

/// What the journal's events amount to. It is a function of the set of events alone: neither their order nor repetition matters,
/// so merging two journals is commutative and idempotent.
#[derive(Debug, Clone)]
pub struct Store {
    rubric: Rubric,
    events: Vec<Event>,
    by_id: HashMap<String, u32>,
    slides: BTreeMap<String, SlideHistory>,
    names: BTreeSet<Arc<str>>,
    latest: Timestamp,
}

/// How an event relates to what the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The event is new and may be appended.
    New,
    /// The very event is held already; acknowledging it again is right.
    Known,
}

/// A current rating: who rated, the scores as [`code`]s in the rubric's order, and the event behind it.
#[derive(Debug, Clone, Copy)]
pub struct Rating<'a> {
    /// Who rated.
    pub annotator: &'a str,
    /// The scores in the rubric's order.
    pub codes: &'a [u8],
    /// The event that set them.
    pub event: &'a Event,
}

impl Store {
    /// An empty store for ratings by `rubric`.
    pub fn new(rubric: Rubric) -> Self {
        Self {
            rubric,
            events: Vec::new(),
            by_id: HashMap::new(),
            slides: BTreeMap::new(),
            names: BTreeSet::new(),
            latest: Timestamp::UNIX_EPOCH,
        }
    }

    /// A store of these events. Events that break a rule are left out and returned with the reason.
    pub fn from_events(rubric: Rubric, events: Vec<Event>) -> (Self, Vec<(Event, Error)>) {
        let mut store = Self::new(rubric);
        let mut refused = Vec::new();
        // An undo may stand before its target after a merge: values first, then what takes them back.
        let (undos, values): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| event.kind == Kind::Undone);
        let mut undos: Vec<_> = undos;
        undos.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        for event in values.into_iter().chain(undos) {
            match store.merge_check(&event) {
                Ok(Standing::New) => store.apply(event),
                Ok(Standing::Known) => {}
                Err(error) => refused.push((event, error)),
            }
        }
        (store, refused)
    }

    /// The rubric the scores follow.
    pub fn rubric(&self) -> &Rubric {
        &self.rubric
    }

    /// Every event held, in the order of arrival.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The event with this id.
    pub fn event(&self, id: &str) -> Option<&Event> {
        self.by_id.get(id).map(|&index| &self.events[index as usize])
    }

    /// The time of the newest event.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Checks an event from elsewhere (an import, another journal): it need not follow the newest of its chain.
    ///
    /// # Errors
    /// When it breaks a rule or its id is taken by another event.
    pub fn merge_check(&self, event: &Event) -> Result<Standing> {
        if let Some(held) = self.event(&event.id) {
            return if held.is_same(event) {
                Ok(Standing::Known)
            } else {
                Err(Error::IdTaken { id: event.id.clone() })
            };
        }
        event.validate(&self.rubric)?;
        if let Some(target) = event.undoes.as_deref().filter(|_| event.kind == Kind::Undone) {
            let target = self
                .event(target)
                .ok_or_else(|| Error::Invalid(format!("the undone event `{target}` is not known")))?;
            let of_lead = self.is_adjudication(target);
            if target.slide_id != event.slide_id || (!of_lead && target.annotator != event.annotator) {
                return Err(Error::Invalid("an undo must take back an event of one's own".to_owned()));
            }
            if target.kind == Kind::ModelSeen {
                return Err(Error::Invalid("what was seen cannot be undone".to_owned()));
            }
        }
        Ok(Standing::New)
    }

    /// Checks an event of a person at a page: besides the rules, it must follow the newest event of its chain.
    ///
    /// # Errors
    /// As [`Self::merge_check`], and [`Error::Conflict`] when the page had become stale.
    pub fn submit_check(&self, event: &Event) -> Result<Standing> {
        let standing = self.merge_check(event)?;
        if standing == Standing::New && event.kind != Kind::ModelSeen {
            let head = self.chain_of(event).and_then(|chain| self.head_of(chain));
            if head != event.base.as_deref() {
                return Err(Error::Conflict {
                    slide_id: event.slide_id.clone(),
                    head: head.map(str::to_owned),
                });
            }
        }
        Ok(standing)
    }

    /// Takes up an event that was checked.
    pub fn apply(&mut self, event: Event) {
        let index = self.events.len() as u32;
        self.latest = self.latest.max(event.at);
        self.by_id.insert(event.id.clone(), index);
        let is_adjudication = self.is_adjudication(&event);
        let counts = event.kind != Kind::ModelSeen;
        let (slide_id, annotator) = (event.slide_id.clone(), event.annotator.clone());
        let name = self.intern(&annotator);
        self.events.push(event);
        let history = self.slides.entry(slide_id).or_default();
        let chain = if is_adjudication {
            &mut history.adjudication
        } else if counts {
            history.raters.entry(name).or_default()
        } else {
            return;
        };
        let key = |index: u32| (self.events[index as usize].at, &self.events[index as usize].id);
        let place = chain.events.partition_point(|&earlier| key(earlier) < key(index));
        chain.events.insert(place, index);
        resolve(chain, &self.events, &self.rubric);
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn is_adjudication(&self, event: &Event) -> bool {
        match event.kind {
            Kind::Adjudicated => true,
            Kind::Undone => event
                .undoes
                .as_deref()
                .and_then(|id| self.event(id))
                .is_some_and(|target| self.is_adjudication(target)),
            _ => false,
        }
    }

    fn chain_of(&self, event: &Event) -> Option<&Chain> {
        let history = self.slides.get(&event.slide_id)?;
        if self.is_adjudication(event) {
            Some(&history.adjudication)
        } else {
            history.raters.get(event.annotator.as_str())
        }
    }

    fn head_of(&self, chain: &Chain) -> Option<&str> {
        chain.events.last().map(|&index| self.events[index as usize].id.as_str())
    }

    /// The newest event of an annotator on a slide: what the next one must name as its `base`.
    pub fn head(&self, slide_id: &str, annotator: &str) -> Option<&str> {
        self.head_of(self.slides.get(slide_id)?.raters.get(annotator)?)
    }

    /// The newest event among a slide's adjudications.
    pub fn adjudication_head(&self, slide_id: &str) -> Option<&str> {
        self.head_of(&self.slides.get(slide_id)?.adjudication)
    }

    /// What counts of an annotator on a slide: a rating or a skip.
    pub fn current(&self, slide_id: &str, annotator: &str) -> Option<&Event> {
        let chain = self.slides.get(slide_id)?.raters.get(annotator)?;
        chain.current.map(|index| &self.events[index as usize])
    }

    /// The lead's final word on a slide.
    pub fn adjudication(&self, slide_id: &str) -> Option<&Event> {
        self.slides.get(slide_id)?.adjudication.current.map(|index| &self.events[index as usize])
    }

    /// The current ratings of a slide, by annotator's name.
    pub fn ratings(&self, slide_id: &str) -> impl Iterator<Item = Rating<'_>> {
        self.slides.get(slide_id).into_iter().flat_map(|history| self.ratings_in(history))
    }

    fn ratings_in<'a>(&'a self, history: &'a SlideHistory) -> impl Iterator<Item = Rating<'a>> {
        history.raters.iter().filter(|(_, chain)| !chain.codes.is_empty()).filter_map(|(name, chain)| {
            let event = &self.events[chain.current? as usize];
            Some(Rating { annotator: name, codes: &chain.codes, event })
        })
    }

    /// The slides that somebody has touched, in order of their ids, with their current ratings.
    pub fn rated_slides(&self) -> impl Iterator<Item = (&str, Vec<Rating<'_>>)> {
        self.slides.iter().map(|(id, history)| (id.as_str(), self.ratings_in(history).collect()))
    }

    /// The slides an annotator has rated or skipped, with the event that counts, in the order of their doing.
    pub fn of_annotator(&self, annotator: &str) -> Vec<&Event> {
        let mut events: Vec<_> = self
            .slides
            .values()
            .filter_map(|history| history.raters.get(annotator)?.current)
            .map(|index| &self.events[index as usize])
            .collect();
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        events
    }

    /// Everything that ever happened to a slide, oldest first.
    pub fn history(&self, slide_id: &str) -> Vec<&Event> {
        let mut events: Vec<_> = self.events.iter().filter(|event| event.slide_id == slide_id).collect();
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        events
    }

    /// The names of all who have acted.
    pub fn annotators(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

/// Finds what counts: the newest value that no event takes back, where an undo that was itself undone takes nothing back.
fn resolve(chain: &mut Chain, events: &[Event], rubric: &Rubric) {
    let mut undone: Vec<&str> = Vec::new();
    chain.current = chain.events.iter().rev().copied().find(|&index| {
        let event = &events[index as usize];
        if undone.contains(&event.id.as_str()) {
            return false;
        }
        if event.kind == Kind::Undone {
            undone.extend(event.undoes.as_deref());
        }
        event.sets_value()
    });
    let rating = chain.current.map(|index| &events[index as usize]).filter(|e| e.kind != Kind::Skipped);
    chain.codes = rating.map(|event| codes(event, rubric)).unwrap_or_default();
}

/// The event's scores as [`code`]s in the rubric's order.
pub fn codes(event: &Event, rubric: &Rubric) -> Box<[u8]> {
    let code = |key: &str| match event.scores.get(key) {
        None => code::UNSET,
        Some(None) => code::NOT_APPLICABLE,
        Some(Some(score)) => Score::get(*score),
    };
    rubric.keys().map(code).collect()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
