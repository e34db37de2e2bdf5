//! Takes the logs of several scoring services together: of scored slides, and of what could not be scored.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use durable_files::{FileLock, append_lines, write_atomic};
use project_files::Layout;

use crate::Result;
use crate::error::io_error;

/// So many bytes of lines are moved at once.
const CHUNK: usize = 8 << 20;

/// Moves what the replicas of a scoring service have logged, each into logs of its own, into the project's; how many lines it was. A line that was never finished stays. What ends in between is repeated: a line that was moved twice has the same id, and is read
/// once.
///
/// # Errors
/// When a file cannot be read or written; nothing is then lost.
pub fn gather(layout: &Layout) -> Result<u64> {
    let mut moved = 0;
    for log in replica_logs(layout)? {
        moved += gather_from(&log, &layout.predictions())?;
    }
    for log in replica_failures(layout)? {
        moved += gather_from(&log, &layout.failures())?;
    }
    Ok(moved)
}

/// The logs of the replicas of a scoring service, by name.
///
/// # Errors
/// When their folder cannot be read.
pub fn replica_logs(layout: &Layout) -> Result<Vec<PathBuf>> {
    Ok(possible_logs(layout)?.into_iter().filter(|log| log.exists()).collect())
}

/// What the replicas could not score, by name.
///
/// # Errors
/// When their folder cannot be read.
pub fn replica_failures(layout: &Layout) -> Result<Vec<PathBuf>> {
    let logs = possible_logs(layout)?.into_iter().map(|log| Layout::failures_beside(&log));
    Ok(logs.filter(|log| log.exists()).collect())
}

/// Where the replicas would log, by name.
fn possible_logs(layout: &Layout) -> Result<Vec<PathBuf>> {
    let folder = layout.replicas();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", &folder)(error)),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("read", &folder))?.file_name();
        logs.push(layout.replica_predictions(&name.to_string_lossy()));
    }
    logs.sort();
    Ok(logs)
}

fn gather_from(log: &Path, into: &Path) -> Result<u64> {
    let _lock = FileLock::exclusive(log)?;
    let file = File::open(log).map_err(io_error("read", log))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut chunk, mut count) = (Vec::new(), 0);
    loop {
        let before = chunk.len();
        reader.read_until(b'\n', &mut chunk).map_err(io_error("read", log))?;
        let is_whole = chunk.len() > before && chunk.last() == Some(&b'\n');
        count += u64::from(is_whole);
        if !is_whole || chunk.len() > CHUNK {
            let torn = if is_whole { Vec::new() } else { chunk.split_off(before) };
            if !chunk.is_empty() {
                append_lines(into, &chunk)?;
            }
            if !is_whole {
                if count > 0 {
                    write_atomic(log, &torn)?;
                }
                return Ok(count);
            }
            chunk.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contract as _, Error, FailedInput, Prediction};
    use project_files::Storage;

    fn project(folder: &Path) -> Layout {
        let storage = Storage { monitoring_dir: folder.join("monitoring"), ..Storage::default() };
        Layout::new(&storage, &folder.join("outputs"))
    }

    fn line(id: &str) -> Prediction {
        Prediction { id: Some(id.to_owned()), ..Prediction::sample(&format!("slide-{id}")) }
    }

    fn ids(layout: &Layout) -> Vec<String> {
        let all = Prediction::read_log_if_present(&layout.predictions()).unwrap().entries;
        all.into_iter().filter_map(|slide| slide.id).collect()
    }

    #[test]
    fn what_each_replica_logged_is_in_the_log_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = project(dir.path());
        assert_eq!(gather(&layout).unwrap(), 0, "there are no replicas");
        let [a, b] = ["pod-a", "pod-b"].map(|name| layout.replica_predictions(name));
        Prediction::append(&layout.predictions(), &[line("1")]).unwrap();
        Prediction::append(&a, &[line("2"), line("3")]).unwrap();
        Prediction::append(&b, &[line("4")]).unwrap();
        assert_eq!(gather(&layout).unwrap(), 3);
        assert_eq!(ids(&layout), ["1", "2", "3", "4"]);
        assert_eq!(gather(&layout).unwrap(), 0);
        Prediction::append(&a, &[line("5")]).unwrap();
        assert_eq!(
            (gather(&layout).unwrap(), ids(&layout).len()),
            (1, 5),
            "the replica goes on with its log"
        );
    }

    #[test]
    fn what_was_moved_twice_counts_once_and_what_is_unfinished_stays() {
        let dir = tempfile::tempdir().unwrap();
        let layout = project(dir.path());
        let log = layout.replica_predictions("pod-a");
        Prediction::append(&log, &[line("1"), line("2")]).unwrap();
        // It ended after the lines were in the log and before they left the replica's.
        Prediction::append(&layout.predictions(), &[line("1"), line("2")]).unwrap();
        let whole = std::fs::read(&log).unwrap();
        std::fs::write(&log, [&whole[..], b"{\"schema"].concat()).unwrap();
        assert_eq!(gather(&layout).unwrap(), 2);
        assert_eq!(ids(&layout), ["1", "2"]);
        assert_eq!(std::fs::read(&log).unwrap(), b"{\"schema");
        assert_eq!(gather(&layout).unwrap(), 0);
        assert_eq!(std::fs::read(&log).unwrap(), b"{\"schema");
    }

    #[test]
    fn what_could_not_be_scored_comes_with_it_also_where_nothing_was() {
        let dir = tempfile::tempdir().unwrap();
        let layout = project(dir.path());
        let failed = |id: &str| FailedInput::of(&Error::NoSuchSlide(id.to_owned()), id.to_owned(), "v1");
        FailedInput::append(&layout.failures(), &[failed("1")]).unwrap();
        Prediction::append(&layout.replica_predictions("pod-a"), &[line("2")]).unwrap();
        for (replica, id) in [("pod-a", "3"), ("pod-b", "4")] {
            let log = Layout::failures_beside(&layout.replica_predictions(replica));
            FailedInput::append(&log, &[failed(id)]).unwrap();
        }
        assert_eq!(replica_failures(&layout).unwrap().len(), 2);
        assert_eq!((gather(&layout).unwrap(), gather(&layout).unwrap()), (3, 0));
        let all = FailedInput::read_log(&layout.failures()).unwrap().entries;
        assert_eq!(all.iter().map(|failed| failed.id.as_str()).collect::<Vec<_>>(), ["1", "3", "4"]);
        assert_eq!(ids(&layout), ["2"]);
    }

    #[test]
    fn nothing_is_lost_of_what_is_logged_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let layout = project(dir.path());
        std::thread::scope(|scope| {
            for replica in ["a", "b", "c"] {
                let log = layout.replica_predictions(replica);
                scope.spawn(move || {
                    for number in 0..60 {
                        Prediction::append(&log, &[line(&format!("{replica}{number}"))]).unwrap();
                    }
                });
            }
            for _ in 0..20 {
                gather(&layout).unwrap();
            }
        });
        gather(&layout).unwrap();
        assert_eq!(ids(&layout).len(), 180);
    }
}
