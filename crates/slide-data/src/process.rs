//! Ending what was started.

use std::process::{Child, ExitStatus};

/// Ends a process, and its group where it leads one, and waits for it.
pub(crate) fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Where it leads no group there is none of this number.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    child.wait()
}
