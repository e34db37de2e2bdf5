use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::observer::Metrics;
use super::scheduler_type::LrSchedulerType;
use crate::backend::{BaseDtype, CpuOptions};
use crate::{Checkpoint, Error, Result};

/// Which base model is taught, and how it is held: the table `[model]` of `training.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseModelConfig {
    /// A directory in Hugging Face layout, or a Hub id.
    pub name: String,
    /// Element type of the frozen weights and of products with them.
    pub dtype: ModelDtype,
    /// Where it is computed: `auto`, `cpu`, `accelerate` or `cuda`; `accelerate` is the CPU with the products of macOS, which are
    /// faster, but not the same to the last digit in every batch and run.
    pub device: String,
    /// Whether the frozen matrices are held in 8 bits and, on a CPU, multiplied in 8-bit integers.
    pub load_in_8bit: bool,
}

impl Default for BaseModelConfig {
    fn default() -> Self {
        Self {
            name: "HuggingFaceTB/SmolVLM-500M-Instruct".to_owned(),
            dtype: ModelDtype::Auto,
            device: "auto".to_owned(),
            load_in_8bit: false,
        }
    }
}

impl BaseModelConfig {
    /// How the frozen weights of this checkpoint are held, where float16 counts as the other type of two bytes.
    ///
    /// # Errors
    /// When the checkpoint's output head cannot be read.
    pub fn base_dtype(&self, checkpoint: &Checkpoint) -> Result<BaseDtype> {
        let is_half = |dtype| matches!(dtype, safetensors::Dtype::BF16 | safetensors::Dtype::F16);
        Ok(match self.dtype {
            _ if self.load_in_8bit => BaseDtype::Int8,
            ModelDtype::Auto if is_half(checkpoint.head()?.dtype) => BaseDtype::Bf16,
            ModelDtype::Auto | ModelDtype::Float32 => BaseDtype::Full,
            ModelDtype::Bfloat16 | ModelDtype::Float16 => BaseDtype::Bf16,
        })
    }

    /// How the CPU backend keeps the frozen weights of this checkpoint.
    ///
    /// # Errors
    /// When the CPU cannot compute with this element type, or the checkpoint's output head cannot be read.
    pub fn cpu_options(&self, checkpoint: &Checkpoint) -> Result<CpuOptions> {
        let base = match self.dtype {
            _ if self.load_in_8bit => BaseDtype::Int8,
            ModelDtype::Auto if checkpoint.head()?.dtype == safetensors::Dtype::BF16 => BaseDtype::Bf16,
            ModelDtype::Auto | ModelDtype::Float32 => BaseDtype::Full,
            ModelDtype::Bfloat16 => BaseDtype::Bf16,
            ModelDtype::Float16 => {
                return Err(Error::Unsupported { what: "`model.dtype` float16 on a CPU".to_owned() });
            }
        };
        Ok(CpuOptions { base, ..CpuOptions::default() })
    }
}

/// Element type of the frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelDtype {
    /// As stored in the checkpoint.
    Auto,
    /// Single precision.
    Float32,
    /// The upper half of single precision; on a CPU with AVX2 that does not multiply it, integers of 16 bits, which are more exact.
    Bfloat16,
    /// IEEE half precision.
    Float16,
}

/// The order in which the samples of an epoch are visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingStrategy {
    /// A new permutation each epoch, drawn as torch does from `seed + epoch`.
    Random,
    /// As the dataset has them.
    Sequential,
}

