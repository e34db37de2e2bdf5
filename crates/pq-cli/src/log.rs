//! Where the log goes: to stderr, and to one who asked for a copy.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::OptionalWriter;

/// Takes the lines of the log.
pub type LogCopy = Box<dyn Fn(&str) + Send>;

static COPY: Mutex<Option<LogCopy>> = Mutex::new(None);

/// Hands each line of the log, without colours, to `copy` too; `None` ends that. `copy` must not log itself.
pub fn copy_log(copy: Option<LogCopy>) {
    *COPY.lock().unwrap_or_else(PoisonError::into_inner) = copy;
}

static WARNINGS_ONLY: AtomicBool = AtomicBool::new(false);

/// From now on only warnings and errors are logged: for a process of several that do the same.
pub fn log_warnings_only() {
    WARNINGS_ONLY.store(true, Ordering::Relaxed);
}

/// The lines of the log, as far as they are wanted.
pub(crate) struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = OptionalWriter<Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OptionalWriter::some(Writer)
    }

    fn make_writer_for(&'a self, about: &tracing::Metadata<'_>) -> Self::Writer {
        let is_left_out = WARNINGS_ONLY.load(Ordering::Relaxed) && *about.level() > tracing::Level::WARN;
        if is_left_out { OptionalWriter::none() } else { OptionalWriter::some(Writer) }
    }
}

/// Writes an event of the log.
pub(crate) struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(copy) = &*COPY.lock().unwrap_or_else(PoisonError::into_inner) {
            copy(plain(&String::from_utf8_lossy(bytes)).trim_end());
        }
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Without the sequences that colour a terminal.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_copy_has_the_lines_without_colours() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        copy_log(Some(Box::new(move |line| kept.lock().unwrap().push(line.to_owned()))));
        Writer.write_all(b"\x1b[32m INFO\x1b[0m step 1\n").unwrap();
        copy_log(None);
        Writer.write_all(b" INFO step 2\n").unwrap();
        assert_eq!(*lines.lock().unwrap(), [" INFO step 1"]);
    }
}
