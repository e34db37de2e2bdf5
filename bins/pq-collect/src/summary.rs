//! What a run tells a person.

use std::path::Path;

use slide_data::collect::Report;

/// Files that are named before it is only said how many there are.
const NAMED: usize = 10;

pub(crate) fn describe(report: &Report, raw: &Path) -> String {
    let Report { inputs, unchanged, slides_new, slides, decks, groups, .. } = report;
    let Report { usable, duplicates, flagged, excluded, .. } = report;
    let mut lines = vec![
        format!("{inputs} files: {unchanged} unchanged, {slides_new} slides new"),
        format!(
            "{slides} slides of {decks} decks in {groups} groups: {usable} usable, {duplicates} repeat another, {flagged} flagged, {excluded} left out",
        ),
    ];
    lines.extend(changes(report));
    if !report.set_aside.is_empty() {
        lines.push(format!("{} set aside:", report.set_aside.len()));
        lines.extend(report.set_aside.iter().map(|item| format!("  {}: {}", item.origin, item.reason)));
    }
    if !report.missing.is_empty() {
        let count = report.missing.len();
        lines.push(format!("{count} files are no longer where they were; their slides stay in use:"));
        lines.extend(report.missing.iter().take(NAMED).map(|origin| format!("  {origin}")));
        if count > NAMED {
            lines.push(format!("  and {} more", count - NAMED));
        }
    }
    if report.interrupted {
        lines.push("stopped early; run the same command again to go on".to_owned());
    }
    lines.push(format!("slides, manifest.jsonl and contact_sheet.html are in {}", raw.display()));
    lines.join("\n") + "\n"
}

/// A line for each kind of change to slides of earlier runs, and of what decides over decks.
fn changes(report: &Report) -> Vec<String> {
    let rows = [
        (
            report.common_pages,
            "pages stand in three groups or more (thanks, legal notice ...): they join none, one slide of each is used",
        ),
        (
            report.replaced,
            "slides that nobody has rated now repeat a larger or sharper copy, which is used instead",
        ),
        (report.outdated, "slides are left out: a new version of their file has them no more, or changed"),
        (report.newly_excluded, "slides of earlier runs are left out now: rules or decisions changed"),
        (
            report.newly_included,
            "slides of earlier runs are in use again: rules, decisions or their files changed",
        ),
        (report.decided_pairs, "pairs of slides were made one, or two, as people decided"),
        (report.licences, "slides of earlier runs have another licence or consent now"),
        (report.held, "slides would be left out and stay: the frozen test set holds them"),
    ];
    let rows = rows.into_iter().filter(|(count, _)| *count > 0);
    rows.map(|(count, what)| format!("{count} {what}")).collect()
}
