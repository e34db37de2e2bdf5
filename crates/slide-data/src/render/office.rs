use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Limits, Reason};

/// The installed `LibreOffice`: `soffice` or `libreoffice` on the search path, or in macOS's usual place.
pub fn find_libreoffice() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let on_path = folders
        .unwrap_or_default()
        .into_iter()
        .flat_map(|folder| ["soffice", "libreoffice"].map(|name| folder.join(name)));
    on_path
        .chain([PathBuf::from("/Applications/LibreOffice.app/Contents/MacOS/soffice")])
        .find(|program| program.is_file())
}

/// Converts a presentation to PDF in a profile of its own (so that a running office, its settings and its macros play no part),
/// in a temporary folder, under the time limit.
pub(super) fn to_pdf(bytes: &[u8], extension: &str, limits: &Limits) -> Result<Vec<u8>, Reason> {
    let program = find_libreoffice().ok_or(Reason::NeedsLibreOffice)?;
    let io = |error: std::io::Error| Reason::Io(error.to_string());
    let folder = tempfile::tempdir().map_err(io)?;
    let input = folder.path().join(format!("deck.{extension}"));
    std::fs::write(&input, bytes).map_err(io)?;
    let mut child = start(&program, folder.path(), &input).map_err(io)?;
    let status = wait(&mut child, limits.time_limit()).map_err(io)?;
    let Some(status) = status else { return Err(Reason::TimedOut(limits.time_limit_s)) };
    std::fs::read(folder.path().join("deck.pdf"))
        .map_err(|_| Reason::Malformed(format!("LibreOffice could not convert the presentation ({status})")))
}

fn start(program: &Path, folder: &Path, input: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg(format!("-env:UserInstallation=file://{}/profile", folder.display()))
        .args(["--headless", "--norestore", "--nologo", "--convert-to", "pdf", "--outdir"])
        .arg(folder)
        .arg(input)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

/// Waits for the end; after the limit the whole process group ends (the launcher starts the office as a child).
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            end_group(child);
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(all(unix, feature = "collect"))]
fn end_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(not(all(unix, feature = "collect")))]
fn end_group(child: &mut Child) {
    let _ = child.kill();
}
