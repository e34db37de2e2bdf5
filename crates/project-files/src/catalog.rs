/// How a file holds its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One JSON document, replaced as a whole.
    Document,
    /// One JSON value a line, appended.
    Log,
    /// TOML, safetensors, HTML or images: formats of their own.
    Other,
}

/// A file that crosses a boundary between two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies in a project with the usual folders.
    pub path: &'static str,
    /// The Rust type of the file, or of one line of a log.
    pub type_name: &'static str,
    /// How it holds its values.
    pub shape: Shape,
    /// The version that this program writes; 0 where the format is not ours.
    pub version: u32,
    /// Who writes it.
    pub writers: &'static [&'static str],
    /// Who reads it.
    pub readers: &'static [&'static str],
}

const fn entry(
    path: &'static str,
    type_name: &'static str,
    shape: Shape,
    version: u32,
    writers: &'static [&'static str],
    readers: &'static [&'static str],
) -> Entry {
    Entry { path, type_name, shape, version, writers, readers }
}

use Shape::{Document, Log, Other};

/// Who logs what was handed in to be scored, and who takes such logs together.
const SCORERS: &[&str] = &["pq-score", "pq-monitor"];

/// Who makes a model, and who uses it.
const TRAINER: &[&str] = &["pq-train"];
const ITS_USERS: &[&str] = &["pq-validate", "pq-score", "pq-register"];

