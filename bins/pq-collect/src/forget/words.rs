//! What is said of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::plan::Plan;

/// What came of it, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<'a> {
    pub(crate) dry_run: bool,
    pub(crate) decks: usize,
    pub(crate) removed: &'a BTreeMap<String, usize>,
    pub(crate) runs: &'a BTreeMap<String, String>,
    pub(crate) versions: &'a BTreeMap<String, String>,
    pub(crate) exports: &'a std::collections::BTreeSet<String>,
    pub(crate) unknown: &'a std::collections::BTreeSet<String>,
    pub(crate) related: &'a std::collections::BTreeSet<String>,
    /// Files of released versions that speak of it and stay as they are.
    pub(crate) released: &'a [PathBuf],
    /// Files of the project that still speak of it, which nothing here knows how to change.
    pub(crate) left: Vec<PathBuf>,
    /// Files outside the project, and archives that hold other decks too.
    pub(crate) elsewhere: Vec<String>,
}

impl<'a> Outcome<'a> {
    pub(crate) fn of(plan: &'a Plan, dry_run: bool, left: Vec<PathBuf>) -> Self {
        let files = &plan.files;
        let elsewhere = files.elsewhere.iter().map(|path| path.display().to_string());
        Self {
            dry_run,
            decks: plan.gone.decks.len(),
            removed: &plan.removed,
            runs: &plan.runs,
            versions: &plan.versions,
            exports: &plan.exports,
            unknown: &plan.unknown,
            related: &plan.related,
            released: &plan.released,
            left,
            elsewhere: elsewhere.chain(files.shared.iter().cloned()).collect(),
        }
    }

    pub(crate) fn in_words(&self) -> String {
        let mut text = String::new();
        let what = if self.dry_run { "would be forgotten" } else { "forgotten" };
        let _ = writeln!(text, "{} decks {what}:", self.decks);
        for (kind, count) in self.removed {
            let _ = writeln!(text, "  {count} {kind}");
        }
        if self.removed.is_empty() {
            text.push_str("  nothing of them is in the project\n");
        }
        self.models(&mut text);
        let mut list = |head: &str, items: &mut dyn Iterator<Item = String>| {
            let lines: Vec<String> = items.collect();
            if !lines.is_empty() {
                let _ = writeln!(text, "{head}:\n  {}", lines.join("\n  "));
            }
        };
        let paths =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        list(
            "these decks share slides or text with a forgotten one, and stay; forget them too if they are the same deck in another file",
            &mut self.related.iter().cloned(),
        );
        list(
            "these files lie outside the store, or hold other decks too, and stay; delete them yourself",
            &mut self.elsewhere.iter().cloned(),
        );
        list(
            "released versions and exports never change; these files of them, which stay on this machine, still speak of it",
            &mut paths(self.released).into_iter(),
        );
        list(
            "these files still speak of it, and no command knows how to change them",
            &mut paths(&self.left).into_iter(),
        );
        if !self.dry_run {
            text.push_str(
                "exports that were made before, and what was sent to a tracking service or the Hub, lie elsewhere: delete them there\n\
                 where scoring services ship to a bucket: `pq-monitor --bucket` removes what is there of it, now and once each has shipped\n",
            );
        }
        text
    }

    fn models(&self, text: &mut String) {
        if !self.unknown.is_empty() {
            let names: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "whether these runs learned from it, nothing says any more: {}",
                names.join(", ")
            );
        }
        let all = [("run", self.runs), ("version", self.versions)];
        if all.iter().all(|(_, named)| named.is_empty()) {
            return;
        }
        text.push_str("adapters cannot unlearn; these depend on the slides:\n");
        for (kind, named) in all {
            for (name, how) in named {
                let _ = writeln!(text, "  {kind} {name}: {how} them");
            }
        }
        if !self.exports.is_empty() {
            let names: Vec<&str> = self.exports.iter().map(String::as_str).collect();
            let _ = writeln!(text, "  exports of these versions: {}", names.join(", "));
        }
        text.push_str(
            "train anew without them: `pq-train`, then `pq-validate RUN` and `pq-register RUN`; what was validated before is not comparable\n",
        );
    }
}
