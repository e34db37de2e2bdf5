//! `GET /scores/{id}` and `POST /corrections`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use project_files::Layout;
use serde::{Deserialize, Serialize};
use slide_data::prediction_log::PredictionLog;
use slide_data::{Contract as _, Correction, Prediction, Rubric, Score, Scores, sha256_hex};
use utoipa::ToSchema;

use crate::ids::new_id;

use super::answer::{Problem, Rejection};
use super::keys::{self, Stored};
use super::state::App;
use super::upload;

/// The newest scores of a slide, by its id or by the id of the line.
#[utoipa::path(get, path = "/scores/{id}", tag = "scores", params(("id" = String, Path)), responses((status = 200, description = "The line of the log", body = Object), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn scores(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Rejection> {
    let found = look_up(&app, &id).await?;
    Ok(Json(&*found).into_response())
}

/// What was logged of a slide: by this service, which remembers it, or else by any.
async fn look_up(app: &Arc<App>, id: &str) -> Result<Arc<Prediction>, Rejection> {
    if let Some(found) = app.desk.logged(id) {
        return Ok(found);
    }
    let busy = |_| Rejection::busy("the log is being read for others", 2);
    let permit = app.disk.clone().try_acquire_owned().map_err(busy)?;
    let (layout, wanted) = (app.layout.clone(), id.to_owned());
    let searched = tokio::task::spawn_blocking(move || {
        let found = newest(&layout, &wanted);
        drop(permit);
        found
    });
    let found = searched.await.map_err(|_| Rejection::not_saved())?.map_err(|error| {
        tracing::error!("the log cannot be read: {error}");
        Rejection::unavailable("unreadable", "the server could not read its log", 30)
    })?;
    found
        .map(Arc::new)
        .ok_or_else(|| Rejection::not_found("unknown_slide", format!("no slide `{id}` was scored")))
}

/// The line of this id, or the newest line of a slide; past days are looked through as well.
fn newest(layout: &Layout, wanted: &str) -> slide_data::Result<Option<Prediction>> {
    let log = PredictionLog::open(layout)?;
    match log.with_id(wanted)? {
        Some(line) => Ok(Some(line)),
        None => Ok(log.newest_of(&|slide| slide == wanted)?.remove(wanted)),
    }
}

/// What a person says of a slide that the model scored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Corrected {
    /// The slide.
    slide_id: String,
    /// Scores from 1 to 5 by criterion, `null` where the criterion does not apply; criteria that are left alone are absent.
    #[schema(value_type = BTreeMap<String, Option<u8>>)]
    scores: BTreeMap<String, Option<u8>>,
    /// Who corrects.
    annotator: String,
    /// Why.
    #[serde(default)]
    notes: String,
    /// Names the correction; one that is sent twice counts once.
    #[serde(default)]
    id: Option<String>,
}

/// What was taken of a correction.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Taken {
    /// Its id.
    id: String,
    /// Whether it was new.
    is_new: bool,
    /// The scores that are noted under this id: those that differ from the model's.
    #[schema(value_type = BTreeMap<String, Option<u8>>)]
    scores: Scores,
}

/// Largest body of a correction.
const MAX_BYTES: usize = 64 << 10;

