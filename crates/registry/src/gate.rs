use project_files::{Contract as _, RunFiles, RunRecord};

use crate::{Error, Result, ValidationResults};

/// Fingerprints that training and validation state of the base.
const BASE: [&str; 2] = ["base_model", "base_processor"];
/// What validation says of the data that it took.
const DATA: [&str; 3] = ["labels.json", "splits.json", "manifest.jsonl"];

/// The validation results of a run, checked to be of the files that lie beside them, of the base that the run was trained on,
/// and of data that they name.
///
/// # Errors
/// When they are missing, are not valid, do not name a file of this run by its hash, or speak of another base.
pub fn validated(run: &RunFiles) -> Result<ValidationResults> {
    let path = run.validation();
    if !path.exists() {
        return Err(Error::Missing {
            path,
            needed_for: "only validated runs are released; run pq-validate first",
        });
    }
    let results = ValidationResults::read(&path)?;
    let mut reasons = results.stale(run)?;
    if run.record().exists() {
        reasons.extend(unbound(&results, &RunRecord::read(&run.record())?));
    }
    if reasons.is_empty() {
        Ok(results)
    } else {
        Err(Error::StaleValidation { run: run.dir().to_owned(), reasons })
    }
}

/// What ties results to base and data, and is missing or speaks of another one.
fn unbound(results: &ValidationResults, record: &RunRecord) -> Vec<String> {
    let mut reasons = Vec::new();
    for name in BASE {
        match (results.inputs.get(name), record.inputs.get(name)) {
            (Some(validated), Some(trained)) if validated == trained => {}
            (Some(_), Some(_)) => {
                reasons.push(format!("they are of another `{name}` than the run was trained on"))
            }
            (None, _) => reasons.push(format!("the results do not say which `{name}` was validated")),
            (_, None) => reasons.push(format!("the run does not say which `{name}` it was trained on")),
        }
    }
    for name in DATA.into_iter().filter(|name| !results.inputs.contains_key(*name)) {
        reasons.push(format!("the results do not say which `{name}` they are of"));
    }
    reasons
}
