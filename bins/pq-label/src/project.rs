use anyhow::Result;
use drift::MonitoringConfig;
use pq_cli::{Layout, WithHint};
use slide_data::{Defects, Manifest, Rubric};
use slide_label::{Journal, LabelConfig, Store};

use crate::args::Args;

/// The configuration of a labelling project.
pub(crate) struct Project {
    pub(crate) paths: Layout,
    pub(crate) rubric: Rubric,
    pub(crate) config: LabelConfig,
    /// For how many days after a slide was scored pq-monitor looks at a rating of it.
    pub(crate) audit_days: f64,
}

impl Project {
    pub(crate) fn load(args: &Args) -> Result<Self> {
        let file = args.common.configuration()?;
        let paths = file
            .layout()?
            .with_data(args.data.as_deref())?
            .with_monitoring(args.monitoring.as_deref(), true)?;
        paths.require_data().and_then(|()| paths.require_monitoring()).hint(
            "there is nothing to label",
            "run the command in the project's folder, or mend the setting; `pq-collect PATH` begins a project",
        )?;
        let monitoring: MonitoringConfig = file.file("monitoring", MonitoringConfig::validate)?;
        Ok(Self {
            audit_days: monitoring.performance.window_days,
            paths,
            rubric: file.section("rubric", Rubric::validate)?,
            config: file.section("label", LabelConfig::validate)?,
        })
    }

    /// What the journal holds, read without its lock; events that break a rule are named on standard error.
    pub(crate) fn store(&self) -> Result<Store> {
        let (events, defects) = Journal::read(&self.paths.journal())
            .hint("the journal cannot be read", "run `pq-label verify`, or restore the file from a backup")?;
        defects.warn(&self.paths.journal(), "rating event");
        let (store, refused) = Store::from_events(self.rubric.clone(), events);
        for (event, error) in refused {
            tracing::warn!("event `{}` does not count: {error}", event.id);
        }
        Ok(store)
    }

    pub(crate) fn manifest(&self) -> Result<Manifest> {
        let message = format!("there are no slides in `{}`", self.paths.slides().root().display());
        let remedy = "collect some first: `pq-collect PATH` (PDF decks, images or folders of them)";
        let manifest = Manifest::read(self.paths.slides().root()).hint(message.clone(), remedy)?;
        if manifest.usable().next().is_none() {
            return Err(pq_cli::Hint::new(message, remedy).into());
        }
        Ok(manifest)
    }
}

/// Lines of the journal that cannot be read stay in it: people must know, and may mend them by hand.
pub(crate) fn warn_of_broken_lines(defects: &Defects) {
    if let Some(first) = defects.examples.first() {
        let (count, line, reason) = (defects.broken_lines, first.line, &first.reason);
        tracing::warn!(
            "{count} lines of the journal cannot be read and do not count, the first is line {line}: {reason}"
        );
    }
}
