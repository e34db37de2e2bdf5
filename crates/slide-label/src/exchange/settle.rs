//! From what a file says to events: columns are judged as a whole, then cells, then rows.

use super::cell::{self, Answer};
use super::order;
use super::plan::{Becomes, Plan};
use super::row::Row;
use super::sheet::{Draft, Sheet};
use super::{Context, Imported, slides, when};
use crate::{Kind, MAX_NOTES};

/// Makes the ratings of the drafts, and completes the plan with what does not get in.
pub(super) fn settle(mut sheet: Sheet, context: Context<'_>) -> Imported {
    refuse_other_scales(&mut sheet, context);
    let drafts = std::mem::take(&mut sheet.drafts);
    let mut rows: Vec<Row> = drafts.into_iter().filter_map(|draft| row(&mut sheet, draft, context)).collect();
    order::recognize(&mut rows, &mut sheet.plan);
    let stars: Vec<Row> = rows.iter().filter_map(Row::final_word).collect();
    rows.extend(stars);
    order::name_people(&mut rows, &mut sheet.plan, context);
    let rows = order::last_wins(rows, &mut sheet.plan);
    let mut events = std::mem::take(&mut sheet.events);
    for row in rows {
        let place = row.place.clone();
        match row.into_event(context) {
            Ok(event) => events.push(event),
            Err(reason) => sheet.plan.leave_out(&place, reason),
        }
    }
    order::count(&events, &mut sheet.plan);
    Imported { events, plan: sheet.plan }
}

/// What numbers stand in a column.
#[derive(Clone)]
struct Numbers {
    all: usize,
    /// Those that are not 1 to 5.
    outside: usize,
    largest: f64,
}

fn numbers(sheet: &Sheet) -> Vec<Numbers> {
    let none = Numbers { all: 0, outside: 0, largest: f64::MIN };
    let mut numbers = vec![none; sheet.plan.columns.len()];
    for (column, text) in sheet.drafts.iter().flat_map(|draft| &draft.answers) {
        let Some(value) = cell::number(text) else { continue };
        let found = &mut numbers[*column];
        found.all += 1;
        found.outside += usize::from(!(1.0..=5.0).contains(&value));
        found.largest = found.largest.max(value);
    }
    numbers
}

/// A criterion whose numbers lie outside 1 to 5 too often to be slips is on another scale: then a 4 is no 4 either.
fn refuse_other_scales(sheet: &mut Sheet, context: Context<'_>) {
    let numbers = numbers(sheet);
    for (column, Numbers { all, outside, largest }) in sheet.plan.columns.iter_mut().zip(numbers) {
        if !matches!(column.becomes, Becomes::Criterion(_)) {
            continue;
        }
        if let Some(scale) = context.rules.scale_of(&column.name) {
            column.reason = format!("{scale} spread evenly over 1-5");
        } else if (outside >= 3 && outside * 10 >= all) || (outside >= 2 && outside * 2 >= all) {
            column.becomes = Becomes::Refused;
            column.reason = format!(
                "{outside} of {all} numbers are not 1 to 5, the largest is {largest}: say the scale, as in `--scale 1-{}`",
                if largest > 10.0 { 100 } else { 10 }
            );
        }
    }
    leave_out_refused(&mut sheet.plan);
}

fn leave_out_refused(plan: &mut Plan) {
    let refused = plan.columns.iter().filter(|column| column.becomes == Becomes::Refused);
    let problems: Vec<_> =
        refused.map(|column| (format!("`{}`", column.name), column.reason.clone())).collect();
    for (place, reason) in problems {
        plan.leave_out(&place, reason);
    }
}

/// The slide of a rating; none where the manifest does not have it, unless such ones are kept.
fn slide(draft: &Draft, plan: &mut Plan, context: Context<'_>) -> Option<String> {
    let Some(slide_id) = slides::resolve(&draft.slide, context.slides) else {
        plan.leave_out(&draft.place, "it names no slide");
        return None;
    };
    let is_known = context.slides.is_none_or(|known| known.find(&slide_id).is_some());
    if !is_known && !context.rules.keeps_unknown {
        *plan.unknown_slides.entry(slide_id).or_default() += 1;
        return None;
    }
    Some(slide_id)
}

