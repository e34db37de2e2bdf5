//! What pq-train, pq-score and pq-validate share: where the data lies, the rubric as the form of an answer, slides as
//! samples, the model with its adapter, and predictions.
#![forbid(unsafe_code)]

mod base;
mod glance;
mod lineage;
mod pooled;
mod processes_config;
mod rating_prompt;
mod scorer;
mod serve_config;
mod settings;
mod slides;
mod test_set;

pub use base::{Base, fingerprint_of_base, gpu_settings, open_base};
pub use glance::Glance;
pub use lineage::{BASE_MODEL, BASE_PROCESSOR, base_inputs, check_base, processor_files};
pub use pooled::PooledFeatures;
pub use processes_config::{ProcessesConfig, TransportKind};
pub use rating_prompt::{Applies, Distributions, RatingPrompt};
pub use scorer::{RatingContext, SlideImage, SlideScorer, predict, thumbnail};
pub use serve_config::ServeConfig;
pub use settings::{ProcessorSettings, Settings};
pub use slides::{LabelledSlide, NewGroups, SlideSamples, Store};
pub use vlm_lora::{BaseModelConfig, prune_features};
