//! Brings decks in as slides.

mod args;
mod collect;
mod dataset;
mod inspect;
mod progress;
mod splits;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use pq_common::{CommonArgs, Verdict, WithHint};
use slide_data::DATA_TABLES;
use slide_data::collect::{DataConfig, Store, serve};

use args::{Args, Command};

fn main() -> ExitCode {
    pq_common::run::<Args>(run)
}

fn run(args: &Args) -> Result<Verdict> {
    if let Some(Command::Reader) = args.command {
        serve(std::io::stdin().lock(), std::io::stdout())?;
        return Ok(Verdict::Pass);
    }
    let config = load(&args.common)?;
    match &args.command {
        None => collect::collect(args, &config),
        Some(Command::Show { slide }) => inspect::show(&open(&config)?, slide, args.common.json),
        Some(Command::Verify) => inspect::check(&open(&config)?, args.common.json),
        Some(Command::Splits { freeze_test }) => {
            splits::splits(&open(&config)?, &config, *freeze_test, args.common.json)
        }
        Some(Command::Card { out }) => dataset::card(&open(&config)?, &config, out.as_deref()),
        Some(Command::Export { out, format, shard_mib }) => {
            dataset::export(&open(&config)?, &config, out, *format, *shard_mib, args.common.json)
        }
        Some(Command::ContactSheet) => inspect::contact_sheet(&open(&config)?),
        Some(Command::Reader) => Ok(Verdict::Pass),
    }
}

fn load(common: &CommonArgs) -> Result<DataConfig> {
    let file = common.load("data", &DATA_TABLES)?;
    let config = DataConfig {
        storage: file.section("storage")?,
        limits: file.section("limits")?,
        quality: file.section("quality")?,
        duplicates: file.section("duplicates")?,
        splits: file.section("splits")?,
        sources: file.section("sources")?,
    };
    config.validate()?;
    Ok(config)
}

fn open(config: &DataConfig) -> Result<Store> {
    let raw = config.storage.raw();
    Store::open(&raw).hint(
        format!("cannot use the store `{}`", raw.display()),
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
        assert_eq!(load(&args.common).unwrap(), DataConfig::default());
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data.toml"), "[limits]\nmax_page = 3\n").unwrap();
        let folder = dir.path().to_str().unwrap();
        let error = load(&Args::parse_from(["pq-collect", "--config", folder]).common).unwrap_err();
        assert!(format!("{error:#}").contains("max_pages"), "{error:#}");
    }
}