fn row(sheet: &mut Sheet, draft: Draft, context: Context<'_>) -> Option<Row> {
    let slide_id = slide(&draft, &mut sheet.plan, context)?;
    let mut row = Row { slide_id, place: draft.place.clone(), ..Row::default() };
    let lost = answers(sheet, &draft, &mut row, context);
    let plan = &mut sheet.plan;
    row.notes = draft.notes.join("\n");
    if row.notes.chars().count() > MAX_NOTES {
        plan.leave_out(&row.place, format!("the notes are longer than {MAX_NOTES} characters"));
        row.notes.clear();
    }
    row.rated_at = time(draft.time.as_deref(), &draft.place, plan, context);
    row.seconds = draft.seconds.as_deref().and_then(|text| seconds(text, &draft.place, plan));
    row.kind = draft.kind;
    row.is_starred = draft.is_starred;
    row.event_id = draft.event_id.filter(|id| !id.is_empty());
    row.model_version = draft.model_version.filter(|version| !version.trim().is_empty());
    row.exported = draft.exported;
    row.exported_id = draft.exported_id;
    row.person = draft.person.into_iter().filter(|name| !name.trim().is_empty()).collect();
    is_taken(&row, lost, plan).then_some(row)
}

/// Whether a row is a rating, of which `lost` cells could not be read.
fn is_taken(row: &Row, lost: usize, plan: &mut Plan) -> bool {
    if row.scores.is_empty() && row.kind != Some(Kind::Skipped) {
        match (lost, row.notes.is_empty()) {
            (0, true) => plan.empty_rows += 1,
            (0, false) => plan.leave_out(&row.place, "notes, but no score"),
            _ => {}
        }
        return false;
    }
    let names_ours = row.event_id.is_some() || row.exported_id.is_some();
    if lost > 0 && names_ours {
        // It may change a rating that is there already, whose score for this criterion would go.
        plan.leave_out(
            &row.place,
            "it has the id of a rating, which is not changed by what can be read in part",
        );
        return false;
    }
    true
}

/// Takes the scores that can be taken; how many cells are lost.
fn answers(sheet: &mut Sheet, draft: &Draft, row: &mut Row, context: Context<'_>) -> usize {
    let mut lost = draft.lost;
    let mut problem = |sheet: &mut Sheet, column: usize, reason: Option<String>| {
        lost += 1;
        sheet.plan.columns[column].left_out += 1;
        if let Some(reason) = reason {
            let name = sheet.plan.columns[column].name.clone();
            sheet.plan.leave_out(&draft.place, format!("`{name}`: {reason}"));
        }
    };
    for (column, text) in &draft.answers {
        let found = &sheet.plan.columns[*column];
        let (key, answer) = match &found.becomes {
            Becomes::Criterion(key) => (key.clone(), cell::answer(text, context.rules.scale_of(&found.name))),
            Becomes::NotApplicable(key) => (key.clone(), does_not_apply(text)),
            _ => {
                problem(sheet, *column, None); // said once, of the column
                continue;
            }
        };
        match answer {
            Ok(Answer::Unset) => {}
            Ok(Answer::Said(score)) => match row.scores.get(&key) {
                Some(held) if *held != score => {
                    problem(sheet, *column, Some("there is another answer for this criterion".to_owned()));
                }
                _ => _ = row.scores.insert(key, score),
            },
            Err(reason) => problem(sheet, *column, Some(reason)),
        }
    }
    lost
}

fn does_not_apply(text: &str) -> Result<Answer, String> {
    let lower = text.trim().to_lowercase();
    match lower.as_str() {
        "" | "0" | "no" | "false" => Ok(Answer::Unset),
        "1" | "yes" | "true" | "x" => Ok(Answer::Said(None)),
        _ if cell::is_not_applicable(&lower) => Ok(Answer::Said(None)),
        _ => Err(format!("`{}` does not say whether it applies", text.trim())),
    }
}

/// A time that cannot be read costs the time alone.
fn time(text: Option<&str>, place: &str, plan: &mut Plan, context: Context<'_>) -> Option<jiff::Timestamp> {
    let when = match when::parse(text?) {
        Ok(when) => when?,
        Err(reason) => {
            plan.notice(reason, place);
            return None;
        }
    };
    if when.at > context.now + jiff::SignedDuration::from_hours(24) {
        plan.notice("a time that is still to come is not taken", place);
        return None;
    }
    if let Some(supposed) = when.supposed {
        plan.notice(supposed, place);
    }
    Some(when.at)
}

/// The longest that a slide can have been looked at, in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

fn seconds(text: &str, place: &str, plan: &mut super::Plan) -> Option<f64> {
    let value = text
        .trim()
        .replace(',', ".")
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
    if value.is_none() && !text.trim().is_empty() {
        plan.notice("what is no number of seconds, or more than a day, is not taken", place);
    }
    value
}
