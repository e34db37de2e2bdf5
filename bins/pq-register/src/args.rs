//! The arguments.

use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pq_cli::{CommonArgs, HasCommon};

/// Releases a validated run: gate, next version, model card, upload, tag.
///
/// A release is planned, stored, uploaded beside what the Hub serves, read back, tagged and entered in
/// `model_registry/version.json`; only then it is in use. Killed anywhere, the same command finishes it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 done, 1 the gate said no, `verify` or `doctor` found something, or it is done here and not yet on the Hub (`pq-register push`), 2 could not run, 3 the validation is undecided."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The run to release [default: the latest one]
    pub(crate) run: Option<PathBuf>,
    /// Show what would be released, the model card included, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Release, but leave in use what is in use.
    #[arg(long, global = true)]
    pub(crate) no_promote: bool,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What all of the commands take.
#[derive(Debug, Arguments)]
pub(crate) struct How {
    /// Folder of the registry [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) registry: Option<PathBuf>,
    /// Leave the Hub alone, also where a repository is configured; `push` makes up for it.
    #[arg(long, global = true)]
    pub(crate) local: bool,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", global = true)]
    pub(crate) reason: Option<String>,
    /// Who, for the journal [default: `GITHUB_ACTOR`, else the user's name]
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the releases, the newest last, and what happened to them.
    History,
    /// Show a release: what it was made from, what was measured, its files.
    Show {
        /// The version.
        version: String,
    },
    /// Show in what two releases differ.
    Diff {
        /// The one version.
        before: String,
        /// The other one.
        after: String,
    },
    /// Say which version is in use, or was at a time.
    Live {
        /// A day (its end, in UTC) or a time, as in `2026-01-31` or `2026-01-31T12:00:00Z` [default: now]
        #[arg(long, value_name = "DATE", value_parser = time)]
        on: Option<Timestamp>,
    },
    /// Put the version before the present one in use, or the one given. The Hub follows.
    Rollback {
        /// The version to go back to.
        version: Option<String>,
    },
    /// Put a released version in use. The Hub follows.
    Promote {
        /// The version.
        version: String,
    },
    /// Bring the Hub up to this registry: versions that it lacks, and the one in use.
    Push,
    /// Bring a version, or its lost files, from the Hub.
    Fetch {
        /// The version.
        version: String,
    },
    /// Finish a release that was killed.
    Resume {
        /// Give it up instead.
        #[arg(long)]
        abandon: bool,
    },
    /// Check every stored version, and the journal, against their hashes, and signatures where a key is trusted.
    Verify,
    /// Make a pair of keys to sign releases with: FILE, and FILE.pub for those who check.
    Keygen {
        /// The file of the private key.
        #[arg(value_name = "FILE")]
        private: PathBuf,
    },
    /// Compare folder, version.json, journal and Hub.
    Doctor {
        /// Mend what can be mended.
        #[arg(long)]
        repair: bool,
    },
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

/// A time, or a day, which stands for its end.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let day: Date = text.parse().map_err(|_| format!("`{text}` is neither a day nor a time"))?;
    let end = day.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok());
    let end = end.and_then(|next| Timestamp::from_nanosecond(next.timestamp().as_nanosecond() - 1).ok());
    end.ok_or_else(|| format!("`{text}` is out of range"))
}
