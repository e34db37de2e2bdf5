use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::{Limits, Reason};

/// No macros, and nothing fetched for a document that links to images elsewhere.
const SETTINGS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop>
<prop oor:name="MacroSecurityLevel" oor:op="fuse"><value>3</value></prop>
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop>
<prop oor:name="DisableActiveContent" oor:op="fuse"><value>true</value></prop>
</item></oor:items>
"#;

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
/// under the time limit.
///
/// With `scratch` the caller watches the time and clears up; see [`read_file`](super::read_file).
pub(super) fn to_pdf(
    bytes: &[u8],
    extension: &str,
    limits: &Limits,
    scratch: Option<&Path>,
) -> Result<Vec<u8>, Reason> {
    let program = find_libreoffice().ok_or(Reason::NeedsLibreOffice)?;
    let io = |error: std::io::Error| Reason::Io(error.to_string());
    let folder = scratch.map_or_else(tempfile::tempdir, tempfile::tempdir_in).map_err(io)?;
    let place = folder.path().canonicalize().map_err(io)?;
    let input = prepare(&place, bytes, extension).map_err(io)?;
    let is_watched = scratch.is_some();
    let mut child = start(&program, &place, &input, !is_watched).map_err(io)?;
    // Who watches ends this process in time; this is for when nobody is left to watch.
    let patience = if is_watched { Duration::from_secs(10) } else { Duration::ZERO };
    let status = wait(&mut child, limits.time_limit() + patience).map_err(io)?;
    let Some(status) = status else { return Err(Reason::slow_slide(limits.time_limit_s)) };
    std::fs::read(place.join("deck.pdf"))
        .map_err(|_| {
            Reason::Malformed(format!(
                "LibreOffice could not convert the presentation ({status}); export the deck as PDF from the program that made it"
            ))
        })
}

/// Writes a profile with our settings, and the presentation, whose path is returned.
fn prepare(place: &Path, bytes: &[u8], extension: &str) -> std::io::Result<PathBuf> {
    let input = place.join(format!("deck.{extension}"));
    std::fs::create_dir_all(place.join("profile/user"))?;
    std::fs::write(place.join("profile/user/registrymodifications.xcu"), SETTINGS)?;
    std::fs::write(&input, bytes)?;
    Ok(input)
}

fn start(program: &Path, folder: &Path, input: &Path, own_group: bool) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg(format!("-env:UserInstallation=file://{}/profile", escaped(folder)))
        .args(["--headless", "--norestore", "--nologo", "--nolockcheck", "--convert-to", "pdf", "--outdir"])
        .arg(folder)
        .arg(input)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    if own_group {
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    command.spawn()
}

/// What stays as it is in the path of an address: unreserved characters (RFC 3986, 2.3) and the slash.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The path as a part of an address: bytes other than plain ones as `%20`.
fn escaped(path: &Path) -> String {
    percent_encode(path.as_os_str().as_encoded_bytes(), PATH).to_string()
}

/// Waits for the end; after the limit the whole process group ends (the launcher starts the office as a child).
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            crate::process::end(child)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_folders_are_escaped() {
        assert_eq!(escaped(Path::new("/tmp/a b/\u{e9}")), "/tmp/a%20b/%C3%A9");
    }
}
