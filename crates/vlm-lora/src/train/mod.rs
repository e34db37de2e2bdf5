//! Training as transformers' `Trainer` does it: AdamW, schedules, clipping, accumulation over the supervised tokens of a whole
//! window, evaluation, checkpoints, resumption.

mod config;
mod data;
mod device;
mod evaluate;
mod observer;
mod optimizer;
mod outcome;
mod peers;
mod plan;
mod reduce;
mod resume;
mod run_folder;
pub mod run_plan;
mod schedule;
mod scheduler_type;
mod session;
mod shuffle;
mod state;
mod trainer;

pub use config::{BaseModelConfig, ModelDtype, SamplingStrategy, TrainingConfig};
pub use data::Dataset;
pub use device::{ChosenDevice, GpuSettings};
pub use evaluate::Evaluator;
pub use observer::{CheckpointReport, EvaluationReport, LogReport, Metrics, Observer, RunStart, StepReport};
pub use outcome::{BestMetric, Extension, RunStatus, TrainOutcome};
pub use plan::{BatchSize, MemoryPlan, Place};
pub use schedule::LrSchedule;
pub use scheduler_type::LrSchedulerType;
pub use trainer::{Resume, Trainer};
