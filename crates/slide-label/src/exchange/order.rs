//! Whose a rating is, and which of several counts.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Context;
use super::plan::{PersonPlan, Plan, Problem};
use super::row::Row;
use super::sheet::Exported;
use crate::{Event, Kind, clean_name};

/// Those of which the tool kept the id; which ids these are.
fn recognize_ids(rows: &mut [Row], plan: &mut Plan) -> HashSet<String> {
    let mut claimed: HashSet<String> = HashSet::new();
    for row in rows {
        let id = row.exported_id.clone().or_else(|| row.event_id.clone());
        let found =
            row.exported.iter().flat_map(|list| list.iter()).find(|record| Some(&record.id) == id.as_ref());
        if let Some(record) = found.filter(|record| !claimed.contains(&record.id)).cloned() {
            claimed.insert(record.id.clone());
            take_back(row, &record, plan);
        }
    }
    claimed
}

/// The exported rating that says what a row says, and that no other row has claimed.
fn says_the_same(row: &Row, claimed: &HashSet<String>) -> Option<Exported> {
    let says_it = |record: &&Exported| {
        let is_skip = row.kind == Some(Kind::Skipped);
        is_skip == (record.kind == Kind::Skipped)
            && record.scores == row.scores
            && record.notes.trim() == row.notes.trim()
            && !claimed.contains(&record.id)
    };
    // A final word was starred: of two that say the same, the starred one is it.
    let list = row.exported.as_deref().map(Vec::as_slice).unwrap_or_default();
    let is_final = |record: &&Exported| (record.kind == Kind::Adjudicated) == row.is_starred;
    list.iter().filter(says_it).find(is_final).or_else(|| list.iter().find(says_it)).cloned()
}

/// Gives ratings of our own export back their ids, people and times: by the id where the tool kept it, else by what they say.
pub(super) fn recognize(rows: &mut [Row], plan: &mut Plan) {
    let mut claimed = recognize_ids(rows, plan);
    for row in rows.iter_mut().filter(|row| row.exported.is_some()) {
        match says_the_same(row, &claimed) {
            Some(record) => {
                claimed.insert(record.id.clone());
                take_back(row, &record, plan);
            }
            None => plan.notice(
                "a rating that is not one of those that were exported is taken as a new one",
                &row.place,
            ),
        }
    }
}

fn take_back(row: &mut Row, record: &Exported, plan: &mut Plan) {
    row.exported = None;
    row.event_id = Some(record.id.clone());
    row.person = vec![record.annotator.clone()];
    row.rated_at = Some(record.rated_at);
    row.seconds = record.seconds;
    row.model_version.clone_from(&record.model_version);
    if row.notes.trim() == record.notes.trim() {
        row.notes.clone_from(&record.notes);
    }
    if row.kind != Some(Kind::Skipped) || record.kind == Kind::Skipped {
        row.kind = Some(record.kind);
    }
    if row.scores != record.scores || row.notes != record.notes || row.kind != Some(record.kind) {
        plan.notice(
            "a rating that was changed since it was exported is taken as its person's change",
            &row.place,
        );
    }
}

/// Of each row, how many ratings of its slide up to it name nobody; final words are counted by themselves.
fn numbers(rows: &[Row]) -> Vec<usize> {
    let mut nameless: HashMap<(String, bool), usize> = HashMap::new();
    let mut numbers = Vec::with_capacity(rows.len());
    for row in rows {
        let count = nameless.entry((row.slide_id.clone(), row.kind == Some(Kind::Adjudicated))).or_default();
        *count += usize::from(row.person.is_empty());
        numbers.push(*count);
    }
    numbers
}

/// Names people as the command line says; several ratings of one slide by nobody are several people's.
pub(super) fn name_people(rows: &mut [Row], plan: &mut Plan, context: Context<'_>) {
    let numbers = numbers(rows);
    let has_several = context.annotator.is_none() && numbers.iter().any(|number| *number > 1);
    let name = context.nameless();
    for (row, number) in rows.iter_mut().zip(numbers) {
        let found = row.person.first();
        row.annotator = match (context.rules.person(&row.person), found) {
            (Some(name), _) => name.to_owned(),
            (None, Some(found)) => clean_name(found).unwrap_or_else(|| found.clone()),
            (None, None) if has_several => format!("{name} {number}"),
            (None, None) => name.to_owned(),
        };
        if let (None, true) = (row.person.first(), has_several) {
            let what = format!(
                "ratings of one slide that name nobody are different people's: {name} 1, {name} 2 and so on"
            );
            plan.notice(what, &row.place);
        }
    }
    list_people(rows, plan);
}

