//! Which model rates, and where the project's files lie.

use std::path::PathBuf;

use anyhow::Result;
use pq_cli::{CommonArgs, Layout, ProjectConfig, WithHint as _, secrets};
use project_files::{Contract as _, RunFiles, ValidationResults, hash_file};
use registry::RegistryConfig;
use registry::signing::{PUBLIC_KEY, PublicKey};
use slide_data::{DuplicateThresholds, KeptConfig, Limits, sha256_hex};
use slide_scorer::{Settings, SlideScorer};

use crate::adapter;
use crate::args::ModelArgs;
use crate::familiar::RatedSlides;
use crate::versions::Comparison;

/// An adapter with its settings, checked but not loaded.
pub(crate) struct Chosen {
    pub(crate) project: ProjectConfig,
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    pub(crate) kept: KeptConfig,
    pub(crate) settings: Settings,
    pub(crate) version: String,
    adapter: RunFiles,
}

impl Chosen {
    /// Finds the adapter that was named, else the champion, else the latest run, and checks what a mistake would be found by late.
    pub(crate) fn find(common: &CommonArgs, args: &ModelArgs) -> Result<Self> {
        let project = common.configuration()?;
        let limits: Limits = project.section("limits", Limits::validate)?;
        let kept: KeptConfig = project.section("kept_slides", KeptConfig::validate)?;
        let layout = project
            .layout()?
            .with_monitoring(args.monitoring.as_deref(), false)?
            .with_registry(args.registry.as_deref(), true)?;
        let config: RegistryConfig = project.section("registry", RegistryConfig::validate)?;
        let key = PublicKey::trusted(&config, secrets::variable(PUBLIC_KEY))
            .hint("no signature can be checked", "check `registry.public_key`")?;
        let (adapter, version) = adapter::find(args.adapter.as_deref(), &layout, key.as_ref())?;
        let settings = Settings::of_run_here(&adapter, common, &project)?;
        Ok(Self { project, layout, limits, kept, settings, version, adapter })
    }

    /// Loads it.
    pub(crate) fn load(&self) -> Result<SlideScorer> {
        let scorer = SlideScorer::open(&self.settings, Some(&self.adapter), &self.version)?;
        let keeps_features = self.kept.enabled && self.kept.max_features_mib > 0;
        Ok(if keeps_features { scorer.with_feature_cache(self.layout.kept().features()) } else { scorer })
    }

    /// Names all that its scores depend on but the slides: the adapter's files and how the base is computed. Where the base lies is
    /// another thing on each machine; that it is the right one is told by its fingerprint.
    pub(crate) fn identity(&self) -> Result<String> {
        let run = &self.adapter;
        let files = [
            run.adapter_config(),
            run.adapter_weights(),
            run.config(),
            run.record(),
            run.applicability(),
            run.decision(),
            run.score_head(),
        ];
        let hash =
            |path: &PathBuf| path.exists().then(|| hash_file(path).map(|hash| hash.sha256)).transpose();
        let hashes = files.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
        let Settings { model, lora: _, training: _, processor, rubric } = &self.settings;
        let computed =
            serde_json::json!([hashes, model.dtype, model.device, model.load_in_8bit, processor, rubric]);
        Ok(sha256_hex(computed.to_string().as_bytes()))
    }

    /// The slides that it was made from, to compare with; none where they cannot be read, which is said.
    pub(crate) fn rated_slides(&self) -> RatedSlides {
        let read = RatedSlides::of_version(&self.adapter, &self.layout, &self.settings.rubric);
        read.unwrap_or_else(|error| {
            tracing::warn!("no slide is compared with rated ones: {error:#}");
            RatedSlides::default()
        })
    }

    /// What it takes to find the slides that two versions of a deck have in common, and to tell whether the others became better.
    pub(crate) fn comparison(&self) -> Result<Comparison> {
        let thresholds = self.project.section("duplicates", DuplicateThresholds::validate)?;
        let results = ValidationResults::read_if_present(&self.adapter.validation())?;
        let spreads = results.map(|results| results.error_spread).unwrap_or_default();
        Ok(Comparison { thresholds, spreads, rubric: self.settings.rubric.clone() })
    }

    /// How good the model was when it was validated, in a sentence; empty where it was not.
    pub(crate) fn quality(&self) -> Result<String> {
        let results = ValidationResults::read_if_present(&self.adapter.validation())?;
        Ok(results.as_ref().and_then(sentence).unwrap_or_default())
    }
}

fn sentence(results: &ValidationResults) -> Option<String> {
    let value = |name: &str| Some((*results.metrics.get(name)?, results.intervals.get(name)?));
    let ((within, i), (error, e)) = value("overall_within_1").zip(value("overall_mae"))?;
    Some(format!(
        "On {} slides of {} decks that it had not learned from, {:.0} % ({:.0} to {:.0} %) of its scores lay within one point of \
         people's, and it erred by {error:.2} points ({:.2} to {:.2}) on average.",
        results.sizes.slides,
        results.sizes.groups,
        100.0 * within,
        100.0 * i.low,
        100.0 * i.high,
        e.low,
        e.high
    ))
}
