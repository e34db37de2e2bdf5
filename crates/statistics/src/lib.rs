//! What several crates compute about numbers: means, deviations, quantiles, and intervals that
//! draw or leave out whole groups.
//!
//! Nothing panics and nothing is guessed: what is not defined on the data, such as a quantile of no values, is `None`. The same
//! seed gives the same intervals, to the bit.
//!
//! ```
//! use statistics::{mean, median, quantile};
//!
//! let sorted = [1.0, 2.0, 4.0, 8.0];
//! assert_eq!(quantile(&sorted, 0.25), Some(1.75));
//! assert_eq!(median(vec![8.0, 1.0, 4.0]), Some(4.0));
//! assert_eq!(mean(&sorted), Some(3.75));
//! assert_eq!(mean(&[]), None);
//! ```
#![forbid(unsafe_code)]

mod bootstrap;
mod describe;
mod jackknife;
mod student;

pub use bootstrap::{Resamples, Tails, intervals};
pub use describe::{mean, median, quantile, sorted, standard_deviation};
pub use jackknife::{Jackknife, delete_one};
pub use student::{student_quantile, student_tail};
