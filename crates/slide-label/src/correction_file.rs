//! Corrections that come in a file: from another system, or from a service on another machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slide_data::{Contract as _, Correction, Prediction, Rubric, Scores, sha256_hex};

use crate::error::io_error;
use crate::{Corrections, Result};

/// What a file's lines are held against.
pub struct CorrectionRules<'a> {
    /// Whose criteria may be scored.
    pub rubric: &'a Rubric,
    /// Lines that are dated later are not taken.
    pub now: Timestamp,
    /// The newest scores of slides, which say what a line left out.
    pub predictions: &'a BTreeMap<String, Prediction>,
    /// Whether a slide was collected, kept or scored here; without it every slide is taken.
    pub is_known: Option<&'a dyn Fn(&str) -> bool>,
}

/// A line that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotTaken {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// What becomes of a file of corrections.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CorrectionPlan {
    /// Those that are new, in their order.
    pub new: Vec<Correction>,
    /// How many are noted already, or stand in the file twice.
    pub known: usize,
    /// Lines that are not taken.
    pub not_taken: Vec<NotTaken>,
}

/// A line: the contract's form, of which what the model had said, the time and the id may be left out.
#[derive(Deserialize, Serialize)]
struct Sent {
    #[serde(default)]
    id: Option<String>,
    slide_id: String,
    #[serde(default)]
    model_version: Option<String>,
    annotator: String,
    #[serde(default)]
    corrected_at: Option<Timestamp>,
    #[serde(default)]
    predicted: BTreeMap<String, f64>,
    scores: Scores,
    #[serde(default)]
    notes: String,
}

/// The slides that the lines of a file name.
pub fn slides_of_corrections(file: &[u8]) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Named {
        slide_id: String,
    }
    lines(file).filter_map(|(_, line)| Some(serde_json::from_slice::<Named>(line).ok()?.slide_id)).collect()
}

fn lines(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    (1..).zip(file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)).filter(|(_, line)| !line.is_empty())
}

impl Corrections {
    /// What becomes of a file with a correction a line. Nothing is written.
    pub fn plan(&self, file: &[u8], rules: &CorrectionRules<'_>) -> CorrectionPlan {
        let mut plan = CorrectionPlan::default();
        let mut of_file: BTreeMap<String, Correction> = BTreeMap::new();
        for (line, bytes) in lines(file) {
            let found =
                read(bytes, rules).and_then(|(sent, id)| match self.get(&id).or_else(|| of_file.get(&id)) {
                    Some(before) if is_again(&sent, before) => Ok(None),
                    Some(_) => Err(format!("another correction has the id `{id}`, and stays")),
                    None => correction(sent, id, rules).map(Some),
                });
            match found {
                Ok(Some(new)) => {
                    of_file.insert(new.id.clone(), new.clone());
                    plan.new.push(new);
                }
                Ok(None) => plan.known += 1,
                Err(reason) => plan.not_taken.push(NotTaken { line, reason }),
            }
        }
        plan
    }

    /// Appends the new ones of a plan.
    ///
    /// # Errors
    /// When they cannot be written; none of them counts then.
    pub fn take(&mut self, plan: &CorrectionPlan) -> Result<()> {
        if plan.new.is_empty() { Ok(()) } else { self.append(&plan.new) }
    }
}

/// A line that is whole, with its id: one that states none has one by what it says.
fn read(bytes: &[u8], rules: &CorrectionRules<'_>) -> std::result::Result<(Sent, String), String> {
    let version = Correction::version_in(bytes);
    if version > Correction::VERSION {
        return Err(format!("it is of version {version}, and this program knows {}", Correction::VERSION));
    }
    let mut sent: Sent =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no correction: {error}"))?;
    sent.annotator = sent.annotator.trim().to_owned();
    check(&sent, rules)?;
    let content = || serde_json::to_vec(&sent).unwrap_or_default();
    let id = sent.id.clone().unwrap_or_else(|| format!("file-{}", &sha256_hex(&content())[..32]));
    Ok((sent, id))
}

