//! What the command is asked.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use pq_cli::{CommonArgs, HasCommon};
use sample_decks::Format;

/// Draws sample pitch decks of known quality and simulates the people who rate them.
///
/// The decks stand in for real ones where none may be shared: in the demo, in tests, and to make the tiny checkpoint.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Draw decks, with every slide's latent quality in latents.json beside them.
    Decks {
        /// Folder to write to.
        #[arg(long)]
        out: PathBuf,
        /// How many decks.
        #[arg(long, default_value_t = 4)]
        decks: usize,
        /// Other seeds give other companies, themes and qualities.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// PDF, folders of images, or every fourth deck as a folder of images.
        #[arg(long, value_enum, default_value = "pdf")]
        format: FormatArg,
        /// Width of images in pixels.
        #[arg(long, default_value_t = 1280)]
        width: u32,
        /// Write images with all that is visible on them (slides.jsonl) instead of decks: to teach a model to see.
        #[arg(long)]
        attributes: bool,
    },
    /// Rate collected slides by simulated raters; the CSV is what `pq-label import` reads.
    Rate {
        /// The collected slides, with manifest.jsonl.
        #[arg(long, default_value = "data/raw")]
        raw: PathBuf,
        /// The latents.json that was written with the decks.
        #[arg(long)]
        latents: PathBuf,
        /// How many raters.
        #[arg(long, default_value_t = 3)]
        raters: usize,
        /// Other seeds give other raters.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The CSV to write; standard output without it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Correct scored slides as users would who correct what is wrong, and only that.
    Correct {
        /// The slides that were kept as they were scored, `kept_slides.jsonl`.
        #[arg(long, default_value = "monitoring/kept/kept_slides.jsonl")]
        kept: PathBuf,
        /// Their scores.
        #[arg(long, default_value = "monitoring/predictions.jsonl")]
        predictions: PathBuf,
        /// The latents.json that was written with the decks.
        #[arg(long)]
        latents: PathBuf,
        /// How many slides are corrected at most.
        #[arg(long, default_value_t = 100)]
        slides: usize,
        /// The corrections, to which they are appended.
        #[arg(long, default_value = "data/user_feedback/corrections.jsonl")]
        out: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatArg {
    Pdf,
    Png,
    Mixed,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Pdf => Self::Pdf,
            FormatArg::Png => Self::Png,
            FormatArg::Mixed => Self::Mixed,
        }
    }
}
