//! What the reports say of what was read.

use drift::{
    DriftInput, DriftReport, Failures, MonitoringConfig, PerformanceInput, PerformanceReport, compare,
    measure,
};
use jiff::Timestamp;

use crate::inputs::Inputs;

/// Drift and accuracy as of a time.
pub(crate) fn look(
    inputs: &Inputs,
    config: &MonitoringConfig,
    now: Timestamp,
) -> (DriftReport, PerformanceReport) {
    let model_version = inputs.model_version.as_deref();
    let mut drift = compare(&DriftInput {
        reference: &inputs.reference,
        scored: &inputs.found.scored,
        counted: Some(&inputs.found.counted),
        failures: Failures { collected: &inputs.collected, scored: &inputs.failed },
        broken_lines: inputs.broken_lines,
        model_version,
        config: &config.drift,
        threshold: config.triggers.max_drift_score,
        now,
    });
    drift.inputs.clone_from(&inputs.hashes);
    let mut performance = measure(&PerformanceInput {
        scored: &inputs.found.foretold,
        unreadable: &inputs.found.counted.unreadable,
        audits: &inputs.audits,
        labels: &inputs.labels.slides,
        validated: inputs.validated.as_ref(),
        model_version,
        config: &config.performance,
        now,
    });
    performance.inputs.clone_from(&inputs.hashes);
    (drift, performance)
}
