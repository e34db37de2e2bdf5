//! A release: gate, plan, upload.

use anyhow::{Context as _, Result};
use pq_cli::{Verdict, WithHint as _};
use project_files::{Contract as _, RunFiles, RunRecord};
use registry::hub::Hub;
use registry::{CardFacts, Lineage, Plan, Registry, RegistryConfig, Release, validated};

use crate::{Args, print};

/// Releases the run, unless the gate says no or it was released already.
pub(crate) fn release(
    args: &Args,
    run: &RunFiles,
    registry: &Registry,
    config: &RegistryConfig,
    hub: Option<(&Hub, &RegistryConfig)>,
) -> Result<Verdict> {
    let results = validated(run)
        .hint("there is nothing to release", "train with pq-train, then validate with pq-validate")?;
    let refusals = results.refusals(&config.gate());
    if !refusals.is_empty() {
        return print::refused(&refusals, args.common.json);
    }
    let (lineage, mut facts) = describe(run)?;
    facts.repo = hub.map(|(_, config)| config.huggingface_repo.clone());
    facts.verdict = format!(
        "Released because human agreement is {:.3} (above {:.2} is asked) and the mean absolute error {:.3} (below {:.2} is asked).",
        results.human_agreement, config.min_human_agreement, results.metrics["overall_mae"], config.max_mae
    );
    let plan: Plan = registry.plan(run, &results, lineage, &facts, jiff::Timestamp::now())?;
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

/// The lineage and the card's facts, from the run's record.
fn describe(run: &RunFiles) -> Result<(Lineage, CardFacts)> {
    let record = RunRecord::read(&run.record())
        .hint("what the run was made from cannot be told", "train the run again, or bring the file back")?;
    let facts = CardFacts {
        base_is_hub_id: record.base_is_hub_id,
        training: print::rows(&record.training)?,
        data: print::rows(&record.data)?,
        ..CardFacts::default()
    };
    Ok((Lineage { base_model: record.base_model, inputs: record.inputs, parent: None }, facts))
}
