//! A run on the device that was opened.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pq_cli::{Hint, Verdict, WithHint as _};
use project_files::StartedFrom;
use slide_data::Split;
use slide_scorer::{Base, LabelledSlide, RatingContext, RatingPrompt, Settings, SlideSamples, Store};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::plan::Rated;
use vlm_lora::{
    BaseIdentity, Evaluator as _, FeatureCache, FeaturePrecision, FeatureTally, Model, RunStatus, Trainer,
};

use crate::head::{self, HeadUse, Learned};
use crate::preempt::Preemption;
use crate::processes::Processes;
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

impl<'a> Samples<'a> {
    /// The slides to train on and those to choose the checkpoint by.
    pub(crate) fn new(
        prompt: &'a RatingPrompt,
        all: &'a [LabelledSlide],
        settings: &Settings,
        untaught: &'a [String],
    ) -> Result<Self> {
        let of = |split: Split| -> Vec<LabelledSlide> {
            all.iter().filter(|slide| slide.split == split && slide.has_score()).cloned().collect()
        };
        let weight = settings.training.score_token_weight;
        let train = SlideSamples::new(prompt, of(Split::Train), weight);
        let val = SlideSamples::new(prompt, of(Split::Val), weight);
        if train.slides().is_empty() || val.slides().is_empty() {
            bail!(Hint::new("no deck is left for training or for validation", "rate slides of more decks"));
        }
        tracing::info!(
            "{} slides to train on, {} to choose the checkpoint by, {} kept for the test",
            train.slides().len(),
            val.slides().len(),
            of(Split::Test).len()
        );
        Ok(Self { prompt, all, train, val, untaught })
    }

    /// How many are rated beside those that are trained on.
    pub(crate) fn rated(&self) -> Rated {
        let whole_decks = reference::whole_decks(self.train.slides()).len();
        let seen_afterwards = applies::learned_from(self.all).count() + whole_decks;
        Rated { validation: self.val.slides().len(), seen_afterwards }
    }
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
    pub(crate) processes: &'a Processes,
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
        cache.on_disk(store.layout().feature_cache()).also_from(store.layout().kept().features())
    } else {
        cache.memory_budget(0)
    }
}

impl OnDevice for Training<'_> {
    type Output = Result<Verdict>;

    fn run<B: Backend>(mut self, backend: &Arc<B>) -> Result<Verdict> {
        let preemption = Preemption::listen();
        let identity = self.base.identity()?;
        let cache = feature_cache(self.settings, identity, self.store);
        let rating_prompt = self.samples.prompt;
        let context =
            RatingContext { rating_prompt, cache: &cache, applicability: None, head: None, decision: None };
        let is_first = self.processes.is_first();
        let look = || outlook::look_at_pictures(&context, self.samples.all, &preemption, &self.dir.name);
        let glances = if is_first { look()? } else { outlook::Glances::new() };
        let mut model = self.base.model(backend)?;
        let adapter = self.adapter.take();
        match &adapter {
            Some(warm) => warm.attach(&mut model)?,
            None => attach(&mut model, self.settings, self.base)?,
        }
        let verdict = if self.args.head == Some(HeadUse::Alone) {
            self.head_alone(&mut model, context, &glances, &preemption)
        } else if is_first {
            let origin = adapter.map(|warm| warm.origin);
            self.first(&mut model, (context, identity), (origin, &glances), &preemption)
        } else {
            self.other(&mut model, (context, identity), &preemption)
        };
        let FeatureTally { found, computed } = cache.tally();
        tracing::info!("vision tower: {computed} tiles computed, {found} times one was there");
        verdict
    }
}

