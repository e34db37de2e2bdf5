//! The form by which the reader of a deck report corrects scores.

use base64::Engine as _;
use minijinja::{Value, context};
use sha2::{Digest as _, Sha256};
use slide_data::{Criterion, Prediction, Rubric, Score, sha256_hex};

/// The script of the form, which a service that shows reports has at `/assets/report.js`. A report that is a file has it in itself.
pub const REPORT_SCRIPT: &str = include_str!("../templates/report.js");

/// How the reader of a deck report corrects scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CorrectionForm {
    /// Not at all.
    #[default]
    None,
    /// By a click, which a service notes: the page is shown by it, and asks it at `/corrections` by [`REPORT_SCRIPT`].
    Service,
    /// In the page alone, which is opened as a file and gives a file of [corrections](slide_data::Correction) to download.
    File,
}

impl CorrectionForm {
    /// What the template needs of it. `parts` tell the report from others that are opened in the same browser; the first is its title.
    pub(crate) fn context(self, parts: &[&str]) -> Value {
        match self {
            Self::None => context! { kind => "" },
            Self::Service => context! { kind => "service" },
            // Not escaped: the script is ours and ends no element, and a hash is letters of base64.
            Self::File => context! {
                kind => "file",
                script => Value::from_safe_string(REPORT_SCRIPT.to_owned()),
                source => Value::from_safe_string(format!("'{}'", source(REPORT_SCRIPT))),
                report => sha256_hex(parts.join("\n").as_bytes()),
                file => file_name(parts.first().unwrap_or(&"")),
            },
        }
    }

    /// What a person may say instead of the model, by criterion.
    pub(crate) fn choices(self, rubric: &Rubric, prediction: &Prediction) -> Vec<Value> {
        let criteria = rubric.criteria.iter().filter(|_| self != Self::None);
        let choice = |criterion: &Criterion| {
            let chosen = prediction.score(&criterion.key).map(Score::get);
            let score = |value: Option<u8>| {
                let name = value.map_or_else(|| "not applicable".to_owned(), |value| value.to_string());
                let shown = value.map(|value| value.to_string()).unwrap_or_default();
                context! { is_chosen => value == chosen, name, value => shown }
            };
            let scores = (1..=5).map(Some).chain([None]).map(score).collect::<Vec<_>>();
            let mean = prediction.expected.get(&criterion.key).filter(|mean| mean.is_finite());
            context! { name => criterion.name, key => criterion.key, predicted => mean.map(f64::to_string), scores }
        };
        criteria.map(choice).collect()
    }
}

/// A script as a content security policy allows it: this one and no other.
fn source(script: &str) -> String {
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script.as_bytes())))
}

/// Longest name of a deck within that of a file.
const LONGEST: usize = 60;

/// The name of the file of corrections, which any file system takes.
fn file_name(title: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() || letter == '_' { letter } else { ' ' };
    let words: String = title.chars().map(plain).take(LONGEST).collect();
    let deck = words.split_whitespace().collect::<Vec<_>>().join("-");
    format!("corrections-{}.jsonl", if deck.is_empty() { "deck" } else { &deck })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_allows_a_script_by_the_hash_of_its_text() {
        // The example of the standard, Content Security Policy Level 3.
        assert_eq!(source("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    }

    #[test]
    fn the_script_stands_in_a_page_as_it_is() {
        for ends in ["</script", "<!--", "<script", "\r"] {
            assert!(!REPORT_SCRIPT.contains(ends), "{ends:?} would change what runs, or its hash");
        }
    }

    #[test]
    fn a_file_of_corrections_is_called_by_its_deck() {
        assert_eq!(file_name("001-oriflow"), "corrections-001-oriflow.jsonl");
        assert_eq!(
            file_name("Präsentation (v2) / Söhne & \"Co\""),
            "corrections-Präsentation-v2-Söhne-Co.jsonl"
        );
        assert_eq!(file_name("../../etc\u{202e}<x>\0"), "corrections-etc-x.jsonl");
        assert_eq!(file_name("…"), "corrections-deck.jsonl");
        assert_eq!(file_name(&"x".repeat(500)).len(), "corrections-.jsonl".len() + LONGEST);
    }
}
