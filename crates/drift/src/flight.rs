use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use project_files::{Contract, VersionFile};
use serde::{Deserialize, Serialize};

use crate::{Decision, TriggerConfig};

/// `monitoring/retraining.json`: a retraining that was asked for and may be running. While it is in force no other is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Who asked.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When.
    pub asked_at: Timestamp,
    /// Until when it counts as running, unless it is reported as done or leads to a release.
    pub expires_at: Timestamp,
}

impl Contract for Flight {
    const NAME: &'static str = "retraining in flight";
    const VERSION: u32 = 1;
}

impl Flight {
    /// The retraining that a decision asks for.
    pub fn of(decision: &Decision, config: &TriggerConfig) -> Self {
        let lasts = SignedDuration::from_secs_f64((config.flight_hours * 3600.0).min(1e10));
        Self {
            schema_version: Self::VERSION,
            owner: decision.asked_by.clone(),
            reason: decision.reason(),
            asked_at: decision.decided_at,
            expires_at: decision.decided_at.checked_add(lasts).unwrap_or(Timestamp::MAX),
        }
    }

    /// The line that takes back what it was asked for, because the training failed.
    pub fn taken_back(&self, by: &str, now: Timestamp) -> Decision {
        let (owner, asked) = (&self.owner, self.asked_at);
        Decision {
            schema_version: Decision::VERSION,
            decided_at: now,
            asked_by: by.to_owned(),
            should_retrain: false,
            last_release: None,
            champion: None,
            triggers: Vec::new(),
            held: vec![format!(
                "the retraining that {owner} asked for at {asked} failed: it may be asked for again"
            )],
            unusable_corrections: BTreeMap::new(),
            training_key: String::new(),
            inputs: BTreeMap::new(),
            configuration: String::new(),
            takes_back: Some(asked),
        }
    }

    /// Whether it is in force: neither expired nor followed by a release. One that was asked for ahead of now, by more than it may last, was
    /// asked for by a clock that was wrong.
    pub fn is_in_force(&self, releases: &VersionFile, now: Timestamp) -> bool {
        let is_of_now = self.asked_at.duration_since(now) <= self.expires_at.duration_since(self.asked_at);
        let is_released =
            releases.history.iter().any(|release| (self.asked_at..=now).contains(&release.released_at));
        is_of_now && now < self.expires_at && !is_released
    }
}
