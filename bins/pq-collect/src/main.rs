//! Brings decks in as slides.

mod args;
mod collect;
mod dataset;
mod decide;
mod features;
mod fonts;
mod forget;
mod inspect;
mod production;
mod progress;
mod shards;
mod splits;
mod summary;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use pq_cli::{CommonArgs, Layout, Verdict, WithHint};
use slide_data::collect::{DataConfig, Store, serve};
use slide_data::imaging::QualityThresholds;
use slide_data::{DuplicateThresholds, Error, Limits, SplitConfig};

use args::{Args, Command};

fn main() -> ExitCode {
    pq_cli::run::<Args>(run)
}

fn run(args: &Args) -> Result<Verdict> {
    if let Some(Command::Reader) = args.command {
        serve(std::io::stdin().lock(), std::io::stdout())?;
        return Ok(Verdict::Pass);
    }
    let project = Project::load(&args.common)?;
    let store = || {
        project.layout.require_data()?;
        open(&project.layout)
    };
    match &args.command {
        None if args.shard.is_named() => shards::collect(args, &project),
        None if args.features => features::after_collecting(args, &project),
        None => collect::collect(args, &project),
        Some(Command::Features { by_order }) => features::look_at_slides(args, &project, *by_order),
        Some(Command::Merge { inputs }) => shards::merge(args, &project, inputs),
        Some(Command::Show { slide }) => inspect::show(&store()?, slide, args.common.json),
        Some(Command::Decide { what, slides, by, why }) => {
            let request = decide::Request { what: *what, slides, by, why };
            decide::decide(&mut store()?, args, &project, &request)
        }
        Some(Command::Forget { what, dry_run, reason, by }) => {
            let (name, reason, by) = (what.as_deref(), reason.as_deref(), by.as_deref());
            let request = forget::Request { name, dry_run: *dry_run, reason, by };
            project.layout.require_data()?;
            forget::forget(&mut open_any(&project.layout)?, &project, &request, args.common.json)
        }
        Some(Command::Verify) => inspect::check(&store()?, args.common.json),
        Some(Command::Splits { freeze_test, accept_test_labels, by }) => {
            let (accept, by) = (accept_test_labels.as_deref(), by.as_deref());
            let change = splits::TestSet { freeze: *freeze_test, accept, by };
            splits::splits(&store()?, &project, change, args.common.json)
        }
        Some(Command::Production) => production::bring_in(&mut store()?, &project, args.common.json),
        Some(Command::Card { out }) => dataset::card(&store()?, &project, out.as_deref()),
        Some(Command::Export { out, format, shard_mib, public }) => {
            let how = dataset::How { format: *format, shard_mib: *shard_mib, public: *public };
            dataset::export(&store()?, &project, out, how, args.common.json)
        }
        Some(Command::ContactSheet) => inspect::contact_sheet(&store()?),
        Some(Command::Reader) => Ok(Verdict::Pass),
    }
}

/// What is collected how, and where it goes.
struct Project {
    config: DataConfig,
    layout: Layout,
}

impl Project {
    fn load(common: &CommonArgs) -> Result<Self> {
        let file = common.configuration()?;
        let config = DataConfig {
            limits: file.section("limits", Limits::validate)?,
            quality: file.section("quality", QualityThresholds::validate)?,
            duplicates: file.section("duplicates", DuplicateThresholds::validate)?,
            splits: file.section("splits", SplitConfig::validate)?,
            sources: file.section("sources", |_| Ok::<(), Error>(()))?,
        };
        config.validate()?;
        Ok(Self { config, layout: file.layout()? })
    }
}

/// Opens a store that is whole.
fn open(layout: &Layout) -> Result<Store> {
    forget::refuse_unfinished(layout)?;
    open_any(layout)
}

fn open_any(layout: &Layout) -> Result<Store> {
    let slides = layout.slides();
    Store::open(slides.root()).hint(
        format!("cannot use the store `{}`", slides.root().display()),
        "check that the folder can be written and that no other run is working on it",
    )
}

/// Data for people or machines goes to stdout.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_defaults_in_code_are_those_of_the_file() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
        let args = Args::parse_from(["pq-collect", "--config", folder]);
        let project = Project::load(&args.common).unwrap();
        assert_eq!(project.config, DataConfig::default());
        assert_eq!(project.layout, Layout::new(&pq_cli::Storage::default(), std::path::Path::new("outputs")));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data.toml"), "[limits]\nmax_page = 3\n").unwrap();
        let folder = dir.path().to_str().unwrap();
        let loaded = Project::load(&Args::parse_from(["pq-collect", "--config", folder]).common);
        let error = loaded.err().unwrap();
        assert!(format!("{error:#}").contains("max_pages"), "{error:#}");
    }
}
