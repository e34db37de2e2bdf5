//! Brings in what was scored in production and is asked for: corrected slides, and those drawn to be rated.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;
use pq_cli::{Layout, Verdict, WithHint};
use slide_data::collect::{BroughtIn, Production, Store};
use slide_data::{Audit, Contract as _, Correction, Manifest, Splits};

use crate::collect::write_contact_sheet;
use crate::dataset::read_splits;
use crate::{Project, print};

const REMEDY: &str = "mend the file, or restore it from a copy; nothing was changed";

/// Brings the slides in, and puts their decks into training.
pub(crate) fn bring_in(store: &mut Store, project: &Project, json: bool) -> Result<Verdict> {
    let asked = asked(&project.layout).hint("cannot tell which slides are asked for", REMEDY)?;
    let splits = read_splits(project).hint("the splits cannot be used", REMEDY)?;
    let kept = project.layout.kept();
    let found = Production { store: &mut *store, config: &project.config, kept: &kept }
        .run(&asked, &pq_cli::interrupted)
        .hint("the slides could not be brought in", "check free space and permissions, then run it again")?;
    let held_out = train_on_them(store, project, splits)?;
    if found.slides_new > 0 {
        write_contact_sheet(store)?;
    }
    if json {
        let mut report = serde_json::to_value(&found)?;
        report["held_out"] = held_out.into();
        print(&format!("{report:#}\n"))?;
    } else {
        print(&describe(&found, held_out))?;
    }
    Ok(if found.interrupted { Verdict::Stopped } else { Verdict::Pass })
}

/// The slides that were corrected or drawn to be rated.
fn asked(layout: &Layout) -> Result<BTreeSet<String>> {
    let corrections = Correction::read_shared_log_if_present(&layout.corrections())?.entries;
    let audits = Audit::read_shared_log_if_present(&layout.audits())?.entries;
    let corrected = corrections.into_iter().filter(|correction| !correction.scores.is_empty());
    let corrected = corrected.map(|correction| correction.slide_id);
    Ok(corrected.chain(audits.into_iter().map(|audit| audit.slide_id)).collect())
}

/// Puts the groups of slides from production that have no split yet into training. Returns how many slides from production are in
/// groups that are kept for validation or test, and so in no split.
fn train_on_them(store: &Store, project: &Project, before: Option<Splits>) -> Result<usize> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let scored = || manifest.usable().filter(|slide| slide.scored_at.is_some());
    let mut splits = before.clone().unwrap_or_default();
    splits.train_on(scored().map(|slide| slide.group.as_str()));
    let is_new = splits.groups != before.unwrap_or_default().groups;
    if is_new {
        splits.write(&project.layout.splits())?;
    }
    Ok(scored().filter(|slide| splits.of(slide).is_none()).count())
}

fn describe(found: &BroughtIn, held_out: usize) -> String {
    let BroughtIn { asked, known, slides_new, decks, duplicates, excluded, .. } = found;
    let mut text = format!(
        "{asked} slides were corrected or drawn to be rated: {known} were in the store, {slides_new} of {decks} decks are new, for training\n"
    );
    let mut line = |count: usize, what: &str| {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    };
    line(*duplicates, "of the new ones repeat a slide of the store, and are not trained on");
    line(*excluded, "of the new ones are left out by the rules of data.toml");
    line(
        held_out,
        "slides from production share a slide with decks kept for validation or test, and are in no split",
    );
    line(found.not_kept.len(), "are neither in the store nor kept; collect their decks to learn from them");
    line(found.set_aside.len(), "kept slides cannot be used:");
    for item in &found.set_aside {
        let _ = writeln!(text, "  {}: {}", item.origin, item.reason);
    }
    if found.interrupted {
        text.push_str("stopped early; nothing was brought in, run the same command again\n");
    }
    text
}
