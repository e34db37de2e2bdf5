use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::time::Instant;

use process_group::Deal;
use serde_json::{Map, json};

use super::TrainingConfig;
use super::data::{Loaded, Loader, Prefetch, SampleOrder};
use super::evaluate::{Evaluator, Measuring, complete_features, evaluation_loss, items};
use super::observer::{CheckpointReport, EvaluationReport, LogReport, Metrics, Observer, StepReport};
use super::optimizer::{AdamW, clip_coefficient, gradient_norm};
use super::outcome::{BestMetric, RunStatus};
use super::peers::Peers;
use super::resume::checkpoint_of;
use super::run_folder::RunFolder;
use super::schedule::LrSchedule;
use super::shuffle::mix;
use super::state::TrainerState;
use crate::backend::{Backend, Pending};
use crate::model::{Model, StepMode};
use crate::{Error, Result};

/// The losses of a window and its tokens.
pub(super) type Sums = (Vec<Pending<f64>>, usize);

/// The windows of a run, one of which may be loaded ahead.
struct Windows {
    prefetch: Prefetch,
    ahead: Option<Result<Vec<Loaded>>>,
}

impl Windows {
    fn load(&mut self, size: usize) -> Result<Vec<Loaded>> {
        std::iter::from_fn(|| self.prefetch.next()).take(size).collect()
    }
}

/// A run in progress.
pub(super) struct Session<'r, 'a, B: Backend> {
    pub(super) model: &'r mut Model<B>,
    pub(super) config: &'r TrainingConfig,
    /// Of the process that writes.
    pub(super) folder: Option<&'r RunFolder>,
    pub(super) peers: Peers<'a>,
    pub(super) training: &'r Loader<'a>,
    pub(super) validation: Option<&'r Loader<'a>>,
    pub(super) evaluator: Option<&'r mut (dyn Evaluator<B> + 'a)>,
    pub(super) observers: &'r mut [Box<dyn Observer + 'a>],
    pub(super) schedule: LrSchedule,
    /// The step that a resumed run begins after, and its learning rate, which the optimizer brings along from the schedule that
    /// held when the checkpoint was written, as in transformers.
    pub(super) carried: Option<(usize, f64)>,
    pub(super) total_steps: usize,
    pub(super) optimizer: AdamW<B>,
    pub(super) state: TrainerState,
    /// The step of the newest checkpoint on disk.
    pub(super) saved_step: Option<usize>,
}

impl<B: Backend> Session<'_, '_, B> {
    /// Trains until the end, an early stop or an observer's wish. Whatever ends it, the last whole step is saved.
    pub(super) fn run(&mut self) -> Result<RunStatus> {
        let status = self.steps();
        let saved = if self.saved_step == Some(self.state.step) { Ok(()) } else { self.save(false) };
        self.model.clear_gradients()?;
        let status = status?; // the first error is the one to report
        saved.map(|()| status)
    }

    fn steps(&mut self) -> Result<RunStatus> {
        let order = SampleOrder::new(self.config, self.training.data().len());
        let (first_epoch, first_sample) = self.position();
        let (deal, window) = (self.deal(), self.window_size());
        let visits = (first_epoch..)
            .flat_map(move |epoch| order.epoch(epoch).into_iter().enumerate())
            .skip(first_sample)
            .filter(move |(place, _)| deal.is_mine(place % window))
            .map(|(_, index)| index);
        let (loader, workers) = (self.training, self.config.dataloader_num_workers);
        std::thread::scope(|scope| {
            let mut windows =
                Windows { prefetch: Prefetch::start(scope, loader, &visits, workers), ahead: None };
            if self.state.progress.owes_evaluation && self.look()?.is_break() {
                return Ok(RunStatus::Stopped);
            }
            while self.state.step < self.total_steps {
                if self.step(&mut windows)?.is_break() || self.look()?.is_break() {
                    return Ok(RunStatus::Stopped);
                }
                if self.is_out_of_patience() {
                    return Ok(RunStatus::EarlyStopped);
                }
            }
            Ok(RunStatus::Finished)
        })
    }

