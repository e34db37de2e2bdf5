//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use pq_cli::{CommonArgs, HasCommon};

/// Rates slides: a table on a terminal, one JSON line a slide on any other stdout (or with --json), or an HTML report for the deck's author.
///
/// Takes images, PDF and presentation files, folders of them, and manifests of pq-collect. Uses the champion of the registry, else the
/// latest run. Every scored slide is also logged to `monitoring/predictions.jsonl`, for pq-monitor, and its image kept in
/// `monitoring/kept` (`[kept_slides]` of monitoring.toml), so that a correction of it can be learned from.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit status: 0 scored, 1 some pages or files could not be scored, 2 nothing could be scored."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Images, decks, folders, or a manifest.jsonl.
    #[arg(required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Write a report with images to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// An older version of the deck: says which slides stayed and whether those that changed became better. What changed is scored in both
    /// versions; nothing of the older one is logged.
    #[arg(long, value_name = "DECK")]
    pub(crate) before: Option<PathBuf>,
    /// Slides that go through the model at once.
    #[arg(long, default_value_t = 4)]
    pub(crate) batch: usize,
}

/// What else the command does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves scores over HTTP, with a page where people hand in a deck.
    Serve(ServeArgs),
}

/// Which model rates, and where it is noted.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ModelArgs {
    /// A run or a released version to rate with.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Neither log to `monitoring/predictions.jsonl` nor keep the slides.
    #[arg(long)]
    pub(crate) no_log: bool,
    /// Folder of the monitoring files [default: `storage.monitoring_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) monitoring: Option<PathBuf>,
    /// Folder of the registry [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) registry: Option<PathBuf>,
}

/// Serves scores over HTTP, with a page where people hand in a deck.
///
/// Without a token only this machine is answered. Set `PQ_SCORE_TOKEN` (or `PQ_SCORE_TOKEN_PATH`, a file) to listen elsewhere; clients
/// send it as `Authorization: Bearer …`. Limits stand in serve.toml, the interface at /docs.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit status: 0 it was stopped and has ended what it began, 1 something was left undone, 2 it could not serve."
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 7861)]
    pub(crate) port: u16,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}
