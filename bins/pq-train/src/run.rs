use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use pq_common::Hint;
use vlm_lora::Resume;

/// The folder of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunDir {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl RunDir {
    /// A new folder named by `name` or the time, or the one to resume.
    pub(crate) fn choose(outputs: &Path, name: Option<&str>, resume: bool) -> Result<Self> {
        if let Some(name) = name
            && (name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') || name == "latest")
        {
            bail!(Hint::new(
                format!("`{name}` cannot be the name of a run"),
                "use letters, digits, `-` and `_`"
            ));
        }
        let name = match (name, resume) {
            (Some(name), _) => name.to_owned(),
            (None, false) => jiff::Timestamp::now().strftime("run-%Y%m%d-%H%M%S").to_string(),
            (None, true) => newest_with_checkpoints(outputs)?,
        };
        let path = outputs.join(&name);
        if !resume && has_checkpoint(&path) {
            let remedy = "carry it on with --resume, or choose another --run";
            bail!(Hint::new(format!("the run `{}` exists already", path.display()), remedy));
        }
        Ok(Self { name, path })
    }

    /// Where to carry on: a run that was cut before its first checkpoint starts from the beginning.
    pub(crate) fn resume_from(&self, resume: bool) -> Resume {
        match (resume, has_checkpoint(&self.path)) {
            (false, _) => Resume::Never,
            (true, true) => Resume::Latest,
            (true, false) => {
                tracing::warn!("the run `{}` has no checkpoint yet: it starts from the beginning", self.name);
                Resume::Never
            }
        }
    }

    /// Points `latest` at the run, in one step.
    pub(crate) fn make_latest(&self) -> Result<()> {
        let outputs = self.path.parent().context("a run lies in a folder")?;
        let staging = outputs.join(format!(".latest-{}", std::process::id()));
        let _ = std::fs::remove_file(&staging);
        #[cfg(unix)]
        std::os::unix::fs::symlink(&self.name, &staging)?;
        #[cfg(windows)]
        std::os::windows::fs::symlink_dir(&self.name, &staging)?;
        std::fs::rename(&staging, outputs.join("latest"))?;
        Ok(())
    }
}

fn has_checkpoint(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
}

fn newest_with_checkpoints(outputs: &Path) -> Result<String> {
    let mut found: Vec<(std::time::SystemTime, String)> = std::fs::read_dir(outputs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("checkpoints").is_dir() && !entry.path().is_symlink())
        .filter_map(|entry| {
            Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().into_string().ok()?))
        })
        .collect();
    found.sort();
    match found.pop() {
        Some((_, name)) => Ok(name),
        None => bail!(Hint::new(
            format!("there is no run to resume in `{}`", outputs.display()),
            "leave --resume out to start one"
        )),
    }
}
