use project_files::{Contract as _, RunFiles, RunRecord};

use crate::{Error, Result, ValidationResults};

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
        reasons.extend(results.unbound(&RunRecord::read(&run.record())?));
    }
    if reasons.is_empty() {
        Ok(results)
    } else {
        Err(Error::StaleValidation { run: run.dir().to_owned(), reasons })
    }
}