/// Hyper-parameters of a training run under the names that transformers gives them: the table `[training]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over the training samples; a fraction ends within an epoch. Without effect where `max_steps` is set.
    pub num_train_epochs: f64,
    /// Optimizer steps; 0 leaves it to `num_train_epochs`.
    pub max_steps: usize,
    /// Samples of one forward and backward pass.
    pub per_device_train_batch_size: usize,
    /// Passes of one optimizer step.
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How the learning rate falls.
    pub lr_scheduler_type: LrSchedulerType,
    /// Share of the steps in which the learning rate rises; without effect where `warmup_steps` is set.
    pub warmup_ratio: f64,
    /// Steps in which the learning rate rises; below 1 a share of all steps, as in transformers 5.
    pub warmup_steps: f64,
    /// Decoupled weight decay of AdamW, on every adapter tensor; not on biases.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    pub adam_epsilon: f64,
    /// Largest norm of the gradient; 0 leaves it as it is.
    pub max_grad_norm: f64,
    /// Learning rate of the `B` matrices, magnitudes and biases over that of the `A` matrices (LoRA+, Hayou et al. 2024); 1
    /// treats them alike.
    pub loraplus_lr_ratio: f64,
    /// Weight of score tokens in the loss; other tokens of the answer weigh 1.
    pub score_token_weight: f64,
    /// Steps between two lines of metrics.
    pub logging_steps: usize,
    /// Steps between two evaluations; 0 evaluates at the end of each epoch.
    pub eval_steps: usize,
    /// Steps between two checkpoints; 0 saves at the end of each epoch.
    pub save_steps: usize,
    /// Checkpoints kept besides the best one; 0 keeps all.
    pub save_total_limit: usize,
    /// Whether activations are computed again in the backward pass instead of kept.
    pub gradient_checkpointing: bool,
    /// Whether the output of a frozen vision tower is kept on disk.
    pub cache_vision_features: bool,
    /// The metric that picks the best checkpoint; empty takes the evaluator's first metric, or `eval_loss` without one.
    pub metric_for_best_model: String,
    /// Whether a higher metric is better; left out, it is not for names that end in loss, mae, mse, rmse or error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greater_is_better: Option<bool>,
    /// Evaluations without improvement after which the run ends; 0 never ends it early.
    pub early_stopping_patience: usize,
    /// The order of an epoch's samples.
    pub train_sampling_strategy: SamplingStrategy,
    /// Decoding threads that work ahead of the model.
    pub dataloader_num_workers: usize,
    /// Seed of initialisation, shuffling and dropout.
    pub seed: u64,
    /// Folder that receives the run.
    pub output_dir: PathBuf,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            num_train_epochs: 3.0,
            max_steps: 0,
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 8,
            learning_rate: 2e-4,
            lr_scheduler_type: LrSchedulerType::Cosine,
            warmup_ratio: 0.03,
            warmup_steps: 0.0,
            weight_decay: 0.01,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            loraplus_lr_ratio: 1.0,
            score_token_weight: 1.0,
            logging_steps: 10,
            eval_steps: 50,
            save_steps: 50,
            save_total_limit: 3,
            gradient_checkpointing: false,
            cache_vision_features: true,
            metric_for_best_model: String::new(),
            greater_is_better: None,
            early_stopping_patience: 0,
            train_sampling_strategy: SamplingStrategy::Random,
            dataloader_num_workers: 2,
            seed: 42,
            output_dir: PathBuf::from("outputs"),
        }
    }
}

impl TrainingConfig {
    /// Reads a TOML table of these keys and checks it; what is left out takes its default.
    ///
    /// # Errors
    /// When the text is not TOML, names an unknown key, or [`validate`](Self::validate) refuses a value.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| Error::InvalidConfig {
            key: "training".to_owned(),
            expected: "a table of known keys".to_owned(),
            actual: error.message().to_owned(),
        })?;
        config.validate()?;
        Ok(config)
    }

    /// The table `[training]` with these settings.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    #[cfg(feature = "toml")]
    pub fn as_toml(&self) -> Result<String> {
        let invalid = |error: toml::ser::Error| Error::InvalidConfig {
            key: "training".to_owned(),
            expected: "values that TOML can hold".to_owned(),
            actual: error.to_string(),
        };
        let training = toml::Value::try_from(self).map_err(invalid)?;
        toml::to_string(&toml::Table::from_iter([("training".to_owned(), training)])).map_err(invalid)
    }

    /// Checks every value against its domain.
    ///
    /// # Errors
    /// Names the first key whose value is outside its domain.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("per_device_train_batch_size", self.per_device_train_batch_size),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps),
            ("logging_steps", self.logging_steps),
            ("dataloader_num_workers", self.dataloader_num_workers),
        ] {
            check(key, "at least 1", &value, value >= 1)?;
        }
        self.check_numbers()?;
        self.check_shares()?;
        let whole_or_share = self.warmup_steps < 1.0 || self.warmup_steps.fract() == 0.0;
        check("warmup_steps", "a whole number, or a share below 1", &self.warmup_steps, whole_or_share)?;
        let epochs = self.num_train_epochs;
        let bounded = self.max_steps > 0 || (epochs > 0.0 && epochs.is_finite());
        check("num_train_epochs", "a positive number where `max_steps` is 0", &epochs, bounded)
    }

    fn check_numbers(&self) -> Result<()> {
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("adam_epsilon", self.adam_epsilon),
            ("loraplus_lr_ratio", self.loraplus_lr_ratio),
            ("score_token_weight", self.score_token_weight),
        ] {
            check(key, "a positive number", &value, value > 0.0 && value.is_finite())?;
        }
        for (key, value) in [
            ("warmup_steps", self.warmup_steps),
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ] {
            check(key, "a number of at least 0", &value, value >= 0.0 && value.is_finite())?;
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<()> {
        for (key, value) in [
            ("adam_beta1", self.adam_beta1),
            ("adam_beta2", self.adam_beta2),
            ("warmup_ratio", self.warmup_ratio),
        ] {
            check(key, "at least 0 and less than 1", &value, (0.0..1.0).contains(&value))?;
        }
        Ok(())
    }

    /// Optimizer steps of one epoch over `samples` samples; a last, partial window also steps.
    pub fn steps_per_epoch(&self, samples: usize) -> usize {
        samples.div_ceil(self.per_device_train_batch_size).div_ceil(self.gradient_accumulation_steps)
    }

    /// Optimizer steps of the whole run over `samples` samples.
    pub fn total_steps(&self, samples: usize) -> usize {
        if self.max_steps > 0 {
            return self.max_steps;
        }
        (self.num_train_epochs * self.steps_per_epoch(samples) as f64).ceil() as usize
    }

    /// The name of the metric that picks the best checkpoint, out of those that an evaluation gave.
    ///
    /// # Errors
    /// When `metric_for_best_model` is none of them.
    pub(super) fn best_metric(&self, metrics: &Metrics) -> Result<String> {
        let wanted = self.metric_for_best_model.trim_start_matches("eval_");
        let found =
            metrics.iter().find(|(name, _)| wanted.is_empty() || name.strip_prefix("eval_") == Some(wanted));
        found.map(|(name, _)| name.clone()).ok_or_else(|| Error::InvalidConfig {
            key: "training.metric_for_best_model".to_owned(),
            expected: metrics.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" or "),
            actual: self.metric_for_best_model.clone(),
        })
    }

    /// Whether a higher value of this metric is better.
    pub(super) fn is_greater_better(&self, metric: &str) -> bool {
        let is_error = ["loss", "mae", "mse", "rmse", "error"].iter().any(|end| metric.ends_with(end));
        self.greater_is_better.unwrap_or(!is_error)
    }
}

