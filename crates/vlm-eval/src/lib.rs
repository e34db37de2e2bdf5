//! How good a rater is: metrics, intervals clustered by deck, baselines, the human ceiling and the gate.
//!
//! Everything is a pure function of labels and predictions. From a distribution over the scores 1 to 5 two things are read:
//! its mean, the *expected score*, and the *score* ([`Prediction::score`](slide_data::Prediction::score)): what the adapter's decision
//! ([`fit_decision`]) chose, else the mean rounded, halves up ([`rounded`]). MAE, agreement and kappa compare scores, which are what
//! users see, so that validated and production accuracy mean the same; Spearman compares expected scores; the calibration error
//! (ECE) looks at the most probable score. Criteria that do not apply (null) are left out everywhere.
//!
//! ```
//! use slide_data::Score;
//! use vlm_eval::Confusion;
//!
//! let score = |value| Score::new(value).ok_or("1 to 5");
//! let mut confusion = Confusion::default();
//! confusion.add(score(4)?, score(5)?, 1.0);
//! confusion.add(score(2)?, score(2)?, 1.0);
//! assert_eq!(confusion.mae(), Some(0.5));
//! assert_eq!(confusion.within_1(), Some(1.0));
//! # Ok::<(), &str>(())
//! ```
#![forbid(unsafe_code)]

mod baseline;
mod ceiling;
mod cheap;
mod compare;
mod decision;
mod detail;
mod doubt;
mod error;
mod evaluate;
mod interval;
mod item;
mod measures;
mod options;
mod pool;
mod power;
mod ranks;
mod slices;
mod spread;
mod table;
mod versions;

pub use baseline::best_constants;
pub use cheap::{CheapModels, ImageNumbers, KnownSlide, Neighbour, fit_applicability, fit_head, fit_share};
pub use compare::Rater;
pub use decision::fit_decision;
pub use detail::{CalibrationBin, CriterionDetail, Details, Miss};
pub use doubt::{Doubt, doubtful};
pub use error::{Error, Result};
pub use evaluate::{Evaluation, EvaluationInput, evaluate};
pub use item::Item;
pub use measures::{Confusion, Measures, expected_calibration_error, ranked_probability_score, rounded};
pub use options::EvaluationOptions;
pub use project_files::{
    Baseline, Check, Comparison, ErrorSpread, Gain, Gate, HumanCeiling, Interval, Outcome, Override, Sizes,
    Slice, ValidationResults,
};
pub use ranks::{auc, kendall, spearman};
pub use spread::least_telling;
pub use versions::{VersionSlide, compare_versions};
