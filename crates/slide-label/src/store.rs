use std::collections::BTreeMap;

use jiff::Timestamp;
use slide_data::Rubric;

use crate::interned::{EventRef, InternedEvents};
use crate::{Error, Event, Kind, Result};

/// The events of one annotator on one slide (or of all leads on one slide), oldest first.
#[derive(Debug, Clone, Default)]
struct Chain {
    events: Vec<u32>,
    /// The newest event that sets a value and was not taken back.
    current: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct SlideHistory {
    /// By annotator, in order of their names.
    raters: Vec<(u32, Chain)>,
    adjudication: Option<Box<Chain>>,
}

/// What the journal's events amount to. It is a function of the set of events alone: neither their order nor repetition matters,
/// so merging two journals is commutative and idempotent.
#[derive(Debug, Clone)]
pub struct Store {
    rubric: Rubric,
    events: InternedEvents,
    /// Beside `events.slides`.
    histories: Vec<SlideHistory>,
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

/// A current rating: who rated, the scores as [`code`](crate::code)s in the rubric's order, and the event behind it.
#[derive(Debug, Clone, Copy)]
pub struct Rating<'a> {
    /// Who rated.
    pub annotator: &'a str,
    /// The scores in the rubric's order.
    pub codes: &'a [u8],
    /// The event that set them.
    pub event: EventRef<'a>,
}

/// Takes up the events of a journal one by one, so that a long one need not be in memory twice.
#[derive(Debug)]
pub struct StoreBuilder {
    store: Store,
    undos: Vec<Event>,
    refused: Vec<(Event, Error)>,
}

impl StoreBuilder {
    /// For ratings by `rubric`.
    pub fn new(rubric: Rubric) -> Self {
        Self { store: Store::new(rubric), undos: Vec::new(), refused: Vec::new() }
    }

    /// Takes up an event, in any order.
    pub fn add(&mut self, event: Event) {
        // An undo may stand before its target after a merge: values first, then what takes them back.
        if event.kind == Kind::Undone { self.undos.push(event) } else { self.take(event) }
    }

    fn take(&mut self, event: Event) {
        match self.store.merge_check(&event) {
            Ok(Standing::New) => self.store.apply(event),
            Ok(Standing::Known) => {}
            Err(error) => self.refused.push((event, error)),
        }
    }

    /// The store, and the events that break a rule, with the reason.
    pub fn finish(mut self) -> (Store, Vec<(Event, Error)>) {
        let mut undos = std::mem::take(&mut self.undos);
        undos.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        for event in undos {
            self.take(event);
        }
        (self.store, self.refused)
    }
}

impl Store {
    /// An empty store for ratings by `rubric`.
    pub fn new(rubric: Rubric) -> Self {
        let events = InternedEvents::new(&rubric);
        Self { rubric, events, histories: Vec::new(), latest: Timestamp::UNIX_EPOCH }
    }

    /// A store of these events. Events that break a rule are left out and returned with the reason.
    pub fn from_events(rubric: Rubric, events: Vec<Event>) -> (Self, Vec<(Event, Error)>) {
        let mut builder = StoreBuilder::new(rubric);
        for event in events {
            builder.add(event);
        }
        builder.finish()
    }

    /// The rubric the scores follow.
    pub fn rubric(&self) -> &Rubric {
        &self.rubric
    }

    /// The criteria that some event scores and the rubric does not have (it was changed), with how many events do. These scores do
    /// not count; they stay in the journal, and count again where the rubric names them again.
    pub fn uncounted(&self) -> BTreeMap<String, usize> {
        self.events.foreign_criteria()
    }

    /// Every event held, in the order of arrival.
    pub fn events(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        (0..self.events.len() as u32).map(|index| self.events.get(index))
    }

    /// The event with this id.
    pub fn event(&self, id: &str) -> Option<EventRef<'_>> {
        self.events.find(id).map(|index| self.events.get(index))
    }

