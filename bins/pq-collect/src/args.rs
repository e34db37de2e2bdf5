use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, ShardArgs};

/// Brings decks in as slides: renders pages, checks, finds duplicates, records where everything came from.
///
/// Give files, folders or addresses; without any, the upload folder (`data/raw/manual_uploads`) and the enabled sources of
/// data.toml are read. PDF, PNG, JPEG, JPEG 2000, WebP, GIF, TIFF, BMP, ZIP, and PowerPoint, Keynote or `OpenDocument` where
/// `LibreOffice` is installed. A folder of images is a deck, also when it is what is given. Every other file is listed with the reason
/// why it is passed over. A second run over the same input changes nothing.
///
/// With `--shard` one of several processes or machines reads its part of the files into a folder of its own below `data/raw/shards`;
/// `pq-collect merge` takes them together, finds duplicates and groups, and says which shards are to be run again.
#[derive(Debug, Parser)]
#[command(name = "pq-collect", version, subcommand_precedence_over_arg = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Files, folders or http(s) addresses.
    #[arg(value_name = "PATH or URL")]
    pub(crate) inputs: Vec<String>,
    /// Licence or consent under which the given decks are used.
    #[arg(long, value_name = "TEXT", global = true)]
    pub(crate) license: Option<String>,
    /// Files read at once; as many as there are cores by default.
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Try the files again that were set aside before.
    #[arg(long)]
    pub(crate) retry: bool,
    /// Take files in that were forgotten.
    #[arg(long)]
    pub(crate) again: bool,
    /// Then compute what the base model's vision tower says of each slide, which takes most of a training's first epoch: `pq-train` takes
    /// it from `data/cache/features`.
    #[arg(long, conflicts_with = "shard")]
    pub(crate) features: bool,
    #[command(flatten)]
    pub(crate) shard: ShardArgs,
    /// When slides count as collected [default: when they are].
    #[arg(long, value_name = "TIME", global = true)]
    pub(crate) collected_at: Option<Timestamp>,
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

/// What a person decides about slides.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// They are not used.
    Exclude,
    /// They are used, whatever the rules say.
    Include,
    /// The rules decide again whether they are used.
    Automatic,
    /// The two are one slide; one of them is used.
    Same,
    /// The two are different slides.
    Different,
    /// They are used under the licence or consent that `--license` states.
    Licence,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say where a slide came from and what is known of it, or list the slides of a deck.
    Show {
        /// The id of a slide or deck, or the deck's file or folder.
        slide: String,
    },
    /// Decide about slides, over what is found by itself, for this and all later runs.
    Decide {
        /// What is decided.
        #[arg(value_enum)]
        what: What,
        /// Slides or decks by their ids or files; two slides for `same` and `different`.
        #[arg(required = true, value_name = "SLIDE or DECK")]
        slides: Vec<String>,
        /// Who decides.
        #[arg(long, value_name = "NAME")]
        by: String,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Take decks out of the project: slides, ratings, labels, splits, what production keeps of them, and copies that runs made.
    ///
    /// Adapters cannot unlearn: those that were trained on the slides are named. A frozen test set notes what it lost. What is stopped is
    /// finished by running it again. A receipt without content stays, and the same file is not collected again without `--again`.
    Forget {
        /// A deck by its id, the decks of a file by its name, or of an owner by the licence or consent that the records state; none to
        /// finish what was stopped.
        #[arg(value_name = "DECK or FILE or OWNER")]
        what: Option<String>,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Why; it stays in the receipt, so name nobody.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Who asks for it [default: `GITHUB_ACTOR`, else `USER`]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Take together what shards have read (`--shard`), find duplicates and groups.
    ///
    /// Give the same files or folders as to the shards. It proves first that each shard is there, whole, and of the files that there are now;
    /// where one is not, it says which to run again and changes nothing.
    Merge {
        /// Files or folders, as the shards were given.
        #[arg(value_name = "PATH")]
        inputs: Vec<String>,
    },
    /// Compute what the base model's vision tower says of the slides that are there, as `--features` does after collecting.
    ///
    /// The result of a training is the same with and without. It can be stopped and goes on where it was, beside people who rate too:
    /// `pq-label --features` does so while nobody rates.
    Features {
        /// Work while another process wishes it: lines of standard input say `go` or `wait`.
        #[arg(long, hide = true)]
        by_order: bool,
    },
    /// Check every image and record of the store.
    Verify,
    /// Assign splits to new groups and prove that no deck and no near-duplicate stands in two of them.
    Splits {
        /// From now on the test set neither loses nor gains a slide. The first training does this too, and freezes its labels.
        #[arg(long)]
        freeze_test: bool,
        /// Measure against what people say now of the slides of the frozen test set, and why. Runs that were validated before are not
        /// comparable with later ones; who did so, when and why is kept in splits.json.
        #[arg(long, value_name = "REASON")]
        accept_test_labels: Option<String>,
        /// Who takes the labels over [default: `GITHUB_ACTOR`, else `USER`]
        #[arg(long, value_name = "NAME", requires = "accept_test_labels")]
        by: Option<String>,
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
        /// For everybody to see: slides without a stated licence are left out, names of files and people's notes too.
        #[arg(long)]
        public: bool,
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
