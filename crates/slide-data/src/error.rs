use std::borrow::Cow;
use std::path::PathBuf;

/// What can go wrong with slides and the files that describe them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
    /// A file of the project does not hold what its contract says.
    #[error(transparent)]
    Contract(#[from] project_files::Error),
    /// A value outside its domain.
    #[error("`{key}` must be {expected}, got {actual}")]
    Domain { key: String, expected: String, actual: String },
    /// A file (or a part of it) cannot become slides; everything else goes on.
    #[error("`{origin}`: {reason}")]
    Unreadable { origin: String, of: Box<FilePart>, reason: Reason },
    /// A store's file is not what it was when it was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The web cannot be asked as it is set up.
    #[cfg(feature = "web")]
    #[error("nothing can be downloaded")]
    Http { source: http_client::Error },
    /// Past days of the log of scored slides cannot be read or written.
    #[error("the segment `{path}` {reason}")]
    Segment { path: PathBuf, reason: String },
    /// The folder of parts holds another scoring.
    #[cfg(feature = "segments")]
    #[error("`{folder}` holds another scoring ({reason}); give each scoring a folder of its own")]
    OtherScoring { folder: PathBuf, reason: String },
    /// Shards of a collection do not belong together.
    #[cfg(feature = "collect")]
    #[error("`{path}` {reason}")]
    Shard { path: PathBuf, reason: String },
    /// Another run works on the same store.
    #[error("another run is working on `{path}`")]
    Busy { path: PathBuf },
    /// There is no such slide.
    #[error("there is no slide `{0}`")]
    NoSuchSlide(String),
    /// A group or a pair of near-duplicates would stand on two sides of the split.
    #[error("the splits are not independent: {0}")]
    Leak(String),
    /// A slide of the frozen test set cannot be used any more.
    #[error("the frozen test set has lost {missing} of its {of} slides, `{first}` first")]
    TestSetChanged { missing: usize, of: usize, first: String },
    /// There are too few groups (decks) to put one into each split.
    #[error("{groups} independent decks are too few to split; at least {needed} are needed")]
    TooFewGroups { groups: usize, needed: usize },
}

/// Why a file, a page or an archive's entry cannot become a slide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Reason {
    /// None of the known formats.
    #[error("is neither an image, a PDF, a presentation nor a ZIP archive")]
    Unknown,
    /// A format that is known and not read.
    #[error("is {what}; {remedy}")]
    Foreign { what: Cow<'static, str>, remedy: Cow<'static, str> },
    /// A file without content.
    #[error(
        "is empty (0 bytes): its download did not end, or it is kept online only; let its cloud service download it and collect it again"
    )]
    EmptyFile,
    /// The reader is told of a file in UTF-8.
    #[error("has a name that is not UTF-8; rename it")]
    NameNotUtf8,
    /// A known format whose content breaks its rules.
    #[error("cannot be read: {0}")]
    Malformed(String),
    /// Refused by the size it declares.
    #[error("is too large: {what}, more than `limits.{key}` = {limit}")]
    TooLarge { what: String, key: &'static str, limit: u64 },
    /// The document needs a password.
    #[error("is protected by a password; save a copy without one")]
    Encrypted,
    /// The document has no pages, the archive no images.
    #[error("holds no slides")]
    Empty,
    /// An archive's entry that points outside the archive.
    #[error("has an entry that leaves the archive: `{0}`")]
    Traversal(String),
    /// The file, or one slide of it, took longer than allowed.
    #[error("took longer than `limits.{key}` = {limit_s} s")]
    TimedOut { key: &'static str, limit_s: u64 },
    /// The reader failed in a way that it should not (a bug in a decoder, memory above the limit).
    #[error("stopped the reader: {0}")]
    Crashed(String),
    /// A presentation, and no program that converts it.
    #[error(
        "is a presentation, and LibreOffice, which draws it, is not installed; install it (`libreoffice-impress` or libreoffice.org) or export the deck as PDF"
    )]
    NeedsLibreOffice,
    /// The file cannot be opened.
    #[error("cannot be opened: {0}")]
    Io(String),
}

/// What an [`Error::Unreadable`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePart {
    /// The deck that it would have been of, where the file was read.
    pub deck_id: Option<String>,
    /// The page or entry, where only that failed, as in `page 3`.
    pub part: Option<String>,
}

impl Error {
    /// Of something that is no input file.
    #[cfg(feature = "image")]
    pub(crate) fn unreadable(origin: String, reason: Reason) -> Self {
        Self::Unreadable { origin, of: Box::default(), reason }
    }
}

impl Reason {
    /// No slide came within the time allowed.
    #[cfg(feature = "render")]
    pub(crate) fn slow_slide(limit_s: u64) -> Self {
        Self::TimedOut { key: "time_limit_s", limit_s }
    }

    /// A known format that is not read, and what to do with it.
    #[cfg(feature = "render")]
    pub(crate) fn foreign(what: &'static str, remedy: &'static str) -> Self {
        Self::Foreign { what: what.into(), remedy: remedy.into() }
    }

    /// A malformed file, in a decoder's words.
    pub fn malformed(error: impl std::fmt::Display) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Names the action and the file of an I/O error.
#[cfg(any(feature = "render", feature = "segments"))]
pub(crate) fn io_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let named = durable_files::io_error(action, path);
    move |source| Error::File(named(source))
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
