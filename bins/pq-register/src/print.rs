//! What the command prints: tables for people, one JSON value for machines.

use std::io::{Write as _, stdout};
use std::path::Path;

use anyhow::Result;
use pq_cli::Verdict;
use registry::{Event, Finding, JournalEntry, Manifest, Plan, Release, Remedy, VersionFile};
use serde_json::{Value, json};

use crate::context::Context;

pub(crate) fn emit(json: bool, value: &Value, text: &str) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

pub(crate) fn history(context: &Context<'_>) -> Result<Verdict> {
    let versions = context.registry.versions()?;
    let journal = context.registry.journal()?;
    let mut lines: Vec<String> =
        versions.history.iter().map(|release| history_line(&versions, release)).collect();
    if lines.is_empty() {
        lines.push("nothing was released yet".to_owned());
    }
    if !journal.entries.is_empty() {
        lines.push(String::new());
        lines.extend(journal.entries.iter().map(event_line));
    }
    let mut value = serde_json::to_value(&versions)?;
    value["journal"] = serde_json::to_value(&journal.entries)?;
    emit(context.json, &value, &lines.join("\n"))?;
    Ok(Verdict::Pass)
}

fn event_line(entry: &JournalEntry) -> String {
    let event = match entry.event {
        Event::Released => "released",
        Event::Promoted => "put in use",
        Event::RolledBack => "rolled back to",
        Event::Pushed => "pushed",
        Event::Refused => "refused",
        Event::Fetched => "fetched",
        Event::Adopted => "adopted",
        Event::Removed => "removed",
    };
    let what = entry.version.as_deref().or(entry.run_id.as_deref()).unwrap_or("–");
    let date = entry.at.strftime("%Y-%m-%d %H:%M:%S");
    let who = if entry.who.is_empty() { "unknown" } else { &entry.who };
    let mut line = format!("{date}  {event:<14} {what:<10} by {who}");
    if entry.live != entry.before {
        let live = entry.live.as_deref().unwrap_or("nothing");
        let before = entry.before.as_deref().unwrap_or("nothing");
        line.extend([", in use: ", live, " (before: ", before, ")"]);
    }
    line + &entry.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn history_line(versions: &VersionFile, release: &Release) -> String {
    let is = |alias: Option<&String>| alias == Some(&release.version);
    let mark = match () {
        () if is(versions.aliases.champion.as_ref()) => "champion",
        () if is(versions.aliases.previous.as_ref()) => "previous",
        () => "",
    };
    let mae = release.metrics.get("overall_mae").copied().unwrap_or(f64::NAN);
    let date = release.released_at.strftime("%Y-%m-%d %H:%M");
    let (version, agreement, run) = (&release.version, release.human_agreement, &release.run_id);
    format!("{version:<8} {mark:<9} {date}  agreement {agreement:.3}  mae {mae:.3}  run {run}")
}

pub(crate) fn refused(
    reasons: &[String],
    remedy: Option<&str>,
    verdict: Verdict,
    json: bool,
) -> Result<Verdict> {
    let hint = remedy.map(|remedy| format!("\nhint: {remedy}")).unwrap_or_default();
    let text = format!("not released:\n  {}{hint}", reasons.join("\n  "));
    emit(json, &json!({"released": false, "reasons": reasons, "hint": remedy}), &text)?;
    Ok(verdict)
}

/// The release that a manifest plans, with both cards.
fn in_words(manifest: &Manifest) -> String {
    let files: Vec<String> =
        manifest.files.iter().map(|(name, hash)| format!("  {name} ({} bytes)", hash.size)).collect();
    format!(
        "would release {} from run {}:\n{}\n\n{}\n{}",
        manifest.version,
        manifest.run_id,
        files.join("\n"),
        manifest.card,
        manifest.data_card
    )
}

pub(crate) fn planned(plan: &Plan, json: bool) -> Result<Verdict> {
    let manifest = &plan.manifest;
    if let Some(release) = &plan.already {
        let text = format!("run {} was released as {} already", manifest.run_id, release.version);
        emit(json, &json!({"dry_run": true, "already": release}), &text)?;
        return Ok(Verdict::Pass);
    }
    let text = in_words(manifest);
    let release = manifest.release(None);
    emit(
        json,
        &json!({"dry_run": true, "release": release, "card": manifest.card, "data_card": manifest.data_card}),
        &text,
    )?;
    Ok(Verdict::Pass)
}

pub(crate) fn released(
    release: &Release,
    dir: &Path,
    what: &str,
    pending: Option<&str>,
    json: bool,
) -> Result<Verdict> {
    let place = match &release.hub {
        Some(hub) => format!("{} and {} (tag {}, commit {})", dir.display(), hub.repo, hub.tag, hub.commit),
        None => dir.display().to_string(),
    };
    emit(
        json,
        &json!({"released": true, "release": release, "pending": pending}),
        &format!("{} {what}: {place}", release.version),
    )?;
    Ok(if pending.is_none() { Verdict::Pass } else { Verdict::Fail })
}

/// What was done, a line each.
pub(crate) fn done(lines: &[String], json: bool) -> Result<Verdict> {
    emit(json, &json!({"done": lines}), &lines.join("\n"))?;
    Ok(Verdict::Pass)
}

pub(crate) fn findings(findings: &[Finding], json: bool) -> Result<Verdict> {
    let line = |finding: &Finding| {
        let remedy = match &finding.remedy {
            Remedy::Resume => "the release is finished",
            Remedy::Reconcile => "both are brought together",
            Remedy::Fetch(_) => "it is brought from the Hub",
            Remedy::Remove(_) => "it is struck out",
            Remedy::Push(_) => "it is pushed",
            Remedy::Serve => "the Hub is made to serve it",
            Remedy::Use(_) => "it is put in use here",
            Remedy::Tidy(_) => "the branch is removed",
            Remedy::None => return finding.text.clone(),
        };
        format!("{} (with --repair {remedy})", finding.text)
    };
    let lines: Vec<String> = findings.iter().map(line).collect();
    let text = if lines.is_empty() { "everything fits together".to_owned() } else { lines.join("\n") };
    let texts: Vec<&String> = findings.iter().map(|finding| &finding.text).collect();
    emit(json, &json!({"findings": texts}), &text)?;
    Ok(if findings.is_empty() { Verdict::Pass } else { Verdict::Fail })
}

pub(crate) fn verified(problems: &[String], json: bool) -> Result<Verdict> {
    let text = if problems.is_empty() {
        "every stored version and the journal are whole".to_owned()
    } else {
        problems.join("\n")
    };
    emit(json, &json!({"problems": problems}), &text)?;
    Ok(if problems.is_empty() { Verdict::Pass } else { Verdict::Fail })
}
