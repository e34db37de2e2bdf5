use crate::{Error, Gate, Result};

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvaluationOptions {
    /// What must be reached.
    pub gate: Gate,
    /// How often an interval shall hold what it estimates, as in 0.95.
    pub confidence: f64,
    /// Whether what people's disagreement leaves to reach is fitted: tenths of a second for each criterion.
    pub reachable: bool,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self { gate: Gate::default(), confidence: 0.95, reachable: true }
    }
}

impl EvaluationOptions {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.confidence > 0.0 && self.confidence < 1.0 {
            return Ok(());
        }
        let actual = self.confidence.to_string();
        Err(Error::Option { key: "confidence", expected: "between 0 and 1", actual })
    }
}
