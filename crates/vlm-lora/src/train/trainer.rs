use std::path::PathBuf;

use process_group::ProcessGroup;
use serde_json::{Value, json};

use super::TrainingConfig;
use super::data::{Dataset, Loader};
use super::evaluate::Evaluator;
use super::observer::{Observer, RunStart};
use super::optimizer::AdamW;
use super::outcome::{Extension, RunStatus, TrainOutcome};
use super::peers::Peers;
use super::resume::restore;
use super::run_folder::{RunFolder, read_checkpoint};
use super::schedule::LrSchedule;
use super::session::Session;
use super::state::{AdapterIdentity, Identity, TrainerState};
use crate::backend::Backend;
use crate::feature_cache::FeatureCache;
use crate::fingerprint::BaseIdentity;
use crate::lora::PeftAdapter;
use crate::model::Model;
use crate::{Error, Result};

/// Where a run begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resume {
    /// At step 0; the run's folder must not hold checkpoints.
    #[default]
    Never,
    /// At the newest checkpoint of the run's folder.
    Latest,
    /// At this checkpoint.
    From(PathBuf),
}

/// Where a run begins, and where it is resumed the learning rate of its first step.
type Start = (TrainerState, Option<(usize, f64)>);

/// Trains a model's adapter as transformers' `Trainer` does.
///
/// The run's folder `output_dir` receives `config.toml`, `metrics.jsonl`, `checkpoints/step-N/` and at the end the adapter in
/// PEFT's files: that of the best evaluation, or the last one where nothing is evaluated. The same inputs give the same run;
/// on the CPU a resumed run equals the uninterrupted one to the bit.
pub struct Trainer<'a, B: Backend> {
    model: &'a mut Model<B>,
    config: TrainingConfig,
    validation: Option<&'a dyn Dataset>,
    evaluator: Option<Box<dyn Evaluator<B> + 'a>>,
    observers: Vec<Box<dyn Observer + 'a>>,
    cache: Option<&'a FeatureCache>,
    base: Option<BaseIdentity>,
    resolved_config: Option<String>,
    resume: Resume,
    peers: Peers<'a>,
}

impl<'a, B: Backend> Trainer<'a, B> {
    /// A trainer of the adapter that is attached to `model`.
    ///
    /// # Errors
    /// When the configuration is invalid or no adapter is attached.
    pub fn new(model: &'a mut Model<B>, config: TrainingConfig) -> Result<Self> {
        config.validate()?;
        if model.params().is_empty() {
            return Err(Error::Unsupported {
                what: "training a model without an attached adapter".to_owned(),
            });
        }
        Ok(Self {
            model,
            config,
            validation: None,
            evaluator: None,
            observers: Vec::new(),
            cache: None,
            base: None,
            resolved_config: None,
            resume: Resume::Never,
            peers: Peers::new(None),
        })
    }

    /// Samples whose loss is measured at each evaluation, as `eval_loss`.
    pub fn validation(mut self, data: &'a dyn Dataset) -> Self {
        self.validation = Some(data);
        self
    }

    /// Further measures of each evaluation; their names get the prefix `eval_`.
    pub fn evaluator(mut self, evaluator: impl Evaluator<B> + 'a) -> Self {
        self.evaluator = Some(Box::new(evaluator));
        self
    }

