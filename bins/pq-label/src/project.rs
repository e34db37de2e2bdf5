use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use drift::MonitoringConfig;
use pq_cli::{Layout, WithHint};
use slide_data::{Defects, Manifest, Rubric};
use slide_label::agreement::RatingMatrix;
use slide_label::exchange::KnownSlides;
use slide_label::{Calibration, Journal, LabelConfig, Store};

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
        warn_of_uncounted(&store.uncounted());
        Ok(store)
    }

    /// The ratings as a matrix: slides of one deck together, calibration slides marked where the server has chosen some.
    pub(crate) fn matrix(&self, store: &Store) -> Result<RatingMatrix> {
        let manifest = Manifest::read(self.paths.slides().root()).unwrap_or_default();
        let decks: HashMap<&str, &str> =
            manifest.slides.iter().map(|slide| (slide.slide_id.as_str(), slide.deck_id.as_str())).collect();
        let mut matrix =
            RatingMatrix::from_store(store, |slide| (*decks.get(slide).unwrap_or(&slide)).into());
        let path = self.paths.calibration();
        if path.exists() {
            let calibration = Calibration::of(&path, &manifest, store, &self.config)?;
            matrix.mark_calibration(|slide| calibration.contains(slide));
        }
        Ok(matrix)
    }

    /// The slides that there are; none where nothing was collected.
    pub(crate) fn known_slides(&self) -> KnownSlides {
        let manifest = Manifest::read(self.paths.slides().root()).unwrap_or_default();
        manifest.slides.into_iter().map(|slide| slide.slide_id).collect()
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

/// A criterion that was renamed or removed takes its scores along: people must know before they train on what is left.
pub(crate) fn warn_of_uncounted(uncounted: &BTreeMap<String, usize>) {
    for line in uncounted_lines(uncounted) {
        tracing::warn!("{line}");
    }
}

/// One sentence for each criterion that the rubric does not have.
pub(crate) fn uncounted_lines(uncounted: &BTreeMap<String, usize>) -> impl Iterator<Item = String> {
    uncounted.iter().map(|(key, ratings)| {
        let ratings = if *ratings == 1 { "1 rating".to_owned() } else { format!("{ratings} ratings") };
        format!(
            "`{key}` is not a criterion of the rubric: its scores in {ratings} do not count (they are kept, and count again under \
             this key); what else these ratings say counts"
        )
    })
}