    /// The time of the newest event.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Checks an event from elsewhere (the journal itself, an import, another journal): it need not follow the newest of its chain,
    /// and may name criteria that the rubric does not have. Those scores do not count; the others do.
    ///
    /// # Errors
    /// When it breaks a rule or its id is taken by another event.
    pub fn merge_check(&self, event: &Event) -> Result<Standing> {
        if let Some(held) = self.event(&event.id) {
            return if held.to_event().is_same(event) {
                Ok(Standing::Known)
            } else {
                Err(Error::IdTaken { id: event.id.clone() })
            };
        }
        event.check()?;
        if let Some(target) = event.undoes.as_deref().filter(|_| event.kind == Kind::Undone) {
            self.undo_check(event, target)?;
        }
        Ok(Standing::New)
    }

    /// Whether an event may take back the one of this id.
    fn undo_check(&self, event: &Event, target: &str) -> Result<()> {
        let target = self
            .event(target)
            .ok_or_else(|| Error::Invalid(format!("the undone event `{target}` is not known")))?;
        let of_lead = self.is_adjudication(target);
        if target.slide_id() != event.slide_id || (!of_lead && target.annotator() != event.annotator) {
            return Err(Error::Invalid("an undo must take back an event of one's own".to_owned()));
        }
        if target.kind() == Kind::ModelSeen {
            return Err(Error::Invalid("what was seen cannot be undone".to_owned()));
        }
        Ok(())
    }

    /// Checks an event of a person at a page: besides the rules, it must follow the newest event of its chain.
    ///
    /// # Errors
    /// As [`Self::merge_check`], and [`Error::Conflict`] when the page had become stale.
    pub fn submit_check(&self, event: &Event) -> Result<Standing> {
        let standing = self.merge_check(event)?;
        if standing == Standing::New {
            event.validate(&self.rubric)?;
        }
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
        self.latest = self.latest.max(event.at);
        let index = self.events.push(event);
        let held = self.events.get(index);
        if self.histories.len() < self.events.slides.len() {
            self.histories.resize_with(self.events.slides.len(), SlideHistory::default);
        }
        if held.kind() == Kind::ModelSeen {
            return;
        }
        let is_adjudication = self.is_adjudication(held);
        let history = &mut self.histories[held.slide_index() as usize];
        let chain = if is_adjudication {
            &mut **history.adjudication.get_or_insert_default()
        } else {
            chain_of_rater(&mut history.raters, held, &self.events)
        };
        let place = chain.events.partition_point(|&earlier| self.events.get(earlier).order() < held.order());
        chain.events.insert(place, index);
        chain.current = current(&chain.events, &self.events);
    }

    /// Whether the event is a lead's final word, or takes one back.
    pub(crate) fn is_adjudication(&self, event: EventRef<'_>) -> bool {
        self.is_about_adjudication(event.kind(), event.undoes())
    }

    fn is_about_adjudication(&self, kind: Kind, undoes: Option<&str>) -> bool {
        match kind {
            Kind::Adjudicated => true,
            Kind::Undone => {
                undoes.and_then(|id| self.event(id)).is_some_and(|target| self.is_adjudication(target))
            }
            _ => false,
        }
    }

    fn history_of(&self, slide_id: &str) -> Option<&SlideHistory> {
        self.events.slides.find(slide_id).map(|index| &self.histories[index as usize])
    }

    fn rater_chain(&self, slide_id: &str, annotator: &str) -> Option<&Chain> {
        let annotator = self.events.annotators.find(annotator)?;
        let raters = &self.history_of(slide_id)?.raters;
        raters.iter().find(|(rater, _)| *rater == annotator).map(|(_, chain)| chain)
    }

    fn chain_of(&self, event: &Event) -> Option<&Chain> {
        if self.is_about_adjudication(event.kind, event.undoes.as_deref()) {
            self.history_of(&event.slide_id)?.adjudication.as_deref()
        } else {
            self.rater_chain(&event.slide_id, &event.annotator)
        }
    }

    fn head_of(&self, chain: &Chain) -> Option<&str> {
        chain.events.last().map(|&index| self.events.get(index).id())
    }

    /// The newest event of an annotator on a slide: what the next one must name as its `base`.
    pub fn head(&self, slide_id: &str, annotator: &str) -> Option<&str> {
        self.head_of(self.rater_chain(slide_id, annotator)?)
    }

    /// The newest event among a slide's adjudications.
    pub fn adjudication_head(&self, slide_id: &str) -> Option<&str> {
        self.head_of(self.history_of(slide_id)?.adjudication.as_deref()?)
    }

