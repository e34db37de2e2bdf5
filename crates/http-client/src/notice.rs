use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A caller's check that is asked about ten times a second; `true` ends the call.
pub type Cancel = Arc<dyn Fn() -> bool + Send + Sync>;

/// Told what is being waited for, at least every two seconds.
pub type Notify = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// What a client is waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A request was sent, or is being sent, and there is no answer yet.
    Waiting {
        /// Method and address without query.
        place: &'a str,
        /// From 1.
        attempt: u32,
        /// Since the attempt began.
        since: Duration,
        /// Bytes of the request's body that were taken so far.
        sent: u64,
    },
    /// An attempt failed, or the service asked to wait; the next one comes after a pause.
    Retrying {
        /// Method and address without query.
        place: &'a str,
        /// The coming attempt.
        attempt: u32,
        /// What the last one came to.
        reason: &'a str,
        /// How long until then.
        wait: Duration,
    },
    /// Bytes arrive.
    Receiving {
        /// Method and address without query.
        place: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes there will be, where known.
        total: Option<u64>,
    },
    /// Another process holds what is needed.
    Locked {
        /// What it holds.
        place: &'a str,
        /// Since the wait began.
        since: Duration,
    },
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { place, attempt, since, sent } => {
                write!(f, "waiting for {place}, attempt {attempt}, {} s", since.as_secs())?;
                if *sent > 0 { write!(f, ", {} sent", Size(*sent)) } else { Ok(()) }
            }
            Self::Retrying { place, attempt, reason, wait } => {
                let seconds = wait.as_secs().max(1);
                write!(f, "waiting for {place} ({reason}), attempt {attempt}, next in {seconds} s")
            }
            Self::Receiving { place, done, total: Some(total) } => {
                let share = 100 * done / (*total).max(1);
                write!(f, "receiving {place}: {} of {} ({share} %)", Size(*done), Size(*total))
            }
            Self::Receiving { place, done, total: None } => write!(f, "receiving {place}: {}", Size(*done)),
            Self::Locked { place, since } => {
                write!(f, "waiting for another process that fetches {place}, {} s", since.as_secs())
            }
        }
    }
}

/// Bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..10_000 => write!(f, "{bytes} B"),
            bytes @ 10_000..10_000_000 => write!(f, "{} kB", bytes / 1000),
            bytes => write!(f, "{} MB", bytes / 1_000_000),
        }
    }
}
