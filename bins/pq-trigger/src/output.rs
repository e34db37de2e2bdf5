use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use drift::{Decision, TriggerState};
use pq_cli::WithHint as _;

/// Set by GitHub Actions to the file that a step's outputs go to.
pub(crate) const GITHUB_OUTPUT: &str = "GITHUB_OUTPUT";

/// The outputs of a GitHub Actions step, with what the file held before.
pub(crate) struct Heard {
    file: File,
    before: u64,
}

impl Heard {
    /// Appends the outputs, each on one line; all of them or none.
    pub(crate) fn publish(path: &Path, decision: &Decision) -> Result<Self> {
        let reason = decision.reason().replace(['\n', '\r'], " ");
        let lines = format!("should_retrain={}\nreason={reason}\n", decision.should_retrain);
        let append = || {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            let heard = Self { before: file.metadata()?.len(), file: file.try_clone()? };
            file.write_all(lines.as_bytes()).inspect_err(|_| heard.take_back())?;
            Ok::<Self, std::io::Error>(heard)
        };
        let what = format!("cannot write `{}`, which {GITHUB_OUTPUT} names", path.display());
        append().hint(what, "make room where it lies: nothing was decided")
    }

    /// Removes them again, as far as that can be done: the step fails in any case.
    pub(crate) fn take_back(&self) {
        let _ = self.file.set_len(self.before);
    }
}

pub(crate) fn print(decision: &Decision, is_json: bool, explain: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, decision)?;
        writeln!(out)?;
        return Ok(());
    }
    for trigger in &decision.triggers {
        let mark = match trigger.state {
            TriggerState::Fired => "RETRAIN",
            TriggerState::Quiet => "ok",
            TriggerState::Insufficient => "unknown",
        };
        let name = format!("{:?}", trigger.name).to_lowercase();
        writeln!(out, "{name:<12} {mark:<8} {}", trigger.reason)?;
    }
    for held in &decision.held {
        writeln!(out, "{:<12} {:<8} {held}", "held back", "")?;
    }
    if explain {
        write!(out, "{}", explanation(decision))?;
    }
    writeln!(out, "should_retrain={}", decision.should_retrain)?;
    Ok(())
}

/// What the decision came from: the version in use, thresholds, chances, what was spent, and every input with its hash.
fn explanation(decision: &Decision) -> String {
    let mut lines = vec![
        format!("asked by     {} at {}", decision.asked_by, decision.decided_at),
        format!("in use       {}", decision.champion.as_deref().unwrap_or("no version")),
    ];
    if let Some(last) = &decision.last_release {
        lines.push(format!("last release {} at {}, of run {}", last.version, last.released_at, last.run_id));
    }
    for trigger in &decision.triggers {
        let name = format!("{:?}", trigger.name).to_lowercase();
        let value = trigger.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.4}"));
        let chance = trigger.p_value.map_or_else(String::new, |p| format!(", p = {p:.2e}"));
        let spent = trigger
            .spent
            .map_or_else(String::new, |spent| format!(", {spent:.2e} of the error budget spent"));
        lines.push(format!("{name:<12} {value}, threshold {}{chance}{spent}", trigger.threshold));
    }
    lines.extend(decision.inputs.iter().map(|(name, hash)| format!("input        {hash} {name}")));
    lines.push(format!("settings     {}", decision.configuration));
    lines.push(format!("learns from  {}", decision.training_key));
    lines.join("\n") + "\n"
}
