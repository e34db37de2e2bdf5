//! What a run tells a person.

use std::collections::BTreeMap;
use std::path::Path;

use slide_data::collect::{Quarantined, Report};

/// Files that are named before it is only said how many there are.
const NAMED: usize = 10;

pub(crate) fn describe(report: &Report, raw: &Path) -> String {
    let Report { seen, inputs, collected, refused, unchanged, slides_new, .. } = report;
    let Report { slides, decks, groups, usable, duplicates, flagged, excluded, .. } = report;
    let unread = match inputs.saturating_sub(collected + refused) {
        unread if unread > 0 && report.interrupted => format!(", {unread} not read yet"),
        _ => String::new(),
    };
    let passed = report.passed_over.len();
    let mut lines = vec![
        format!("{seen} files: {collected} collected, {refused} set aside, {passed} passed over{unread}"),
        format!("{unchanged} unchanged, {slides_new} slides new"),
        format!(
            "{slides} slides of {decks} decks in {groups} groups: {usable} usable, {duplicates} repeat another, {flagged} flagged, {excluded} left out",
        ),
    ];
    lines.extend(changes(report));
    if !report.set_aside.is_empty() {
        lines.push(format!("{} set aside:", report.set_aside.len()));
        lines.extend(report.set_aside.iter().map(|item| format!("  {}: {}", item.origin, item.reason)));
    }
    if !report.passed_over.is_empty() {
        lines.push(format!("{passed} passed over:"));
        lines.extend(shortened(&report.passed_over));
    }
    lines.extend(crate::fonts::line(&report.missing_fonts));
    lines.extend(crate::fonts::unknown(report.unknown_fonts));
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
            report.redrawn,
            "slides of earlier runs were drawn anew and look otherwise: fonts were installed, or pages are drawn in another size",
        ),
        (
            report.kept_pictures,
            "slides would look otherwise now and keep their picture: people rated it, or the frozen test set holds it",
        ),
        (
            report.untold,
            "documents were collected before text was read and are compared by pictures alone: name them again (pq-collect PATH)",
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

/// A line for each file; of many for one reason the first few, and how many more.
fn shortened(items: &[Quarantined]) -> Vec<String> {
    const FIRST: usize = 20;
    let mut lines = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for item in items {
        let count = counts.entry(&item.reason).or_default();
        *count += 1;
        if *count <= FIRST {
            lines.push(format!("  {}: {}", item.origin, item.reason));
        }
    }
    let more = counts.into_iter().filter(|(_, count)| *count > FIRST);
    lines.extend(
        more.map(|(reason, count)| format!("  {} more: {reason} (--json lists them)", count - FIRST)),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_of_one_kind_take_few_lines_and_none_is_lost() {
        let item =
            |reason: &str, at: usize| Quarantined { origin: format!("{at}"), reason: reason.to_owned() };
        let mut items: Vec<_> = (0..500).map(|at| item("is a text", at)).collect();
        items.push(item("is a film", 500));
        let lines = shortened(&items);
        assert_eq!(lines.len(), 22);
        assert!(lines[20].contains("is a film") && lines[21].contains("480 more: is a text"), "{lines:?}");
    }
}
