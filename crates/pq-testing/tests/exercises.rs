//! What `docs/check-exercises` refuses: patches that leave their room, and tests that do not see whether the exercise is solved.
#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const PAGE: &str = "# One\n\n## Files\n\n- `solution.txt`: what to do.\n- `check.txt` (test): sees it.\n\n\
    ## See it work\n\n```sh\ncargo test -p one\n```\n";

/// A patch that adds files of one line.
fn patch(files: &[&str]) -> String {
    let file = |path: &&str| {
        format!(
            "diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+here\n"
        )
    };
    files.iter().map(file).collect()
}

/// Whether the exercise is held to be good, and what was said of it. Its tests are run by `cargo`, a line of shell.
fn check(page: &str, patch: &str, cargo: Option<&str>) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    };
    let page = write("one.md", page);
    write("one.patch", patch);
    let program = write("bin/cargo", &format!("#!/bin/sh\n{}\n", cargo.unwrap_or("exit 3")));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let path = std::env::var("PATH").expect("a path");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(root.join("docs/check-exercises"));
    command
        .args(if cargo.is_none() { &["--no-tests"][..] } else { &[] })
        .arg(page)
        .env("PATH", format!("{}:{path}", folder.path().join("bin").display()))
        .env("CARGO_TARGET_DIR", folder.path().join("target"));
    let output = command.output().expect("Python is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_patch_keeps_to_the_files_of_its_page() {
    let files = patch(&["solution.txt", "check.txt"]);
    let (is_good, said) = check(PAGE, &files, None);
    assert!(is_good, "{said}");
    for (page, patch, word) in [
        (PAGE, patch(&["solution.txt", "check.txt", "elsewhere.txt"]), "does not name: elsewhere.txt"),
        (PAGE, patch(&["solution.txt"]), "leaves a test as it is: check.txt"),
        (PAGE, patch(&["check.txt"]), "nothing but tests"),
        (
            PAGE,
            patch(&["solution.txt", "check.txt"]).replace("--- /dev/null", "--- a/x"),
            "its patch is none",
        ),
        (&PAGE.replace(" (test)", ""), files.clone(), "names no test"),
        (&PAGE.replace("cargo test", "cargo build"), files.clone(), "runs no test"),
        (&PAGE.replace("## Files", "## Where"), files.clone(), "no section \"Files\""),
    ] {
        let (is_good, said) = check(page, &patch, None);
        assert!(!is_good && said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_test_fails_without_the_solution_and_passes_with_it() {
    let files = patch(&["solution.txt", "check.txt"]);
    let run = |cargo: &str| check(PAGE, &files, Some(cargo));
    let (is_good, said) =
        run("test -f check.txt && test -f solution.txt && echo 'test result: ok. 2 passed'");
    assert!(is_good, "{said}");
    for (cargo, word) in [
        ("echo 'test result: ok. 2 passed'", "pass without its solution"),
        ("echo why; exit 1", "why"),
        ("test -f solution.txt && echo 'test result: ok. 0 passed'", "runs no test"),
    ] {
        let (is_good, said) = run(cargo);
        assert!(!is_good && said.contains(word), "{cargo}: {said}");
    }
}