    /// What counts of an annotator on a slide: a rating or a skip.
    pub fn current(&self, slide_id: &str, annotator: &str) -> Option<EventRef<'_>> {
        self.rater_chain(slide_id, annotator)?.current.map(|index| self.events.get(index))
    }

    /// The lead's final word on a slide, where it is about a criterion of the rubric.
    pub fn adjudication(&self, slide_id: &str) -> Option<EventRef<'_>> {
        let current = self.history_of(slide_id)?.adjudication.as_ref()?.current;
        current.map(|index| self.events.get(index)).filter(EventRef::has_scores)
    }

    /// The current ratings of a slide, by annotator's name.
    pub fn ratings(&self, slide_id: &str) -> impl Iterator<Item = Rating<'_>> {
        self.history_of(slide_id).into_iter().flat_map(|history| self.ratings_in(history))
    }

    fn ratings_in<'a>(&'a self, history: &'a SlideHistory) -> impl Iterator<Item = Rating<'a>> {
        let events = history.raters.iter().filter_map(|(_, chain)| Some(self.events.get(chain.current?)));
        events.filter(|event| event.kind() != Kind::Skipped && event.has_scores()).map(|event| Rating {
            annotator: event.annotator(),
            codes: event.codes(),
            event,
        })
    }

    /// The slides that somebody has touched, in order of their ids, with their current ratings.
    pub fn rated_slides(&self) -> impl Iterator<Item = (&str, Vec<Rating<'_>>)> {
        let slides = self.events.slides.iter();
        slides.map(|(id, index)| (&**id, self.ratings_in(&self.histories[index as usize]).collect()))
    }

    /// What counts now, in order of slides and annotators, each slide's final word last: ratings, skips, final words.
    pub fn current_events(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.events.slides.iter().flat_map(|(_, index)| {
            let history = &self.histories[index as usize];
            let chains = history.raters.iter().map(|(_, chain)| chain).chain(history.adjudication.as_deref());
            chains.filter_map(|chain| chain.current).map(|index| self.events.get(index))
        })
    }

    /// The slides an annotator has rated or skipped, with the event that counts, in the order of their doing.
    pub fn of_annotator(&self, annotator: &str) -> Vec<EventRef<'_>> {
        let Some(annotator) = self.events.annotators.find(annotator) else { return Vec::new() };
        let chains = self.histories.iter().filter_map(|history| {
            history.raters.iter().find(|(rater, _)| *rater == annotator).map(|(_, chain)| chain)
        });
        let mut events: Vec<_> =
            chains.filter_map(|chain| chain.current).map(|index| self.events.get(index)).collect();
        events.sort_by_key(EventRef::order);
        events
    }

    /// Everything that ever happened to a slide, oldest first.
    pub fn history(&self, slide_id: &str) -> Vec<EventRef<'_>> {
        let slide = self.events.slides.find(slide_id);
        let mut events: Vec<_> = self.events().filter(|event| Some(event.slide_index()) == slide).collect();
        events.sort_by_key(EventRef::order);
        events
    }

    /// The names of all who have acted, in order.
    pub fn annotators(&self) -> impl Iterator<Item = &str> {
        self.events.annotators.iter().map(|(name, _)| &**name)
    }
}

/// The rater's chain, made where there is none; raters stand in order of their names.
fn chain_of_rater<'a>(
    raters: &'a mut Vec<(u32, Chain)>,
    event: EventRef<'_>,
    events: &InternedEvents,
) -> &'a mut Chain {
    let name = |index: u32| &**events.annotators.name(index);
    let found = raters.binary_search_by(|(rater, _)| name(*rater).cmp(event.annotator()));
    let place = found.unwrap_or_else(|place| {
        raters.insert(place, (event.annotator_index(), Chain::default()));
        place
    });
    &mut raters[place].1
}

/// Finds what counts: the newest value that no event takes back, where an undo that was itself undone takes nothing back.
fn current(chain: &[u32], events: &InternedEvents) -> Option<u32> {
    let mut undone: Vec<&str> = Vec::new();
    chain.iter().rev().copied().find(|&index| {
        let event = events.get(index);
        if undone.contains(&event.id()) {
            return false;
        }
        if event.kind() == Kind::Undone {
            undone.extend(event.undoes());
        }
        event.sets_value()
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
