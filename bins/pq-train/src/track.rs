use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use pq_cli::{Hint, WithHint as _, secrets};
use registry::wandb::{RunInfo, WandbConfig, WandbMode, WandbOptions, WandbRun};
use slide_scorer::Settings;
use vlm_lora::{EvaluationReport, LogReport, Observer};

use crate::run::RunDir;

/// Sends the run to Weights & Biases where a key is set, or writes its offline file where that is asked for.
pub(crate) struct Tracker {
    run: Option<WandbRun>,
}

impl Tracker {
    pub(crate) fn start(config: &WandbConfig, dir: &RunDir, settings: &Settings) -> Result<Self> {
        let config = &with_environment(config.clone(), &secrets::variable)?;
        let base_url =
            secrets::variable(secrets::WANDB_BASE_URL).unwrap_or_else(|| "https://api.wandb.ai".to_owned());
        let key = secrets::wandb_api_key(&base_url);
        let is_wanted = match config.mode {
            WandbMode::Disabled => false,
            WandbMode::Offline => true,
            WandbMode::Online => key.is_some(),
        };
        if !is_wanted {
            return Ok(Self { run: None });
        }
        let options = WandbOptions {
            base_url,
            api_key: key.unwrap_or_default(),
            offline_dir: dir.files.tracking(),
            flush_interval: Duration::from_secs(10),
            finish_timeout: Duration::from_mins(1),
            http: pq_cli::http_options(),
        };
        let settings = serde_json::to_value(settings)?;
        let info = RunInfo {
            id: dir.name.clone(),
            config: settings.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
            host: String::new(),
            program: "pq-train".to_owned(),
            resume: dir.files.checkpoints().exists(),
        };
        let run = WandbRun::start(config, &options, &info).hint(
            "Weights & Biases refuses the run",
            "check WANDB_API_KEY, `wandb.entity` and `wandb.project`, or set `wandb.mode` to `offline`",
        )?;
        let offline = options.offline_dir.display();
        let place = run.url().map_or_else(|| format!("offline in {offline}"), |url| format!("at {url}"));
        if let Some(reason) = run.offline_reason() {
            tracing::warn!("tracked {place}, because: {reason}");
        } else {
            tracing::info!("tracked {place}");
        }
        Ok(Self { run: Some(run) })
    }

    fn log(&self, step: usize, values: impl Iterator<Item = (String, f64)>) {
        if let Some(run) = &self.run {
            run.log(step as u64, &values.collect::<BTreeMap<_, _>>());
        }
    }

    /// Ends the tracked run; trouble is said, never fatal.
    pub(crate) fn finish(&mut self, is_success: bool) {
        let Some(run) = self.run.take() else { return };
        let finished = run.finish(i32::from(!is_success));
        if let Some(problem) = finished.problem {
            tracing::warn!("tracking: {problem}");
        }
        if let Some(folder) = finished.offline {
            tracing::info!("`wandb sync {}` uploads what was not sent", folder.display());
        }
    }
}

/// The service's own variables come before the configuration, as its own client has it.
fn with_environment(
    mut config: WandbConfig,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<WandbConfig> {
    if let Some(mode) = variable("WANDB_MODE") {
        config.mode = match mode.to_lowercase().as_str() {
            "online" | "run" => WandbMode::Online,
            "offline" | "dryrun" => WandbMode::Offline,
            "disabled" => WandbMode::Disabled,
            _ => {
                let remedy = "set it to online, offline or disabled, or leave it out";
                return Err(Hint::new(format!("WANDB_MODE cannot be `{mode}`"), remedy).into());
            }
        };
    }
    for (name, value) in [
        ("WANDB_PROJECT", &mut config.project),
        ("WANDB_ENTITY", &mut config.entity),
        ("WANDB_NAME", &mut config.name),
    ] {
        if let Some(named) = variable(name) {
            *value = named;
        }
    }
    if let Some(tags) = variable("WANDB_TAGS") {
        config.tags =
            tags.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
    }
    Ok(config)
}

impl Observer for Tracker {
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
    }

    fn should_stop(&self) -> bool {
        self.run.as_ref().is_some_and(WandbRun::stop_asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_variables_come_before_the_configuration() {
        let changed = |set: &[(&str, &str)]| {
            let variable =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            with_environment(WandbConfig::default(), &variable)
        };
        assert_eq!(changed(&[]).unwrap(), WandbConfig::default());
        for (mode, expected) in [
            ("offline", WandbMode::Offline),
            ("dryrun", WandbMode::Offline),
            ("DISABLED", WandbMode::Disabled),
            ("online", WandbMode::Online),
        ] {
            assert_eq!(changed(&[("WANDB_MODE", mode)]).unwrap().mode, expected);
        }
        assert!(changed(&[("WANDB_MODE", "ofline")]).unwrap_err().to_string().contains("ofline"));
        let config = changed(&[
            ("WANDB_PROJECT", "p"),
            ("WANDB_ENTITY", "e"),
            ("WANDB_NAME", "n"),
            ("WANDB_TAGS", "a, b,"),
        ]);
        let expected = WandbConfig {
            project: "p".to_owned(),
            entity: "e".to_owned(),
            name: "n".to_owned(),
            tags: vec!["a".to_owned(), "b".to_owned()],
            ..WandbConfig::default()
        };
        assert_eq!(config.unwrap(), expected);
    }
}
