use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Error, Reason};

/// A file, or a page of one, that was handed in to be scored and has no scores: a line of `monitoring/failures.jsonl`.
///
/// It names nothing of what the file holds, and not the file either: its deck, as the deck of a scored slide is named, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedInput {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Names the line; a repeated id is the same line written again.
    pub id: String,
    /// The deck; absent where nothing of the file was read, so that nobody can tell whether it is another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deck_id: Option<String>,
    /// The page or entry that failed, as in `page 3`; absent where the whole file did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// When.
    pub failed_at: Timestamp,
    /// The released version or the run that was to score it.
    pub model_version: String,
    /// What failed.
    pub kind: FailureKind,
    /// Why, in words.
    pub reason: String,
}

/// What kept a file or page from being scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It was to be read and could not be: broken, too slow, or the reader or the model failed.
    Error,
    /// It was not to be read: too large, protected, empty, or no slides at all.
    Refusal,
}

impl Contract for FailedInput {
    const NAME: &'static str = "failed input";
    const VERSION: u32 = 1;
}

impl FailureKind {
    /// Of the reason in words, as records of collecting hold it.
    pub fn of_words(reason: &str) -> Self {
        // As `Reason` says what an error is.
        let errors = ["cannot be read: ", "took longer than ", "stopped the reader: ", "cannot be opened: "];
        if errors.iter().any(|begin| reason.starts_with(begin)) { Self::Error } else { Self::Refusal }
    }
}

impl FailedInput {
    /// The deck of a document, by the SHA-256 of its file.
    pub fn deck_of(sha256: &str) -> Option<String> {
        sha256.get(..12).map(|short| format!("d{short}"))
    }

    /// Of an error that a file or a page was refused with.
    pub fn of(error: &Error, id: String, model_version: &str) -> Self {
        let (deck_id, part, kind, reason) = match error {
            Error::Unreadable { of, reason, .. } => {
                let deck_id = of.sha256.as_deref().and_then(Self::deck_of);
                (deck_id, of.part.clone(), reason.kind(), reason.to_string())
            }
            other => (None, None, FailureKind::Error, other.to_string()),
        };
        Self {
            schema_version: Self::VERSION,
            id,
            deck_id,
            part,
            failed_at: Timestamp::now(),
            model_version: model_version.to_owned(),
            kind,
            reason,
        }
    }
}

impl Reason {
    /// Whether it is an error or a refusal.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Malformed(_) | Self::TimedOut { .. } | Self::Crashed(_) | Self::Io(_) => FailureKind::Error,
            Self::Unknown
            | Self::Foreign { .. }
            | Self::EmptyFile
            | Self::NameNotUtf8
            | Self::TooLarge { .. }
            | Self::Encrypted
            | Self::Empty
            | Self::Traversal(_)
            | Self::NeedsLibreOffice => FailureKind::Refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FilePart;

    #[test]
    fn the_words_of_a_reason_tell_what_it_is() {
        let foreign = Reason::Foreign { what: "a spreadsheet".into(), remedy: "export it as PDF".into() };
        let too_large = Reason::TooLarge { what: "900 MiB".to_owned(), key: "max_file_mib", limit: 200 };
        let reasons = [
            (Reason::Malformed("no end".to_owned()), FailureKind::Error),
            (Reason::TimedOut { key: "time_limit_s", limit_s: 3 }, FailureKind::Error),
            (Reason::Crashed("a panic".to_owned()), FailureKind::Error),
            (Reason::Io("no such file".to_owned()), FailureKind::Error),
            (Reason::Unknown, FailureKind::Refusal),
            (foreign, FailureKind::Refusal),
            (Reason::EmptyFile, FailureKind::Refusal),
            (Reason::NameNotUtf8, FailureKind::Refusal),
            (too_large, FailureKind::Refusal),
            (Reason::Encrypted, FailureKind::Refusal),
            (Reason::Empty, FailureKind::Refusal),
            (Reason::Traversal("../x".to_owned()), FailureKind::Refusal),
            (Reason::NeedsLibreOffice, FailureKind::Refusal),
        ];
        for (reason, kind) in reasons {
            assert_eq!((reason.kind(), FailureKind::of_words(&reason.to_string())), (kind, kind), "{reason}");
        }
    }

    #[test]
    fn a_page_that_fails_is_of_the_deck_of_its_file() {
        let sha256 = Some("0123456789abcdef".repeat(4));
        let reason = Reason::Encrypted;
        let error = Error::Unreadable {
            origin: "secret plans.pdf, page 3".to_owned(),
            of: Box::new(FilePart { sha256, part: Some("page 3".to_owned()) }),
            reason,
        };
        let failed = FailedInput::of(&error, "1".to_owned(), "v1");
        assert_eq!(failed.deck_id.as_deref(), Some("d0123456789ab"));
        assert_eq!((failed.part.as_deref(), failed.kind), (Some("page 3"), FailureKind::Refusal));
        let line = serde_json::to_string(&failed).unwrap();
        assert!(!line.contains("secret") && !line.contains("cdef0123"), "neither name nor hash: {line}");
    }
}
