use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One thing that a slide is rated on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// The name in files: lower case with underscores, as in `data_visualization`.
    pub key: String,
    /// The name that people and the model read, as in `Data visualization`.
    pub name: String,
    /// What is asked, in one sentence.
    #[serde(default)]
    pub question: String,
    /// What a 1, a 3 and a 5 look like.
    #[serde(default)]
    pub anchors: [String; 3],
}

/// The criteria, the prompt and with them the form of the answer: one line `Name: score` per criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rubric {
    /// What the model is asked, after the image.
    pub prompt: String,
    /// The criteria in the order of the answer's lines.
    pub criteria: Vec<Criterion>,
}

impl Rubric {
    /// Checks that there is at least one criterion and that keys and names are unique and not empty.
    ///
    /// # Errors
    /// Names the offending key.
    pub fn validate(&self) -> Result<()> {
        let domain = |key: &str, expected: &str, actual: &str| Error::Domain {
            key: key.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        };
        if self.criteria.is_empty() {
            return Err(domain("rubric.criteria", "at least one criterion", "none"));
        }
        for (index, criterion) in self.criteria.iter().enumerate() {
            if !is_key(&criterion.key) {
                return Err(domain("rubric.criteria.key", "lower case with underscores", &criterion.key));
            }
            if criterion.name.trim().is_empty() || criterion.name.contains(['\n', ':', '<']) {
                return Err(domain("rubric.criteria.name", "one line without `:` or `<`", &criterion.name));
            }
            let earlier = &self.criteria[..index];
            if earlier.iter().any(|other| other.key == criterion.key || other.name == criterion.name) {
                return Err(domain("rubric.criteria", "a list without repetition", &criterion.key));
            }
        }
        Ok(())
    }

    /// The keys in the order of the answer.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.criteria.iter().map(|criterion| criterion.key.as_str())
    }
}

impl Default for Rubric {
    fn default() -> Self {
        let criterion = |key: &str, name: &str, question: &str, anchors: [&str; 3]| Criterion {
            key: key.to_owned(),
            name: name.to_owned(),
            question: question.to_owned(),
            anchors: anchors.map(str::to_owned),
        };
        Self {
            prompt: "Rate this pitch deck slide from 1 (poor) to 5 (excellent) on each criterion.".to_owned(),
            criteria: vec![
                criterion(
                    "clarity",
                    "Clarity",
                    "Is there one message, and is it understood in five seconds?",
                    [
                        "no message to be found, or several that compete",
                        "a message, found after reading it all",
                        "one message, seen at a glance",
                    ],
                ),
                criterion(
                    "design",
                    "Design",
                    "Do layout, colour and alignment look intended?",
                    [
                        "cluttered, misaligned, clashing colours",
                        "plain and orderly",
                        "consistent, balanced, with a clear focus",
                    ],
                ),
                criterion(
                    "data_visualization",
                    "Data visualization",
                    "Do charts and tables show what the numbers mean? Not applicable where no numbers are shown.",
                    [
                        "a wrong or unreadable chart",
                        "a fitting chart that needs explaining",
                        "the chart alone makes the point",
                    ],
                ),
                criterion(
                    "readability",
                    "Readability",
                    "Can everything be read from the back of a room?",
                    ["tiny or faint text", "most of it can be read", "large text with strong contrast"],
                ),
                criterion(
                    "content_quality",
                    "Content quality",
                    "Is the content specific, relevant and backed by evidence?",
                    [
                        "empty phrases",
                        "relevant, partly backed",
                        "specific, relevant and backed by numbers or sources",
                    ],
                ),
            ],
        }
    }
}

/// Whether a criterion may have this key.
fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