    /// Adds someone who is told what happens.
    pub fn observer(mut self, observer: impl Observer + 'a) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Where the output of the frozen vision tower is kept. Not used while an adapter touches tower or connector.
    pub fn feature_cache(mut self, cache: &'a FeatureCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Names the base model, so that a run is not resumed over another base.
    pub fn base_identity(mut self, identity: BaseIdentity) -> Self {
        self.base = Some(identity);
        self
    }

    /// The text of `config.toml`; left out, it is the table `[training]`, which needs the feature `toml`.
    pub fn resolved_config(mut self, toml: impl Into<String>) -> Self {
        self.resolved_config = Some(toml.into());
        self
    }

    /// Where the run begins.
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// Shares the run with the other processes of a group, each of which makes the same run with the same settings and data.
    ///
    /// The batches of a window are dealt out, and the gradient is added up once an optimizer step: a run of any number of processes makes
    /// the steps of a run of one, but for the order in which gradients are added, and may be resumed by another number of them. The first
    /// process alone reads and writes the run's folder. Every process asks its own observers whether the run should end; those of the others
    /// are told the same of steps and evaluations as those of the first. An evaluator is asked in every process, and the first one's
    /// measures count.
    pub fn group(mut self, group: &'a dyn ProcessGroup) -> Self {
        self.peers = Peers::new(Some(group));
        self
    }

    /// Trains on `data`; the model is left with the adapter that stands in the run's folder.
    ///
    /// # Errors
    /// When a sample, an evaluation or a file fails, when loss or gradient are not finite, or when the run cannot be resumed;
    /// the last whole step is saved before the error is returned, where the disk allows it.
    pub fn run(mut self, data: &'a dyn Dataset) -> Result<TrainOutcome> {
        let outcome = self.train(data);
        if let (Err(error), Some(group)) = (&outcome, self.peers.group())
            && !matches!(error, Error::Group(_))
        {
            group.abort(&with_causes(error));
        }
        outcome
    }

    fn train(&mut self, data: &'a dyn Dataset) -> Result<TrainOutcome> {
        self.check_data(data)?;
        let peers = self.peers;
        let folder = if peers.is_first() { Some(RunFolder::open(&self.config.output_dir)?) } else { None };
        let identity = self.identity(data)?;
        peers.agree(&self.agreement(&identity)?)?;
        let mut optimizer = AdamW::new(self.model)?;
        let (state, carried) = self.starting_state(folder.as_ref(), identity, &mut optimizer, data.len())?;
        if let Some(folder) = &folder
            && let Some(text) = self.config_text()?
        {
            folder.write_config(&text)?;
        }
        let cache = self.cache.filter(|_| self.config.cache_vision_features && !self.model.trains_vision());
        let training = Loader::new(data, cache);
        let validation = self.validation.map(|data| Loader::new(data, cache));
        let total_steps = self.config.total_steps(data.len());
        let start = RunStart {
            samples: data.len(),
            completed_steps: state.step,
            total_steps,
            trainable_parameters: self.model.trainable_parameters(),
            base_parameters: self.model.base_parameters(),
        };
        self.observers.iter_mut().for_each(|observer| observer.on_start(&start));
        self.check_integers(data)?;
        let mut session = Session {
            model: self.model,
            config: &self.config,
            folder: folder.as_ref(),
            peers,
            training: &training,
            validation: validation.as_ref(),
            evaluator: self.evaluator.as_deref_mut(),
            observers: &mut self.observers,
            schedule: LrSchedule::new(&self.config, total_steps),
            carried,
            total_steps,
            optimizer,
            saved_step: (state.step > 0).then_some(state.step),
            state,
        };
        let status = session.run()?;
        let epochs = session.epochs();
        let state = session.state;
        let outcome = self.finish(folder.as_ref(), &start, state, status, epochs)?;
        self.observers.iter_mut().for_each(|observer| observer.on_end(&outcome));
        Ok(outcome)
    }

    /// What all processes of a run must have in common.
    fn agreement(&self, identity: &Identity) -> Result<Value> {
        let invalid = |error: serde_json::Error| Error::Peers { reason: error.to_string() };
        let mut settings = serde_json::to_value(&self.config).map_err(invalid)?;
        if let Value::Object(settings) = &mut settings {
            for own in ["output_dir", "dataloader_num_workers"] {
                settings.remove(own);
            }
        }
        let identity = serde_json::to_value(identity).map_err(invalid)?;
        let device = self.model.backend().name();
        let version = env!("CARGO_PKG_VERSION");
        Ok(json!({"training": settings, "run": identity, "version": version, "device": kind(&device)}))
    }

    /// Compares products in integers with exact ones on the first sample's image, where there are such products.
    fn check_integers(&mut self, data: &dyn Dataset) -> Result<()> {
        if self.model.backend().integer_bound().is_some() {
            let sample = data.sample(0)?;
            if let Some(check) = self.model.check_integers(&[&*sample.tiles])? {
                self.observers.iter_mut().for_each(|observer| observer.on_integer_check(&check));
            }
        }
        Ok(())
    }

    fn check_data(&self, data: &dyn Dataset) -> Result<()> {
        let (passes, processes) = (self.config.gradient_accumulation_steps, self.peers.size());
        if passes < processes {
            let key = "training.gradient_accumulation_steps".to_owned();
            let expected = format!("at least {processes}, a pass for each process");
            return Err(Error::InvalidConfig { key, expected, actual: passes.to_string() });
        }
        let empty = match self.validation {
            _ if data.is_empty() => "training samples",
            Some(validation) if validation.is_empty() => "validation samples",
            _ => return Ok(()),
        };
        let (expected, actual) = ("at least one".to_owned(), "none".to_owned());
        Err(Error::InvalidConfig { key: empty.to_owned(), expected, actual })
    }

    fn identity(&self, data: &dyn Dataset) -> Result<Identity> {
        let adapter = self.model.adapter()?;
        let modules = adapter.modules.into_iter().map(|module| module.spec).collect();
        Ok(Identity {
            training_data: data.fingerprint(),
            validation_data: self.validation.map(Dataset::fingerprint),
            base: self.base,
            adapter: AdapterIdentity { config: adapter.config, modules },
        })
    }

    /// The checkpoint that the run goes on from; none where it begins.
    fn resumed_from(&self, folder: &RunFolder) -> Result<Option<PathBuf>> {
        let newest = folder.checkpoints()?.pop().map(|(_, path)| path);
        match (&self.resume, newest) {
            (Resume::Never, None) => Ok(None),
            (Resume::Never, Some(path)) => {
                Err(resume_error(path, "the run's folder is in use: resume it or choose another"))
            }
            (Resume::Latest, None) => {
                Err(resume_error(self.config.output_dir.clone(), "it holds no checkpoint"))
            }
            (Resume::Latest, Some(path)) => Ok(Some(path)),
            (Resume::From(path), _) => Ok(Some(path.clone())),
        }
    }

    /// Where the run begins, and where it is resumed the learning rate of its first step: for all processes where the first one begins.
    fn starting_state(
        &mut self,
        folder: Option<&RunFolder>,
        identity: Identity,
        optimizer: &mut AdamW<B>,
        samples: usize,
    ) -> Result<Start> {
        let start = match folder {
            Some(folder) => self.own_start(folder, identity, optimizer, samples)?,
            None => (TrainerState::new(self.config.clone(), identity), None),
        };
        let Some(group) = self.peers.group() else { return Ok(start) };
        let invalid = |error: serde_json::Error| Error::Peers { reason: error.to_string() };
        let mut text = serde_json::to_vec(&start).map_err(invalid)?;
        group.broadcast(&mut text)?;
        let (state, carried): Start = serde_json::from_slice(&text).map_err(invalid)?;
        self.peers.share_adapter(self.model)?;
        if state.step > 0 {
            let moments = optimizer.moments_mut().iter_mut().flat_map(|of| [&mut of.first, &mut of.second]);
            let moments = moments.collect();
            self.peers.share(self.model.backend().as_ref(), moments)?;
        }
        Ok((TrainerState { config: self.config.clone(), ..state }, carried))
    }

    fn own_start(
        &mut self,
        folder: &RunFolder,
        identity: Identity,
        optimizer: &mut AdamW<B>,
        samples: usize,
    ) -> Result<Start> {
        let Some(path) = self.resumed_from(folder)? else {
            folder.truncate_metrics(0)?;
            return Ok((TrainerState::new(self.config.clone(), identity), None));
        };
        let checkpoint = read_checkpoint(&path, self.model.config())?;
        if let Some(difference) = checkpoint.state.difference(&self.config, &identity) {
            return Err(resume_error(path, &difference));
        }
        let mut state = checkpoint.state.clone();
        let (then, now) = (state.config.total_steps(samples), self.config.total_steps(samples));
        if now < state.step {
            let done = state.step;
            return Err(resume_error(path, &format!("{done} steps are done, and the run is to have {now}")));
        }
        if now != then {
            state.extensions.push(Extension { at: state.step, total_steps_before: then });
        }
        restore(self.model, optimizer, &checkpoint, &path)?;
        folder.truncate_metrics(state.step)?;
        let rate = LrSchedule::new(&state.config, then).learning_rate(state.step);
        let carried = Some((state.step, rate));
        Ok((TrainerState { config: self.config.clone(), ..state }, carried))
    }

    /// The text of the run's `config.toml`; without the feature `toml` only what was given.
    #[cfg_attr(
        not(feature = "toml"),
        expect(clippy::unnecessary_wraps, reason = "text of a configuration may fail")
    )]
    fn config_text(&self) -> Result<Option<String>> {
        if let Some(text) = &self.resolved_config {
            return Ok(Some(text.clone()));
        }
        #[cfg(feature = "toml")]
        return self.config.as_toml().map(Some);
        #[cfg(not(feature = "toml"))]
        Ok(None)
    }

