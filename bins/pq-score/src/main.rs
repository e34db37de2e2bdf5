//! Rates slides with a released or local adapter.

use std::process::ExitCode;

use anyhow::Result;
use pq_cli::Verdict;

mod adapter;
mod args;
mod corrections;
mod failures;
mod familiar;
mod ids;
mod keep;
mod model;
mod offline;
mod parts;
mod serve;
mod session;
mod shared;
mod table;
mod versions;

use args::{Args, Command};

fn main() -> ExitCode {
    pq_cli::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    match &args.command {
        Some(Command::Serve(serve)) => serve::serve(&args.common, serve),
        Some(Command::Corrections(taken)) => corrections::corrections(&args.common, taken),
        Some(Command::Merge(merge)) => parts::merge(&args.common, merge),
        None if args.parts.parts.is_some() => parts::score_shard(args),
        None => offline::score(args),
    }
}
