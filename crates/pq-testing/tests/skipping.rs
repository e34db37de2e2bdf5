//! A test program of the kind that skips, which runs itself with and without a tool.
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

use pq_testing::trials::REQUIRED;

pq_testing::tests! {
    sample::that_needs_nothing;
    sample::that_needs_a_terminal: needs Terminal;
    sample::that_fails_when_asked: needs Terminal;
    without_its_tool_a_test_is_ignored_with_the_reason;
    without_a_tool_that_must_be_there_a_test_fails;
    what_must_be_there_and_is_there_is_tested;
    a_failing_test_fails_the_program;
    a_misspelt_tool_fails_every_test;
}

/// What the tests below run.
mod sample {
    pub(super) fn that_needs_nothing() {}

    pub(super) fn that_needs_a_terminal() {}

    pub(super) fn that_fails_when_asked() {
        assert!(std::env::var_os("PQ_SAMPLE_FAILS").is_none(), "as it was asked");
    }
}

/// Runs the sample with these tools required, with a `script` that is or is not there: whether it passed, and its output.
fn run(required: &str, has_terminal: bool, fails: bool) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if has_terminal {
        std::os::unix::fs::symlink("/bin/true", folder.path().join("script")).expect("a link");
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["sample::", "--test-threads", "1"]).env("PATH", folder.path()).env(REQUIRED, required);
    if fails {
        command.env("PQ_SAMPLE_FAILS", "yes");
    }
    let output = command.output().expect("this program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
}

fn without_its_tool_a_test_is_ignored_with_the_reason() {
    for required in ["", "browser,office"] {
        let (passed, text) = run(required, false, true);
        assert!(passed, "{text}");
        assert_says(&text, &["1 passed; 0 failed; 2 ignored", "needs terminal: there is no `script`"]);
        let line = text.lines().find(|line| line.contains("that_needs_a_terminal"));
        assert!(line.is_some_and(|line| line.contains("... ignored (")), "{text}");
    }
}

fn without_a_tool_that_must_be_there_a_test_fails() {
    for required in ["1", "terminal", "browser, terminal"] {
        let (passed, text) = run(required, false, false);
        assert!(!passed, "{text}");
        assert_says(&text, &["1 passed; 2 failed; 0 ignored", "PQ_REQUIRE_TOOLS", "there is no `script`"]);
    }
}

fn what_must_be_there_and_is_there_is_tested() {
    for required in ["", "1", "terminal"] {
        let (passed, text) = run(required, true, false);
        assert!(passed, "{text}");
        assert_says(&text, &["3 passed; 0 failed; 0 ignored"]);
    }
}

fn a_failing_test_fails_the_program() {
    let (passed, text) = run("", true, true);
    assert!(!passed, "{text}");
    assert_says(&text, &["2 passed; 1 failed", "as it was asked"]);
}

fn a_misspelt_tool_fails_every_test() {
    let (passed, text) = run("terminals", true, false);
    assert!(!passed, "{text}");
    assert_says(&text, &["0 passed; 3 failed", "`terminals`", "full-disk"]);
}
