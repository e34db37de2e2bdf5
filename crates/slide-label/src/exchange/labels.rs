use serde::Deserialize;
use serde_json::{Map, Value};
use slide_data::{Answer, Label, Score};

use super::cell::text_of;
use super::plan::Becomes;
use super::sheet::{Draft, Sheet};
use super::{Context, slides};
use crate::Kind;
use crate::consensus::median;

/// The most people who can have rated a slide: so many are made up for a label.
const MAX_RATERS: u64 = 1_000;

/// Reads a label file of this program or of the original pipeline.
///
/// Where a label carries the distribution of several raters, as many raters are made up (`imported 1`, `imported 2` …) whose scores
/// have that distribution; a score that somebody decided, or that their median does not give, becomes a final word. So no score of
/// the file is lost, and what is taught stays what it was but for raters' severity: who was severe the file does not tell.
pub(super) fn read(labels: Map<String, Value>, context: Context<'_>) -> Sheet {
    let mut sheet = Sheet::new("labels by slide");
    for (slide, value) in labels {
        sheet.plan.rows += 1;
        if let Err(reason) = check_claims(&value) {
            sheet.plan.leave_out(&slide, reason);
            continue;
        }
        match (Label::deserialize(&value), value) {
            (Ok(label), _) => drafts(&mut sheet, &slide, &label, context),
            // Of one person's scores those that can be read are taken; those of several hang together.
            (Err(_), Value::Object(fields)) if !fields.contains_key("distribution") => {
                cells(&mut sheet, &slide, &fields, context);
            }
            (Err(error), _) => sheet.plan.leave_out(&slide, error.to_string()),
        }
    }
    sheet
}

/// Nobody is made up before it is known how many there are said to be.
fn check_claims(label: &Value) -> Result<(), String> {
    let too_many = |people: u64| {
        format!("it says that {people} people rated the slide: more than {MAX_RATERS} are not taken")
    };
    let counts =
        |key: &str| label.get(key).and_then(Value::as_object).into_iter().flatten().map(|(_, counts)| counts);
    let sum = |counts: &Value| match counts {
        Value::Array(counts) => counts.iter().filter_map(Value::as_u64).fold(0, u64::saturating_add),
        one => one.as_u64().unwrap_or_default(),
    };
    let claims = counts("distribution").chain(counts("not_applicable")).map(sum);
    let largest = claims.chain(label.get("annotators").and_then(Value::as_u64)).max().unwrap_or_default();
    if largest > MAX_RATERS { Err(too_many(largest)) } else { Ok(()) }
}

fn draft(slide: &str, image: &str, annotator: String, kind: Kind) -> Draft {
    let texts = [slide, image].into_iter().filter(|text| !text.is_empty()).map(str::to_owned);
    Draft {
        place: slide.to_owned(),
        slide: texts.collect(),
        person: vec![annotator],
        kind: Some(kind),
        ..Draft::default()
    }
}

/// A label that cannot be read as a whole: what stands under the names of criteria is taken cell by cell.
fn cells(sheet: &mut Sheet, slide: &str, fields: &Map<String, Value>, context: Context<'_>) {
    let image = fields.get("image_path").and_then(Value::as_str).unwrap_or_default();
    let mut draft = draft(slide, image, context.nameless().to_owned(), Kind::Rated);
    for (key, value) in fields
        .iter()
        .filter(|(key, _)| !["schema_version", "image_path", "annotators"].contains(&key.as_str()))
    {
        let column = sheet.named(key, context.rules, context.rubric);
        let found = &mut sheet.plan.columns[column];
        match text_of(value) {
            Ok(text)
                if matches!(found.becomes, Becomes::Criterion(_) | Becomes::Notes) && !text.is_empty() =>
            {
                sheet.fill(&mut draft, column, text);
            }
            Ok(_) => found.filled += 1,
            Err(reason) => sheet.lose(&mut draft, column, format!("`{key}`: {reason}")),
        }
    }
    sheet.drafts.push(draft);
}