fn check(sent: &Sent, rules: &CorrectionRules<'_>) -> std::result::Result<(), String> {
    let lengths = [
        ("annotator", sent.annotator.chars().count(), 1, 100),
        ("notes", sent.notes.chars().count(), 0, 2000),
        ("slide_id", sent.slide_id.chars().count(), 1, 200),
        ("id", sent.id.as_ref().map_or(1, |id| id.chars().count()), 1, 200),
    ];
    if let Some((name, _, least, most)) =
        lengths.into_iter().find(|(_, length, least, most)| !(least..=most).contains(&length))
    {
        return Err(format!("`{name}` has {least} to {most} characters"));
    }
    if sent.scores.is_empty() {
        return Err("it holds no score".to_owned());
    }
    if let Some(key) = sent.scores.keys().find(|key| !rules.rubric.keys().any(|known| known == *key)) {
        let known = rules.rubric.keys().collect::<Vec<_>>().join(", ");
        return Err(format!("there is no criterion `{key}`; there are {known}"));
    }
    if let Some(at) = sent.corrected_at.filter(|at| *at > rules.now) {
        return Err(format!("it is dated ahead, {at}: a clock is wrong"));
    }
    match rules.is_known {
        Some(is_known) if !is_known(&sent.slide_id) => {
            Err(format!("no slide `{}` was collected, kept or scored here", sent.slide_id))
        }
        _ => Ok(()),
    }
}

/// Whether a line says what is noted already. What of it differed from the model's scores depends on the version that had scored.
fn is_again(sent: &Sent, before: &Correction) -> bool {
    let is_said = |(key, score)| sent.scores.get(key) == Some(score);
    sent.slide_id == before.slide_id
        && sent.annotator == before.annotator
        && sent.notes == before.notes
        && before.scores.iter().all(is_said)
        && (sent.model_version.is_none() || sent.scores.len() == before.scores.len())
}

/// The correction. Where a line does not say which version it corrects, it is what differs from the newest scores of the slide.
fn correction(
    mut sent: Sent,
    id: String,
    rules: &CorrectionRules<'_>,
) -> std::result::Result<Correction, String> {
    if sent.model_version.is_none() {
        let Some(prediction) = rules.predictions.get(&sent.slide_id) else {
            return Err(
                "it does not say which `model_version` it corrects, and its slide was not scored here"
                    .to_owned(),
            );
        };
        sent.scores.retain(|key, score| prediction.score(key) != *score);
        if sent.scores.is_empty() {
            return Err("nothing differs from the model's scores, so nothing is corrected".to_owned());
        }
        sent.model_version = Some(prediction.model_version.clone());
        sent.predicted.clone_from(&prediction.expected);
    }
    Ok(Correction {
        schema_version: Correction::VERSION,
        id,
        slide_id: sent.slide_id,
        model_version: sent.model_version.unwrap_or_default(),
        annotator: sent.annotator,
        corrected_at: sent.corrected_at.unwrap_or(rules.now),
        predicted: sent.predicted,
        scores: sent.scores,
        notes: sent.notes,
    })
}

