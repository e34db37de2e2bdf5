use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A file that changed within this time before it was looked at may change again without its times showing it, because file
/// systems count time in coarse steps.
const COARSEST_STEP: Duration = Duration::from_secs(2);

/// By what a file is recognised as unchanged without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Stamp {
    size: u64,
    /// Nanoseconds since 1970 of the last modification, as text because JSON's numbers are too small.
    modified: String,
    /// Where the file is: device, inode and the time of the last change of either, which no program can set back.
    #[cfg(unix)]
    place: (u64, u64, i64, i64),
    #[cfg(not(unix))]
    place: std::path::PathBuf,
}

/// A stamp, and whether the file had rested long enough for the stamp to be told from that of a later change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) stamp: Stamp,
    pub(crate) is_settled: bool,
}

impl Stamped {
    /// `None` where the system does not say when the file was modified.
    pub(crate) fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        Self::at(path, metadata, SystemTime::now())
    }

    fn at(path: &Path, metadata: &Metadata, now: SystemTime) -> Option<Self> {
        let modified = metadata.modified().ok()?;
        let since = modified.duration_since(UNIX_EPOCH).ok()?;
        let changed = last_change(metadata).unwrap_or(modified).max(modified);
        let is_settled = now.duration_since(changed).is_ok_and(|age| age >= COARSEST_STEP);
        let stamp = Stamp {
            size: metadata.len(),
            modified: since.as_nanos().to_string(),
            place: place(path, metadata)?,
        };
        Some(Self { stamp, is_settled })
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "the signature of other systems")]
fn place(_: &Path, metadata: &Metadata) -> Option<(u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn place(path: &Path, _: &Metadata) -> Option<std::path::PathBuf> {
    path.canonicalize().ok()
}

#[cfg(unix)]
fn last_change(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

#[cfg(not(unix))]
fn last_change(_: &Metadata) -> Option<SystemTime> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_file_is_not_settled_and_one_from_the_future_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        let settled_after = |seconds: u64| {
            let now = SystemTime::now() + Duration::from_secs(seconds);
            Stamped::at(&path, &metadata, now).unwrap().is_settled
        };
        assert!(!settled_after(0) && settled_after(3));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert!(
            !Stamped::at(&path, &metadata, SystemTime::now() + Duration::from_secs(10)).unwrap().is_settled
        );
    }

    /// A copy that keeps times, or a program that sets them back, must not pass for the old content.
    #[cfg(unix)]
    #[test]
    fn content_of_the_same_size_and_time_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let stamp = || Stamped::of(&path, &std::fs::metadata(&path).unwrap()).unwrap().stamp;
        std::fs::write(&path, "content").unwrap();
        let (first, modified) = (stamp(), std::fs::metadata(&path).unwrap().modified().unwrap());
        assert_eq!(first, stamp());
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, "CONTENT").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!((first.size, &first.modified), (stamp().size, &stamp().modified));
        assert_ne!(first, stamp());
    }
}
