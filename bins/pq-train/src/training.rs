//! A run on the device that was opened.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use pq_cli::{Verdict, WithHint as _};
use slide_scorer::{Base, LabelledSlide, RatingContext, RatingPrompt, Settings, SlideSamples, Store};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::{BaseIdentity, FeatureCache, FeaturePrecision, Model, RunStatus, Trainer};

use crate::preempt::Preemption;
use crate::ratings::{Evaluated, Ratings};
use crate::run::RunDir;
use crate::{Args, applies, evaluate, observe, record, reference, report, track};

/// What is trained on.
pub(crate) struct Samples<'a> {
    pub(crate) prompt: &'a RatingPrompt,
    /// Every labelled slide.
    pub(crate) all: &'a [LabelledSlide],
    pub(crate) train: SlideSamples<'a>,
    /// Those to choose the checkpoint by.
    pub(crate) val: SlideSamples<'a>,
}

/// Trains an adapter and writes the run.
pub(crate) struct Training<'a> {
    pub(crate) args: &'a Args,
    pub(crate) settings: &'a Settings,
    pub(crate) services: track::Services,
    pub(crate) store: &'a Store,
    pub(crate) dir: &'a RunDir,
    pub(crate) base: &'a Base,
    pub(crate) samples: Samples<'a>,
}

/// Attaches the adapter that the settings describe.
pub(crate) fn attach<B: Backend>(model: &mut Model<B>, settings: &Settings, base: &Base) -> Result<()> {
    model
        .attach(&settings.lora, &base.checkpoint, settings.training.seed)
        .hint("the adapter cannot be attached", "see `[lora] target_modules` in training.toml")
}

/// Where what the frozen vision tower says of an image is kept; nowhere where the settings forbid it.
fn feature_cache(settings: &Settings, base: BaseIdentity, store: &Store) -> FeatureCache {
    let cache = FeatureCache::new(base.fingerprint(), FeaturePrecision::Float32);
    if settings.training.cache_vision_features {
        cache.on_disk(store.layout().feature_cache())
    } else {
        cache.memory_budget(0)
    }
}

impl OnDevice for Training<'_> {
    type Output = Result<Verdict>;

    fn run<B: Backend>(self, backend: &Arc<B>) -> Result<Verdict> {
        let Self { args, settings, services, store, dir, base, samples } = self;
        let Samples { prompt, all, train, val } = samples;
        let mut model = base.model(backend)?;
        attach(&mut model, settings, base)?;
        let identity = base.identity()?;
        let cache = feature_cache(settings, identity, store);
        let context = RatingContext { rating_prompt: prompt, cache: &cache, applicability: None };
        let mut record = record::Record::new(dir, settings, base, store, all)?;
        let (ratings, preemption) = (Ratings::default(), Preemption::listen());
        let criteria = settings.rubric.keys().map(str::to_owned).collect();
        let evaluated = Evaluated::new(ratings.clone(), val.slides(), criteria);
        let told = track::Told { evaluated, preemption: preemption.clone() };
        let mut tracking = track::Tracking::new(services, dir, settings, &record, told)?;
        let outcome = Trainer::new(&mut model, settings.training.clone())?
            .validation(&val)
            .evaluator(evaluate::RatingError::new(context, &val, &settings.training, ratings))
            .observer(observe::Progress::new())
            .observer(observe::Interrupt(preemption.clone()))
            .observer(&mut record)
            .observer(&mut tracking)
            .feature_cache(&cache)
            .base_identity(identity)
            .resolved_config(settings.to_toml()?)
            .resume(dir.resume_from(args.resume))
            .run(&train);
        let tracked = tracking.finish(&outcome);
        let remedy = match &outcome {
            Err(vlm_lora::Error::Resume { .. }) => {
                "resume with the base, data and settings that the run began with, or begin a new run with another --run"
            }
            _ => "`--resume` carries on from the last checkpoint",
        };
        let outcome = outcome.hint("the training did not finish", remedy)?;
        record.finish(&outcome)?;
        if outcome.status == RunStatus::Stopped {
            tracing::warn!("stopped; `pq-train --resume --run {}` carries on", dir.name);
            return Ok(Verdict::Fail);
        }
        let applicability = applies::learn(&context, &model, &train, dir, &preemption)?;
        let context = RatingContext { applicability: applicability.as_ref(), ..context };
        reference::predictions(&context, &model, (&train, &val), dir, &preemption)?;
        dir.make_latest(store.layout()).context("cannot point `latest` at the run")?;
        tracked?;
        report::print(dir.files.dir(), &outcome, args.common.json)
    }
}
