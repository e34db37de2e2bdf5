//! Argilla's records: `responses` by question and user (2.x), or a list with `values` (1.x).

use serde_json::{Map, Value};

use super::cell::text_of;
use super::sheet::{Draft, Record, Sheet};
use super::{Context, label_studio};
use crate::Kind;

pub(super) fn read(records: &[Record], context: Context<'_>) -> Sheet {
    let mut sheet = Sheet::new("records of Argilla");
    for (place, record) in records {
        sheet.plan.rows += 1;
        let slide = slide_texts(record, context);
        sheet.plan.predictions += suggestions(record);
        for (person, status, answers) in responses(record) {
            if status == "draft" {
                sheet.plan.drafts += 1;
                continue;
            }
            let kind = (status == "discarded").then_some(Kind::Skipped);
            let mut draft = Draft { place: place.clone(), slide: slide.clone(), kind, ..Draft::default() };
            draft.person.extend(person.into_iter().flat_map(|id| [format!("argilla {id}"), id.to_owned()]));
            take(&mut sheet, &mut draft, &answers, context);
            sheet.drafts.push(draft);
        }
    }
    sheet
}

fn slide_texts(record: &Map<String, Value>, context: Context<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    for part in ["metadata", "fields"] {
        texts.extend(
            record
                .get(part)
                .and_then(Value::as_object)
                .map(|data| label_studio::slide_texts(data, context))
                .unwrap_or_default(),
        );
    }
    texts
        .extend(["external_id", "id"].iter().filter_map(|key| record.get(*key)?.as_str().map(str::to_owned)));
    texts
}

/// How many answers of models stand beside the people's.
fn suggestions(record: &Map<String, Value>) -> usize {
    record.get("suggestions").map_or(0, |list| {
        list.as_array().map(Vec::len).or_else(|| list.as_object().map(Map::len)).unwrap_or_default()
    })
}

type Response<'a> = (Option<&'a str>, String, Vec<(&'a str, &'a Value)>);

/// Who answered, with which status, and the answers by question.
fn responses(record: &Map<String, Value>) -> Vec<Response<'_>> {
    let mut found: Vec<Response<'_>> = Vec::new();
    match record.get("responses") {
        Some(Value::Array(list)) => {
            for response in list {
                let status = response["status"].as_str().unwrap_or("submitted").to_owned();
                let values = response["values"].as_object().into_iter().flatten();
                found.push((
                    response["user_id"].as_str(),
                    status,
                    values.map(|(key, value)| (key.as_str(), value)).collect(),
                ));
            }
        }
        Some(Value::Object(questions)) => found = by_person(questions),
        _ => {}
    }
    found
}

/// The same, of answers that stand below their questions.
fn by_person(questions: &Map<String, Value>) -> Vec<Response<'_>> {
    let mut found: Vec<Response<'_>> = Vec::new();
    for (question, answers) in questions {
        for answer in answers.as_array().into_iter().flatten() {
            let person = answer["user_id"].as_str();
            let status = answer["status"].as_str().unwrap_or("submitted");
            match found.iter_mut().find(|(user, held, _)| *user == person && held == status) {
                Some((_, _, answers)) => answers.push((question, answer)),
                None => found.push((person, status.to_owned(), vec![(question, answer)])),
            }
        }
    }
    found
}

fn take(sheet: &mut Sheet, draft: &mut Draft, answers: &[(&str, &Value)], context: Context<'_>) {
    for (question, answer) in answers {
        let column = sheet.named(question, context.rules, context.rubric);
        match text_of(answer) {
            Ok(text) if !text.is_empty() => sheet.fill(draft, column, text),
            Ok(_) => {}
            Err(reason) => {
                draft.lost += 1;
                sheet.plan.leave_out(&draft.place, format!("`{question}`: {reason}"));
            }
        }
    }
}
