//! What models are measured against is fixed by the first training.

use anyhow::{Result, bail};
use durable_files::FileLock;
use pq_cli::{Hint, WithHint as _};
use project_files::{RunFiles, RunRecord, input};
use slide_data::{Contract as _, Labels, Manifest, Rubric, Splits};

use crate::Store;

impl Store {
    /// Freezes the test set and what people say of its slides, where that is not frozen yet, for this run.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn freeze_test(&self, run: &str) -> Result<()> {
        let path = self.layout().splits();
        let advice = "see that the folder of the labels can be written";
        // Of runs that begin together one freezes, and the others read what it froze.
        let _lock = FileLock::exclusive(&path).hint("the test set cannot be frozen", advice)?;
        let mut splits = Splits::read(&path)?;
        if splits.test_labels.is_some() {
            return Ok(());
        }
        splits.freeze_test(&Manifest::read(self.layout().slides().root())?);
        let labels = Labels::read(&self.layout().labels())?;
        let by = pq_cli::asked_by(None);
        let why = format!("the run {run} began, and nothing was frozen before");
        splits.freeze_test_labels(&labels, &by, &why, jiff::Timestamp::now());
        splits.write(&path).hint("the test set cannot be frozen", advice)?;
        let count = |set: Option<usize>| set.unwrap_or(0);
        tracing::info!(
            "the test set is frozen with {} slides, of which {} are rated; later ratings of these slides change no measurement until `pq-collect splits --accept-test-labels` takes them over",
            count(splits.frozen_test.as_ref().map(std::collections::BTreeSet::len)),
            count(splits.test_labels.as_ref().map(|labels| labels.slides.len())),
        );
        Ok(())
    }

    /// Refuses to draw splits where none are there and a run was trained with some: slides that it was tested on would be trained on, and
    /// no measurement would be comparable.
    pub(crate) fn refuse_to_split_again(&self) -> Result<()> {
        let path = self.layout().splits();
        let Some((name, run)) = (if path.exists() { None } else { self.newest_run_with_splits() }) else {
            return Ok(());
        };
        let copy = run.data().join(input::SPLITS);
        let back = if copy.exists() {
            format!("copy `{}` there", copy.display())
        } else {
            "restore it from a copy".to_owned()
        };
        bail!(Hint::new(
            format!("`{}` is missing, by which the run `{name}` was trained and tested", path.display()),
            format!(
                "{back}; `pq-collect splits` draws others on purpose, and no run before is comparable then"
            )
        ))
    }

    /// The run that began last of those whose records name splits.
    fn newest_run_with_splits(&self) -> Option<(String, RunFiles)> {
        let folders = std::fs::read_dir(self.layout().outputs()).into_iter().flatten().flatten();
        let found = folders.filter(|folder| folder.file_type().is_ok_and(|kind| kind.is_dir())).filter_map(
            |folder| {
                let run = RunFiles::new(folder.path());
                let record = RunRecord::read_if_present(&run.record()).ok()??;
                record.inputs.contains_key(input::SPLITS).then_some((record.started_at, record.run_id, run))
            },
        );
        found.max_by_key(|(started_at, ..)| *started_at).map(|(_, name, run)| (name, run))
    }

    /// Puts the frozen labels of the test set in place of what people say by now, and says where they differ.
    pub(crate) fn hold_test_labels(&self, labels: &mut Labels, rubric: &Rubric) -> Result<()> {
        let Some(splits) = Splits::read_if_present(&self.layout().splits())? else { return Ok(()) };
        let changed = splits.hold_test_labels(labels, rubric);
        if changed > 0 {
            tracing::warn!(
                "people say something else of {changed} slides of the test set than when it was frozen; they are measured as then, until `pq-collect splits --accept-test-labels REASON` takes over what they say now"
            );
        }
        Ok(())
    }
}
