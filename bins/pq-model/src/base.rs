use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use pq_common::{Hint, WithHint as _, secrets};
use slide_data::sha256_hex;
use vlm_lora::backend::{AnyBackend, Backend as _};
use vlm_lora::hub::{self, HubOptions};
use vlm_lora::{BaseModelConfig, Checkpoint, ChosenBackend, Model, Processor};

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
    pub backend: Arc<AnyBackend>,
    /// How the weights are held there.
    held: String,
}

/// Finds the checkpoint that the configuration names: a folder, or a Hub id that is downloaded once.
///
/// # Errors
/// When there is neither, or the checkpoint is not whole.
pub fn open_base(config: &BaseModelConfig) -> Result<Base> {
    let (dir, is_hub_id) = find(&config.name)?;
    let checkpoint = Checkpoint::open(&dir).hint(
        format!("`{}` cannot be used as a base model", dir.display()),
        "`model.name` must be a Hugging Face directory of an Idefics3 or SmolVLM model, or its Hub id",
    )?;
    let ChosenBackend { backend, held, passed_over } =
        config.open_backend(&checkpoint, kernel_cache().as_deref()).hint(
            format!("the device `{}` cannot be used", config.device),
            "set `model.device` to `auto` or `cpu`; cards need a build with `--features cuda`",
        )?;
    if let Some(error) = passed_over {
        tracing::warn!("the card is left alone: {error}");
    }
    tracing::info!("computing on {}", backend.name());
    Ok(Base { dir, is_hub_id, checkpoint, backend: Arc::new(backend), held })
}

/// Where the kernels that were compiled for a card are kept.
fn kernel_cache() -> Option<PathBuf> {
    let usual = || Some(std::env::home_dir()?.join(".cache"));
    Some(secrets::variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(usual)?.join("pitchquest/kernels"))
}

impl Base {
    /// The model on the device that was chosen.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape than the configuration says.
    pub fn model(&self) -> Result<Model<AnyBackend>> {
        Ok(Model::load(Arc::clone(&self.backend), &self.checkpoint)?)
    }

    /// Names the weights and how they are held: the hash of each file's name, size and beginning.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.dir)
            .with_context(|| format!("cannot read `{}`", self.dir.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors" || e == "json"))
            .collect();
        files.sort();
        let mut text = self.held.clone();
        for path in files {
            let mut file = std::fs::File::open(&path)?;
            let mut head = Vec::new();
            file.by_ref().take(1 << 20).read_to_end(&mut head)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            text.extend([name, file.metadata()?.len().to_string(), sha256_hex(&head)]);
        }
        Ok(sha256_hex(text.as_bytes()))
    }

    /// Tokenizer, template and picture processing of the checkpoint.
    ///
    /// # Errors
    /// When one of the files is missing or invalid.
    pub fn processor(&self, longest_edge: Option<usize>) -> Result<Processor> {
        Processor::open(&self.dir, longest_edge).hint(
            format!("the processor files in `{}` cannot be used", self.dir.display()),
            "a base model needs its tokenizer.json, chat template and preprocessor configuration",
        )
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
    let endpoint = secrets::variable(secrets::HF_ENDPOINT);
    let options = HubOptions {
        endpoint: endpoint.unwrap_or_else(|| hub::ENDPOINT.to_owned()),
        token: secrets::hub_token(),
        cache_dir: secrets::hub_cache(),
        offline: secrets::is_hub_offline(),
    };
    tracing::info!("looking for `{name}` on the Hub");
    let dir = hub::fetch_with(name, None, &options, pq_common::http_options()).hint(
        format!("`{name}` is no folder here and cannot be had from the Hub"),
        "set `model.name` to a checkpoint's folder, or see whether the Hub can be reached (HF_TOKEN for private models)",
    )?;
    Ok((dir, true))
}
