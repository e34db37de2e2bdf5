//! Shows where a project's files lie, what they hold, and where they disagree.
#![forbid(unsafe_code)]

mod check;
mod files;
mod findings;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pq_cli::{CommonArgs, HasCommon, Verdict};

/// Shows where a project's files lie, what they hold, and where they disagree.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 nothing contradicts, 1 something is missing, unreadable or contradictory, 2 could not run."
)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print each file of the project: where it lies, in which version of its format, how much it holds, who writes and who
    /// reads it; and what is stale, missing or contradictory.
    Check,
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
    let Command::Check = args.command;
    let project = args.common.configuration()?;
    let report = check::check(&project)?;
    let mut out = std::io::stdout().lock();
    if args.common.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        out.write_all(report.to_string().as_bytes())?;
    }
    Ok(if report.has_problems() { Verdict::Fail } else { Verdict::Pass })
}
