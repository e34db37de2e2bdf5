//! How well people agree: per criterion and pair of raters, with intervals, severity, and what a perfect model could reach.

mod ceiling;
mod equations;
mod matrix;
mod measures;
mod pairs;
mod severity;
mod summary;

pub use ceiling::{Ceiling, human_ceiling};
pub use matrix::RatingMatrix;
pub use measures::{Table, alpha_ordinal, exact, quadratic_weighted_kappa, within_one};
pub use pairs::{PairAgreement, pair_agreement};
pub use severity::{rater_groups, severity, shrunk_severity};
pub use summary::{Agreement, AgreementOptions, CriterionAgreement, Estimate, RaterSummary, agreement};
