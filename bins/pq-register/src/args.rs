//! The arguments.

use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use model_export::Quantization;
use pq_cli::{CommonArgs, HasCommon};
use project_files::{ExportBounds, Override};

/// Releases a validated run: gate, next version, model card, upload, tag.
///
/// A release is planned, stored, uploaded beside what the Hub serves, read back, tagged and entered in
/// `model_registry/version.json`; only then it is in use. Killed anywhere, the same command finishes it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 done, 1 the gate said no, `verify` or `doctor` found something, an export is too far from its version, `reproduce` got other weights, or it is done here and not yet on the Hub (`pq-register push`), 2 could not run, 3 the validation is undecided."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The run to release [default: the latest one]
    pub(crate) run: Option<PathBuf>,
    /// Show what would be released, the model card included, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Release although a condition could not be looked at, and say why; the model card shows it. `recheck`: neither the project's
    /// data nor the run's copies of them are here to make the validation's numbers again.
    #[arg(long = "override", value_name = "NAME=REASON", value_parser = set_aside)]
    pub(crate) set_aside: Vec<Override>,
    /// Release, but leave in use what is in use.
    #[arg(long, global = true)]
    pub(crate) no_promote: bool,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What all of the commands take.
#[derive(Debug, Arguments)]
pub(crate) struct How {
    /// Folder of the registry [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) registry: Option<PathBuf>,
    /// Leave the Hub alone, also where a repository is configured; `push` makes up for it.
    #[arg(long, global = true)]
    pub(crate) local: bool,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", global = true)]
    pub(crate) reason: Option<String>,
    /// Who, for the journal [default: `GITHUB_ACTOR`, else the user's name]
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the releases, the newest last, and what happened to them.
    History,
    /// Show a release: what it was made from, what was measured, its files.
    Show {
        /// The version.
        version: String,
    },
    /// Show in what two releases differ.
    Diff {
        /// The one version.
        before: String,
        /// The other one.
        after: String,
    },
    /// Say which version is in use, or was at a time.
    Live {
        /// A day (its end, in UTC) or a time, as in `2026-01-31` or `2026-01-31T12:00:00Z` [default: now]
        #[arg(long, value_name = "DATE", value_parser = time)]
        on: Option<Timestamp>,
    },
    /// Put the version before the present one in use, or the one given. The Hub follows.
    Rollback {
        /// The version to go back to.
        version: Option<String>,
    },
    /// Put a released version in use. The Hub follows.
    Promote {
        /// The version.
        version: String,
    },
    /// Bring the Hub up to this registry: versions that it lacks, and the one in use.
    Push,
    /// Bring a version, or its lost files, from the Hub.
    Fetch {
        /// The version.
        version: String,
    },
    /// Finish a release that was killed.
    Resume {
        /// Give it up instead.
        #[arg(long)]
        abandon: bool,
    },
    /// Check every stored version, and the journal, against their hashes, and signatures where a key is trusted.
    Verify,
    /// Make a pair of keys to sign releases with: FILE, and FILE.pub for those who check.
    Keygen {
        /// The file of the private key.
        #[arg(value_name = "FILE")]
        private: PathBuf,
    },
    /// Compare folder, version.json, journal and Hub.
    Doctor {
        /// Mend what can be mended.
        #[arg(long)]
        repair: bool,
    },
    /// Write a version for other programs: a merged checkpoint, or GGUF files for llama.cpp. It is scored again on the test split
    /// first.
    Export(ExportArgs),
    /// Train a version again from what it was made of, and compare the weights.
    Reproduce(ReproduceArgs),
}

/// The arguments of `export`.
#[derive(Debug, Arguments)]
pub(crate) struct ExportArgs {
    /// The version.
    pub(crate) version: String,
    /// The form.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: Format,
    /// How matrices are stored in GGUF files.
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    quantization: Stored,
    /// The folder that is made; it must not exist or be empty [default: `exports` in the registry's folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// The arguments of `reproduce`.
#[derive(Debug, Arguments)]
pub(crate) struct ReproduceArgs {
    /// The version.
    pub(crate) version: String,
    /// Say whether everything that it was made of is here, and train nothing.
    #[arg(long)]
    pub(crate) only_check: bool,
    /// The folder that the new run is made in [default: `reproductions` in the folder of runs]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// What a version is exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A checkpoint in the Hugging Face layout, for transformers.
    Merged,
    /// Text model and vision projector, for llama.cpp.
    Gguf,
}

impl Format {
    /// Its name on the command line and in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Gguf => "gguf",
        }
    }
}

/// How matrices are stored in GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stored {
    /// Floats of two bytes.
    F16,
    /// Whole numbers of one byte with a scale for each 32 of them.
    #[value(name = "q8_0")]
    Q8_0,
}

impl ExportArgs {
    /// How matrices are stored; nothing for a merged checkpoint, which keeps the base's types.
    pub(crate) fn quantization(&self) -> Option<Quantization> {
        let quantization = match self.quantization {
            Stored::F16 => Quantization::F16,
            Stored::Q8_0 => Quantization::Q8_0,
        };
        Some(quantization).filter(|_| self.to == Format::Gguf)
    }

    /// What names the export beside its version.
    pub(crate) fn suffix(&self) -> String {
        let quantization = self.quantization().map(|quantization| format!("-{}", quantization.name()));
        self.to.name().to_owned() + &quantization.unwrap_or_default()
    }

    /// How far its answers may be from the version's: [`MULTIPLE`] times what was measured.
    pub(crate) fn bounds(&self) -> ExportBounds {
        let measured = match self.quantization() {
            None => MERGED,
            Some(Quantization::F16) => F16,
            Some(Quantization::Q8_0) => Q8_0,
        };
        let [largest_difference, mean_difference, changed_scores] = measured.map(|most| MULTIPLE * most);
        ExportBounds { largest_difference, mean_difference, changed_scores }
    }
}

/// The most that was measured over the versions of `docs/benchmarks.md`, "Exported versions", on the tiny base: the largest difference of a
/// probability, the mean one, and the share of scores whose most probable level changed. A merged checkpoint is rounded to the base's
/// type, eight significant bits in bf16; f16 keeps eleven; `q8_0` about seven of the largest of 32 neighbours.
const MERGED: [f64; 3] = [2.24e-3, 1.91e-4, 0.0025];
const F16: [f64; 3] = [3.2e-4, 2.59e-5, 0.0];
const Q8_0: [f64; 3] = [8.0e-3, 7.77e-4, 0.005];
/// SmolVLM-500M has 32 layers of text where the tiny base has 4: differences that add up layer by layer are eight times as large, and
/// a little is left beside that.
const MULTIPLE: f64 = 10.0;

fn set_aside(text: &str) -> Result<Override, String> {
    Override::parse(text, &[Override::RECHECK])
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

/// A time, or a day, which stands for its end.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let day: Date = text.parse().map_err(|_| format!("`{text}` is neither a day nor a time"))?;
    let end = day.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok());
    let end = end.and_then(|next| Timestamp::from_nanosecond(next.timestamp().as_nanosecond() - 1).ok());
    end.ok_or_else(|| format!("`{text}` is out of range"))
}
