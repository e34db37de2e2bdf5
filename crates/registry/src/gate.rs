use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::files::{hash_file, read_json};
use crate::{Error, Result};

/// What a release needs to know of `validation_results.json`; other fields are tolerated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ValidationSummary {
    /// Share of scores within one point of people's, 0 to 1.
    pub human_agreement: f64,
    /// Whether the validation's own gate was passed.
    pub passes_threshold: bool,
    /// Measures by name, such as `overall_mae`.
    pub metrics: BTreeMap<String, f64>,
    /// Why it passed or failed, in words.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// SHA-256 of the files that were validated, by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

/// The bounds a version must keep to be released.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// Human agreement must be above this share.
    pub min_human_agreement: f64,
    /// The overall mean absolute error must be below this many points.
    pub max_mae: f64,
}

impl Gate {
    /// Why the results must not be released; empty when they may.
    pub fn refusals(&self, results: &ValidationSummary) -> Vec<String> {
        let mut reasons = Vec::new();
        if results.human_agreement.is_nan() || results.human_agreement <= self.min_human_agreement {
            reasons.push(format!(
                "human agreement {:.3} is not above {:.3}",
                results.human_agreement, self.min_human_agreement
            ));
        }
        match results.metrics.get("overall_mae") {
            Some(mae) if *mae < self.max_mae => {}
            Some(mae) => {
                reasons.push(format!("mean absolute error {mae:.3} is not below {:.3}", self.max_mae));
            }
            None => reasons.push("the validation results hold no `overall_mae`".to_owned()),
        }
        if !results.passes_threshold {
            reasons.push(if results.reasons.is_empty() {
                "the validation did not pass".to_owned()
            } else {
                format!("the validation did not pass: {}", results.reasons.join("; "))
            });
        }
        reasons
    }
}

impl ValidationSummary {
    /// Reads the results of a run and checks that they are of the adapter that lies beside them.
    ///
    /// # Errors
    /// When they are missing, are not valid, or were made from another adapter.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("validation_results.json");
        if !path.exists() {
            return Err(Error::Missing {
                path,
                needed_for: "only validated runs are released; run pq-validate first",
            });
        }
        let results: Self = read_json(&path, "validation result")?;
        let adapter = "adapter_model.safetensors";
        let actual = hash_file(&run.join(adapter))?.sha256;
        if results.inputs.get(adapter).is_some_and(|validated| *validated != actual) {
            return Err(Error::StaleValidation { run: run.to_owned() });
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(agreement: f64, mae: f64, passes: bool) -> ValidationSummary {
        ValidationSummary {
            human_agreement: agreement,
            passes_threshold: passes,
            metrics: BTreeMap::from([("overall_mae".to_owned(), mae)]),
            reasons: vec![],
            inputs: BTreeMap::new(),
        }
    }

    #[test]
    fn the_gate_names_every_bound_that_is_missed() {
        let gate = Gate { min_human_agreement: 0.85, max_mae: 0.6 };
        assert!(gate.refusals(&results(0.86, 0.59, true)).is_empty());
        assert_eq!(gate.refusals(&results(0.85, 0.59, true)).len(), 1, "the bound itself is not enough");
        assert_eq!(gate.refusals(&results(0.2, 0.6, false)).len(), 3);
        assert_eq!(gate.refusals(&results(f64::NAN, f64::NAN, true)).len(), 2, "not a number never passes");
    }
}
