//! A linear head on what the frozen vision tower sees: learned alone, in seconds, or beside the adapter.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use durable_files::{hash_file, write_atomic};
use pq_cli::{Hint, Verdict, WithHint as _};
use project_files::{Contract as _, ScoreHead};
use slide_data::{Prediction, Rubric};
use slide_scorer::{Distributions, LabelledSlide, RatingContext};
use vlm_eval::{KnownSlide, fit_head, fit_share};
use vlm_lora::backend::Backend;
use vlm_lora::{Model, RunStatus, TrainOutcome};

use crate::evaluate::{self, Measured};
use crate::outlook::{self, Glances};
use crate::preempt::Preemption;
use crate::run::RunDir;
use crate::training::{Samples, Training};
use crate::{applies, decision, record, reference, report, verdict};

/// How often an interval holds what it estimates.
const CONFIDENCE: f64 = 0.95;
const REMEDY: &str = "see that the run's folder can be written";

/// What the head is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeadUse {
    /// In place of an adapter: nothing else is trained.
    Alone,
    /// Together with the adapter, with as much say as validation decks bear out.
    Beside,
}

/// A head, and what it says of the validation slides.
pub(crate) struct Learned {
    head: ScoreHead,
    said: BTreeMap<String, Distributions>,
}

impl Learned {
    /// Learns from the training slides, and rates those of validation.
    ///
    /// # Errors
    /// When the slides teach nothing, one cannot be read, or somebody ends it between two slides.
    pub(crate) fn new<B: Backend>(
        (context, glances): (&RatingContext<'_>, &Glances),
        model: &Model<B>,
        (known, val): (&[KnownSlide], &[LabelledSlide]),
        (dir, preemption): (&RunDir, &Preemption),
    ) -> Result<Self> {
        let Some(mut head) = fit_head(context.rating_prompt.rubric(), known) else {
            bail!(Hint::new("the training slides teach no head", "rate slides of at least two decks"));
        };
        let adapter = dir.files.adapter_weights();
        let name = adapter.file_name().unwrap_or_default().to_string_lossy().into_owned();
        head.made_from.insert(name, hash_file(&adapter).context("the adapter cannot be read")?.sha256);
        let mut said = BTreeMap::new();
        for slide in val {
            preemption.check(&dir.name)?;
            let (pooled, _) = applies::seen((context, glances), model, slide)?;
            let features = pooled.concatenated();
            let rate = |(key, of_key): (&String, &project_files::CriterionHead)| {
                Some((key.clone(), of_key.rate(&features)?))
            };
            said.insert(slide.record.slide_id.clone(), head.criteria.iter().filter_map(rate).collect());
        }
        Ok(Self { head, said })
    }

    /// Gives the head as much say beside the adapter as the validation slides bear out, of which `predictions` have what the adapter says,
    /// and puts what both say together in its place. A head that has no say is not kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn join(
        mut self,
        rubric: &Rubric,
        val: &[LabelledSlide],
        predictions: &mut [Prediction],
        dir: &RunDir,
    ) -> Result<()> {
        let (share, gain) = fit_share(rubric, &decision::items(val, predictions), &self.said, CONFIDENCE);
        (self.head.share, self.head.gain) = (share, gain);
        tracing::info!("{}", in_words(&self.head));
        if share <= 0.0 {
            return forget(dir);
        }
        for prediction in predictions {
            let Some(said) = self.said.get(&prediction.slide_id) else { continue };
            for (key, distribution) in &mut prediction.distributions {
                if let Some(head) = said.get(key) {
                    *distribution = self.head.blend(head, distribution);
                }
            }
        }
        self.keep(dir)
    }

    fn keep(&self, dir: &RunDir) -> Result<()> {
        self.head.write(&dir.files.score_head()).hint("the head cannot be kept", REMEDY)
    }
}

/// Leaves no head of an earlier adapter behind.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn forget(dir: &RunDir) -> Result<()> {
    match std::fs::remove_file(dir.files.score_head()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("the head of an earlier adapter cannot be removed")
        }
        _ => Ok(()),
    }
}

fn in_words(head: &ScoreHead) -> String {
    let gain = head.gain.map_or_else(
        || "too few decks to choose by".to_owned(),
        |gain| match gain.interval {
            Some(ends) => format!(
                "ranked probability score smaller by {:.4} ({:.4} to {:.4}) on decks left out",
                gain.value, ends.low, ends.high
            ),
            None => format!("ranked probability score smaller by {:.4} on decks left out", gain.value),
        },
    );
    if head.share > 0.0 {
        format!("the head has {:.0} % of each probability beside the adapter: {gain}", 100.0 * head.share)
    } else {
        format!("the adapter is not shown to be better with the head, which is left out: {gain}")
    }
}

impl Training<'_> {
    /// The run of a head that stands alone: beside it lies an adapter that changes nothing, so that whoever reads a run reads this one.
    pub(crate) fn head_alone<B: Backend>(
        self,
        model: &mut Model<B>,
        context: RatingContext<'_>,
        glances: &Glances,
        preemption: &Preemption,
    ) -> Result<Verdict> {
        let began = Instant::now();
        let Self { args, settings, store, dir, base, samples, .. } = self;
        let Samples { all, train, val, untaught, .. } = samples;
        let record = record::Record::new(dir, settings, base, store, all, untaught)?;
        record.begin()?;
        write_atomic(&dir.files.config(), settings.to_toml()?.as_bytes())
            .hint("the run cannot be begun", REMEDY)?;
        model.adapter()?.save(dir.files.dir()).hint("the run cannot be begun", REMEDY)?;
        let known = applies::known((&context, glances), model, all, dir, preemption)?;
        let learned = Learned::new((&context, glances), model, (&known, val.slides()), (dir, preemption))?;
        learned.keep(dir)?;
        let applicability = applies::learn(context.rating_prompt.rubric(), &known, dir)?;
        let context =
            RatingContext { applicability: applicability.as_ref(), head: Some(&learned.head), ..context };
        let answers: Vec<Distributions> =
            val.slides().iter().map(|slide| learned.said[&slide.record.slide_id].clone()).collect();
        let Measured { mae, decks, .. } =
            evaluate::measured(context.rating_prompt.rubric(), &answers, val.slides());
        reference::predictions((&context, glances), model, (&train, &val), (dir, preemption), None)?;
        let constant = outlook::constant_mae(all, &settings.rubric);
        let judged = verdict::of_head(mae, constant, decks.gain(all, &settings.rubric));
        let outcome = outcome(model, dir, began);
        record.finish(&outcome, Some(judged.clone()))?;
        dir.make_latest(store.layout()).context("cannot point `latest` at the run")?;
        report::print_head(&learned.head, &outcome, &judged, args.common.json)
    }
}

/// What a run without steps has to say of itself.
fn outcome<B: Backend>(model: &Model<B>, dir: &RunDir, began: Instant) -> TrainOutcome {
    TrainOutcome {
        status: RunStatus::Finished,
        steps: 0,
        total_steps: 0,
        extensions: Vec::new(),
        epochs: 0.0,
        train_loss: 0.0,
        best: None,
        train_seconds: began.elapsed().as_secs_f64(),
        eval_seconds: 0.0,
        tokens: 0,
        trainable_parameters: 0,
        base_parameters: model.base_parameters(),
        output_dir: dir.files.dir().to_owned(),
    }
}
