use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, bail};
use pq_cli::{Hint, WithHint as _, secrets};
use vlm_lora::backend::{Backend, Device};
use vlm_lora::hub::{self, HubOptions};
use vlm_lora::{
    BaseIdentity, BaseModelConfig, Checkpoint, CheckpointFingerprint, ChosenDevice, FingerprintCache,
    GpuSettings, Model, Processor, WeightFormat,
};

/// A base model that was found.
#[derive(Debug)]
pub struct Base {
    /// Its folder.
    pub dir: PathBuf,
    /// Whether the name it was asked by is a Hub id.
    pub is_hub_id: bool,
    /// Its weights.
    pub checkpoint: Checkpoint,
    /// Where it is computed.
    pub device: Device,
    /// How the weights are stored there.
    format: WeightFormat,
    /// Computed when it is first asked for.
    identity: OnceLock<BaseIdentity>,
}

/// Finds the checkpoint that the configuration names: a folder, or a Hub id that is downloaded once.
///
/// # Errors
/// When there is neither, or the checkpoint is not whole.
pub fn open_base(config: &BaseModelConfig) -> Result<Base> {
    let (dir, is_hub_id) = find(&config.name)?;
    let checkpoint = open_checkpoint(&dir)?;
    let ChosenDevice { device, format, passed_over } =
        config.open_device(&checkpoint, &gpu_settings()).hint(
            format!("the device `{}` cannot be used", config.device),
            "set `model.device` to `auto` or `cpu`; GPUs need a build with `--features cuda`",
        )?;
    if let Some(error) = passed_over {
        tracing::warn!("the GPU is left alone: {error}");
    }
    tracing::info!("computing on {}", device.name());
    Ok(Base { dir, is_hub_id, checkpoint, device, format, identity: OnceLock::new() })
}

/// Names the checkpoint that the configuration names, without opening a device.
///
/// # Errors
/// As [`open_base`].
pub fn fingerprint_of_base(config: &BaseModelConfig) -> Result<CheckpointFingerprint> {
    let (dir, _) = find(&config.name)?;
    fingerprint(&open_checkpoint(&dir)?)
}

fn open_checkpoint(dir: &Path) -> Result<Checkpoint> {
    Checkpoint::open(dir).hint(
        format!("`{}` cannot be used as a base model", dir.display()),
        "`model.name` must be a Hugging Face directory of an Idefics3 or SmolVLM model, or its Hub id",
    )
}

fn fingerprint(checkpoint: &Checkpoint) -> Result<CheckpointFingerprint> {
    let named = match user_cache() {
        Some(folder) => FingerprintCache::in_folder(folder).checkpoint(checkpoint),
        None => Processor::fingerprint(checkpoint.dir())
            .map(|processor| CheckpointFingerprint { weights: checkpoint.fingerprint(), processor }),
    };
    let named = named.hint(
        format!("the processor files in `{}` cannot be used", checkpoint.dir().display()),
        NEEDED_BY_PROCESSOR,
    )?;
    tracing::debug!("the base model is {:?}", named);
    Ok(named)
}

/// Where what can be computed again is kept: fingerprints, and in `kernels` the kernels that were compiled for a GPU.
fn user_cache() -> Option<PathBuf> {
    let usual = || Some(std::env::home_dir()?.join(".cache"));
    Some(secrets::variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(usual)?.join("pitchquest"))
}

/// What a GPU is opened with: where kernels are kept, and where the environment of the process says libraries may lie.
pub fn gpu_settings() -> GpuSettings {
    let kernel_cache = user_cache().map(|folder| folder.join("kernels"));
    GpuSettings { kernel_cache, library_folders: library_folders(), ..GpuSettings::default() }
}

#[cfg(feature = "cuda")]
fn library_folders() -> Vec<PathBuf> {
    use vlm_lora::backend::cuda;
    // Without a GPU nobody asks Python where it keeps packages.
    if cuda::device_count() == 0 {
        return Vec::new();
    }
    cuda::library_folders(|name| std::env::var_os(name))
}

#[cfg(not(feature = "cuda"))]
fn library_folders() -> Vec<PathBuf> {
    Vec::new()
}

const NEEDED_BY_PROCESSOR: &str =
    "a base model needs its tokenizer.json, chat template and preprocessor configuration";

impl Base {
    /// The model on the backend of [the device](Self::device).
    ///
    /// # Errors
    /// When a tensor is missing or has another shape than the configuration says.
    pub fn model<B: Backend>(&self, backend: &Arc<B>) -> Result<Model<B>> {
        Ok(Model::load(Arc::clone(backend), &self.checkpoint)?)
    }

    /// Names the weights, the processor and how the weights are stored in memory.
    ///
    /// # Errors
    /// When a file of the processor is missing or invalid.
    pub fn identity(&self) -> Result<BaseIdentity> {
        if let Some(identity) = self.identity.get() {
            return Ok(*identity);
        }
        let identity = BaseIdentity { checkpoint: fingerprint(&self.checkpoint)?, format: self.format };
        Ok(*self.identity.get_or_init(|| identity))
    }

    /// Tokenizer, template and image processing of the checkpoint.
    ///
    /// # Errors
    /// When one of the files is missing or invalid.
    pub fn processor(&self, longest_edge: Option<usize>) -> Result<Processor> {
        Processor::open(&self.dir, longest_edge).hint(
            format!("the processor files in `{}` cannot be used", self.dir.display()),
            NEEDED_BY_PROCESSOR,
        )
    }
}

/// The Hub as the environment describes it.
fn hub_options() -> HubOptions {
    let endpoint = secrets::variable(secrets::HF_ENDPOINT);
    HubOptions {
        endpoint: endpoint.unwrap_or_else(|| hub::ENDPOINT.to_owned()),
        token: secrets::hub_token(),
        cache_dir: secrets::hub_cache(),
        offline: secrets::is_hub_offline(),
    }
}

/// A folder, or what the Hub has under an id; downloaded once into the Hub's usual cache.
fn find(name: &str) -> Result<(PathBuf, bool)> {
    let dir = PathBuf::from(name);
    if dir.is_dir() {
        return Ok((dir, false));
    }
    if !hub::is_id(name) {
        bail!(Hint::new(
            format!("there is no folder `{name}`"),
            "set `model.name` to a checkpoint's folder or to a Hub id"
        ));
    }
    tracing::info!("looking for `{name}` on the Hub");
    let dir = hub::fetch_with(name, None, &hub_options(), pq_cli::http_options()).hint(
        format!("`{name}` is no folder here and cannot be had from the Hub"),
        "set `model.name` to a checkpoint's folder, or see whether the Hub can be reached (HF_TOKEN for private models)",
    )?;
    Ok((dir, true))
}
