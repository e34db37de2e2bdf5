use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use pq_cli::{CommonArgs, HasCommon};

/// Brings decks in as slides: renders pages, checks, finds duplicates, records where everything came from.
///
/// Give files, folders or addresses; without any, the upload folder (`data/raw/manual_uploads`) and the enabled sources of
/// data.toml are read. PDF, PNG, JPEG, JPEG 2000, WebP, GIF, TIFF, BMP, ZIP, and PowerPoint, Keynote or `OpenDocument` where
/// `LibreOffice` is installed. A folder of images is a deck. Every other file is listed with the reason why it is passed over.
/// A second run over the same input changes nothing.
#[derive(Debug, Parser)]
#[command(name = "pq-collect", version, subcommand_precedence_over_arg = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Files, folders or http(s) addresses.
    #[arg(value_name = "PATH or URL")]
    pub(crate) inputs: Vec<String>,
    /// Licence or consent under which the given decks are used.
    #[arg(long, value_name = "TEXT")]
    pub(crate) license: Option<String>,
    /// Files read at once; as many as there are cores by default.
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Try the files again that were set aside before.
    #[arg(long)]
    pub(crate) retry: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How slides are exported.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Images and `metadata.jsonl`.
    ImageFolder,
    /// Parquet files.
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say where a slide came from and what is known of it.
    Show {
        /// The slide's id.
        slide: String,
    },
    /// Check every image and record of the store.
    Verify,
    /// Assign splits to new groups and prove that no deck and no near-duplicate stands in two of them.
    Splits {
        /// From now on the test set neither loses nor gains a slide.
        #[arg(long)]
        freeze_test: bool,
    },
    /// Bring in slides that were scored in production and that users corrected or that were drawn to be rated.
    ///
    /// They are trained on, never validated or tested on; running it again changes nothing.
    Production,
    /// Write the dataset card (Markdown) to stdout or a file.
    Card {
        /// Where to write it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Export the usable slides with their labels for Hugging Face `datasets`.
    Export {
        /// The folder to write: a new one, or an earlier export.
        out: PathBuf,
        /// A folder of images with `metadata.jsonl`, or Parquet files that hold the images.
        #[arg(long, value_enum, default_value_t = ExportFormat::ImageFolder)]
        format: ExportFormat,
        /// Size of a Parquet file, in mebibytes.
        #[arg(long, value_name = "MIB", default_value_t = 500)]
        shard_mib: u64,
    },
    /// Write the contact sheet of flagged and repeated slides.
    ContactSheet,
    /// Read files for another run of this command.
    #[command(hide = true)]
    Reader,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}
