//! The version in use, which a run is compared with.

use anyhow::{Result, bail};
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::{Contract as _, RunFiles, VersionFile, check_stored, hash_file};
use registry::signing::{self, PublicKey};
use slide_scorer::Settings;
use vlm_eval::Rater;

use crate::evaluator::Evaluator;

/// Refuses a released version: its results are part of what was released, and validating writes into the folder.
pub(crate) fn refuse_version(run: &RunFiles) -> Result<()> {
    let remedy = "name the folder of the run that it was released from";
    let is_version = check_stored(run, None).hint("the version is not validated", remedy)?.is_some();
    if is_version {
        let message = format!("`{}` is a released version, which stays as it is", run.dir().display());
        bail!(Hint::new(message, remedy));
    }
    Ok(())
}

/// The champion's scores of the same slides, where there is one and it is another adapter; without scores where it is not here.
pub(crate) fn rate(
    layout: &Layout,
    run: &RunFiles,
    evaluator: &Evaluator,
    key: Option<&PublicKey>,
    settings_of: &dyn Fn(&RunFiles) -> Result<Settings>,
) -> Result<Option<Rater>> {
    let versions = VersionFile::read_if_present(&layout.version_file())?.unwrap_or_default();
    let Some(champion) = versions.champion() else { return Ok(None) };
    let stored = layout.version(&champion.version);
    if !stored.adapter_weights().exists() {
        tracing::warn!(
            "the champion {} is not stored in `{}`; whether the run is better stays open",
            champion.version,
            stored.dir().display()
        );
        return Ok(Some(Rater { name: champion.version.clone(), predictions: Vec::new() }));
    }
    let refusal = || format!("{}, which is in use, cannot be compared", champion.version);
    let remedy = "`pq-register doctor` says what is wrong and brings files back from the Hub";
    check_stored(&stored, Some(champion)).hint(refusal(), remedy)?;
    key.map_or(Ok(()), |key| signing::check(&stored, key)).hint(refusal(), remedy)?;
    if hash_file(&stored.adapter_weights())? == hash_file(&run.adapter_weights())? {
        return Ok(None);
    }
    evaluator.rate(&settings_of(&stored)?, Some(&stored), &champion.version).map(Some)
}
