//! Serves the labelling page, and brings ratings in and out.
#![forbid(unsafe_code)]

mod args;
mod browser;
mod commands;
mod idle;
mod import;
mod plan;
mod print;
mod project;
mod serve;

use std::process::ExitCode;

use anyhow::Result;
use args::{Args, Command};
use commands::Export;
use import::Import;
use pq_cli::Verdict;
use project::Project;

fn main() -> ExitCode {
    pq_cli::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    let project = Project::load(args)?;
    let as_json = args.common.json;
    match &args.command {
        None => serve::serve(args, project),
        Some(Command::Import { file, format, annotator, keep_unknown, dry_run, map, scale, people }) => {
            let import = Import {
                file,
                format: format.map(Into::into),
                annotator: annotator.as_deref(),
                keeps_unknown: *keep_unknown,
                is_dry: *dry_run,
                mappings: map,
                scale: *scale,
                people: people.as_ref(),
            };
            import::import(&project, &import, as_json)
        }
        Some(Command::Export { format, output, unrated, image_url }) => {
            let (format, output) = ((*format).into(), output.as_deref());
            let export = Export { format, output, has_unrated: *unrated, image_url: image_url.as_deref() };
            commands::export(&project, &export)
        }
        Some(Command::Agreement { pairs, resamples }) => {
            commands::report(&project, *pairs, *resamples, as_json)
        }
        Some(Command::Verify) => commands::verify(&project, as_json),
        Some(Command::Rebuild) => commands::rebuild_labels(&project),
        Some(Command::Invite { name, lead, days, url }) => {
            commands::invite(&project, name, *lead, Some(*days).filter(|days| *days > 0), url)
        }
    }
}
