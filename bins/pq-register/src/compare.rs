//! Answers from journal and manifests: what a release is, in what two differ, which one was in use when.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::Timestamp;
use pq_cli::{Verdict, WithHint as _};
use project_files::Basis;
use registry::{Manifest, Release};
use serde_json::{Value, json};

use crate::context::Context;
use crate::print;

const REMEDY: &str = "`pq-register history` lists the versions";

/// One release.
pub(crate) fn show(context: &Context<'_>, version: &str) -> Result<Verdict> {
    let (release, manifest) = context.registry.show(version).hint("there is nothing to show", REMEDY)?;
    let mut lines = vec![format!("{} of run {}, {}", release.version, release.run_id, release.released_at)];
    if let Some(manifest) = &manifest {
        let reason = manifest.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(format!("released by {}{reason}", manifest.who));
    }
    lines.extend(
        rows(&release, manifest.as_ref()).into_iter().map(|(name, value)| format!("  {name:<32} {value}")),
    );
    print::emit(context.json, &json!({"release": release, "manifest": manifest}), &lines.join("\n"))?;
    Ok(Verdict::Pass)
}

/// In what two releases differ.
pub(crate) fn diff(context: &Context<'_>, before: &str, after: &str) -> Result<Verdict> {
    let of = |version: &str| context.registry.show(version).hint("there is nothing to compare", REMEDY);
    let [before, after] = [of(before)?, of(after)?];
    let [old, new] = [&before, &after].map(|(release, manifest)| rows(release, manifest.as_ref()));
    let names: BTreeSet<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    let value = |rows: &[(String, String)], name: &str| {
        rows.iter()
            .find(|(found, _)| found == name)
            .map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let mut lines = vec![format!("{:<34} {:<20} {}", "", before.0.version, after.0.version)];
    let mut differences = Vec::new();
    for name in names {
        let (old, new) = (value(&old, name), value(&new, name));
        if old != new {
            lines.push(format!("  {name:<32} {:<20} {}", short(&old), short(&new)));
            differences.push(json!({"name": name, "before": old, "after": new}));
        }
    }
    print::emit(context.json, &Value::Array(differences), &lines.join("\n"))?;
    Ok(Verdict::Pass)
}

/// Which version was in use.
pub(crate) fn live(context: &Context<'_>, on: Option<Timestamp>) -> Result<Verdict> {
    let time = on.unwrap_or_else(Timestamp::now);
    let entry = context.registry.live_at(time)?;
    let text = match &entry {
        Some(entry) => {
            let why = entry.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let who = if entry.who.is_empty() { "unknown" } else { &entry.who };
            let live = entry.live.as_deref().unwrap_or("no version");
            format!("{live} since {}, by {who}{why}", entry.at)
        }
        None => format!("nothing was in use at {time}"),
    };
    print::emit(
        context.json,
        &json!({"at": time, "version": entry.as_ref().and_then(|e| e.live.clone()), "entry": entry}),
        &text,
    )?;
    Ok(Verdict::Pass)
}

fn of_basis(basis: &Basis) -> [(String, String); 4] {
    let parts = [
        ("base", &basis.base),
        ("rubric", &basis.rubric),
        ("data", &basis.data),
        ("settings", &basis.settings),
    ];
    parts.map(|(name, hash)| (format!("basis {name}"), hash.clone()))
}

/// What is told of a release, name by name.
fn rows(release: &Release, manifest: Option<&Manifest>) -> Vec<(String, String)> {
    let mut rows = vec![
        ("base".to_owned(), release.lineage.base_model.clone()),
        ("parent".to_owned(), release.lineage.parent.clone().unwrap_or_else(|| "–".to_owned())),
        ("human_agreement".to_owned(), format!("{:.4}", release.human_agreement)),
    ];
    rows.extend(release.metrics.iter().map(|(name, value)| (name.clone(), format!("{value:.4}"))));
    rows.extend(release.lineage.inputs.iter().map(|(name, hash)| (format!("input {name}"), hash.clone())));
    if let Some(manifest) = manifest {
        rows.extend(of_basis(&manifest.basis));
    }
    let files = release.files.iter();
    rows.extend(
        files.map(|(name, hash)| (format!("file {name}"), format!("{} ({} bytes)", hash.sha256, hash.size))),
    );
    let hub =
        release.hub.as_ref().map(|hub| format!("{} (tag {}, commit {})", hub.repo, hub.tag, hub.commit));
    rows.push(("hub".to_owned(), hub.unwrap_or_else(|| "–".to_owned())));
    rows
}

fn short(value: &str) -> String {
    if value.chars().count() > 18 {
        value.chars().take(17).chain(['…']).collect()
    } else {
        value.to_owned()
    }
}
