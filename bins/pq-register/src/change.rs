//! What changes which version is in use, here and on the Hub.

use anyhow::Result;
use pq_cli::{Verdict, WithHint as _};
use project_files::with_causes;
use registry::{Event, Outcome, Release};

use crate::context::Context;
use crate::print;

/// Says how a change ended: 1 where the Hub is not up to it.
pub(crate) fn finished(context: &Context<'_>, outcome: &Outcome, what: &str) -> Result<Verdict> {
    let pending = outcome.pending.as_ref().map(|error| with_causes(error));
    ended(context, &outcome.release, what, pending.as_deref())
}

fn ended(context: &Context<'_>, release: &Release, what: &str, pending: Option<&str>) -> Result<Verdict> {
    if let Some(reason) = pending {
        let version = &release.version;
        tracing::warn!(
            "{version} {what} here; the Hub is not up to it, `pq-register push` finishes that: {reason}"
        );
    }
    print::released(release, &context.registry.version_dir(&release.version), what, pending, context.json)
}

/// Puts a version in use: here at once, then on the Hub.
pub(crate) fn promote(context: &Context<'_>, version: Option<&str>, event: Event) -> Result<Verdict> {
    let mut writer = context.write()?;
    let release = writer.promote(version, event).hint(
        "cannot change the version in use",
        "`pq-register history` lists the versions, `pq-register doctor` says what is wrong with their files",
    )?;
    tracing::info!("{} is in use", release.version);
    let pending = match context.hub() {
        Ok(Some(hub)) => writer.push(&*hub).err().map(|error| with_causes(&error)),
        Ok(None) => None,
        Err(error) => Some(format!("{error:#}")),
    };
    ended(context, &release, "is in use", pending.as_deref())
}

/// Brings the Hub up to this registry.
pub(crate) fn push(context: &Context<'_>) -> Result<Verdict> {
    let hub = context.required_hub()?;
    let mut done = context.write()?.push(&*hub).hint(
        "the Hub is not up to this registry",
        "run it again; `pq-register doctor` says in what both differ",
    )?;
    if done.is_empty() {
        done.push("the Hub has everything".to_owned());
    }
    print::done(&done, context.json)
}

/// Brings a version from the Hub.
pub(crate) fn fetch(context: &Context<'_>, version: &str) -> Result<Verdict> {
    let hub = context.required_hub()?;
    let release = context
        .write()?
        .fetch(&*hub, version)
        .hint("the version was not fetched", "`pq-register doctor` lists what the Hub has")?;
    finished(context, &Outcome { release, pending: None }, "was fetched")
}

/// Says what does not fit together, and mends it where that is asked for.
pub(crate) fn doctor(context: &Context<'_>, repair: bool) -> Result<Verdict> {
    let hub = context.hub_if_possible();
    let findings = if repair {
        context.write()?.repair(hub.as_deref()).hint(
            "not everything could be mended",
            "run it again; `pq-register resume --abandon` gives up a release that cannot be finished",
        )?
    } else {
        context.registry.examine(hub.as_deref())?
    };
    print::findings(&findings, context.json)
}
