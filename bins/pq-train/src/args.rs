//! The command line.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, Hint};

use crate::head::HeadUse;

/// Fine-tunes the model on the labelled slides with LoRA.
///
/// Splits the decks and freezes the test set with its labels where it is not frozen yet, trains, evaluates and saves by step, keeps the adapter with the smallest
/// rating error, and writes everything to `outputs/<run>`. Ctrl-C saves a checkpoint; `--resume` carries on from it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 trained, 1 no better than the best constant, 2 could not run, 4 stopped early: --resume carries on."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Name of the run; left out, its starting time.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Carry on from the newest checkpoint of the run (the one named by --run, else the newest).
    #[arg(long)]
    pub(crate) resume: bool,
    /// Begin with the adapter of `champion`, a version, a run or a folder in place of a fresh one; its own `[lora]` settings hold.
    #[arg(long, value_name = "ADAPTER", conflicts_with = "resume")]
    pub(crate) from: Option<String>,
    /// Learn a linear head on what the frozen vision tower sees: `alone`, in seconds, in place of training an adapter, or `beside` the adapter,
    /// with as much say as validation decks bear out.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "alone")]
    pub(crate) head: Option<HeadUse>,
    /// Learn from corrections that are dated up to this time; later ones are set aside [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) as_of: Option<Timestamp>,
    /// Say what the run will take (memory, disk, time, after a short calibration) and train nothing.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) plan: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send what Weights & Biases has not got of a run, or of all runs; any number of times.
    ///
    /// Every line of a run is kept in its folder before it is sent. Exit status: 0 all is sent, 1 something is not, 2 could not
    /// run. Without a key a file for `wandb sync` is written.
    Sync {
        /// The run's name, that of its folder in `outputs`.
        run: Option<String>,
    },
    /// Say what this machine computes with: processor, memory, CUDA driver, libraries and GPUs, and what would help.
    ///
    /// Libraries are looked for in the loader's path, the Python environment (`VIRTUAL_ENV`, `CONDA_PREFIX`, the Python in PATH) and
    /// CUDA toolkits (`CUDA_HOME`, /usr/local/cuda*). Exit status: 0 the device that is configured can be used, 1 it cannot, 2
    /// could not run.
    Doctor,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

impl Args {
    /// Refuses what a head that stands alone has no use for.
    ///
    /// # Errors
    /// When it is asked for with it, or several processes were started.
    pub(crate) fn check(&self, processes: usize) -> Result<()> {
        if self.head != Some(HeadUse::Alone) {
            return Ok(());
        }
        let useless = [("--resume", self.resume), ("--from", self.from.is_some()), ("--plan", self.plan)];
        if let Some((flag, _)) = useless.into_iter().find(|(_, is_given)| *is_given) {
            bail!(Hint::new(
                format!("`--head` trains no adapter, and `{flag}` is about one"),
                format!("leave out `{flag}`, or take `--head=beside`")
            ));
        }
        if processes > 1 {
            bail!(Hint::new("`--head` is learned by one process", "start it without a launcher"));
        }
        Ok(())
    }
}
