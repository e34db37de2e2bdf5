use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use durable_files::FileLock;
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::RunFiles;
use vlm_lora::Resume;

/// The folder of a run, held for this process: no two runs share one.
#[derive(Debug)]
pub(crate) struct RunDir {
    pub(crate) name: String,
    pub(crate) files: RunFiles,
    outputs: PathBuf,
    /// Of the process that writes.
    lock: Option<FileLock>,
}

impl RunDir {
    /// A new folder named by `name` or the time, or the one to resume. The folder is created here: a name that is taken in the
    /// same moment is refused, or counted on where it was the time that gave it.
    pub(crate) fn choose(layout: &Layout, name: Option<&str>, resume: bool) -> Result<Self> {
        if let Some(name) = name {
            check_name(name)?;
        }
        let outputs = layout.outputs();
        let name = match (name, resume) {
            (Some(name), true) => existing(layout, name)?,
            (None, true) => newest_with_checkpoints(outputs)?,
            (Some(name), false) => named(layout, name)?,
            (None, false) => timed(layout)?,
        };
        let files = layout.run(&name);
        let lock = FileLock::try_exclusive(files.dir()).hint(
            format!("the run `{}` cannot be locked", files.dir().display()),
            "see that its folder can be written",
        )?;
        let Some(lock) = lock else {
            let remedy = "wait for it, or start another run with another --run";
            bail!(Hint::new(format!("another process trains `{}`", files.dir().display()), remedy));
        };
        if !resume && has_checkpoint(&files) {
            let remedy = "carry it on with --resume, or choose another --run";
            bail!(Hint::new(format!("the run `{}` exists already", files.dir().display()), remedy));
        }
        Ok(Self { name, files, outputs: outputs.to_owned(), lock: Some(lock) })
    }

    /// The folder of a run that another process holds, of which this one is a part.
    pub(crate) fn joined(layout: &Layout, name: &str) -> Result<Self> {
        check_name(name)?;
        let outputs = layout.outputs().to_owned();
        Ok(Self { name: name.to_owned(), files: layout.run(name), outputs, lock: None })
    }

    /// Whether there is something to carry on from.
    pub(crate) fn has_checkpoint(&self) -> bool {
        has_checkpoint(&self.files)
    }

    /// Where to carry on: a run that was cut before its first checkpoint starts from the beginning.
    pub(crate) fn resume_from(&self, resume: bool) -> Resume {
        match (resume, has_checkpoint(&self.files)) {
            (false, _) => Resume::Never,
            (true, true) => Resume::Latest,
            (true, false) => {
                tracing::warn!("the run `{}` has no checkpoint yet: it starts from the beginning", self.name);
                Resume::Never
            }
        }
    }

    /// The folders in which other runs are tracked, the newest first.
    pub(crate) fn tracked_elsewhere(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.outputs).into_iter().flatten().flatten();
        let others =
            entries.map(|entry| entry.path()).filter(|path| !path.is_symlink() && path != self.files.dir());
        let mut found: Vec<(Option<SystemTime>, PathBuf)> = others
            .map(|path| RunFiles::new(path).tracking())
            .filter(|folder| folder.is_dir())
            .map(|folder| (folder.metadata().and_then(|about| about.modified()).ok(), folder))
            .collect();
        found.sort();
        found.into_iter().rev().map(|(_, folder)| folder).collect()
    }

    /// Points `latest` at the run, in one step.
    pub(crate) fn make_latest(&self, layout: &Layout) -> Result<()> {
        let staging = self.outputs.join(format!(".latest-{}", std::process::id()));
        let _ = std::fs::remove_file(&staging);
        #[cfg(unix)]
        std::os::unix::fs::symlink(&self.name, &staging)?;
        #[cfg(windows)]
        std::os::windows::fs::symlink_dir(&self.name, &staging)?;
        std::fs::rename(&staging, layout.latest_run().dir())?;
        Ok(())
    }
}

impl Drop for RunDir {
    /// Removes the folder of a run that never began, so that its name is free again.
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = std::fs::remove_dir(self.files.dir()); // fails where it holds anything
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') || name == "latest" {
        bail!(Hint::new(format!("`{name}` cannot be the name of a run"), "use letters, digits, `-` and `_`"));
    }
    Ok(())
}

/// Creates the folder of a run; whether it was not there before.
fn create(run: &RunFiles) -> Result<bool> {
    let dir = run.dir();
    let parent = dir.parent().context("a run lies in a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    match std::fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot create `{}`", dir.display())),
    }
}

/// A run with this name: its folder is new, or holds nothing of a training yet.
fn named(layout: &Layout, name: &str) -> Result<String> {
    create(&layout.run(name))?;
    Ok(name.to_owned())
}

/// A run named by the time; where another run took that name in the same second, a number follows it.
fn timed(layout: &Layout) -> Result<String> {
    let time = jiff::Timestamp::now().strftime("run-%Y%m%d-%H%M%S").to_string();
    for number in 1..1000 {
        let name = if number == 1 { time.clone() } else { format!("{time}-{number}") };
        if create(&layout.run(&name))? {
            return Ok(name);
        }
    }
    bail!("a thousand runs were begun in this second")
}

fn existing(layout: &Layout, name: &str) -> Result<String> {
    if layout.run(name).dir().is_dir() {
        return Ok(name.to_owned());
    }
    let message = format!("there is no run `{name}` in `{}`", layout.outputs().display());
    bail!(Hint::new(message, "leave --resume out to start it, or check `training.output_dir`"))
}

fn has_checkpoint(run: &RunFiles) -> bool {
    let entries = std::fs::read_dir(run.checkpoints()).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
}

fn newest_with_checkpoints(outputs: &Path) -> Result<String> {
    let mut found: Vec<(SystemTime, String)> = std::fs::read_dir(outputs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| RunFiles::new(entry.path()).checkpoints().is_dir() && !entry.path().is_symlink())
        .filter_map(|entry| {
            Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().into_string().ok()?))
        })
        .collect();
    found.sort();
    match found.pop() {
        Some((_, name)) => Ok(name),
        None => bail!(Hint::new(
            format!("there is no run to resume in `{}`", outputs.display()),
            "leave --resume out to start one, or check `training.output_dir`"
        )),
    }
}
