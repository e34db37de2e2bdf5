//! Which adapter scores, and whether it is what was released.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::{Contract as _, RunFiles, VersionFile, check_stored};
use registry::signing::{self, PublicKey};

const REMEDY: &str = "`pq-register doctor` says what is wrong and brings files back from the Hub; `pq-register rollback` puts the version before in use";

/// The adapter and its name, checked against what was released: the one that was named, else the champion, else the latest run.
///
/// With a public key a released version must be signed by its owner.
pub(crate) fn find(
    named_dir: Option<&Path>,
    layout: &Layout,
    key: Option<&PublicKey>,
) -> Result<(RunFiles, String)> {
    let is_signed = |stored: &RunFiles| key.map_or(Ok(()), |key| signing::check(stored, key));
    let named = |run: RunFiles| -> Result<(RunFiles, String)> {
        let name = run.name().with_context(|| format!("cannot open `{}`", run.dir().display()))?;
        Ok((run, name))
    };
    if let Some(dir) = named_dir {
        let run = RunFiles::new(dir);
        if check_stored(&run, None).hint("the version is not used", REMEDY)?.is_some() {
            is_signed(&run).hint("the version is not used", REMEDY)?;
        }
        return named(run);
    }
    layout.require_registry()?;
    let versions = VersionFile::read_if_present(&layout.version_file())?.unwrap_or_default();
    if let Some(champion) = versions.champion() {
        let stored = layout.version(&champion.version);
        let refusal = || format!("{}, which is in use, is not used", champion.version);
        check_stored(&stored, Some(champion)).hint(refusal(), REMEDY)?;
        is_signed(&stored).hint(refusal(), REMEDY)?;
        return Ok((stored, champion.version.clone()));
    }
    let latest = layout.latest_run();
    if !latest.dir().exists() {
        bail!(Hint::new(
            "there is no released version and no run",
            "train with pq-train, name one with --adapter, or check `storage.registry_dir` and `training.output_dir`"
        ));
    }
    named(latest)
}
