use serde::{Deserialize, Serialize};

use crate::Interval;

/// What a model must reach to be released; the keys are those of `[registry]` in `training.toml`.
///
/// A model must also have a smaller error than the best constant, whatever the numbers here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// The share of scores at most one point from the people's must be above this.
    pub min_human_agreement: f64,
    /// The mean absolute error must be below this.
    pub max_mae: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { min_human_agreement: 0.85, max_mae: 0.6 }
    }
}

/// One condition of the gate with its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The metric that was looked at.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// Whether the condition holds.
    pub passed: bool,
    /// The outcome in words.
    pub reason: String,
}

/// What the gate looks at. A number that is not known is NaN, and passes no condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateInput {
    /// Share of scores at most one point from the people's.
    pub agreement: f64,
    /// Its interval.
    pub agreement_interval: Option<Interval>,
    /// Mean absolute error.
    pub mae: f64,
    /// Its interval.
    pub mae_interval: Option<Interval>,
    /// Mean absolute error of the best constant answer on the same slides.
    pub constant_mae: f64,
    /// Interval of the constant's error minus the model's.
    pub gain_interval: Option<Interval>,
}

impl Gate {
    /// Every condition with its outcome; a model may be released if all passed.
    pub fn check(&self, input: &GateInput) -> Vec<Check> {
        let agreement = input.agreement > self.min_human_agreement;
        let mae = input.mae < self.max_mae;
        let better = input.mae < input.constant_mae;
        vec![
            Check {
                metric: "human_agreement".to_owned(),
                value: input.agreement,
                threshold: self.min_human_agreement,
                passed: agreement,
                reason: format!(
                    "{} of the scores are within one point of the people's; {}more than {} is asked{}",
                    percent(input.agreement),
                    no(agreement),
                    percent(self.min_human_agreement),
                    doubt(input.agreement_interval, self.min_human_agreement, percent),
                ),
            },
            Check {
                metric: "overall_mae".to_owned(),
                value: input.mae,
                threshold: self.max_mae,
                passed: mae,
                reason: format!(
                    "the mean absolute error is {:.2}; {}less than {:.2} is asked{}",
                    input.mae,
                    no(mae),
                    self.max_mae,
                    doubt(input.mae_interval, self.max_mae, |value| format!("{value:.2}")),
                ),
            },
            Check {
                metric: "better_than_constant".to_owned(),
                value: input.mae,
                threshold: input.constant_mae,
                passed: better,
                reason: format!(
                    "always giving the best constant score errs by {:.2}; {}{}",
                    input.constant_mae,
                    gain(input.constant_mae - input.mae),
                    doubt(input.gain_interval, 0.0, |value| format!("{value:+.2}")),
                ),
            },
        ]
    }
}

fn gain(gain: f64) -> String {
    if gain > 0.0 { format!("the model by {gain:.2} less") } else { "the model is not better".to_owned() }
}

fn no(passed: bool) -> &'static str {
    if passed { "" } else { "that is not enough: " }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Words for an interval that holds the threshold: other decks could have turned the outcome.
fn doubt(interval: Option<Interval>, threshold: f64, show: impl Fn(f64) -> String) -> String {
    match interval {
        Some(Interval { low, high }) if low <= threshold && threshold <= high => {
            format!(" (its interval {} to {} holds both outcomes)", show(low), show(high))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(agreement: f64, mae: f64) -> GateInput {
        GateInput {
            agreement,
            agreement_interval: None,
            mae,
            mae_interval: Some(Interval { low: 0.3, high: 0.7 }),
            constant_mae: 0.9,
            gain_interval: None,
        }
    }

    fn outcomes(gate: Gate, input: &GateInput) -> Vec<bool> {
        gate.check(input).iter().map(|check| check.passed).collect()
    }

    #[test]
    fn thresholds_themselves_do_not_pass() {
        assert_eq!(outcomes(Gate::default(), &input(0.85, 0.6)), [false, false, true]);
        assert_eq!(outcomes(Gate::default(), &input(0.851, 0.599)), [true, true, true]);
    }

    #[test]
    fn what_is_not_a_number_never_passes() {
        assert_eq!(outcomes(Gate::default(), &input(f64::NAN, f64::NAN)), [false, false, false]);
        let unknown = GateInput { constant_mae: f64::NAN, ..input(0.99, 0.1) };
        assert_eq!(outcomes(Gate::default(), &unknown), [true, true, false]);
    }

    #[test]
    fn a_failure_says_what_is_missing_and_how_sure_it_is() {
        let checks = Gate::default().check(&input(0.84, 0.61));
        assert_eq!(checks.iter().map(|check| check.passed).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(
            checks[0].reason,
            "84.0 % of the scores are within one point of the people's; that is not enough: more than 85.0 % is asked"
        );
        assert!(checks[1].reason.ends_with("(its interval 0.30 to 0.70 holds both outcomes)"));
    }

    #[test]
    fn a_model_no_better_than_the_constant_fails() {
        assert!(!outcomes(Gate { max_mae: 2.0, ..Gate::default() }, &input(0.99, 0.9))[2]);
    }
}
