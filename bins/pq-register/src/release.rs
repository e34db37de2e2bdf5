//! A release: gate, plan, upload; and what becomes of one that was killed.

use anyhow::Result;
use pq_cli::{Layout, Verdict, WithHint as _};
use project_files::{Contract as _, Gate, Override, RunFiles, RunRecord, hash_file};
use registry::{Candidate, CardFacts, Error, Lineage, Outcome, Plan, ValidationResults, validated};

use crate::context::Context;
use crate::facts::data_facts;
use crate::recheck::{self, Recheck};
use crate::{change, print, processor};

/// How a run is released.
#[derive(Clone, Copy)]
pub(crate) struct Wishes<'a> {
    /// Nothing is written.
    pub(crate) is_dry: bool,
    /// The version is put in use.
    pub(crate) promote: bool,
    /// What a person set aside.
    pub(crate) overrides: &'a [Override],
}

/// Releases the run, unless the gate says no or it was released already.
pub(crate) fn release(
    context: &Context<'_>,
    layout: &Layout,
    run: &RunFiles,
    wishes: Wishes<'_>,
) -> Result<Verdict> {
    let mut results = validated(run)
        .hint("there is nothing to release", "train with pq-train, then validate with pq-validate")?;
    let is_dry = wishes.is_dry;
    if let Some(refusal) = refusal(context, layout, run, &mut results, wishes.overrides)? {
        if !is_dry {
            context.write()?.refused(run, &refusal.reasons)?;
        }
        let is_open = results.outcome == project_files::Outcome::Undecided;
        let verdict = if is_open { Verdict::Undecided } else { Verdict::Fail };
        return print::refused(&refusal.reasons, refusal.remedy, verdict, context.json);
    }
    let hub = if is_dry { context.hub_if_possible() } else { context.hub()? };
    let hub = hub.as_deref();
    let (lineage, facts) = describe(context, run)?;
    let by = context.by();
    let now = jiff::Timestamp::now();
    let candidate = Candidate { run, results: &results, lineage, facts: &facts, by: &by, now };
    if is_dry {
        return print::planned(&planned(context.registry.plan(&candidate, hub))?, context.json);
    }
    let mut writer = context.write()?;
    let plan = planned(writer.plan(&candidate, hub))?;
    if let Some(release) = plan.already {
        tracing::info!("this run was released as {} already; nothing to do", release.version);
        let pending = hub.and_then(|hub| writer.push(hub).err());
        return change::finished(context, &Outcome { release, pending }, "exists");
    }
    if plan.was_begun {
        tracing::info!("{} was begun before and is finished now", plan.manifest.version);
    }
    let promote = wishes.promote;
    let outcome = writer.release(&plan, hub, promote).hint("the release was not completed", RESUME)?;
    change::finished(context, &outcome, "released")
}

/// Why a run is not released, and what can be done.
struct Refusal {
    reasons: Vec<String>,
    remedy: Option<&'static str>,
}

impl Refusal {
    /// Nothing where there is no reason.
    fn of(reasons: Vec<String>, remedy: Option<&'static str>) -> Option<Self> {
        (!reasons.is_empty()).then_some(Self { reasons, remedy })
    }
}

/// Why the run must not be released: by its numbers; because another version came into use since; because they are not what the
/// predictions give; or because the base is another one by now. What a person set aside for this release is entered in the results.
fn refusal(
    context: &Context<'_>,
    layout: &Layout,
    run: &RunFiles,
    results: &mut ValidationResults,
    overrides: &[Override],
) -> Result<Option<Refusal>> {
    if let Some(refusal) = Refusal::of(refusals(context, run, results)?, None) {
        return Ok(Some(refusal));
    }
    let set_aside = overrides.iter().find(|given| given.name == Override::RECHECK);
    match recheck::recheck(layout, run, results)? {
        Recheck::Confirmed if set_aside.is_some() => {
            tracing::info!("the numbers follow from the data; nothing had to be set aside");
        }
        Recheck::Confirmed => {}
        Recheck::Contradicted(reasons) => return Ok(Refusal::of(reasons, None)),
        Recheck::NoData(reasons) => match set_aside {
            Some(given) => {
                tracing::warn!(
                    "the validation's numbers are taken as they stand, and the card says so: {}",
                    reasons.join("; ")
                );
                results.overrides.push(given.clone());
            }
            None => return Ok(Refusal::of(reasons, Some(recheck::REMEDY))),
        },
    }
    Ok(Refusal::of(processor::changed(context, run)?, Some(processor::REMEDY)))
}