fn drafts(sheet: &mut Sheet, slide: &str, label: &Label, context: Context<'_>) {
    let columns: Vec<(&String, Vec<u8>)> =
        label.scores.iter().map(|(key, score)| (key, column(label, key, *score))).collect();
    let raters = raters(slide, label, context);
    let name = context.nameless();
    let mut notes = Some(label.notes.clone()).filter(|notes| !notes.is_empty());
    for rater in 0..raters {
        let given: Vec<(&String, Option<Score>)> =
            columns.iter().filter_map(|(key, codes)| Some((*key, Score::new(*codes.get(rater)?)))).collect();
        if given.is_empty() {
            continue;
        }
        let rater = if raters == 1 { name.to_owned() } else { format!("{name} {}", rater + 1) };
        push(sheet, draft(slide, &label.image_path, rater, Kind::Rated), notes.take(), &given, context);
    }
    let decided = final_words(label, &columns);
    if !decided.is_empty() {
        let word = draft(slide, &label.image_path, name.to_owned(), Kind::Adjudicated);
        push(sheet, word, notes, &decided, context);
    }
}

/// As how many people's a label is read: of a slide that is not taken, as one's.
fn raters(slide: &str, label: &Label, context: Context<'_>) -> usize {
    let known: Vec<String> = vec![slide.to_owned(), label.image_path.clone()];
    let is_left_out = slides::resolve(&known, context.slides).is_some_and(|id| !context.takes(&id));
    if is_left_out { label.annotators.min(1) } else { label.annotators }
}

/// The scores that the raters' own, here beside the criteria, do not make: somebody decided them.
fn final_words<'a>(label: &Label, columns: &[(&'a String, Vec<u8>)]) -> Vec<(&'a String, Option<Score>)> {
    let is_final =
        |key: &str, codes: &[u8]| label.decided.contains_key(key) || median(codes) != Some(label.scores[key]);
    columns
        .iter()
        .filter(|(key, codes)| is_final(key, codes))
        .map(|(key, _)| (*key, label.scores[*key]))
        .collect()
}

fn push(
    sheet: &mut Sheet,
    mut draft: Draft,
    notes: Option<String>,
    given: &[(&String, Option<Score>)],
    context: Context<'_>,
) {
    draft.notes.extend(notes);
    for (key, score) in given {
        let column = sheet.named(key, context.rules, context.rubric);
        let text = score.map_or_else(|| "na".to_owned(), |score| score.get().to_string());
        sheet.fill(&mut draft, column, text);
    }
    sheet.drafts.push(draft);
}

/// One code per made-up rater: the distribution's scores in order, then those who hold the criterion not to apply.
fn column(label: &Label, key: &str, score: Option<Score>) -> Vec<u8> {
    let tally = label.tally(key);
    let scored = (1..=5u8).zip(*tally.counts());
    let mut codes: Vec<u8> =
        scored.flat_map(|(code, count)| std::iter::repeat_n(code, count as usize)).collect();
    codes.extend(std::iter::repeat_n(crate::code::NOT_APPLICABLE, tally.not_applicable() as usize));
    if label.decided.contains_key(key) {
        return codes;
    }
    match Answer::from(score) {
        // A file without distributions has one rater; in one with them, a score that nobody gave is the lead's.
        Answer::Score(score) if label.distribution.is_empty() => codes.push(score.get()),
        // Older files do not say how many people said that the criterion does not apply.
        Answer::NotApplicable if tally.not_applicable() == 0 => {
            let rest = label.annotators.saturating_sub(codes.len()).max(usize::from(codes.is_empty()));
            codes.extend(std::iter::repeat_n(crate::code::NOT_APPLICABLE, rest));
        }
        Answer::Score(_) | Answer::NotApplicable => {}
    }
    codes
}