/// Every file that crosses a boundary, in the order of the stages.
pub const CATALOG: &[Entry] = &[
    entry(
        "data/raw/manifest.jsonl",
        "slide_data::SlideRecord",
        Log,
        1,
        &["pq-collect"],
        &[
            "pq-collect",
            "pq-label",
            "pq-score",
            "pq-train",
            "pq-validate",
            "pq-register",
            "pq-monitor",
            "pq-trigger",
        ],
    ),
    entry(
        "data/raw/inputs.jsonl",
        "slide_data::collect::InputRecord",
        Log,
        1,
        &["pq-collect"],
        &["pq-collect", "pq-monitor"],
    ),
    entry(
        "data/raw/forgotten.jsonl",
        "slide_data::collect::Forgotten",
        Log,
        1,
        &["pq-collect"],
        &["pq-collect", "pq-monitor", "people"],
    ),
    entry(
        "data/raw/slides/<slide-id>.png",
        "PNG",
        Other,
        0,
        &["pq-collect"],
        &["pq-collect", "pq-label", "pq-train", "pq-validate"],
    ),
    entry(
        "data/labeled/ratings.jsonl",
        "slide_label::Event",
        Log,
        1,
        &["pq-label"],
        &["pq-label", "pq-collect", "pq-register"],
    ),
    entry("data/labeled/people.json", "slide_label::PeopleFile", Document, 2, &["pq-label"], &["pq-label"]),
    entry(
        "data/labeled/calibration.json",
        "slide_label::Calibration",
        Document,
        1,
        &["pq-label"],
        &["pq-label"],
    ),
    entry(
        "data/labeled/labels.json",
        "slide_data::Labels",
        Document,
        1,
        &["pq-label"],
        &["pq-collect", "pq-label", "pq-train", "pq-validate", "pq-register", "pq-monitor", "pq-trigger"],
    ),
    entry(
        "data/labeled/splits.json",
        "slide_data::Splits",
        Document,
        2,
        &["pq-collect", "pq-train"],
        &["pq-collect", "pq-train", "pq-validate", "pq-register", "pq-monitor", "pq-trigger"],
    ),
    entry(
        "data/labeled/slide_decisions.jsonl",
        "slide_data::collect::SlideDecision",
        Log,
        1,
        &["pq-collect"],
        &["pq-collect"],
    ),
    entry(
        "data/user_feedback/corrections.jsonl",
        "slide_data::Correction",
        Log,
        1,
        &["pq-label", "pq-score", "pq-monitor", "production"],
        &["pq-collect", "pq-label", "pq-score", "pq-train", "pq-validate", "pq-register", "pq-trigger"],
    ),
    entry("outputs/<run>/adapter_config.json", "vlm_lora::LoraConfig (PEFT)", Other, 0, TRAINER, ITS_USERS),
    entry(
        "outputs/<run>/adapter_model.safetensors",
        "vlm_lora::PeftAdapter (PEFT)",
        Other,
        0,
        TRAINER,
        ITS_USERS,
    ),
    entry(
        "outputs/<run>/applicability.json",
        "project_files::Applicability",
        Document,
        1,
        TRAINER,
        ITS_USERS,
    ),
    entry("outputs/<run>/decision.json", "project_files::ScoreDecision", Document, 1, TRAINER, ITS_USERS),
    entry("outputs/<run>/score_head.json", "project_files::ScoreHead", Document, 1, TRAINER, ITS_USERS),
    entry("outputs/<run>/config.toml", "slide_scorer::Settings", Other, 0, TRAINER, ITS_USERS),
    entry(
        "outputs/<run>/metrics.jsonl",
        "vlm_lora::LogReport, vlm_lora::Metrics",
        Other,
        0,
        &["pq-train"],
        &["pq-register"],
    ),
    entry(
        "outputs/<run>/run.json",
        "project_files::RunRecord",
        Document,
        3,
        &["pq-train"],
        &["pq-validate", "pq-score", "pq-register", "pq-monitor", "pq-trigger"],
    ),
    entry(
        "outputs/<run>/data/manifest.jsonl",
        "slide_data::SlideRecord",
        Log,
        1,
        &["pq-train"],
        &["pq-register"],
    ),
    entry(
        "outputs/<run>/data/labels.json",
        "slide_data::Labels",
        Document,
        1,
        &["pq-train"],
        &["pq-register"],
    ),
    entry(
        "outputs/<run>/data/splits.json",
        "slide_data::Splits",
        Document,
        2,
        &["pq-train"],
        &["pq-register"],
    ),
    entry(
        "outputs/<run>/data/corrections.jsonl",
        "slide_data::Correction",
        Log,
        1,
        &["pq-train"],
        &["pq-register"],
    ),
    entry(
        "outputs/<run>/reference_predictions.jsonl",
        "slide_data::Prediction",
        Log,
        1,
        &["pq-train"],
        &["pq-register", "pq-monitor"],
    ),
    entry(
        "outputs/<run>/test_predictions.jsonl",
        "slide_data::Prediction",
        Log,
        1,
        &["pq-validate"],
        &["pq-register"],
    ),
    entry(
        "outputs/<run>/validation_results.json",
        "project_files::ValidationResults",
        Document,
        2,
        &["pq-validate"],
        &["pq-register", "pq-monitor"],
    ),
    entry(
        "outputs/<run>/doubtful_labels.json",
        "project_files::DoubtfulLabels",
        Document,
        1,
        &["pq-validate"],
        &["pq-label"],
    ),
    entry("outputs/<run>/report.html", "HTML", Other, 0, &["pq-validate"], &["pq-register"]),
    entry(
        "model_registry/version.json",
        "project_files::VersionFile",
        Document,
        1,
        &["pq-register"],
        &["pq-register", "pq-validate", "pq-score", "pq-monitor", "pq-trigger"],
    ),
    entry(
        "model_registry/journal.jsonl",
        "project_files::JournalEntry",
        Log,
        1,
        &["pq-register"],
        &["pq-register", "people"],
    ),
    entry(
        "model_registry/versions/<version>/release.json",
        "project_files::Manifest",
        Document,
        1,
        &["pq-register"],
        &["pq-register", "pq-validate", "pq-score"],
    ),
    entry(
        "model_registry/exports/<export>/export.json",
        "project_files::ExportRecord",
        Document,
        1,
        &["pq-register"],
        &["pq-register", "people"],
    ),
    entry(
        "monitoring/predictions.jsonl",
        "slide_data::Prediction",
        Log,
        1,
        SCORERS,
        &["pq-score", "pq-label", "pq-monitor"],
    ),
    entry("monitoring/failures.jsonl", "slide_data::FailedInput", Log, 1, SCORERS, &["pq-monitor"]),
    entry(
        "monitoring/replicas/<replica>/failures.jsonl",
        "slide_data::FailedInput",
        Log,
        1,
        &["pq-score"],
        &["pq-monitor"],
    ),
    entry(
        "monitoring/replicas/<replica>/predictions.jsonl",
        "slide_data::Prediction",
        Log,
        1,
        &["pq-score"],
        &["pq-monitor", "pq-collect"],
    ),
    entry(
        "monitoring/replicas/<replica>/segments/<time>-<hash>.jsonl",
        "JSON lines",
        Other,
        0,
        &["pq-score"],
        &["pq-score", "pq-monitor"],
    ),
    entry(
        "monitoring/replicas/<replica>/corrections.shipped",
        "number",
        Other,
        0,
        &["pq-score"],
        &["pq-score"],
    ),
    entry(
        "monitoring/predictions/segments.json",
        "slide_data::prediction_log::SegmentIndex",
        Document,
        1,
        &["pq-monitor"],
        &["pq-score", "pq-label", "pq-monitor"],
    ),
    entry(
        "monitoring/predictions/<day>-<hash>.parquet",
        "Parquet",
        Other,
        0,
        &["pq-monitor"],
        &["pq-score", "pq-label", "pq-monitor"],
    ),
    entry(
        "monitoring/predictions/lines-<hash>.jsonl",
        "JSON lines",
        Other,
        0,
        &["pq-monitor"],
        &["pq-score", "pq-label", "pq-monitor"],
    ),
    entry(
        "monitoring/kept/kept_slides.jsonl",
        "slide_data::KeptSlide",
        Log,
        1,
        SCORERS,
        &["pq-score", "pq-collect", "pq-monitor", "pq-trigger"],
    ),
    entry(
        "monitoring/kept/<pixels>.png",
        "PNG",
        Other,
        0,
        SCORERS,
        &["pq-score", "pq-collect", "pq-monitor"],
    ),
    entry(
        "monitoring/audits.jsonl",
        "slide_data::Audit",
        Log,
        1,
        &["pq-monitor"],
        &["pq-monitor", "pq-collect", "pq-label", "pq-score"],
    ),
    entry(
        "monitoring/drift_reports/latest_drift.json",
        "drift::DriftReport",
        Document,
        2,
        &["pq-monitor"],
        &["pq-trigger"],
    ),
    entry(
        "monitoring/performance_metrics/latest_metrics.json",
        "drift::PerformanceReport",
        Document,
        2,
        &["pq-monitor"],
        &["pq-trigger"],
    ),
    entry(
        "monitoring/decisions.jsonl",
        "drift::Decision",
        Log,
        2,
        &["pq-trigger"],
        &["pq-trigger", "people"],
    ),
    entry("monitoring/retraining.json", "drift::Flight", Document, 1, &["pq-trigger"], &["pq-trigger"]),
];
