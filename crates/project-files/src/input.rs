//! Names under which the hashes of what a run read stand in `inputs`: those of the files.

/// The labels.
pub const LABELS: &str = "labels.json";
/// Which deck is in which split.
pub const SPLITS: &str = "splits.json";
/// The collected slides.
pub const MANIFEST: &str = "manifest.jsonl";
/// What users corrected.
pub const CORRECTIONS: &str = "corrections.jsonl";