    /// Evaluates and saves, where that is due after a step. A stop within an evaluation leaves it to the resumed run.
    fn look(&mut self) -> Result<ControlFlow<()>> {
        let improved = if self.is_due(self.config.eval_steps) || self.state.progress.owes_evaluation {
            self.state.progress.owes_evaluation = true;
            match self.evaluate() {
                Err(Error::Stopped) => return Ok(ControlFlow::Break(())),
                evaluated => {
                    let improved = evaluated?;
                    self.state.progress.owes_evaluation = false;
                    improved
                }
            }
        } else {
            false
        };
        if improved || self.is_due(self.config.save_steps) {
            self.peers.compare(self.model, self.state.step)?;
            self.save(improved)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_out_of_patience(&self) -> bool {
        let patience = self.config.early_stopping_patience;
        patience > 0 && self.state.progress.evaluations_without_improvement >= patience
    }

    /// The epoch of the next step and how many of its samples are already used.
    fn position(&self) -> (usize, usize) {
        let per_epoch = self.config.steps_per_epoch(self.training.data().len());
        (self.state.step / per_epoch, self.state.step % per_epoch * self.window_size())
    }

    fn window_size(&self) -> usize {
        self.config.per_device_train_batch_size * self.config.gradient_accumulation_steps
    }

    fn deal(&self) -> Deal {
        self.peers.deal(self.config.per_device_train_batch_size)
    }

    /// Passes over the samples so far.
    pub(super) fn epochs(&self) -> f64 {
        let (epoch, used) = self.position();
        epoch as f64 + used as f64 / self.training.data().len() as f64
    }

    /// Whether something that happens every `interval` steps, or with 0 at the end of each epoch, happens now.
    fn is_due(&self, interval: usize) -> bool {
        let step = self.state.step;
        let interval =
            if interval == 0 { self.config.steps_per_epoch(self.training.data().len()) } else { interval };
        step.is_multiple_of(interval) || step == self.total_steps
    }

    fn is_stop_wanted(&self) -> bool {
        self.observers.iter().any(|observer| observer.should_stop())
    }

    /// How many samples the window has that begins after `used` samples of an epoch.
    fn size_of_window(&self, used: usize) -> usize {
        self.window_size().min(self.training.data().len() - used)
    }

    /// Gives an asynchronous device the images of the next window, while it computes this one.
    fn look_ahead(&self, windows: &mut Windows) -> Result<()> {
        if !self.model.backend().is_async() || self.state.step + 1 >= self.total_steps {
            return Ok(());
        }
        let used = self.position().1 + self.window_size();
        let used = if used < self.training.data().len() { used } else { 0 };
        let window = windows.load(self.deal().mine(self.size_of_window(used)));
        if let Ok(window) = &window {
            self.stage(&window[..self.config.per_device_train_batch_size.min(window.len())])?;
        }
        windows.ahead = Some(window); // what cannot be read ends the run in its own step
        Ok(())
    }

    fn stage(&self, batch: &[Loaded]) -> Result<()> {
        let missing = batch.iter().filter(|loaded| loaded.features.is_none());
        missing.into_iter().try_for_each(|loaded| self.model.backend().stage(&loaded.sample.tiles))
    }

    /// One optimizer step over a window of batches, whose loss is divided by all their supervised tokens.
    fn step(&mut self, windows: &mut Windows) -> Result<ControlFlow<()>> {
        let started = Instant::now();
        let size = self.size_of_window(self.position().1);
        let mine = self.deal().mine(size);
        let window = windows.ahead.take().unwrap_or_else(|| windows.load(mine))?;
        let (losses, tokens) = match self.accumulate(window)? {
            ControlFlow::Continue(sums) => sums,
            ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
        };
        let learning_rate = match self.carried {
            Some((step, rate)) if step == self.state.step => rate,
            _ => self.schedule.learning_rate(self.state.step),
        };
        let grad_norm = gradient_norm(self.model)?;
        self.look_ahead(windows)?;
        let (loss, grad_norm) = self.update(losses, grad_norm, learning_rate)?;
        let (step, epoch, elapsed) = (self.state.step, self.epochs(), started.elapsed());
        let total_steps = self.total_steps;
        self.report(&StepReport {
            step,
            total_steps,
            epoch,
            loss,
            grad_norm,
            learning_rate,
            tokens,
            elapsed,
        })?;
        Ok(ControlFlow::Continue(()))
    }

    /// Adds a step to the sums of the run, and tells who wants to know.
    fn report(&mut self, step: &StepReport) -> Result<()> {
        let (progress, seconds) = (&mut self.state.progress, step.elapsed.as_secs_f64());
        progress.run.add(step.loss, step.tokens, seconds);
        progress.interval.add(step.loss, step.tokens, seconds);
        self.observers.iter_mut().for_each(|observer| observer.on_step(step));
        if self.is_due(self.config.logging_steps) { self.log(step) } else { Ok(()) }
    }

    /// Moves the adapter along its clipped gradient; returns the loss and the norm before clipping.
    fn update(
        &mut self,
        losses: Vec<Pending<f64>>,
        grad_norm: Pending<f64>,
        learning_rate: f64,
    ) -> Result<(f64, f64)> {
        let step = self.state.step + 1;
        // A GPU is waited for here and nowhere else in a step: what was queued before the norm is then done as well.
        let grad_norm = grad_norm.wait()?;
        let loss = losses.into_iter().map(Pending::wait).sum::<Result<f64>>()?;
        for (what, value) in [("the loss", loss), ("the gradient", grad_norm)] {
            if !value.is_finite() {
                return Err(Error::NotFinite { what, step });
            }
        }
        let clip = clip_coefficient(grad_norm, self.config.max_grad_norm);
        self.optimizer.step(self.model, self.config, learning_rate, clip, step)?;
        self.model.clear_gradients()?;
        self.state.step = step;
        Ok((loss, grad_norm))
    }

    /// Gradients of a window: its losses and tokens, or nothing where an observer wants the run to end.
    fn accumulate(&mut self, mut window: Vec<Loaded>) -> Result<ControlFlow<(), Sums>> {
        let normalizer = self.normalizer(&window)?;
        let (mut losses, mut tokens) = (Vec::new(), 0);
        let mut is_stopped = window.is_empty() && self.is_stop_wanted();
        let size = self.config.per_device_train_batch_size;
        for at in 0..window.len().div_ceil(size) {
            self.peers.check()?;
            is_stopped = self.is_stop_wanted();
            if is_stopped {
                break;
            }
            let rest = &mut window[at * size..];
            let (batch, behind) = rest.split_at_mut(size.min(rest.len()));
            self.stage(&behind[..size.min(behind.len())])?;
            complete_features(self.model, self.training, batch)?;
            let mode = StepMode {
                dropout: Some(mix(self.config.seed, self.state.step as u64, self.deal().number(at) as u64)),
                gradient_checkpointing: self.config.gradient_checkpointing,
            };
            let loss = self.model.queue_loss_and_gradients(&items(batch), normalizer, mode)?;
            losses.push(loss.map(|sum| sum.loss));
            tokens += batch.iter().map(|loaded| loaded.sample.input_ids.len()).sum::<usize>();
        }
        if let Some(group) = self.peers.group() {
            return self.with_the_others(group, (losses, tokens), is_stopped);
        }
        Ok(if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue((losses, tokens)) })
    }

    fn log(&mut self, last: &StepReport) -> Result<()> {
        let interval = std::mem::take(&mut self.state.progress.interval);
        let StepReport { step, epoch, learning_rate, grad_norm, .. } = *last;
        let tokens_per_second = interval.tokens as f64 / interval.seconds.max(1e-9);
        let loss = interval.mean_loss();
        let report = LogReport { step, epoch, loss, learning_rate, grad_norm, tokens_per_second };
        self.write_metrics(&report)?;
        self.observers.iter_mut().for_each(|observer| observer.on_log(&report));
        Ok(())
    }

    /// Measures the model; says whether it is the best so far.
    fn evaluate(&mut self) -> Result<bool> {
        if self.validation.is_none() && self.evaluator.is_none() {
            return Ok(false);
        }
        let started = Instant::now();
        let metrics = self.measure()?;
        let elapsed = started.elapsed();
        self.state.progress.eval_seconds += elapsed.as_secs_f64();
        let metric = self.config.best_metric(&metrics)?;
        let value = metrics.iter().find(|(name, _)| *name == metric).map_or(f64::NAN, |(_, value)| *value);
        let (step, epoch) = (self.state.step, self.epochs());
        let eval_loss = metrics.iter().find(|(name, _)| name == "eval_loss").map(|(_, loss)| *loss);
        let is_best = self.compare_with_best(BestMetric { metric: metric.clone(), value, step, eval_loss });
        let mut line = Map::from_iter([("step".to_owned(), json!(step)), ("epoch".to_owned(), json!(epoch))]);
        line.extend(metrics.iter().map(|(name, value)| (name.clone(), json!(value))));
        self.write_metrics(&line)?;
        let report = EvaluationReport { step, epoch, metrics: &metrics, metric: &metric, is_best, elapsed };
        self.observers.iter_mut().for_each(|observer| observer.on_evaluate(&report));
        Ok(is_best)
    }

    /// Keeps count of improvements; what is not a number is none. Of equal values the one with the lower loss is better: metrics
    /// of rounded scores tie often, and the loss then still tells the surer model.
    fn compare_with_best(&mut self, now: BestMetric) -> bool {
        let higher = self.config.is_greater_better(&now.metric);
        let progress = &mut self.state.progress;
        let is_best = match &progress.best {
            None => !now.value.is_nan(),
            Some(best) => match now.value.partial_cmp(&best.value) {
                Some(Ordering::Equal) => {
                    now.eval_loss.zip(best.eval_loss).is_some_and(|(now, best)| now < best)
                }
                Some(order) => (order == Ordering::Greater) == higher,
                None => false,
            },
        };
        if is_best {
            progress.best = Some(now);
            progress.evaluations_without_improvement = 0;
        } else {
            progress.evaluations_without_improvement += 1;
        }
        is_best
    }

    fn write_metrics(&self, line: &impl serde::Serialize) -> Result<()> {
        self.folder.map_or(Ok(()), |folder| folder.append_metrics(line))
    }

    fn measure(&mut self) -> Result<Metrics> {
        let mut metrics = match &mut self.evaluator {
            Some(evaluator) => self.peers.agreed(evaluator.evaluate(self.model))?,
            None => Metrics::new(),
        };
        for (name, _) in &mut metrics {
            if !name.starts_with("eval_") {
                name.insert_str(0, "eval_");
            }
        }
        if let Some(loader) = self.validation {
            let measuring = Measuring {
                batch_size: self.config.per_device_train_batch_size,
                workers: self.config.dataloader_num_workers,
                peers: self.peers,
            };
            let observers = &*self.observers;
            let is_stopped = || observers.iter().any(|observer| observer.should_stop());
            let loss = evaluation_loss(self.model, loader, measuring, &is_stopped);
            metrics.push(("eval_loss".to_owned(), loss?));
        }
        Ok(metrics)
    }

    fn save(&mut self, is_best: bool) -> Result<()> {
        let step = self.state.step;
        let Some(folder) = self.folder else {
            self.saved_step = Some(step);
            return Ok(());
        };
        let path = folder.write(&checkpoint_of(self.model, &self.optimizer, &self.state)?)?;
        self.saved_step = Some(step);
        let best = self.state.progress.best.as_ref().map(|best| best.step);
        folder.prune(self.config.save_total_limit, best, step)?;
        let report = CheckpointReport { step, path: &path, is_best };
        self.observers.iter_mut().for_each(|observer| observer.on_checkpoint(&report));
        Ok(())
    }
}
