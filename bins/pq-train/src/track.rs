//! Tells the run to those who track it, from its first step on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use pq_cli::{Hint, ProjectConfig, WithHint as _, secrets};
use registry::tracking::{
    End, EventFiles, Finished, GitState, Machine, Sampler, TensorboardConfig, Tracker, git_state, host_name,
};
use registry::wandb::{
    CatchUp, Environment, RunInfo, WandbConfig, WandbMode, WandbOptions, WandbRun, config_yaml,
};
use serde_json::{Value, json};
use slide_scorer::Settings;
use vlm_lora::{EvaluationReport, LogReport, Observer, RunStart, RunStatus, TrainOutcome};

use crate::preempt::Preemption;
use crate::ratings::Evaluated;
use crate::record::Record;
use crate::run::RunDir;

/// The program's name at the services.
const PROGRAM: &str = "pq-train";
/// How long the first step waits for the service's first answer, so that the run's page can be said.
const START: Duration = Duration::from_millis(800);
const SAMPLES: Duration = Duration::from_secs(15);

/// Where tracking goes.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) wandb: WandbConfig,
    pub(crate) tensorboard: TensorboardConfig,
    id: Option<String>,
}

impl Services {
    /// The configuration, with what the service's own variables change of it.
    pub(crate) fn of(project: &ProjectConfig) -> Result<Self> {
        let wandb: WandbConfig = project.section("wandb", |_| Ok::<(), registry::Error>(()))?;
        let tensorboard = project.section("tensorboard", |_| Ok::<(), registry::Error>(()))?;
        let Environment { config, id } = Environment::over(wandb, &secrets::variable)
            .hint("the environment cannot be obeyed", "correct the variable, or leave it out")?;
        Ok(Self { wandb: config, tensorboard, id })
    }

    /// Where Weights & Biases is, and the key for it.
    pub(crate) fn options(&self, folder: std::path::PathBuf) -> WandbOptions {
        let base_url =
            secrets::variable(secrets::WANDB_BASE_URL).unwrap_or_else(|| "https://api.wandb.ai".to_owned());
        WandbOptions {
            api_key: secrets::wandb_api_key(&base_url),
            base_url,
            folder,
            flush_interval: Duration::from_secs(10),
            finish_timeout: Duration::from_secs(self.wandb.finish_timeout_s),
            http: pq_cli::http_options(),
        }
    }
}

/// What is looked at while the run goes on.
pub(crate) struct Told {
    pub(crate) evaluated: Evaluated,
    pub(crate) preemption: Preemption,
}

/// Those who track the run.
pub(crate) struct Tracking {
    services: Services,
    options: WandbOptions,
    info: RunInfo,
    metadata: Value,
    event_folder: std::path::PathBuf,
    run: String,
    wandb: Option<Arc<WandbRun>>,
    trackers: Vec<Arc<dyn Tracker>>,
    sampler: Option<Sampler>,
    told: Told,
    earlier: Vec<std::path::PathBuf>,
    catch_up: Option<CatchUp>,
    is_preemption_said: AtomicBool,
    is_page_said: bool,
    /// Whether Weights & Biases was to be told and cannot be, not even later.
    is_lost: bool,
}

