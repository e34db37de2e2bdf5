//! A command in bad company: a disk that fills up, a folder that may not be written, Ctrl-C; for the tests of all commands.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "for tests, which fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Writes a file below a folder, and the folders in between.
pub fn write_file(folder: &Path, relative: &str, text: &str) {
    let path = folder.join(relative);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// All files below a folder with their bytes; links are not followed, lock files left out.
pub fn files_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && !entry.path().ends_with(".lock") {
                files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// The files below a folder, but for those `except`, that hold a secret in one of these forms.
pub fn leaks(folder: &Path, forms: &[&str], except: &[&str]) -> Vec<PathBuf> {
    let holds =
        |bytes: &[u8]| forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()));
    let kept = |path: &Path| {
        except.iter().any(|name| path.strip_prefix(folder).is_ok_and(|rest| rest == Path::new(name)))
    };
    let files = files_of(folder).into_iter().filter(|(path, bytes)| !kept(path) && holds(bytes));
    files.map(|(path, _)| path).collect()
}

/// Runs `command` where no file can grow past `blocks` × 512 bytes: each write beyond fails, as on a disk that is full.
pub fn with_full_disk(command: &Command, blocks: usize) -> Output {
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &limit, "sh"]).arg(command.get_program()).args(command.get_args());
    inherit(command, &mut shell);
    shell.output().unwrap()
}

/// Runs `command` as somebody who may read everything in `folder` and write nothing there.
///
/// The superuser may write everywhere: a test run as such lends the command the identity of a guest.
pub fn without_permission(command: &Command, folder: &Path) -> Output {
    let modes = |write: bool| {
        let mode = if write { "u+w" } else { "a+rX,a-w" };
        assert!(Command::new("chmod").args(["-R", mode]).arg(folder).status().unwrap().success());
    };
    modes(false);
    let mut guest = Command::new(command.get_program());
    guest.args(command.get_args());
    inherit(command, &mut guest);
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder).unwrap()) == 0 {
        std::os::unix::process::CommandExt::uid(&mut guest, 65_534);
        std::os::unix::process::CommandExt::gid(&mut guest, 65_534);
    }
    let output = guest.output().unwrap();
    modes(true);
    output
}

fn inherit(from: &Command, to: &mut Command) {
    to.current_dir(from.get_current_dir().unwrap());
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
}

/// Starts `command`, sends Ctrl-C once `ready` says so, and waits for its end.
pub fn interrupted_when(mut command: Command, mut ready: impl FnMut() -> bool) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let output = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !output.is_finished() && !ready() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A command that has ended by itself cannot be signalled any more; that is for the caller to see.
    let _ = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status().unwrap();
    output.join().unwrap()
}

/// Every JSON file in `folder` is whole.
pub fn assert_whole(folder: &Path) {
    for (path, bytes) in files_of(folder) {
        let lines: Vec<&[u8]> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => vec![&bytes],
            Some("jsonl") => bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect(),
            _ => continue,
        };
        for line in lines {
            assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok(), "{}", path.display());
        }
    }
}

/// The command could not run, names `place` and a remedy.
pub fn assert_refused(output: &Output, place: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for word in ["error:", place, "hint:"] {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
}

/// Without permission and with a full disk, `command` fails, names `place` and a remedy, and leaves `folder` as it was (a
/// journal may have been created; it is empty).
pub fn assert_keeps_what_is_there(command: impl Fn() -> Command, folder: &Path, place: &str) {
    let before = files_of(folder);
    let assert_unchanged = |when: &str| {
        let after = files_of(folder);
        let content =
            |files: &BTreeMap<PathBuf, Vec<u8>>, name: &PathBuf| files.get(name).cloned().unwrap_or_default();
        let mut names = before.keys().chain(after.keys());
        assert_eq!(names.find(|name| content(&before, name) != content(&after, name)), None, "{when}");
    };
    assert_refused(&without_permission(&command(), folder), place);
    assert_unchanged("without permission");
    assert_refused(&with_full_disk(&command(), 0), place);
    assert_unchanged("with a full disk");
}

/// Ctrl-C in the first milliseconds of `command`: it ends, nothing in `folder` is half-written, and it can be run again.
pub fn assert_survives_interrupts(command: impl Fn() -> Command, folder: &Path) {
    for pause in [0, 2, 5, 10, 20, 40] {
        let start = std::time::Instant::now();
        interrupted_when(command(), || start.elapsed() >= Duration::from_millis(pause));
        assert_whole(folder);
    }
    let output = command().output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
}
