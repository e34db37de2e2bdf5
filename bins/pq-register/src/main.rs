//! Releases a validated run as the next version, and rolls back.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use pq_cli::{CommonArgs, HasCommon, Verdict, WithHint as _, secrets};
use project_files::RunFiles;
use registry::hub::{self, Hub};
use registry::{Registry, RegistryConfig};

mod print;
mod release;

/// Releases a validated run: gate, next version, model card, upload, tag.
///
/// A version is named in `model_registry/version.json` only after everything is stored and, where a repository is configured
/// and `HF_TOKEN` is set, after the upload was read back.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 released, 1 the gate said no, 2 could not run.")]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The run to release [default: the latest one]
    run: Option<PathBuf>,
    /// Folder of the registry [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR", global = true)]
    registry: Option<PathBuf>,
    /// Show what would be released, the model card included, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the releases, the newest last.
    History,
    /// Put the version in use that was in use before, or the one named.
    Rollback {
        /// The version to go back to, as in `v3`.
        version: Option<String>,
    },
    /// Put a version in use.
    Promote {
        /// The version, as in `v3`.
        version: String,
    },
    /// Check every stored version against its hashes.
    Verify,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

fn main() -> ExitCode {
    pq_cli::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let config: RegistryConfig = project.section("registry", RegistryConfig::validate)?;
    let only_reads = args.command.is_some();
    let layout = project.layout()?.with_registry(args.registry.as_deref(), only_reads)?;
    if only_reads {
        layout.require_registry()?;
    }
    let registry = Registry::open(&layout).context("cannot open the registry")?;
    let hub = connect(&config)?;
    let hub = hub.as_ref().map(|hub| (hub, &config));
    match &args.command {
        None => {
            let run = args.run.as_ref().map_or_else(|| layout.latest_run(), RunFiles::new);
            release::release(args, &run, &registry, &config, hub)
        }
        Some(Command::History) => print::history(&registry.versions()?, args.common.json),
        Some(Command::Rollback { version }) => promote(args, &registry, version.as_deref(), hub),
        Some(Command::Promote { version }) => promote(args, &registry, Some(version), hub),
        Some(Command::Verify) => print::verified(&registry.verify()?, args.common.json),
    }
}

fn connect(config: &RegistryConfig) -> Result<Option<Hub>> {
    if config.huggingface_repo.is_empty() {
        return Ok(None);
    }
    let Some(token) = secrets::hub_token() else {
        tracing::warn!("`registry.huggingface_repo` is set but there is no HF_TOKEN: releases stay local");
        return Ok(None);
    };
    let endpoint = secrets::variable(secrets::HF_ENDPOINT).unwrap_or_else(|| hub::ENDPOINT.to_owned());
    let hub = Hub::new(&endpoint, Some(&token), pq_cli::http_options())
        .hint("the Hub cannot be asked", "check HF_ENDPOINT, HF_TOKEN and SSL_CERT_FILE")?;
    Ok(Some(hub))
}

fn promote(
    args: &Args,
    registry: &Registry,
    version: Option<&str>,
    hub: Option<(&Hub, &RegistryConfig)>,
) -> Result<Verdict> {
    let release = registry
        .promote(version, hub)
        .hint("cannot change the version in use", "`pq-register history` lists the versions")?;
    print::released(&release, &registry.version_dir(&release.version), "is in use", args.common.json)
}
