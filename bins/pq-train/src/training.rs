//! A run on the device that was opened.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use pq_cli::{Verdict, WithHint as _};
use slide_scorer::{Base, LabelledSlide, RatingContext, RatingPrompt, Settings, SlideSamples, Store};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::{BaseIdentity, Evaluator as _, FeatureCache, FeaturePrecision, Model, RunStatus, Trainer};

use crate::preempt::Preemption;
use crate::ratings::Evaluated;
use crate::run::RunDir;
use crate::{
    Args, applies, evaluate, gain, observe, outlook, record, reference, report, track, verdict, warm,
};

/// What is trained on.
pub(crate) struct Samples<'a> {
    pub(crate) prompt: &'a RatingPrompt,
    /// Every labelled slide.
    pub(crate) all: &'a [LabelledSlide],
    pub(crate) train: SlideSamples<'a>,
    /// Those to choose the checkpoint by.
    pub(crate) val: SlideSamples<'a>,
    /// Criteria that no training slide has a score for.
    pub(crate) untaught: &'a [String],
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
    /// The adapter to begin with in place of a fresh one.
    pub(crate) adapter: Option<warm::Opened>,
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
        let Self { args, settings, services, store, dir, base, samples, adapter } = self;
        let Samples { prompt, all, train, val, untaught } = samples;
        let preemption = Preemption::listen();
        let identity = base.identity()?;
        let cache = feature_cache(settings, identity, store);
        let context =
            RatingContext { rating_prompt: prompt, cache: &cache, applicability: None, decision: None };
        let glances = outlook::look_at_pictures(&context, all, &preemption, &dir.name)?;
        let mut model = base.model(backend)?;
        match &adapter {
            Some(warm) => warm.attach(&mut model)?,
            None => attach(&mut model, settings, base)?,
        }
        let mut record = record::Record::new(dir, settings, base, store, all, untaught)?;
        if let Some(warm) = adapter {
            record.started_from(warm.origin);
        }
        let found = evaluate::Found::default();
        let measure = || evaluate::RatingError::new(context, &val, &settings.training, &found, &preemption);
        let mut rating_error = measure();
        let outlook =
            record.outlook(|| outlook::outlook(&mut rating_error, &model, all, &settings.rubric))?;
        found.clear();
        tracing::info!("{}", outlook::in_words(&outlook));
        let criteria = settings.rubric.keys().map(str::to_owned).collect();
        let evaluated = Evaluated::new(found.ratings.clone(), val.slides(), criteria);
        let told = track::Told { evaluated, preemption: preemption.clone() };
        let mut tracking = track::Tracking::new(services, dir, settings, &record, told)?;
        let outcome = Trainer::new(&mut model, settings.training.clone())?
            .validation(&val)
            .evaluator(rating_error)
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
        let outcome = report::finished(outcome, dir)?;
        let course = verdict::evaluations(&dir.files.metrics());
        let own = gain::of_run(&outcome, &found.errors, || measure().evaluate(&model))?;
        let gained = own.and_then(|own| own.gain(all, &settings.rubric));
        let learning = verdict::verdict(&outlook, &course, gained);
        record.finish(&outcome, learning.clone())?;
        if outcome.status == RunStatus::Stopped {
            tracing::warn!("stopped; `pq-train --resume --run {}` carries on", dir.name);
            return Ok(Verdict::Stopped);
        }
        let applicability = applies::learn((&context, &glances), &model, all, dir, &preemption)?;
        let context = RatingContext { applicability: applicability.as_ref(), ..context };
        reference::predictions((&context, &glances), &model, (&train, &val), dir, &preemption)?;
        dir.make_latest(store.layout()).context("cannot point `latest` at the run")?;
        tracked?;
        report::print(dir.files.dir(), &outcome, learning.as_ref(), args.common.json)
    }
}