/// Corrects the scores of a slide.
#[utoipa::path(
    post, path = "/corrections", tag = "scores", request_body = Corrected,
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the request, so that it can be sent again")),
    responses((status = 200, body = Taken), (status = 404, description = "No such slide was scored", body = Problem), (status = 409, description = "Another correction has this id", body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem))
)]
pub(super) async fn correct(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Rejection> {
    let key = keys::key_of(&headers)?;
    let body = upload::read_body(&app, request, MAX_BYTES).await?;
    let asked = sha256_hex(&[b"corrections ".as_slice(), &body].concat());
    let (keys, name) = (app.keys.clone(), key.clone());
    keys.once(key, asked, async move {
        let said: Corrected = serde_json::from_slice(&body).map_err(|e| Rejection::invalid(e.to_string()))?;
        check(&said)?;
        let scores = scores_of(&said, &app.rubric)?;
        let prediction = look_up(&app, &said.slide_id).await?;
        let correction = correction(said, &scores, &prediction, name.as_deref())?;
        let (is_new, Correction { id, scores, .. }) = note(&app, correction, &scores).await?;
        Stored::json(StatusCode::OK, &Taken { id, is_new, scores })
    })
    .await
}

/// Notes a correction. Where one of its id is noted already, that one counts; whether it was new.
async fn note(
    app: &Arc<App>,
    correction: Correction,
    said: &Scores,
) -> Result<(bool, Correction), Rejection> {
    let busy = |_| Rejection::busy("too many corrections at once", 1);
    let permit = app.disk.clone().try_acquire_owned().map_err(busy)?;
    let (shared, kept) = (app.clone(), correction.clone());
    let adding = tokio::task::spawn_blocking(move || {
        let added = shared.corrections.lock().unwrap_or_else(PoisonError::into_inner).add(&kept);
        drop(permit);
        added
    });
    let before = adding.await.map_err(|_| Rejection::not_saved())?.map_err(|error| {
        tracing::error!("a correction was not noted: {error}");
        Rejection::not_saved()
    })?;
    match before {
        None => Ok((true, correction)),
        Some(before) if is_again(&correction, said, &before) => Ok((false, before)),
        Some(Correction { id, .. }) => {
            let message = format!(
                "another correction has the id `{id}`, and stays; send this one under an id of its own"
            );
            Err(Rejection::new(StatusCode::CONFLICT, "known_id", message))
        }
    }
}

/// Whether a correction is the one before, sent again: perhaps after another version has scored the slide, so that it differs from the
/// model's scores in other criteria.
fn is_again(now: &Correction, said: &Scores, before: &Correction) -> bool {
    let of = |one: &Correction| [&one.slide_id, &one.annotator, &one.notes].map(String::clone);
    let is_said = |(key, score): (&String, &Option<Score>)| said.get(key) == Some(score);
    of(now) == of(before)
        && (now.scores == before.scores
            || now.model_version != before.model_version && before.scores.iter().all(is_said))
}

fn check(said: &Corrected) -> Result<(), Rejection> {
    let lengths = [
        ("annotator", said.annotator.trim().chars().count(), 1, 100),
        ("notes", said.notes.chars().count(), 0, 2000),
        ("slide_id", said.slide_id.chars().count(), 1, 200),
        ("id", said.id.as_ref().map_or(1, |id| id.chars().count()), 1, 200),
    ];
    match lengths.into_iter().find(|(_, length, least, most)| !(least..=most).contains(&length)) {
        Some((name, _, least, most)) => {
            Err(Rejection::invalid(format!("`{name}` has {least} to {most} characters")))
        }
        None => Ok(()),
    }
}

/// The scores, each of a criterion of the rubric and on its scale.
fn scores_of(said: &Corrected, rubric: &Rubric) -> Result<Scores, Rejection> {
    let score = |(key, value): (&String, &Option<u8>)| {
        if !rubric.keys().any(|known| known == key) {
            let known = rubric.keys().collect::<Vec<_>>().join(", ");
            return Err(Rejection::invalid(format!("there is no criterion `{key}`; there are {known}")));
        }
        let off = |value| Rejection::invalid(format!("`{key}` is {value}; scores run from 1 to 5"));
        let score = value.map(|value| Score::new(value).ok_or_else(|| off(value))).transpose()?;
        Ok((key.clone(), score))
    };
    said.scores.iter().map(score).collect()
}

/// The correction: what differs from the model's scores, by criterion. A criterion that the model left out may be scored; one that it
/// left out need not be said not to apply.
fn correction(
    said: Corrected,
    scores: &Scores,
    prediction: &Prediction,
    key: Option<&str>,
) -> Result<Correction, Rejection> {
    let differs = |(name, score): &(&String, &Option<Score>)| prediction.score(name) != **score;
    let scores: Scores = scores.iter().filter(differs).map(|(key, score)| (key.clone(), *score)).collect();
    if scores.is_empty() {
        return Err(Rejection::invalid("nothing differs from the model's scores, so nothing is corrected"));
    }
    let id_of_key = || key.map(|key| crate::ids::id_for_key(key, 0, &said.slide_id));
    Ok(Correction {
        schema_version: Correction::VERSION,
        id: said.id.clone().or_else(id_of_key).unwrap_or_else(new_id),
        slide_id: prediction.slide_id.clone(),
        model_version: prediction.model_version.clone(),
        annotator: said.annotator.trim().to_owned(),
        corrected_at: Timestamp::now(),
        predicted: prediction.expected.clone(),
        scores,
        notes: said.notes,
    })
}

#[cfg(test)]
mod tests {
    use project_files::Storage;

    use super::*;

    fn said(scores: &[(&str, Option<u8>)]) -> Corrected {
        Corrected {
            slide_id: "s".to_owned(),
            scores: scores.iter().map(|(key, score)| ((*key).to_owned(), *score)).collect(),
            annotator: "Ana".to_owned(),
            notes: String::new(),
            id: None,
        }
    }

    fn scored() -> Prediction {
        let mut prediction = Prediction::sample("s");
        prediction.distributions.insert("clarity".to_owned(), [0.0, 0.0, 1.0, 0.0, 0.0]);
        prediction.decide(None);
        prediction
    }

    #[test]
    fn only_what_differs_is_a_correction() {
        let rubric = Rubric::default();
        let take = |said: Corrected| {
            let scores = scores_of(&said, &rubric)?;
            correction(said, &scores, &scored(), None)
        };
        let taken = take(said(&[("clarity", Some(5)), ("design", Some(2)), ("readability", None)])).unwrap();
        assert_eq!(taken.scores.keys().collect::<Vec<_>>(), ["clarity", "design"]);
        assert_eq!((taken.predicted["clarity"], taken.annotator.as_str()), (3.0, "Ana"));
        for wrong in [
            &[("clarity", Some(3))][..],
            &[("clarity", Some(6))],
            &[("clarity", Some(0))],
            &[("x", Some(3))],
            &[],
        ] {
            let refused = take(said(wrong)).unwrap_err();
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
        }
    }

    #[test]
    fn who_corrects_must_be_named_and_notes_have_an_end() {
        check(&said(&[])).unwrap();
        let nobody = Corrected { annotator: "  ".to_owned(), ..said(&[]) };
        assert!(check(&nobody).unwrap_err().message.contains("annotator"));
        let long = Corrected { notes: "x".repeat(2001), ..said(&[]) };
        assert!(check(&long).unwrap_err().message.contains("notes"));
    }

    #[test]
    fn the_log_gives_the_newest_line_of_a_slide_and_every_line_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage { monitoring_dir: dir.path().to_owned(), ..Storage::default() };
        let log = Layout::new(&storage, dir.path());
        assert_eq!(newest(&log, "s").unwrap(), None);
        let line = |id: &str, second: i64| Prediction {
            id: Some(id.to_owned()),
            scored_at: Timestamp::from_second(second).unwrap(),
            ..Prediction::sample("s")
        };
        Prediction::append(&log.predictions(), &[line("a", 1), line("b", 3), line("c", 2)]).unwrap();
        assert_eq!(newest(&log, "s").unwrap().unwrap().id.as_deref(), Some("b"));
        assert_eq!(newest(&log, "a").unwrap().unwrap().id.as_deref(), Some("a"));
        assert_eq!(newest(&log, "t").unwrap(), None);
    }
}
