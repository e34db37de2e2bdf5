//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, ShardArgs};

/// Rates slides: a table on a terminal, one JSON line a slide on any other stdout (or with --json), or an HTML report for the deck's author.
///
/// Takes images, PDF and presentation files, folders of them, and manifests of pq-collect. Uses the champion of the registry, else the
/// latest run. Every scored slide is also logged to `monitoring/predictions.jsonl`, for pq-monitor, and its image kept in
/// `monitoring/kept` (`[kept_slides]` of monitoring.toml), so that a correction of it can be learned from.
#[derive(Debug, Parser)]
#[command(
    version,
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
    /// Write a report with images to this file. Its reader can correct scores in it, unless --no-log is given, and download them as a file
    /// for `pq-score corrections`.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// An older version of the deck: says which slides stayed and whether those that changed became better. What changed is scored in both
    /// versions; nothing of the older one is logged.
    #[arg(long, value_name = "DECK")]
    pub(crate) before: Option<PathBuf>,
    /// Slides that go through the model at once.
    #[arg(long, default_value_t = 4)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
}

/// The work of several processes or machines.
#[derive(Debug, ClapArgs)]
pub(crate) struct PartsArgs {
    /// Score a manifest.jsonl in shards: this process scores its own and writes a part into this folder, which all of them share. `pq-score
    /// merge` joins the parts, takes them into the log, and says which shards are to be run again. Nothing is printed or kept. Without --shard the launcher's variables say which shard this
    /// is (a Kubernetes Job passes `PQ_SHARDS`).
    #[arg(long, value_name = "DIR", conflicts_with_all = ["html", "before"])]
    pub(crate) parts: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shard: ShardArgs,
    /// When the slides count as scored [default: when the first shard began].
    #[arg(long, value_name = "TIME", requires = "parts")]
    pub(crate) scored_at: Option<Timestamp>,
}

/// What else the command does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves scores over HTTP, with a page where people hand in a deck.
    Serve(ServeArgs),
    /// Joins the parts that shards have written, and takes the scores into the log.
    Merge(MergeArgs),
    /// Takes in corrections that users made elsewhere, from a file.
    Corrections(CorrectionsArgs),
}

/// Takes in corrections that users made elsewhere, from a file with a JSON object a line, as in `data/user_feedback/corrections.jsonl`: the
/// file that a reader of a report (`pq-score --html`) downloads, or one that a program of yours writes.
///
/// Each counts once by its `id`, so a file may be taken in again. A line may leave out `id`, `corrected_at`, `model_version` and
/// `predicted`: what the slide's newest scores say is filled in, and what they say too is no correction. Lines that are not taken are named
/// with the reason.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit status: 0 every line is noted or was known; with --dry-run: would be, 1 lines were not taken, 2 the file cannot be read."
)]
pub(crate) struct CorrectionsArgs {
    /// The file.
    pub(crate) file: PathBuf,
    /// Say what would become of each line, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take also corrections of slides that were neither collected, kept nor scored here; they teach nothing before that.
    #[arg(long)]
    pub(crate) keep_unknown: bool,
    /// Folder of the monitoring files [default: `storage.monitoring_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) monitoring: Option<PathBuf>,
}

/// Joins the parts that the shards of a scoring have written (`--parts`), and takes the scores into the log of scored slides.
///
/// It proves first that each shard is there, whole and once; where one is not, it says which to run again and changes nothing.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit status: 0 joined, 1 shards are missing, or slides could not be scored, 2 the parts do not belong together."
)]
pub(crate) struct MergeArgs {
    /// The folder of the parts.
    pub(crate) parts: PathBuf,
    /// Where the scores are written: Parquet, or lines of JSON where the name ends in .jsonl [default: scored.parquet in that folder].
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Do not take the scores into the log of scored slides.
    #[arg(long)]
    pub(crate) no_log: bool,
    /// Folder of the monitoring files [default: `storage.monitoring_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) monitoring: Option<PathBuf>,
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
    /// The name of this service among several that share the monitoring folder: it logs below `replicas/NAME`, and pq-monitor takes that into
    /// the log. Without it the service writes the log itself.
    #[arg(long, value_name = "NAME", value_parser = replica, conflicts_with = "no_log")]
    pub(crate) replica: Option<String>,
    /// Folder in a bucket that what is logged is shipped to, as in `s3://bucket/scored`; `pq-monitor --bucket` takes it in. Where the bucket
    /// does not answer it waits on this machine.
    #[arg(long, value_name = "URL", requires = "replica")]
    pub(crate) ship: Option<PathBuf>,
    /// Seconds from one shipping to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "ship")]
    pub(crate) ship_every: u64,
}

/// A name that is one folder's.
fn replica(name: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name =
        !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(is_plain);
    if is_name {
        Ok(name.to_owned())
    } else {
        Err("use letters, digits, `-`, `_` and `.`, not at the beginning".to_owned())
    }
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}
