use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use slide_data::{Answer, Label, Score, Scores};

use super::{Context, Imported, Row, slide_of};
use crate::consensus::median;
use crate::{Event, Kind};

/// Reads a label file of this program or of the original pipeline.
///
/// Where a label carries the distribution of several raters, as many raters are made up (`imported 1`, `imported 2` …) whose scores
/// have that distribution; a score that somebody decided, or that their median does not give, becomes a final word. So no score of
/// the file is lost, and what is taught stays what it was but for raters' severity: who was severe the file does not tell.
pub(super) fn read(text: &str, context: Context<'_>) -> Result<Imported, String> {
    let labels: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut imported = Imported::default();
    for (key, value) in labels {
        match Label::deserialize(value) {
            Ok(label) => {
                for event in events(&slide_of(&key), &label, context) {
                    imported.take(key.clone(), event);
                }
            }
            Err(error) => imported.take(key, Err(error.to_string())),
        }
    }
    Ok(imported)
}

fn events(slide_id: &str, label: &Label, context: Context<'_>) -> Vec<Result<Event, String>> {
    let row = |annotator: String, scores: Scores, notes: String, kind: Kind| Row {
        slide_id: slide_id.to_owned(),
        annotator: Some(annotator),
        scores,
        notes,
        kind: Some(kind),
        ..Row::default()
    };
    let columns: Vec<(&String, Vec<u8>)> =
        label.scores.iter().map(|(key, score)| (key, column(label, key, *score))).collect();
    let raters = label.annotators;
    let mut notes = label.notes.clone();
    let mut events = Vec::new();
    for rater in 0..raters {
        let given =
            columns.iter().filter_map(|(key, codes)| Some(((*key).clone(), Score::new(*codes.get(rater)?))));
        let scores: Scores = given.collect();
        if scores.is_empty() {
            continue;
        }
        let name = if raters == 1 {
            context.annotator.to_owned()
        } else {
            format!("{} {}", context.annotator, rater + 1)
        };
        events.push(row(name, scores, std::mem::take(&mut notes), Kind::Rated).into_event(context));
    }
    let is_final =
        |key: &str, codes: &[u8]| label.decided.contains_key(key) || median(codes) != Some(label.scores[key]);
    let decided = columns.iter().filter(|(key, codes)| is_final(key, codes));
    let scores: Scores = decided.map(|(key, _)| ((*key).clone(), label.scores[*key])).collect();
    if !scores.is_empty() {
        let name = context.annotator.to_owned();
        events.push(row(name, scores, notes, Kind::Adjudicated).into_event(context));
    }
    events
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