fn check(key: &str, expected: &str, actual: &impl ToString, holds: bool) -> Result<()> {
    if holds {
        return Ok(());
    }
    let (key, expected) = (format!("training.{key}"), expected.to_owned());
    Err(Error::InvalidConfig { key, expected, actual: actual.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../../../config/training.toml");

    #[test]
    fn the_shipped_file_holds_the_defaults_and_every_key() {
        let file: toml::Table = FILE.parse().unwrap();
        let read: TrainingConfig = file["training"].clone().try_into().unwrap();
        assert_eq!(read, TrainingConfig::default());
        let base: BaseModelConfig = file["model"].clone().try_into().unwrap();
        assert_eq!(base, BaseModelConfig::default());
        let all = toml::Table::try_from(TrainingConfig::default()).unwrap();
        let named: Vec<_> = file["training"].as_table().unwrap().keys().collect();
        assert_eq!(named, all.keys().collect::<Vec<_>>());
    }

    #[test]
    fn a_value_outside_its_domain_names_its_key() {
        let cases = [
            ("learning_rate = 0.0", "training.learning_rate"),
            ("learning_rate = nan", "training.learning_rate"),
            ("gradient_accumulation_steps = 0", "training.gradient_accumulation_steps"),
            ("warmup_steps = 2.5", "training.warmup_steps"),
            ("warmup_ratio = 1.0", "training.warmup_ratio"),
            ("max_grad_norm = -1", "training.max_grad_norm"),
            ("num_train_epochs = 0", "training.num_train_epochs"),
            ("adam_beta2 = 1.0", "training.adam_beta2"),
            ("lerning_rate = 1.0", "lerning_rate"),
            ("learning_rate = ", "training"),
        ];
        for (text, key) in cases {
            let message = TrainingConfig::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(key), "{text}: {message}");
        }
    }

    #[test]
    fn the_best_metric_is_named_with_or_without_its_prefix() {
        let metrics: Metrics = vec![("eval_mae".to_owned(), 0.5), ("eval_loss".to_owned(), 2.0)];
        for (name, expected) in [("", "eval_mae"), ("loss", "eval_loss"), ("eval_loss", "eval_loss")] {
            let config =
                TrainingConfig { metric_for_best_model: name.to_owned(), ..TrainingConfig::default() };
            assert_eq!(config.best_metric(&metrics).unwrap(), expected);
        }
        let config =
            TrainingConfig { metric_for_best_model: "kappa".to_owned(), ..TrainingConfig::default() };
        let message = config.best_metric(&metrics).unwrap_err().to_string();
        assert!(message.contains("metric_for_best_model") && message.contains("`eval_mae` or `eval_loss`"));
        assert!(!config.is_greater_better("eval_mae") && config.is_greater_better("eval_kappa"));
    }

    #[test]
    fn epochs_and_partial_windows_count_as_in_transformers() {
        let config = TrainingConfig::from_toml(
            "per_device_train_batch_size = 2\ngradient_accumulation_steps = 2\nnum_train_epochs = 2.5",
        )
        .unwrap();
        assert_eq!(
            (config.steps_per_epoch(8), config.steps_per_epoch(9), config.steps_per_epoch(1)),
            (2, 3, 1)
        );
        assert_eq!(config.total_steps(9), 8);
    }
}
