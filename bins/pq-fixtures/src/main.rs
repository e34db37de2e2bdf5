//! Draws sample decks and simulates the people who rate them.

mod args;

use std::io::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;
use pq_cli::{Verdict, WithHint};
use sample_decks::{
    Disagreement, LATENTS_FILE, Latents, Order, agreement, correct_slides, rate_slides, ratings_csv,
    write_decks, write_seen,
};
use slide_data::{Contract as _, Correction, KeptSlide, Prediction};

use args::{Args, Command};

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
