//! Scoring a manifest in shards: each process scores its own and writes a part, [`Survey`] proves that the parts are all there, each once,
//! and [`Survey::join`] makes of them the file that one process would have written, to the byte.
//!
//! [`ScoringPlan`] is written once for a folder and says what is scored by what, in how many shards. The slides of the manifest are cut
//! into blocks whose size depends on nothing but how many slides there are; a block is a row group. A shard has whole blocks, so that
//! joining copies row groups and decodes nothing. A part is named by shard and content, written under a name of its own and renamed: writing
//! it again does no harm, and what is cut short is known by its name.

mod join;
mod part;
mod plan;
mod survey;
#[cfg(test)]
mod tests;

pub use part::{LeftOut, PartWriter};
pub use plan::ScoringPlan;
pub use survey::{Missing, Part, Survey};
