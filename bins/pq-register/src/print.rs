//! What the command prints: tables for people, one JSON value for machines.

use std::io::{Write as _, stdout};
use std::path::Path;

use anyhow::Result;
use pq_cli::Verdict;
use registry::{Plan, Release, VersionFile};
use serde_json::{Value, json};

fn emit(json: bool, value: &Value, text: &str) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// The fields of a summary as rows of a card; what is not known has no row.
pub(crate) fn rows<T: serde::Serialize>(summary: &T) -> Result<Vec<(String, String)>> {
    let value = serde_json::to_value(summary)?;
    let mut rows = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match value.as_object() {
            None => rows.push((name.replace('_', " "), plain(value))),
            Some(nested) => {
                let nested = nested.iter().map(|(key, value)| (format!("{name} {key}"), plain(value)));
                rows.extend(nested);
            }
        }
    }
    Ok(rows)
}

/// A JSON value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => format!("{value:.4}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

pub(crate) fn history(versions: &VersionFile, json: bool) -> Result<Verdict> {
    let mut lines: Vec<String> =
        versions.history.iter().map(|release| history_line(versions, release)).collect();
    if lines.is_empty() {
        lines.push("nothing was released yet".to_owned());
    }
    emit(json, &serde_json::to_value(versions)?, &lines.join("\n"))?;
    Ok(Verdict::Pass)
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
    format!("{version:<6} {mark:<9} {date}  agreement {agreement:.3}  mae {mae:.3}  run {run}")
}

pub(crate) fn refused(reasons: &[String], json: bool) -> Result<Verdict> {
    let text = format!("not released:\n  {}", reasons.join("\n  "));
    emit(json, &json!({"released": false, "reasons": reasons}), &text)?;
    Ok(Verdict::Fail)
}

pub(crate) fn planned(plan: &Plan, json: bool) -> Result<Verdict> {
    let files: Vec<String> =
        plan.release.files.iter().map(|(name, hash)| format!("  {name} ({} bytes)", hash.size)).collect();
    let text = format!(
        "would release {} from run {}:\n{}\n\n{}",
        plan.release.version,
        plan.release.run_id,
        files.join("\n"),
        plan.card
    );
    emit(json, &json!({"dry_run": true, "release": plan.release, "card": plan.card}), &text)?;
    Ok(Verdict::Pass)
}

pub(crate) fn released(release: &Release, dir: &Path, what: &str, json: bool) -> Result<Verdict> {
    let place = match &release.hub {
        Some(hub) => format!("{} and {} (tag {}, commit {})", dir.display(), hub.repo, hub.tag, hub.commit),
        None => dir.display().to_string(),
    };
    emit(
        json,
        &json!({"released": true, "release": release}),
        &format!("{} {what}: {place}", release.version),
    )?;
    Ok(Verdict::Pass)
}

pub(crate) fn verified(problems: &[String], json: bool) -> Result<Verdict> {
    let text =
        if problems.is_empty() { "every stored version is whole".to_owned() } else { problems.join("\n") };
    emit(json, &json!({"problems": problems}), &text)?;
    Ok(if problems.is_empty() { Verdict::Pass } else { Verdict::Fail })
}