impl Tracking {
    /// Nothing is told before the first step: a run that is refused leaves no trace. Where tracking is required, the service is
    /// asked now.
    pub(crate) fn new(
        services: Services,
        dir: &RunDir,
        settings: &Settings,
        record: &Record,
        told: Told,
    ) -> Result<Self> {
        let options = services.options(dir.files.tracking());
        if services.wandb.required && services.wandb.mode == WandbMode::Online {
            WandbRun::check(&services.wandb, &options).hint(
                "Weights & Biases does not take the run, which `wandb.required` asks for",
                "check WANDB_API_KEY, `wandb.entity` and `wandb.project`, or set `wandb.required` to false",
            )?;
        }
        let git = git_state(std::path::Path::new("."));
        let facts = record.facts();
        let mut config: BTreeMap<String, Value> = BTreeMap::new();
        for part in [serde_json::to_value(settings)?, facts.clone()] {
            config.extend(part.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        }
        let info = RunInfo {
            run: dir.name.clone(),
            id: services.id.clone(),
            config,
            host: host_name(),
            program: PROGRAM.to_owned(),
            commit: git.as_ref().map(|git| git.commit.clone()).unwrap_or_default(),
            charts: told.evaluated.charts(),
            completed_steps: 0,
        };
        let metadata = metadata(&info.host, git.as_ref(), &facts);
        let earlier = if services.wandb.sync_earlier { dir.tracked_elsewhere() } else { Vec::new() };
        let (run, event_folder) = (dir.name.clone(), dir.files.tensorboard());
        let (wandb, trackers, sampler) = (None, Vec::new(), None);
        Ok(Self {
            services,
            options,
            info,
            metadata,
            event_folder,
            run,
            wandb,
            trackers,
            sampler,
            told,
            earlier,
            catch_up: None,
            is_preemption_said: AtomicBool::new(false),
            is_page_said: false,
            is_lost: false,
        })
    }

    fn begin(&mut self, completed_steps: u64) {
        let mode = self.services.wandb.mode;
        let has_key = self.options.api_key.is_some();
        if mode == WandbMode::Offline || (mode == WandbMode::Online && has_key) {
            self.info.completed_steps = completed_steps;
            match WandbRun::start(&self.services.wandb, &self.options, &self.info) {
                Ok(run) => self.begin_wandb(run),
                Err(error) => {
                    self.is_lost = true;
                    tracing::warn!("not tracked: {}", project_files::with_causes(&error));
                }
            }
        }
        if mode == WandbMode::Online && has_key && !self.earlier.is_empty() {
            self.catch_up = Some(CatchUp::start(&self.options, std::mem::take(&mut self.earlier)));
        }
        if self.services.tensorboard.enabled {
            self.begin_events(completed_steps);
        }
    }

    fn begin_events(&mut self, completed_steps: u64) {
        match EventFiles::start(&self.event_folder, &self.info.host, completed_steps) {
            Ok(files) => self.trackers.push(Arc::new(files)),
            Err(error) => tracing::warn!("no event files: {}", project_files::with_causes(&error)),
        }
    }

    fn begin_wandb(&mut self, run: WandbRun) {
        let run = Arc::new(run);
        run.file("wandb-metadata.json", self.metadata.to_string().as_bytes());
        run.file("config.yaml", config_yaml(&self.info.config).as_bytes());
        run.file("requirements.txt", requirements().as_bytes());
        if self.services.wandb.mode == WandbMode::Offline {
            tracing::info!("tracked offline in {}", self.options.folder.display());
        } else {
            wait_for_page(&run);
        }
        if self.services.wandb.console {
            let copy = Arc::clone(&run);
            pq_cli::copy_log(Some(Box::new(move |line| copy.console(line))));
        }
        self.trackers.push(Arc::clone(&run) as Arc<dyn Tracker>);
        self.wandb = Some(run);
        self.sampler = Some(Sampler::start(SAMPLES, self.trackers.clone()));
        self.say_page();
    }

    /// Says where the run can be seen, once that is known.
    fn say_page(&mut self) {
        let url = self.wandb.as_ref().filter(|_| !self.is_page_said).and_then(|run| run.url());
        if let Some(url) = url {
            self.is_page_said = true;
            tracing::info!("tracked at {url}");
        }
    }

    fn log(&mut self, step: usize, values: impl Iterator<Item = (String, f64)>) {
        let values: BTreeMap<String, f64> = values.collect();
        for tracker in &self.trackers {
            tracker.log(step as u64, &values);
        }
        self.say_page();
    }

    /// Ends what is tracked, as the program will end. A run that never began, as a refused `--resume`, is left as it was.
    ///
    /// # Errors
    /// Where tracking is required and the service has not got all of it.
    pub(crate) fn finish(mut self, outcome: &vlm_lora::Result<TrainOutcome>) -> Result<()> {
        pq_cli::copy_log(None);
        self.sampler = None;
        let end = match outcome {
            Ok(outcome) => {
                self.summary(outcome);
                let has_stopped = outcome.status == RunStatus::Stopped;
                let is_preempted = has_stopped && self.told.preemption.is_announced();
                self.say_preemption();
                End { exit_code: i32::from(has_stopped), was_stopped: has_stopped && !is_preempted }
            }
            Err(error) => {
                let line = format!("error: {}", project_files::with_causes(error));
                for tracker in &self.trackers {
                    tracker.console(&line);
                }
                End { exit_code: 2, was_stopped: false }
            }
        };
        if self.wandb.is_some() && self.services.wandb.mode == WandbMode::Online {
            let seconds = self.options.finish_timeout.as_secs();
            tracing::info!("Weights & Biases is told the rest, for at most {seconds} s; Ctrl-C ends that");
        }
        let was_interrupted = pq_cli::interrupted();
        let cancel = || !was_interrupted && pq_cli::interrupted();
        let finished: Vec<Finished> =
            self.trackers.iter().map(|tracker| tracker.finish(end, &cancel)).collect();
        for finished in &finished {
            self.say(finished);
        }
        if let Some(lines) =
            self.catch_up.take().map(|earlier| earlier.sent_lines()).filter(|lines| *lines > 0)
        {
            tracing::info!("{lines} lines of earlier runs were sent as well");
        }
        let is_missing = self.is_lost || finished.iter().any(|finished| !finished.complete);
        if self.services.wandb.required && is_missing {
            let message = "the run is on disk, but Weights & Biases has not got all of it";
            bail!(Hint::new(message, self.remedy()));
        }
        Ok(())
    }

    /// Tells as soon as it is known that the machine will end the process.
    fn say_preemption(&self) {
        if self.told.preemption.is_announced() && !self.is_preemption_said.swap(true, Ordering::Relaxed) {
            self.trackers.iter().for_each(|tracker| tracker.preempting());
        }
    }

    fn summary(&self, outcome: &TrainOutcome) {
        let mut values = BTreeMap::from([
            ("run/train_loss".to_owned(), outcome.train_loss),
            ("run/train_seconds".to_owned(), outcome.train_seconds),
            ("run/eval_seconds".to_owned(), outcome.eval_seconds),
            ("run/trainable_parameters".to_owned(), outcome.trainable_parameters as f64),
        ]);
        if let Some(best) = &outcome.best {
            values.insert(format!("best/{}", best.metric), best.value);
            values.insert("best/step".to_owned(), best.step as f64);
        }
        for tracker in &self.trackers {
            tracker.summary(&values);
        }
    }

    fn say(&self, finished: &Finished) {
        if let Some(problem) = &finished.problem {
            tracing::warn!("tracking: {problem}");
        }
        if let Some(folder) = &finished.offline {
            tracing::info!("`{}` or `wandb sync {}` sends the run", self.remedy(), folder.display());
        } else if !finished.complete && self.wandb.is_some() {
            tracing::warn!("nothing is lost: `{}` sends the rest", self.remedy());
        }
    }

    fn remedy(&self) -> String {
        format!("{PROGRAM} sync {}", self.run)
    }
}

/// What the overview of a run's page shows, under the names of the service's own client.
fn metadata(host: &str, git: Option<&GitState>, facts: &Value) -> Value {
    let path = |path: std::io::Result<std::path::PathBuf>| path.ok().map(|path| path.display().to_string());
    let mut metadata = json!({
        "os": format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH), "host": host, "program": PROGRAM,
        "args": std::env::args().skip(1).collect::<Vec<_>>(), "startedAt": jiff::Timestamp::now(), "git": git,
        "executable": path(std::env::current_exe()), "root": path(std::env::current_dir()), "pitchquest": facts,
    });
    if let (Value::Object(all), Value::Object(machine)) = (&mut metadata, Machine::new().describe()) {
        all.extend(machine);
    }
    metadata
}

