use std::collections::BTreeMap;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::target::{Decision, Masses};
use crate::{Contract, Error, Result, Rubric, Score};

/// Scores by criterion key; `None` where the criterion does not apply.
pub type Scores = BTreeMap<String, Option<Score>>;

/// What people say of one slide, and the scores that follow. In JSON the criteria stand beside the other fields.
///
/// How it becomes what is taught and measured against: [`Label::target`], by the rule in [`target`](crate::target).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Label {
    /// The point score of each criterion: that of its [`target`](Self::target).
    pub scores: Scores,
    /// What the raters noted.
    pub notes: String,
    /// The image, relative to the project's folder.
    pub image_path: String,
    /// How many people rated the slide.
    pub annotators: usize,
    /// For each criterion how many raters gave 1, 2, 3, 4, 5.
    pub distribution: BTreeMap<String, [u32; Score::LEVELS]>,
    /// For each criterion how many raters said that it does not apply; absent where none did, and in older files.
    pub not_applicable: BTreeMap<String, u32>,
    /// Where raters' severity is made up for: for each criterion how much of them lies on 1, 2, 3, 4, 5.
    pub severity_corrected: BTreeMap<String, Masses>,
    /// The criteria whose score is somebody's word: a final word, or a correction.
    pub decided: BTreeMap<String, Decision>,
}

const FIELDS: [&str; 8] = [
    "schema_version",
    "notes",
    "image_path",
    "annotators",
    "distribution",
    "not_applicable",
    "severity_corrected",
    "decided",
];

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema_version", &Labels::VERSION)?;
        for (key, score) in &self.scores {
            map.serialize_entry(key, score)?;
        }
        map.serialize_entry("notes", &self.notes)?;
        map.serialize_entry("image_path", &self.image_path)?;
        map.serialize_entry("annotators", &self.annotators)?;
        map.serialize_entry("distribution", &self.distribution)?;
        if !self.not_applicable.is_empty() {
            map.serialize_entry("not_applicable", &self.not_applicable)?;
        }
        if !self.severity_corrected.is_empty() {
            map.serialize_entry("severity_corrected", &self.severity_corrected)?;
        }
        if !self.decided.is_empty() {
            map.serialize_entry("decided", &self.decided)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Label {
    /// Fields that hold a number or null are scores; other unknown fields are tolerated.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Known {
            notes: String,
            image_path: String,
            annotators: usize,
            distribution: BTreeMap<String, [u32; Score::LEVELS]>,
            not_applicable: BTreeMap<String, u32>,
            severity_corrected: BTreeMap<String, Masses>,
            decided: BTreeMap<String, Decision>,
        }
        let mut fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let mut scores = Scores::new();
        fields.retain(|key, value| {
            let is_score = !FIELDS.contains(&key.as_str()) && (value.is_null() || value.is_number());
            if is_score {
                scores.insert(key.clone(), None);
            }
            !is_score || !value.is_null()
        });
        for (key, score) in &mut scores {
            if let Some(value) = fields.remove(key) {
                let parsed =
                    Score::deserialize(value).map_err(|e| D::Error::custom(format!("`{key}`: {e}")))?;
                *score = Some(parsed);
            }
        }
        let known = Known::deserialize(serde_json::Value::Object(fields)).map_err(D::Error::custom)?;
        Ok(Self {
            scores,
            notes: known.notes,
            image_path: known.image_path,
            annotators: known.annotators.max(1),
            distribution: known.distribution,
            not_applicable: known.not_applicable,
            severity_corrected: known.severity_corrected,
            decided: known.decided,
        })
    }
}

/// `data/labeled/labels.json`: the labels by slide.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels {
    /// Labels by slide id.
    pub slides: BTreeMap<String, Label>,
}

impl Contract for Labels {
    const NAME: &'static str = "label file";
    const VERSION: u32 = 1;

    /// The file's own keys are slides, so each label states its version.
    fn version_in(json: &[u8]) -> u32 {
        #[derive(Deserialize)]
        struct Stated {
            schema_version: Option<u32>,
        }
        let labels: BTreeMap<String, Stated> = serde_json::from_slice(json).unwrap_or_default();
        labels.values().filter_map(|label| label.schema_version).max().unwrap_or(1)
    }
}

impl Labels {
    /// Reads `labels.json` and checks that every criterion named is one of the rubric's.
    ///
    /// # Errors
    /// When the file cannot be read, a score is not 1 to 5, or a criterion is unknown.
    pub fn read_for(path: &Path, rubric: &Rubric) -> Result<Self> {
        let labels = Self::read(path)?;
        for (slide, label) in &labels.slides {
            if let Some(unknown) = label.scores.keys().find(|key| !rubric.keys().any(|known| known == *key)) {
                return Err(Error::Domain {
                    key: format!("{slide}.{unknown}"),
                    expected: format!("one of {}", rubric.keys().collect::<Vec<_>>().join(", ")),
                    actual: unknown.clone(),
                });
            }
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_survives_writing_and_reading() {
        let text = r#"{"schema_version":1,"clarity":4,"data_visualization":null,"notes":"ok","image_path":"a.png","annotators":2,"distribution":{"clarity":[0,0,0,2,0]}}"#;
        let label: Label = serde_json::from_str(text).unwrap();
        assert_eq!(label.scores["clarity"], Score::new(4));
        assert_eq!(label.scores["data_visualization"], None);
        assert_eq!(serde_json::to_string(&label).unwrap(), text);
    }

    #[test]
    fn a_score_of_seven_is_refused_by_name() {
        let error = serde_json::from_str::<Label>(r#"{"clarity":7}"#).unwrap_err().to_string();
        assert!(error.contains("`clarity`") && error.contains("got 7"), "{error}");
    }

    #[test]
    fn an_unknown_criterion_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.json");
        std::fs::write(&path, r#"{"s1":{"clearness":3}}"#).unwrap();
        let error = Labels::read_for(&path, &Rubric::default()).unwrap_err().to_string();
        assert!(error.contains("s1.clearness") && error.contains("clarity"), "{error}");
    }
}