    /// Leaves the best adapter in the model and in the run's folder.
    fn finish(
        &mut self,
        folder: Option<&RunFolder>,
        start: &RunStart,
        state: TrainerState,
        status: RunStatus,
        epochs: f64,
    ) -> Result<TrainOutcome> {
        let progress = state.progress;
        if let Some(folder) = folder {
            if let Some(best) = progress.best.as_ref().filter(|best| best.step != state.step) {
                let path = folder.checkpoint_path(best.step);
                let adapter = PeftAdapter::open(&path, self.model.config())?;
                self.model.attach_adapter(&adapter)?;
            }
            self.model.adapter()?.save(&self.config.output_dir)?;
        }
        self.peers.share_adapter(self.model)?;
        Ok(TrainOutcome {
            status,
            steps: state.step,
            total_steps: start.total_steps,
            extensions: state.extensions,
            epochs,
            train_loss: progress.run.mean_loss(),
            best: progress.best,
            train_seconds: progress.run.seconds,
            eval_seconds: progress.eval_seconds,
            tokens: progress.run.tokens,
            trainable_parameters: start.trainable_parameters,
            base_parameters: start.base_parameters,
            output_dir: self.config.output_dir.clone(),
        })
    }
}

/// A device without its number: of several in a machine each process has one.
fn kind(device: &str) -> &str {
    device
        .strip_prefix("cuda:")
        .map_or(device, |rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

fn with_causes(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn resume_error(path: PathBuf, reason: &str) -> Error {
    Error::Resume { path, reason: reason.to_owned() }
}