/// The versions of everything that the program is built from, a line each, as the service's own client lists packages.
fn requirements() -> String {
    let mut lines = String::new();
    let mut name = "";
    for line in include_str!("../../../Cargo.lock").lines() {
        let value = |key: &str| line.strip_prefix(key)?.trim().strip_prefix("= \"")?.strip_suffix('"');
        if let Some(found) = value("name") {
            name = found;
        } else if let Some(version) = value("version").filter(|_| !name.is_empty()) {
            let _ = writeln!(lines, "{name}=={version}");
            name = "";
        }
    }
    lines
}

/// Waits a moment for the page of the run, and says so where it is not there by then.
fn wait_for_page(run: &WandbRun) {
    let (url, problem) = run.wait_for_page(START);
    if url.is_none() {
        let reason = problem.unwrap_or_else(|| "there is no answer yet".to_owned());
        tracing::warn!("Weights & Biases will be told later, the run goes on: {reason}");
    }
}

impl Observer for Tracking {
    fn on_start(&mut self, start: &RunStart) {
        self.begin(start.completed_steps as u64);
    }

    fn on_log(&mut self, log: &LogReport) {
        let values = [
            ("train/loss", log.loss),
            ("train/learning_rate", log.learning_rate),
            ("train/grad_norm", log.grad_norm),
            ("train/epoch", log.epoch),
            ("train/tokens_per_second", log.tokens_per_second),
        ];
        self.log(log.step, values.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }

    fn on_evaluate(&mut self, evaluation: &EvaluationReport<'_>) {
        let named = |(name, value): &(String, f64)| (name.replacen("eval_", "eval/", 1), *value);
        self.log(evaluation.step, evaluation.metrics.iter().map(named));
        let Some((table, matrices)) = self.told.evaluated.take() else { return };
        let step = evaluation.step as u64;
        for tracker in &self.trackers {
            tracker.table(step, "eval/slides", &table);
            for (name, confusion) in &matrices {
                tracker.confusion(step, name, confusion);
            }
        }
    }

    fn should_stop(&self) -> bool {
        self.say_preemption();
        self.trackers.iter().any(|tracker| tracker.is_stop_asked())
    }
}