/// Why the results do not pass the gate, or are not of the comparison that is asked for.
fn refusals(context: &Context<'_>, run: &RunFiles, results: &ValidationResults) -> Result<Vec<String>> {
    let config = context.config.gate();
    // How much worse than the champion it may be is said at the validation, with the reason.
    let gate = Gate { champion_margin: results.gate.champion_margin, ..config };
    let mut refusals = results.refusals(&gate);
    let versions = context.registry.versions()?;
    let compared = results.champion.as_ref().map(|champion| champion.name.as_str());
    let weights = hash_file(&run.adapter_weights())?;
    let name = run.adapter_weights();
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    if let Some(champion) = versions.champion()
        && champion.files.get(&*name) != Some(&weights)
        && compared != Some(champion.version.as_str())
    {
        let version = &champion.version;
        refusals
            .push(format!("{version} is in use, and the run was not compared with it: validate it again"));
    }
    Ok(refusals)
}

/// The plan, or why there is none and what to do about it.
fn planned(plan: registry::Result<Plan>) -> Result<Plan> {
    let remedy = match &plan {
        Err(Error::NoLicense { .. }) => {
            "set `registry.license` in training.toml, as in license = \"apache-2.0\"; or keep the release here with --local"
        }
        Err(Error::Card { .. }) => {
            "change what these words come from (rubric, settings, reasons that a person gave), and validate again"
        }
        Err(Error::OtherKey { .. }) => {
            "set `registry.signing_key` to that key's file, or give the release up with `pq-register resume --abandon`"
        }
        Err(Error::OtherProcessor { .. }) => processor::REMEDY,
        _ => RESUME,
    };
    plan.hint("the release cannot be planned", remedy)
}

const RESUME: &str = "run the same command again, or `pq-register resume`: it goes on from where it stopped";

/// Finishes what was begun.
pub(crate) fn resume(context: &Context<'_>, promote: bool) -> Result<Verdict> {
    let hub = context.hub()?;
    let outcomes =
        context.write()?.resume(hub.as_deref(), promote).hint("the release was not completed", RESUME)?;
    if outcomes.is_empty() {
        return print::done(&["nothing was left unfinished".to_owned()], context.json);
    }
    let mut verdict = Verdict::Pass;
    for outcome in outcomes {
        if change::finished(context, &outcome, "released")? == Verdict::Fail {
            verdict = Verdict::Fail;
        }
    }
    Ok(verdict)
}

/// Gives up what was begun.
pub(crate) fn abandon(context: &Context<'_>) -> Result<Verdict> {
    let hub = context.hub()?;
    let versions = context.write()?.abandon(hub.as_deref()).hint(
        "the release was not given up",
        "one that the Hub has named is finished by `pq-register resume`",
    )?;
    let given_up: Vec<String> = versions.iter().map(|version| format!("{version} was given up")).collect();
    print::done(&given_up, context.json)
}

/// The lineage and the cards' facts, from the run's record and the data.
fn describe(context: &Context<'_>, run: &RunFiles) -> Result<(Lineage, CardFacts)> {
    let record = RunRecord::read(&run.record())
        .hint("what the run was made from cannot be told", "train the run again, or bring the file back")?;
    let repo = &context.config.huggingface_repo;
    let facts = CardFacts {
        repo: (!repo.is_empty()).then(|| repo.clone()),
        license: context.config.license(),
        data: data_facts(context.layout, run, &record).hint(
            "labels and slides cannot be counted",
            "`pq-project check` says what is wrong with the data",
        )?,
    };
    Ok((Lineage { base_model: record.base_model, inputs: record.inputs, parent: None }, facts))
}
