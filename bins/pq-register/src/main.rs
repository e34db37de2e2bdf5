//! Releases a validated run as the next version, and rolls back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use pq_common::{CommonArgs, HasCommon, Hint, Verdict, WithHint as _, secrets};
use registry::hub::{self, Hub};
use registry::{CardFacts, Gate, Lineage, Plan, Registry, RegistryConfig, Release, ValidationSummary};
use serde_json::{Value, json};

mod print;

/// Releases a validated run: gate, next version, model card, upload, tag.
///
/// A version is named in `model_registry/version.json` only after everything is stored and, where a repository is configured
/// and `HF_TOKEN` is set, after the upload was read back.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 released, 1 the gate said no, 2 could not run.")]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The run to release.
    #[arg(default_value = "outputs/latest")]
    run: PathBuf,
    /// Folder of the registry.
    #[arg(long, default_value = "model_registry", global = true)]
    registry: PathBuf,
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
    pq_common::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    let tables = ["model", "lora", "training", "wandb", "registry"];
    let config: RegistryConfig = args.common.load("training", &tables)?.section("registry")?;
    let registry = Registry::open(&args.registry).context("cannot open the registry")?;
    let hub = connect(&config)?;
    let hub = hub.as_ref().map(|hub| (hub, &config));
    match &args.command {
        None => release(args, &registry, &config, hub),
        Some(Command::History) => print::history(&registry.versions()?, args.common.json),
        Some(Command::Rollback { version }) => put_in_use(args, &registry, version.as_deref(), hub),
        Some(Command::Promote { version }) => put_in_use(args, &registry, Some(version), hub),
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
    let hub = Hub::new(&endpoint, Some(&token), pq_common::http_options())
        .hint("the Hub cannot be asked", "check HF_ENDPOINT, HF_TOKEN and SSL_CERT_FILE")?;
    Ok(Some(hub))
}

fn put_in_use(
    args: &Args,
    registry: &Registry,
    version: Option<&str>,
    hub: Option<(&Hub, &RegistryConfig)>,
) -> Result<Verdict> {
    let release = registry
        .put_in_use(version, hub)
        .hint("cannot change the version in use", "`pq-register history` lists the versions")?;
    print::released(&release, &registry.version_dir(&release.version), "is in use", args.common.json)
}

fn release(
    args: &Args,
    registry: &Registry,
    config: &RegistryConfig,
    hub: Option<(&Hub, &RegistryConfig)>,
) -> Result<Verdict> {
    let results = ValidationSummary::read(&args.run)
        .hint("there is nothing to release", "train with pq-train, then validate with pq-validate")?;
    let gate = Gate { min_human_agreement: config.min_human_agreement, max_mae: config.max_mae };
    let refusals = gate.refusals(&results);
    if !refusals.is_empty() {
        return print::refused(&refusals, args.common.json);
    }
    let (lineage, mut facts) = describe(&args.run)?;
    facts.repo = hub.map(|(_, config)| config.huggingface_repo.clone());
    facts.verdict = format!(
        "Released because human agreement is {:.3} (above {:.2} is asked) and the mean absolute error {:.3} (below {:.2} is asked).",
        results.human_agreement, config.min_human_agreement, results.metrics["overall_mae"], config.max_mae
    );
    let plan: Plan = registry.plan(&args.run, &results, lineage, &facts, jiff::Timestamp::now())?;
    if let Some(version) = &plan.already {
        tracing::info!("this adapter was released as {version} already; nothing to do");
        let versions = registry.versions()?;
        return print::released(
            versions.release(version)?,
            &registry.version_dir(version),
            "exists",
            args.common.json,
        );
    }
    if args.dry_run {
        return print::planned(&plan, args.common.json);
    }
    let release: Release =
        registry.release(&plan, hub).context("the release was not completed; run it again")?;
    print::released(&release, &registry.version_dir(&release.version), "released", args.common.json)
}

/// The lineage and the card's facts, from the run's `run.json`.
fn describe(run: &Path) -> Result<(Lineage, CardFacts)> {
    let path = run.join("run.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let run: Value = serde_json::from_str(&text).map_err(|error| {
        Hint::new(format!("`{}` is not valid: {error}", path.display()), "train the run again")
    })?;
    let rows = |key: &str| -> Vec<(String, String)> {
        let entries = run[key].as_object().into_iter().flatten();
        entries.map(|(name, value)| (name.replace('_', " "), print::plain(value))).collect()
    };
    let inputs = run["inputs"].as_object().into_iter().flatten();
    let inputs = inputs.filter_map(|(name, hash)| Some((name.clone(), hash.as_str()?.to_owned()))).collect();
    let base_model = run["base_model"].as_str().unwrap_or_default().to_owned();
    let base_is_hub_id = run["base_is_hub_id"] == json!(true);
    let facts =
        CardFacts { base_is_hub_id, training: rows("training"), data: rows("data"), ..CardFacts::default() };
    Ok((Lineage { base_model, inputs, parent: None }, facts))
}
