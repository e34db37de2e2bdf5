use std::path::PathBuf;

use clap::{Parser, Subcommand};
use pq_common::{CommonArgs, HasCommon};

/// Brings decks in as slides: renders pages, checks, finds duplicates, records where everything came from.
///
/// Give files, folders or addresses; without any, the upload folder (`data/raw/manual_uploads`) and the enabled sources of
/// data.toml are read. PDF, PNG, JPEG, WebP, GIF, TIFF, BMP, ZIP, and PowerPoint or `OpenDocument` where `LibreOffice` is installed.
/// A folder of pictures is a deck. A second run over the same input changes nothing.
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say where a slide came from and what is known of it.
    Show {
        /// The slide's id.
        slide: String,
    },
    /// Check every picture and record of the store.
    Verify,
    /// Assign splits to new groups and prove that no deck and no near-duplicate stands in two of them.
    Splits,
    /// Write the dataset card (Markdown) to stdout or a file.
    Card {
        /// Where to write it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Export the usable slides as a Hugging Face image folder.
    Export {
        /// The folder to write.
        out: PathBuf,
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
