use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::{Contract, Release};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What can cause retraining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerName {
    /// Enough corrections to learn from.
    Corrections,
    /// Enough days, and something new to learn from.
    Time,
    /// Slides or scores changed.
    Drift,
    /// Accuracy in production fell.
    Performance,
    /// A person asked.
    Manual,
}

/// What a trigger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerState {
    /// Retrain.
    Fired,
    /// No reason to.
    Quiet,
    /// Too little data to say; no reason to retrain, and no sign of health either.
    Insufficient,
}

/// One trigger with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Which one.
    pub name: TriggerName,
    /// What it says.
    pub state: TriggerState,
    /// What was measured, where it could be.
    pub value: Option<f64>,
    /// What it was compared with.
    pub threshold: f64,
    /// Chance of such a value where nothing changed, where it was judged.
    #[serde(default)]
    pub p_value: Option<f64>,
    /// What this look took from the yearly error budget: it fires at a chance of at most this.
    #[serde(default)]
    pub spent: Option<f64>,
    /// The evidence in words.
    pub reason: String,
}

/// The release that a decision was made after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRelease {
    /// As in `v3`.
    pub version: String,
    /// When.
    pub released_at: Timestamp,
    /// The run it came from.
    #[serde(default)]
    pub run_id: String,
}

impl LastRelease {
    pub(crate) fn of(release: &Release) -> Self {
        let Release { version, released_at, run_id, .. } = release;
        Self { version: version.clone(), released_at: *released_at, run_id: run_id.clone() }
    }
}

/// A line of `decisions.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Version of this contract, now 2.
    pub schema_version: u32,
    /// When it was made.
    pub decided_at: Timestamp,
    /// Who asked; empty in lines of earlier programs.
    #[serde(default)]
    pub asked_by: String,
    /// Whether any trigger fired and nothing held it back.
    pub should_retrain: bool,
    /// The last release before, if there was one.
    pub last_release: Option<LastRelease>,
    /// The version in use.
    #[serde(default)]
    pub champion: Option<String>,
    /// All four triggers, and a fifth where a person asked.
    pub triggers: Vec<Trigger>,
    /// Why no retraining is asked for whatever the triggers say.
    #[serde(default)]
    pub held: Vec<String>,
    /// New corrections that cannot be learned from, by why.
    #[serde(default)]
    pub unusable_corrections: BTreeMap<String, usize>,
    /// Names everything that a training would have learned from: none is asked for twice.
    #[serde(default)]
    pub training_key: String,
    /// SHA-256 of each file that was looked at, by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of `monitoring.toml` with its defaults, as JSON.
    #[serde(default)]
    pub configuration: String,
    /// When the retraining was asked for that this line takes back, as it failed: it counts as never asked for. Such a line judges nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<Timestamp>,
}

impl Contract for Decision {
    const NAME: &'static str = "decision";
    const VERSION: u32 = 2;

    /// A line of version 1 says neither who asked, nor from what, nor what it cost of the error budget; nothing was held back.
    fn migrate(_version: u32, mut value: Value) -> Result<Value, String> {
        let decision = value.as_object_mut().ok_or("it is not an object")?;
        decision.insert("schema_version".to_owned(), json!(Self::VERSION));
        Ok(value)
    }
}

impl Decision {
    /// Why, in one line: what fired, or what held it back, or that nothing fired and what could not be judged.
    pub fn reason(&self) -> String {
        let of = |state: TriggerState| -> Vec<&str> {
            self.triggers.iter().filter(|t| t.state == state).map(|t| t.reason.as_str()).collect()
        };
        let (fired, unknown) = (of(TriggerState::Fired), of(TriggerState::Insufficient));
        match (fired.is_empty(), self.held.is_empty(), unknown.is_empty()) {
            (false, true, _) => fired.join("; "),
            (false, false, _) => format!("held back: {}; {}", self.held.join("; "), fired.join("; ")),
            (true, _, true) => "no trigger fired".to_owned(),
            (true, _, false) => format!("no trigger fired; not judged: {}", unknown.join("; ")),
        }
    }

    /// What one trigger spent of the error budget.
    pub(crate) fn spent(&self, name: TriggerName) -> Option<f64> {
        self.triggers.iter().find(|trigger| trigger.name == name)?.spent
    }
}
