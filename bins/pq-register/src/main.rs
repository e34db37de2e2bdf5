//! Releases a validated run as the next version, and everything around released versions.

use std::process::ExitCode;

use anyhow::Result;
use pq_cli::{ConfigError, Verdict};
use project_files::RunFiles;
use registry::{Event, Registry, RegistryConfig};
use serde::Deserialize;

mod args;
mod change;
mod compare;
mod context;
mod data;
mod export;
mod facts;
mod keys;
mod print;
mod processor;
mod project;
mod recheck;
mod release;
mod reproduce;

use args::{Args, Command};
use context::Context;
use project::Project;

fn main() -> ExitCode {
    pq_cli::run(run)
}

/// What of `[model]` matters here: where the base lies.
#[derive(Default, Deserialize)]
#[serde(default)]
struct BaseName {
    name: String,
}

fn run(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let config: RegistryConfig = project.section("registry", RegistryConfig::validate)?;
    if let Some(Command::Keygen { private }) = &args.command {
        return keys::generate(private, args.common.json);
    }
    let only_reads = args.command.is_some();
    let layout = project.layout()?.with_registry(args.how.registry.as_deref(), only_reads)?;
    if only_reads {
        layout.require_registry()?;
    }
    let base: BaseName = project.section("model", |_| Ok::<(), ConfigError>(()))?;
    let options = context::options(&config, &base.name)?;
    let registry = Registry::watched(&layout, std::sync::Arc::new(|_| pq_cli::interrupted())).with(options);
    let context = Context {
        config: &config,
        registry: &registry,
        layout: &layout,
        how: &args.how,
        json: args.common.json,
    };
    let here = Project { common: &args.common, config: &project, layout: &layout };
    match &args.command {
        None => {
            let run = args.run.as_ref().map_or_else(|| layout.latest_run(), RunFiles::new);
            let (is_dry, overrides) = (args.dry_run, &args.set_aside[..]);
            let wishes = release::Wishes { is_dry, promote: !args.no_promote, overrides };
            release::release(&context, &layout, &run, wishes)
        }
        Some(Command::History) => print::history(&context),
        Some(Command::Show { version }) => compare::show(&context, version),
        Some(Command::Diff { before, after }) => compare::diff(&context, before, after),
        Some(Command::Live { on }) => compare::live(&context, *on),
        Some(Command::Rollback { version }) => {
            change::promote(&context, version.as_deref(), Event::RolledBack)
        }
        Some(Command::Promote { version }) => change::promote(&context, Some(version), Event::Promoted),
        Some(Command::Push) => change::push(&context),
        Some(Command::Fetch { version }) => change::fetch(&context, version),
        Some(Command::Resume { abandon: false }) => release::resume(&context, !args.no_promote),
        Some(Command::Resume { abandon: true }) => release::abandon(&context),
        // It needs no registry, and was done above.
        Some(Command::Keygen { .. }) => Ok(Verdict::Pass),
        Some(Command::Verify) => print::verified(&registry.verify()?, args.common.json),
        Some(Command::Doctor { repair }) => change::doctor(&context, *repair),
        Some(Command::Export(export)) => export::export(&context, &here, export),
        Some(Command::Reproduce(reproduce)) => reproduce::reproduce(&context, &here, reproduce),
    }
}
