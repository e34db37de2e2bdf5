//! Releases a validated run as the next version, and everything around released versions.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as Arguments, Parser, Subcommand};
use pq_cli::{CommonArgs, HasCommon, Verdict};
use project_files::RunFiles;
use registry::{Event, Registry, RegistryConfig};

mod change;
mod compare;
mod context;
mod print;
mod release;

use context::Context;

/// Releases a validated run: gate, next version, model card, upload, tag.
///
/// A release is planned, stored, uploaded beside what the Hub serves, read back, tagged and entered in
/// `model_registry/version.json`; only then it is in use. Killed anywhere, the same command finishes it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 done, 1 the gate said no, `verify` or `doctor` found something, or it is done here and not yet on the Hub (`pq-register push`), 2 could not run."
)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The run to release [default: the latest one]
    run: Option<PathBuf>,
    /// Show what would be released, the model card included, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Release, but leave in use what is in use.
    #[arg(long, global = true)]
    no_promote: bool,
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What all of the commands take.
#[derive(Debug, Arguments)]
struct How {
    /// Folder of the registry [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR", global = true)]
    registry: Option<PathBuf>,
    /// Leave the Hub alone, also where a repository is configured; `push` makes up for it.
    #[arg(long, global = true)]
    local: bool,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", global = true)]
    reason: Option<String>,
    /// Who, for the journal [default: `GITHUB_ACTOR`, else the user's name]
    #[arg(long, value_name = "NAME", global = true)]
    by: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
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
        #[arg(long, value_name = "DATE", value_parser = compare::time)]
        on: Option<jiff::Timestamp>,
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
    /// Check every stored version, and the journal, against their hashes.
    Verify,
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

fn main() -> ExitCode {
    pq_cli::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let config: RegistryConfig = project.section("registry", RegistryConfig::validate)?;
    let only_reads = args.command.is_some();
    let layout = project.layout()?.with_registry(args.how.registry.as_deref(), only_reads)?;
    if only_reads {
        layout.require_registry()?;
    }
    let registry = Registry::watched(&layout, std::sync::Arc::new(|_| pq_cli::interrupted()));
    let context = Context {
        config: &config,
        layout: &layout,
        registry: &registry,
        how: &args.how,
        json: args.common.json,
    };
    match &args.command {
        None => {
            let run = args.run.as_ref().map_or_else(|| layout.latest_run(), RunFiles::new);
            release::release(&context, &run, args.dry_run, !args.no_promote)
        }
        Some(Command::History) => print::history(&context),
        Some(Command::Show { version }) => compare::show(&context, version),
        Some(Command::Diff { before, after }) => compare::diff(&context, before, after),
        Some(Command::Live { on }) => compare::live(&context, *on),
        Some(Command::Rollback { version }) => {
            change::promote(&context, version.as_deref(), Event::RolledBack)
        }
        Some(Command::Promote { version }) => change::promote(&context, Some(version), Event::Promoted),
        Some(Command::Push) => change::push(&context),
        Some(Command::Fetch { version }) => change::fetch(&context, version),
        Some(Command::Resume { abandon: false }) => release::resume(&context, !args.no_promote),
        Some(Command::Resume { abandon: true }) => release::abandon(&context),
        Some(Command::Verify) => print::verified(&registry.verify()?, args.common.json),
        Some(Command::Doctor { repair }) => change::doctor(&context, *repair),
    }
}
