use std::collections::BTreeMap;

use durable_files::FileHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Contract;

/// How far an export's answers may be from those of the version that it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExportBounds {
    /// The largest difference of a probability.
    pub largest_difference: f64,
    /// The mean difference over all probabilities.
    pub mean_difference: f64,
    /// The share of scores whose most probable level may be another; one such score is always allowed, since two levels can be
    /// equally probable.
    pub changed_scores: f64,
}

/// What came of scoring an export beside the version that it was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportCheck {
    /// Slides of the test split that both scored.
    pub slides: usize,
    /// SHA-256 of the ids and pixels of these slides.
    pub slides_sha256: String,
    /// Scores that both gave: one a slide and criterion.
    pub scores: usize,
    /// Scores whose probabilities were compared. Criteria are asked one after another, each after the levels given before; what
    /// follows a level that changed answers another question.
    pub compared_scores: usize,
    /// The largest difference of a probability.
    pub largest_difference: f64,
    /// The mean difference over all probabilities.
    pub mean_difference: f64,
    /// Scores whose most probable level is another.
    pub changed_scores: usize,
    /// What was allowed.
    pub bounds: ExportBounds,
}

impl ExportCheck {
    /// Why the export is too far from its version; empty where it is not. A number that is missing or no number is too far, and so
    /// is an export of which nothing was compared.
    pub fn refusals(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (what, found, most) in [
            ("a probability differs by", self.largest_difference, self.bounds.largest_difference),
            ("probabilities differ on average by", self.mean_difference, self.bounds.mean_difference),
        ] {
            if !(0.0..=most).contains(&found) {
                reasons.push(format!("{what} {found:.2e}, allowed are {most:.2e}"));
            }
        }
        let most = ((self.scores as f64 * self.bounds.changed_scores) as usize).max(1);
        if self.changed_scores > most {
            let (changed, scores) = (self.changed_scores, self.scores);
            reasons.push(format!("{changed} of {scores} scores changed, allowed are {most}"));
        }
        if self.compared_scores == 0 {
            reasons.push("no score was compared".to_owned());
        }
        reasons
    }
}

/// `export.json`: what an exported model was made of, its files, and how its answers compare. It is written last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportRecord {
    /// Version of this contract.
    pub schema_version: u32,
    /// The version that was exported.
    pub version: String,
    /// The identity of its manifest; versions of earlier programs have none.
    #[serde(default)]
    pub release_id: Option<String>,
    /// The run that it comes from.
    pub run_id: String,
    /// `merged` or `gguf`.
    pub format: String,
    /// How a GGUF file's matrices are stored: `f16` or `q8_0`.
    #[serde(default)]
    pub quantization: Option<String>,
    /// When it was made.
    pub exported_at: Timestamp,
    /// The base, by the name that the configuration gave it.
    pub base_model: String,
    /// Fingerprints of the base, as `run.json` names them.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// What an image's longest edge is before it is split, where the run was trained with another than the base's; the merged
    /// checkpoint's own processor files do not say so.
    #[serde(default)]
    pub longest_edge: Option<usize>,
    /// Versions of the programs, by name.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Every file but this one, with its hash.
    pub files: BTreeMap<String, FileHash>,
    /// How its answers compare with those of the version.
    pub check: ExportCheck,
}

impl ExportRecord {
    /// The name of the file.
    pub const FILE: &str = "export.json";
}

impl Contract for ExportRecord {
    const NAME: &'static str = "export record";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        if crate::Version::parse(&self.version).is_none() {
            return Err(format!("`{}` is no version", self.version));
        }
        if let Some(name) = self.files.keys().find(|name| name.is_empty() || name.contains(['/', '\\', '\0']))
        {
            return Err(format!("`{name}` is not the name of a file"));
        }
        match self.check.refusals().first() {
            Some(reason) => Err(format!("it was not to be made: {reason}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> ExportCheck {
        ExportCheck {
            slides: 4,
            slides_sha256: "00".to_owned(),
            scores: 200,
            compared_scores: 196,
            largest_difference: 0.01,
            mean_difference: 0.001,
            changed_scores: 2,
            bounds: ExportBounds { largest_difference: 0.02, mean_difference: 0.002, changed_scores: 0.01 },
        }
    }

    #[test]
    fn what_lies_beyond_a_bound_or_is_no_number_is_refused_by_name() {
        assert_eq!(check().refusals(), [""; 0]);
        for (name, changed) in [
            ("a probability", ExportCheck { largest_difference: 0.0201, ..check() }),
            ("a probability", ExportCheck { largest_difference: f64::NAN, ..check() }),
            ("on average", ExportCheck { mean_difference: 0.0021, ..check() }),
            ("on average", ExportCheck { mean_difference: f64::INFINITY, ..check() }),
            ("3 of 200", ExportCheck { changed_scores: 3, ..check() }),
            ("no score", ExportCheck { compared_scores: 0, ..check() }),
            ("2 of 20", ExportCheck { scores: 20, ..check() }),
        ] {
            let reasons = changed.refusals();
            assert!(reasons.len() == 1 && reasons[0].contains(name), "{name}: {reasons:?}");
        }
        assert_eq!(ExportCheck { scores: 20, changed_scores: 1, ..check() }.refusals(), [""; 0]);
    }

    #[test]
    fn a_record_of_an_export_that_was_too_far_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("export.json");
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/v1/export.json");
        let record = ExportRecord::read(std::path::Path::new(sample)).unwrap();
        record.write(&path).unwrap();
        assert_eq!(ExportRecord::read(&path).unwrap(), record);
        for changed in [
            ExportRecord { check: ExportCheck { changed_scores: 100, ..check() }, ..record.clone() },
            ExportRecord { version: "latest".to_owned(), ..record.clone() },
            ExportRecord {
                files: [("a/b".to_owned(), record.files["model.safetensors"].clone())].into(),
                ..record
            },
        ] {
            changed.write(&path).unwrap();
            assert!(ExportRecord::read(&path).is_err(), "{changed:?}");
        }
    }
}
