//! An adapter to begin with in place of a fresh one.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use durable_files::hash_file;
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::{Contract as _, RunFiles, StartedFrom, VersionFile, check_stored};
use slide_scorer::{Base, Settings, check_base};
use vlm_lora::backend::Backend;
use vlm_lora::{Model, PeftAdapter};

/// The version in use.
const CHAMPION: &str = "champion";

/// Where an adapter lies.
pub(crate) struct Adapter {
    name: String,
    files: RunFiles,
}

/// An adapter on the base of this run.
pub(crate) struct Opened {
    adapter: PeftAdapter,
    pub(crate) origin: StartedFrom,
}

impl Adapter {
    /// Finds `champion`, a released version, a run or a folder, in this order. What was released must be what was released.
    pub(crate) fn find(name: &str, layout: &Layout) -> Result<Self> {
        let named = |name: &str, files: RunFiles| Self { name: name.to_owned(), files };
        let remedy = "name `champion`, a released version, a run of pq-train or a folder with an adapter";
        if name == CHAMPION {
            layout.require_registry()?;
            let versions = VersionFile::read_if_present(&layout.version_file())?.unwrap_or_default();
            let Some(champion) = versions.champion() else {
                bail!(Hint::new("no version is in use yet", remedy));
            };
            let files = layout.version(&champion.version);
            check_stored(&files, Some(champion))
                .hint("the champion is not used", "see `pq-register doctor`")?;
            return Ok(named(&champion.version, files));
        }
        let is_plain = !name.contains(['/', '\\']) && !name.starts_with('.');
        let known = [layout.version(name), layout.run(name)].into_iter().filter(|_| is_plain);
        let found = known.chain([RunFiles::new(name)]).find(|files| files.adapter_config().is_file());
        let Some(files) = found else {
            let what = if Path::new(name).is_dir() { "holds no adapter" } else { "is not there" };
            bail!(Hint::new(format!("`{name}` {what}"), remedy));
        };
        check_stored(&files, None).hint(format!("`{name}` is not used"), "see `pq-register doctor`")?;
        Ok(named(name, files))
    }

    /// Reads the adapter for this base, and puts its own settings into `settings.lora`: rank, targets and what else its shape
    /// depends on stay as they are.
    pub(crate) fn open(self, base: &Base, settings: &mut Settings) -> Result<Opened> {
        let Self { name, files } = self;
        check_base(&files, &settings.model.name, &base.identity()?.checkpoint)?;
        let adapter = PeftAdapter::open(files.dir(), base.checkpoint.config());
        let adapter = adapter.and_then(|adapter| adapter.on_base(&base.checkpoint)).hint(
            format!("`{name}` does not hold an adapter for this base"),
            "name an adapter that was trained on the base of training.toml",
        )?;
        if settings.lora != adapter.config {
            tracing::info!(
                "`[lora]` of training.toml is not used: the run goes on with the adapter of `{name}` as it is"
            );
        }
        settings.lora = adapter.config.clone();
        let sha256 = hash_file(&files.adapter_weights()).context("the adapter cannot be read")?.sha256;
        Ok(Opened { adapter, origin: StartedFrom { name, sha256 } })
    }
}

impl Opened {
    /// Attaches the adapter.
    pub(crate) fn attach<B: Backend>(&self, model: &mut Model<B>) -> Result<()> {
        tracing::info!("the run begins with the adapter of `{}`", self.origin.name);
        model.attach_adapter(&self.adapter).context("the adapter does not fit the base")
    }
}
