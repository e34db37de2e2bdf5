//! What a walk through folders does with each entry.

use std::path::Path;

use super::format::{EXTENSIONS, FileFormat, sniff};
use super::{foreign, passed};
use crate::Reason;

/// Why a folder is not entered.
pub(super) fn folder_passed_over(path: &Path) -> Option<Reason> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match () {
        () if name == "__MACOSX" => {
            Some(Reason::foreign("a note of the operating system", "nothing is to be done"))
        }
        () if is_hidden(path) => {
            let remedy = "rename it, or name it to pq-collect, if it holds slides";
            Some(Reason::foreign("a hidden folder (its name begins with a dot)", remedy))
        }
        () => foreign::by_bundle(&name).map(Into::into),
    }
}

/// Why no slides are looked for in a file; none where it may hold some.
pub(super) fn file_passed_over(entry: &walkdir::DirEntry) -> Option<Reason> {
    let path = entry.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !entry.file_type().is_file() {
        return Some(Reason::foreign("no file (a pipe, a socket or a device)", "nothing is to be done"));
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if EXTENSIONS.contains(&extension.as_str()) {
        return passed::by_role(&name, &[]);
    }
    let head = match head(path) {
        Ok(head) => head,
        Err(error) => return Some(Reason::Io(error.to_string())),
    };
    let size = || entry.metadata().map_or(head.len() as u64, |metadata| metadata.len());
    passed::by_role(&name, &head).or_else(|| by_content(&name, &head, size))
}

/// Why no slides are looked for in a file that begins so.
fn by_content(name: &str, head: &[u8], size: impl FnOnce() -> u64) -> Option<Reason> {
    match sniff(head) {
        FileFormat::Foreign(foreign) => Some(foreign.into()),
        // A compound file tells what it is further on.
        FileFormat::Unknown if head.starts_with(b"\xd0\xcf\x11\xe0") => None,
        FileFormat::Unknown => Some(passed::by_kind(name, head, size())),
        _ => None,
    }
}

/// Why a walk cannot go on at an entry.
pub(super) fn unreachable_entry(error: &walkdir::Error) -> Reason {
    use std::io::ErrorKind;
    if error.loop_ancestor().is_some() {
        return Reason::foreign("a link that leads back up", "what it leads to is looked through there");
    }
    match error.io_error().map(std::io::Error::kind) {
        Some(ErrorKind::NotFound) => {
            Reason::foreign("a link to nothing", "restore what it led to, or remove it")
        }
        Some(ErrorKind::PermissionDenied) => Reason::foreign(
            "a folder that you may not open (permission denied)",
            "let its owner give you the right to read it, then collect again",
        ),
        _ => Reason::Io(error.to_string()),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}