/// Reads a file of corrections.
///
/// # Errors
/// When it cannot be read.
pub fn read_corrections(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(io_error("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slide_data::Score;

    const WHOLE: &str = r#"{"schema_version":1,"id":"c1","slide_id":"s","model_version":"v1","annotator":"Ana","corrected_at":"2026-01-01T00:00:00Z","predicted":{"clarity":3.4},"scores":{"clarity":2},"notes":"n"}"#;

    fn scored() -> BTreeMap<String, Prediction> {
        let mut prediction = Prediction::sample("s");
        prediction.distributions.insert("clarity".to_owned(), [0.0, 0.0, 1.0, 0.0, 0.0]);
        prediction.decide(None);
        [("s".to_owned(), prediction)].into()
    }

    /// What becomes of lines, after those that are noted.
    fn plan(noted: &Corrections, lines: &[&str]) -> CorrectionPlan {
        let rubric = Rubric::default();
        let predictions = scored();
        let rules = CorrectionRules {
            rubric: &rubric,
            now: "2026-02-01T00:00:00Z".parse().unwrap(),
            predictions: &predictions,
            is_known: Some(&|slide| slide == "s"),
        };
        noted.plan(lines.join("\n").as_bytes(), &rules)
    }

    #[test]
    fn whole_lines_are_taken_as_they_are_and_repeated_ones_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corrections.jsonl");
        let mut noted = Corrections::open(&path).unwrap();
        let found = plan(&noted, &[WHOLE, "", WHOLE]);
        assert_eq!((found.new.len(), found.known, found.not_taken.len()), (1, 1, 0));
        assert_eq!(found.new[0], serde_json::from_str::<Correction>(WHOLE).unwrap());
        noted.take(&found).unwrap();
        for noted in [&noted, &Corrections::open(&path).unwrap()] {
            let again = plan(noted, &[WHOLE]);
            assert_eq!((again.new.len(), again.known), (0, 1));
        }
        assert_eq!(Correction::read_log(&path).unwrap().entries, found.new);
    }

    #[test]
    fn what_a_line_leaves_out_is_told_by_the_newest_scores_of_its_slide() {
        let dir = tempfile::tempdir().unwrap();
        let mut noted = Corrections::open(&dir.path().join("corrections.jsonl")).unwrap();
        let line =
            r#"{"slide_id":"s","annotator":" Ana ","scores":{"clarity":3,"design":1,"readability":null}}"#;
        let found = plan(&noted, &[line]);
        let Correction { id, model_version, annotator, predicted, scores, corrected_at, .. } = &found.new[0];
        assert_eq!((model_version.as_str(), annotator.as_str(), predicted["clarity"]), ("v1", "Ana", 3.0));
        assert_eq!(*scores, Scores::from([("design".to_owned(), Score::new(1))]), "only what differs");
        assert_eq!(corrected_at.to_string(), "2026-02-01T00:00:00Z");
        assert!(id.starts_with("file-"), "{id}");
        noted.take(&found).unwrap();
        assert_eq!(plan(&noted, &[line]).known, 1, "the same words have the same id");
    }

    #[test]
    fn each_line_that_is_not_taken_is_named_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let mut noted = Corrections::open(&dir.path().join("corrections.jsonl")).unwrap();
        noted.take(&plan(&noted, &[WHOLE])).unwrap();
        let other = |from: &str, to: &str| {
            assert!(WHOLE.contains(from), "{from}");
            WHOLE.replace("\"c1\"", "\"c2\"").replace(from, to)
        };
        let cases = [
            ("{\"slide_id\":".to_owned(), "no correction"),
            ("[]".to_owned(), "no correction"),
            (other("\"schema_version\":1", "\"schema_version\":9"), "version 9"),
            (other("\"clarity\":2", "\"clarity\":6"), "no correction"),
            (other("\"clarity\":2", "\"beauty\":2"), "no criterion `beauty`"),
            (other("{\"clarity\":2}", "{}"), "no score"),
            (other("\"Ana\"", "\" \""), "annotator"),
            (other("2026-01-01", "2029-01-01"), "dated ahead"),
            (other("\"slide_id\":\"s\"", "\"slide_id\":\"t\""), "no slide `t`"),
            (WHOLE.replace("\"clarity\":2", "\"clarity\":4"), "another correction has the id `c1`"),
            (r#"{"slide_id":"s","annotator":"Ana","scores":{"clarity":3}}"#.to_owned(), "nothing differs"),
        ];
        for (line, reason) in &cases {
            let found = plan(&noted, &[WHOLE, line]);
            assert!(found.new.is_empty() && found.known == 1, "{line}");
            assert_eq!(found.not_taken.len(), 1, "{line}");
            assert!(found.not_taken[0].line == 2 && found.not_taken[0].reason.contains(reason), "{found:?}");
        }
        assert_eq!(noted.len(), 1);
    }

    #[test]
    fn the_slides_of_a_file_are_known_before_its_lines_are_judged() {
        let file = format!("\u{feff}{WHOLE}\r\nno line\n{{\"slide_id\":\"t\"}}");
        assert_eq!(slides_of_corrections(file.as_bytes()), ["s".to_owned(), "t".to_owned()].into());
    }
}
