use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Error, Reason, sha256_hex};

/// A file, or a page of one, that was handed in to be scored and has no scores: a line of `monitoring/failures.jsonl`.
///
/// It holds no name of a file or of an entry and no word of what is in it: only its deck, as the deck of a scored slide is named, and why.
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
            Error::Unreadable { origin, of, reason } => {
                // Of a folder's deck a whole image is one of several parts.
                let is_of_folder = of.deck_id.as_ref().is_some_and(|deck| deck.starts_with('f'));
                let part = of.part.as_deref().or_else(|| is_of_folder.then_some(origin.as_str()));
                let part = part.map(|part| without_names(part, of.deck_id.as_deref()));
                (of.deck_id.clone(), part, reason.kind(), reason.in_short())
            }
            _ => (None, None, FailureKind::Error, "cannot be read"),
        };
        Self {
            schema_version: Self::VERSION,
            id,
            deck_id,
            part,
            failed_at: Timestamp::now(),
            model_version: model_version.to_owned(),
            kind,
            reason: reason.to_owned(),
        }
    }
}

/// A page stays `page 3`; of an entry's name only what tells it from others of its deck.
fn without_names(part: &str, deck_id: Option<&str>) -> String {
    let is_page = part.strip_prefix("page ").is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
    if is_page {
        return part.to_owned();
    }
    let mark = sha256_hex(format!("{}\0{part}", deck_id.unwrap_or_default()).as_bytes());
    format!("entry {}", &mark[..12])
}

impl Reason {
    /// The same without a name or a word of the file.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Unknown => "is of no known format",
            Self::Foreign { .. } => "is of a format that is not read",
            Self::EmptyFile => "is empty",
            Self::NameNotUtf8 => "has a name that is not UTF-8",
            Self::Malformed(_) => "cannot be read",
            Self::TooLarge { .. } => "is too large",
            Self::Encrypted => "is protected by a password",
            Self::Empty => "holds no slides",
            Self::Traversal(_) => "has an entry that leaves the archive",
            Self::TimedOut { .. } => "took too long",
            Self::Crashed(_) => "stopped the reader",
            Self::NeedsLibreOffice => "is a presentation, and LibreOffice is not installed",
            Self::Io(_) => "cannot be opened",
        }
    }

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
        let deck_id = FailedInput::deck_of(&"0123456789abcdef".repeat(4));
        let failed = |part: &str, reason: Reason| {
            let of = FilePart { deck_id: deck_id.clone(), part: Some(part.to_owned()) };
            let origin = format!("secret plans.pdf, {part}");
            FailedInput::of(&Error::Unreadable { origin, of: Box::new(of), reason }, "1".to_owned(), "v1")
        };
        let page = failed("page 3", Reason::Encrypted);
        assert_eq!(page.deck_id.as_deref(), Some("d0123456789ab"));
        assert_eq!((page.part.as_deref(), page.kind), (Some("page 3"), FailureKind::Refusal));
        let entry = failed("secret/secret.png", Reason::Malformed("secret".to_owned()));
        let path = failed("secret.zip, page 1", Reason::Traversal("../secret".to_owned()));
        assert_ne!(entry.part, path.part);
        let image = |name: &str| {
            let of = FilePart { deck_id: Some("f0123456789ab".to_owned()), part: None };
            let error =
                Error::Unreadable { origin: name.to_owned(), of: Box::new(of), reason: Reason::Unknown };
            FailedInput::of(&error, "1".to_owned(), "v1").part.unwrap()
        };
        assert_eq!(image("secret/1.png"), image("secret/1.png"));
        assert!(image("secret/1.png") != image("secret/2.png") && !image("secret/1.png").contains("secret"));
        for failed in [page, entry, path] {
            let line = serde_json::to_string(&failed).unwrap();
            assert!(!line.contains("secret"), "{line}");
        }
    }
}