impl Training<'_> {
    /// The run as the process that writes has it.
    fn first<B: Backend>(
        self,
        model: &mut Model<B>,
        (context, identity): (RatingContext<'_>, BaseIdentity),
        (origin, glances): (Option<StartedFrom>, &outlook::Glances),
        preemption: &Preemption,
    ) -> Result<Verdict> {
        let Self { args, settings, services, store, dir, base, samples, processes, .. } = self;
        let Samples { all, train, val, untaught, .. } = samples;
        let mut record = record::Record::new(dir, settings, base, store, all, untaught)?;
        record.processes(processes.count());
        if let Some(origin) = origin {
            record.started_from(origin);
        }
        let found = evaluate::Found::default();
        let measure = || evaluate::RatingError::new(context, &val, &settings.training, &found, preemption);
        let mut rating_error = measure().shared_by(processes);
        let mut is_told = false;
        let outlook = record.outlook(|| {
            is_told = true;
            processes.tell_whether(true)?;
            outlook::outlook(&mut rating_error, model, all, &settings.rubric)
        })?;
        if !is_told {
            processes.tell_whether(false)?;
        }
        found.clear();
        tracing::info!("{}", outlook::in_words(&outlook));
        let criteria = settings.rubric.keys().map(str::to_owned).collect();
        let evaluated = Evaluated::new(found.ratings.clone(), val.slides(), criteria);
        let told = track::Told { evaluated, preemption: preemption.clone() };
        let mut tracking = track::Tracking::new(services, dir, settings, &record, told)?;
        let trainer = trainer(model, settings, processes)?
            .validation(&val)
            .evaluator(rating_error)
            .observer(observe::Progress::new())
            .observer(observe::Interrupt(preemption.clone()))
            .observer(&mut record)
            .observer(&mut tracking)
            .feature_cache(context.cache)
            .base_identity(identity)
            .resolved_config(settings.to_toml()?)
            .resume(dir.resume_from(args.resume));
        let outcome = trainer.run(&train);
        let tracked = tracking.finish(&outcome);
        let outcome = report::finished(outcome, dir)?;
        let course = verdict::evaluations(&dir.files.metrics());
        let own = gain::of_run(&outcome, &found.errors, || measure().evaluate(model))?;
        let gained = own.and_then(|own| own.gain(all, &settings.rubric));
        let learning = verdict::verdict(&outlook, &course, gained);
        record.finish(&outcome, learning.clone())?;
        if outcome.status == RunStatus::Stopped {
            tracing::warn!("stopped; `pq-train --resume --run {}` carries on", dir.name);
            return Ok(Verdict::Stopped);
        }
        let known = applies::known((&context, glances), model, all, dir, preemption)?;
        let slides = (known.as_slice(), val.slides());
        let learn = || Learned::new((&context, glances), model, slides, (dir, preemption));
        head::forget(dir)?;
        let head = args.head.map(|_| learn()).transpose()?;
        let applicability = applies::learn(&settings.rubric, &known, dir)?;
        let context = RatingContext { applicability: applicability.as_ref(), ..context };
        reference::predictions((&context, glances), model, (&train, &val), (dir, preemption), head)?;
        dir.make_latest(store.layout()).context("cannot point `latest` at the run")?;
        tracked?;
        report::print(dir.files.dir(), &outcome, learning.as_ref(), args.common.json)
    }

    /// The run as another process has it, which computes and writes nothing.
    fn other<B: Backend>(
        self,
        model: &mut Model<B>,
        (context, identity): (RatingContext<'_>, BaseIdentity),
        preemption: &Preemption,
    ) -> Result<Verdict> {
        let Self { settings, dir, samples: Samples { all, train, val, .. }, processes, .. } = self;
        let found = evaluate::Found::default();
        let rating_error = evaluate::RatingError::new(context, &val, &settings.training, &found, preemption);
        let mut rating_error = rating_error.shared_by(processes);
        if processes.is_told_to()? {
            outlook::outlook(&mut rating_error, model, all, &settings.rubric)?;
        }
        let trainer = trainer(model, settings, processes)?
            .validation(&val)
            .evaluator(rating_error)
            .observer(observe::Interrupt(preemption.clone()))
            .feature_cache(context.cache)
            .base_identity(identity);
        let outcome = report::finished(trainer.run(&train), dir)?;
        Ok(if outcome.status == RunStatus::Stopped { Verdict::Fail } else { Verdict::Pass })
    }
}

fn trainer<'a, B: Backend>(
    model: &'a mut Model<B>,
    settings: &Settings,
    processes: &'a Processes,
) -> Result<Trainer<'a, B>> {
    if let Some(group) = processes.group().filter(|group| group.size() > 1) {
        // Asked by all of them, although the first alone logs it: within the macro the others would not ask.
        let way = model.backend().way_of_sums(group)?;
        tracing::info!("gradients are added up {way}");
    }
    let trainer = Trainer::new(model, settings.training.clone())?;
    Ok(match processes.group() {
        Some(group) => trainer.group(group),
        None => trainer,
    })
}
