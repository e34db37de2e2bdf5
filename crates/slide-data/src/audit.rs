use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Score};

/// A scored slide that was drawn to be rated by people: a line of `monitoring/audits.jsonl`.
///
/// Whoever rates it must not see what the model said. Its rating is its label in `labels.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The slide.
    pub slide_id: String,
    /// Its deck.
    pub deck_id: String,
    /// SHA-256 of the decoded RGB pixels.
    pub sha256: String,
    /// The version that scored it.
    pub model_version: String,
    /// When it was scored. Slides of one day (UTC) are drawn together, once the day is over.
    pub scored_at: Timestamp,
    /// When it was drawn.
    pub drawn_at: Timestamp,
    /// The chance that it had of being drawn, above 0, at most 1.
    pub probability: f64,
    /// How many slides its deck had on that day.
    pub deck_slides: usize,
    /// What the model said: for each criterion the probabilities of 1, 2, 3, 4, 5.
    pub distributions: BTreeMap<String, [f64; Score::LEVELS]>,
    /// The score of each criterion that people were shown; where it is missing, the mean rounded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chosen: BTreeMap<String, Score>,
}

impl Contract for Audit {
    const NAME: &'static str = "audit";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        let is_chance = self.probability > 0.0 && self.probability <= 1.0 && self.deck_slides > 0;
        if is_chance {
            Ok(())
        } else {
            Err(format!("a slide of {} cannot be drawn with chance {}", self.deck_slides, self.probability))
        }
    }
}

impl Audit {
    /// For how much it stands: its part of its deck, over its chance (Horvitz and Thompson 1952).
    pub fn weight(&self) -> f64 {
        1.0 / (self.deck_slides as f64 * self.probability)
    }
}
