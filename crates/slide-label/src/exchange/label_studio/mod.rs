//! Label Studio: task lists in and out, and the configuration of its page.

mod config;
mod read;
mod write;

pub use config::config_xml;

pub(super) use read::{is_task, notes_of, person_of_text, read, slide_texts, who};
pub(super) use write::write;

/// The choice that says that a criterion does not apply.
const NOT_APPLICABLE: &str = "Not applicable";

/// Stands between an event's id and what is answered in the id of an answer, which Label Studio keeps.
const ANSWER_MARK: char = '~';
