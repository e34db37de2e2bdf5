//! Journals brought together, and labels derived from a journal, without a page that is being served.

use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::Layout;
use slide_data::{Labels, Rubric};

use crate::derived::LabelTexts;
use crate::{ConsensusRule, Error, Event, Journal, Result, Standing, Store, StoreBuilder, labels};

/// How many events at most share one sync of the disk.
const BATCH: usize = 8192;

/// What a merge did.
#[derive(Debug, Default)]
pub struct Merged {
    /// Events that were new.
    pub added: usize,
    /// Events that were there before.
    pub known: usize,
    /// Events that break a rule, with the reason.
    pub refused: Vec<(Event, Error)>,
    /// Criteria that the rubric does not have, with how many events of the journal score them by now.
    pub uncounted: BTreeMap<String, usize>,
}

/// Merges events into the journal and derives `labels.json`. An event whose id is taken by another one with other scores is an edit
/// (a table that was exported, changed and read back): it counts as a change made when it says, or now where its time is the old one.
///
/// # Errors
/// When another process has locked the journal, or cannot be read or written.
pub fn merge(paths: &Layout, rubric: &Rubric, rule: ConsensusRule, events: Vec<Event>) -> Result<Merged> {
    let mut builder = StoreBuilder::new(rubric.clone());
    let (mut journal, _) = Journal::open_with(&paths.journal(), |event| builder.add(event))?;
    let (mut store, _) = builder.finish();
    let (added, merged) = sift(&mut store, events);
    for batch in added.chunks(BATCH) {
        journal.append(batch)?;
    }
    LabelTexts::derive(&store, rule, paths).write(&paths.labels())?;
    Ok(merged)
}

/// What a merge would do, without taking the journal's lock and without writing anything.
///
/// # Errors
/// When the journal cannot be read.
pub fn preview(paths: &Layout, rubric: &Rubric, events: Vec<Event>) -> Result<Merged> {
    let mut builder = StoreBuilder::new(rubric.clone());
    Journal::read_with(&paths.journal(), |event| builder.add(event))?;
    let (mut store, _) = builder.finish();
    Ok(sift(&mut store, events).1)
}

/// Takes the new events into the store and says which they are.
fn sift(store: &mut Store, mut events: Vec<Event>) -> (Vec<Event>, Merged) {
    let mut merged = Merged::default();
    let mut added = Vec::new();
    // What takes something back comes after everything it may name.
    events.sort_by(|a, b| (a.undoes.is_some(), a.at, &a.id).cmp(&(b.undoes.is_some(), b.at, &b.id)));
    for event in events {
        let event = as_edit(store, event);
        match store.merge_check(&event) {
            Ok(Standing::New) => {
                added.push(event.clone());
                store.apply(event);
            }
            Ok(Standing::Known) => merged.known += 1,
            Err(error) => merged.refused.push((event, error)),
        }
    }
    merged.added = added.len();
    merged.uncounted = store.uncounted();
    (added, merged)
}

/// An id of what an edit says, so that importing it twice is one edit.
fn edit_id(event: &Event, is_later: bool) -> String {
    let mut said = vec![serde_json::json!(event.id), serde_json::json!(event.scores)];
    said.extend([serde_json::json!(event.notes), serde_json::json!(event.kind)]);
    said.extend(is_later.then(|| serde_json::json!(event.at)));
    let said = serde_json::Value::Array(said);
    format!("edit-{}", &slide_data::sha256_hex(said.to_string().as_bytes())[..32])
}

fn as_edit(store: &Store, mut event: Event) -> Event {
    let Some(held) = store.event(&event.id).filter(|held| {
        held.sets_value()
            && event.sets_value()
            && held.slide_id() == event.slide_id
            && held.annotator() == event.annotator
    }) else {
        return event;
    };
    if !held.to_event().is_same(&event) && held.at() <= event.at {
        let is_later = held.at() < event.at; // the tool that it comes from keeps the id and says when it was changed
        event.base = Some(held.id().to_owned());
        event.id = edit_id(&event, is_later);
        event.at = if is_later { event.at } else { Timestamp::now() };
        if event.kind == crate::Kind::Rated {
            event.kind = crate::Kind::Changed;
        }
    }
    event
}

/// Derives `labels.json` from the journal alone, without taking the journal's lock.
///
/// # Errors
/// When the journal cannot be read or the labels cannot be written.
pub fn rebuild(paths: &Layout, rubric: &Rubric, rule: ConsensusRule) -> Result<Labels> {
    let mut builder = StoreBuilder::new(rubric.clone());
    Journal::read_with(&paths.journal(), |event| builder.add(event))?;
    let (store, _) = builder.finish();
    let derived = labels(&store, rule, &|slide| paths.image_path(slide));
    LabelTexts::of(&derived).write(&paths.labels())?;
    Ok(derived)
}
