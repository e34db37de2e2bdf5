//! The project that a command deals with, and a released version of it.

use anyhow::Result;
use pq_cli::{CommonArgs, Layout, ProjectConfig, WithHint as _};
use project_files::{Release, RunFiles, check_stored};

use crate::context::Context;

/// The project that a command deals with.
pub(crate) struct Project<'a> {
    pub(crate) common: &'a CommonArgs,
    pub(crate) config: &'a ProjectConfig,
    pub(crate) layout: &'a Layout,
}

impl Project<'_> {
    /// A released version, if its folder is what was released.
    pub(crate) fn released(&self, context: &Context<'_>, version: &str) -> Result<(Release, RunFiles)> {
        let (release, _) = context
            .registry
            .show(version)
            .hint("there is no such version", "`pq-register history` lists the versions")?;
        let stored = self.layout.version(&release.version);
        check_stored(&stored, Some(&release)).hint(
            format!("{} cannot be used", release.version),
            "`pq-register doctor` says what is wrong and brings files back from the Hub",
        )?;
        Ok((release, stored))
    }
}
