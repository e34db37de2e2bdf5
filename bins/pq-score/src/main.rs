//! Rates slides with a released or local adapter.

use std::process::ExitCode;

use anyhow::Result;
use pq_cli::Verdict;

mod adapter;
mod args;
mod familiar;
mod ids;
mod keep;
mod model;
mod offline;
mod serve;
mod session;
mod table;
mod versions;

use args::{Args, Command};

fn main() -> ExitCode {
    pq_cli::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    match &args.command {
        Some(Command::Serve(serve)) => serve::serve(&args.common, serve),
        None => offline::score(args),
    }
}