/// Somebody of whom nothing is counted yet.
fn person(found: String, name: String) -> PersonPlan {
    PersonPlan { found, name, ratings: 0, skips: 0, final_words: 0 }
}

/// Enters everybody into the plan, and says of whom it may be that they are one.
fn list_people(rows: &[Row], plan: &mut Plan) {
    let mut people: BTreeMap<String, PersonPlan> = BTreeMap::new();
    for row in rows {
        let found = row.person.first().cloned().unwrap_or_default();
        let name = row.annotator.clone();
        people.entry(row.annotator.clone()).or_insert(person(found, name));
    }
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for name in people.keys() {
        if let Some(other) = folded.insert(name.to_lowercase(), name) {
            plan.notice(
                format!("`{other}` and `{name}` are taken as two people: `--people` makes them one"),
                "",
            );
        }
    }
    plan.people = people.into_values().collect();
}

/// Where no time tells which of a person's ratings of a slide is newer, the later row wins, which is said of each.
pub(super) fn last_wins(rows: Vec<Row>, plan: &mut Plan) -> Vec<Row> {
    let winners = winners(&rows);
    for (index, row) in rows.iter().enumerate() {
        if let Some(&winner) = winners.get(&index) {
            let winner = &rows[winner];
            let is_repeat =
                winner.scores == row.scores && winner.notes == row.notes && winner.kind == row.kind;
            let how = if is_repeat { "says the same" } else { "replaces it" };
            let reason = format!(
                "{} {how}: same person ({}), same slide ({})",
                winner.place, row.annotator, row.slide_id
            );
            plan.replaced.push(Problem { place: row.place.clone(), reason });
        }
    }
    let kept = rows.into_iter().enumerate().filter(|(index, _)| !winners.contains_key(index));
    kept.map(|(_, row)| row).collect()
}

/// The rows that replace others, by those that they replace.
fn winners(rows: &[Row]) -> HashMap<usize, usize> {
    let mut chains: HashMap<(&str, &str, bool), Vec<usize>> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let is_final = row.kind == Some(Kind::Adjudicated);
        chains.entry((&row.annotator, &row.slide_id, is_final)).or_default().push(index);
    }
    let mut winners = HashMap::new();
    for chain in chains.values().filter(|chain| chain.len() > 1) {
        let is_timed = chain.iter().all(|&index| rows[index].rated_at.is_some());
        for (place, &index) in chain.iter().enumerate() {
            let later = chain[place + 1..].iter().rev();
            let mut rivals =
                later.filter(|&&other| !is_timed || rows[other].rated_at == rows[index].rated_at);
            if let Some(&winner) = rivals.next() {
                winners.insert(index, winner);
            }
        }
    }
    winners
}

/// Counts what is taken, by kind and person.
pub(super) fn count(events: &[Event], plan: &mut Plan) {
    let mut people: BTreeMap<String, PersonPlan> =
        std::mem::take(&mut plan.people).into_iter().map(|person| (person.name.clone(), person)).collect();
    for event in events {
        let name = &event.annotator;
        let person = people.entry(name.clone()).or_insert_with(|| person(name.clone(), name.clone()));
        let (all, own) = match event.kind {
            Kind::Rated | Kind::Changed => (&mut plan.ratings, &mut person.ratings),
            Kind::Skipped => (&mut plan.skips, &mut person.skips),
            Kind::Adjudicated => (&mut plan.final_words, &mut person.final_words),
            Kind::Undone | Kind::ModelSeen => {
                plan.other_events += 1;
                continue;
            }
        };
        *all += 1;
        *own += 1;
    }
    plan.people = people.into_values().collect();
}
