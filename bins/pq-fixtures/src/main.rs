//! Draws sample decks and simulates the people who rate them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, Verdict, WithHint};
use sample_decks::{
    Disagreement, Format, LATENTS_FILE, Latents, Order, agreement, correct_slides, rate_slides, ratings_csv,
    write_decks, write_seen,
};
use slide_data::{Contract as _, Correction, KeptSlide, Prediction};

/// Draws sample pitch decks of known quality and simulates the people who rate them.
///
/// The decks stand in for real ones where none may be shared: in the demo, in tests, and to make the tiny checkpoint.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

#[derive(Debug, Subcommand)]
enum Command {
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
enum FormatArg {
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

fn main() -> ExitCode {
    pq_cli::run::<Args>(|args| match &args.command {
        Command::Decks { out, decks, seed, format, width, attributes } => {
            let order = Order { decks: *decks, seed: *seed, format: (*format).into(), width: *width };
            let hint = "choose a folder that can be written to with --out, and a width from 64 to 8192";
            if *attributes {
                let slides = write_seen(out, &order).hint("the slides could not be written", hint)?;
                tracing::info!("{slides} slides with their attributes in {}", out.display());
            } else {
                let latents = write_decks(out, &order).hint("the decks could not be written", hint)?;
                let slides: usize = latents.decks.values().map(Vec::len).sum();
                tracing::info!(
                    "{decks} decks with {slides} slides in {}; {LATENTS_FILE} beside them",
                    out.display()
                );
            }
            Ok(Verdict::Pass)
        }
        Command::Correct { kept, predictions, latents, slides, out } => {
            let hint = "score the decks first with pq-score, and give the latents.json written with them";
            let known = Latents::read(latents).hint("the latents could not be read", hint)?;
            let kept = KeptSlide::read_log(kept).hint("no slide was kept", hint)?.entries;
            let scored = Prediction::read_log(predictions).hint("no slide was scored", hint)?.entries;
            let corrections = correct_slides(&kept, &scored, &known, latents, *slides, Timestamp::now())
                .hint("the slides could not be corrected", hint)?;
            Correction::append(out, &corrections).hint("the corrections could not be kept", hint)?;
            tracing::info!("{} of {} slides were corrected", corrections.len(), kept.len());
            Ok(Verdict::Pass)
        }
        Command::Rate { raw, latents, raters, seed, out } => {
            let hint = "collect the decks first with pq-collect, and give the latents.json written with them";
            let known = Latents::read(latents).hint("the latents could not be read", hint)?;
            let ratings = rate_slides(raw, &known, latents, *raters, *seed, Disagreement::default())
                .hint("the slides could not be rated", hint)?;
            let csv = ratings_csv(&ratings);
            match out {
                Some(path) => slide_data::write_atomic(path, csv.as_bytes())?,
                None => std::io::stdout().write_all(csv.as_bytes())?,
            }
            let (exact, close) = agreement(&ratings);
            tracing::info!(
                "{} ratings by {raters} raters; pairs agree exactly on {:.0} %, within one point on {:.0} %",
                ratings.len(),
                100.0 * exact,
                100.0 * close
            );
            Ok(Verdict::Pass)
        }
    })
}
