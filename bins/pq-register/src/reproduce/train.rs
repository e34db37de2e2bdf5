//! The training, by the command that trains.
//!
//! `pq-train` is started rather than called: what makes a run (its lock, its steps, its checkpoints, how Ctrl-C ends it) is that
//! program, and a second way to the same files could differ from it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use pq_cli::{Hint, WithHint as _};
use project_files::ScoreHead;

use super::restore::Restored;

const POLL: Duration = Duration::from_millis(100);

/// What a run was asked for beside its settings.
pub(super) struct Asked<'a> {
    /// The adapter that it began with.
    pub(super) from: Option<&'a Path>,
    /// Its score head.
    pub(super) head: Option<&'a ScoreHead>,
    /// Up to when corrections counted.
    pub(super) as_of: Timestamp,
}

/// Trains a run of this name as it was asked for; whether it came to its end.
pub(super) fn train(restored: &Restored, asked: &Asked<'_>, name: &str) -> Result<bool> {
    let program = program();
    let mut command = Command::new(&program);
    command.arg("--config").arg(&restored.config).args(["--run", name]);
    command.args(["--as-of", &asked.as_of.to_string()]);
    if let Some(adapter) = asked.from {
        command.arg("--from").arg(adapter);
    }
    if let Some(head) = asked.head {
        // Only beside an adapter its share was measured.
        command.arg(if head.gain.is_none() { "--head=alone" } else { "--head=beside" });
    }
    // What the environment says of tracking is of the runs of this machine, not of this one.
    command.env("WANDB_MODE", "disabled").stdin(Stdio::null()).stdout(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0); // Ctrl-C is passed on, once
    let child = command.spawn().hint(
        format!("`{}` cannot be started", program.display()),
        "install pq-train beside pq-register, or on the PATH",
    )?;
    wait(child)
}

/// The command beside this one, else the one on the path.
fn program() -> PathBuf {
    let name = format!("pq-train{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(&name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

fn wait(mut child: Child) -> Result<bool> {
    let mut is_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return match status.code() {
                // A run that learned nothing is a run.
                Some(0 | 1) => Ok(true),
                _ if is_told => Ok(false),
                _ => bail!(Hint::new(
                    format!("pq-train did not come to its end ({status})"),
                    "its own message stands above"
                )),
            };
        }
        if pq_cli::interrupted() && !is_told {
            is_told = true;
            stop(&mut child);
        }
        std::thread::sleep(POLL);
    }
}

/// Asks the command to end as Ctrl-C does.
#[cfg(unix)]
fn stop(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::INT); // it may have ended by itself
    }
}

#[cfg(not(unix))]
fn stop(child: &mut Child) {
    let _ = child.kill();
}
