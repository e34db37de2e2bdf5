//! Test programs whose tests need tools that not every machine has.
//!
//! The usual harness counts a test that returns early as passed, and shows nothing of what it printed. A program of this module
//! counts it as ignored and says why. Where `PQ_REQUIRE_TOOLS` names the missing tool (several with commas between them, `1` for
//! all), the test fails instead.
//!
//! A target of this kind has `harness = false` in its manifest, functions without `#[test]`, and one list of them:
//!
//! ```no_run
//! fn it_adds() {
//!     assert_eq!(1 + 1, 2);
//! }
//!
//! fn the_page_opens() {
//!     // …
//! }
//!
//! pq_testing::tests! {
//!     it_adds;
//!     the_page_opens: needs Browser;
//! }
//! ```

mod tool;

use std::io::Write;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed};

pub use tool::Tool;

/// The environment variable that names the tools that must be there.
pub const REQUIRED: &str = "PQ_REQUIRE_TOOLS";

/// A test of a program of this kind.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// As it is shown and filtered by.
    pub name: &'static str,
    /// What it cannot run without.
    pub needs: &'static [Tool],
    /// Why it runs only where `--ignored` or `--include-ignored` asks for it.
    pub ignored: Option<&'static str>,
    /// Panics where the test fails.
    pub body: fn(),
}

/// What becomes of a test.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Run,
    Skip(String),
    Fail(String),
}

/// Runs the tests that the command line asks for, several at a time.
pub fn run(trials: &[Trial]) -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var(REQUIRED).unwrap_or_default();
    let asked = arguments.ignored || arguments.include_ignored;
    let tests = trials.iter().map(|&trial| {
        let required = required.clone();
        let test = libtest_mimic::Trial::ignorable_test(trial.name, move || {
            if let Some(reason) = trial.ignored.filter(|_| !asked) {
                return Ok(Completion::ignored_with(reason));
            }
            match verdict(trial.needs, &required, Tool::missing) {
                Verdict::Fail(reason) => return Err(Failed::from(reason)),
                Verdict::Skip(reason) => return Ok(Completion::ignored_with(reason)),
                Verdict::Run => (trial.body)(),
            }
            Ok(Completion::Completed)
        });
        // Without being asked it is not flagged but says itself that it is ignored, and why.
        test.with_ignored_flag(asked && trial.ignored.is_some())
    });
    libtest_mimic::run(&arguments, tests.collect()).exit_code()
}

#[doc(hidden)]
pub const fn first(reasons: &[&'static str]) -> Option<&'static str> {
    match reasons {
        [] => None,
        [first, ..] => Some(first),
    }
}

/// For a unit test, which the usual harness runs: whether it is to return because a tool is missing. The line that says so is
/// not captured, though the harness counts the test as passed.
///
/// # Panics
/// Where the tool must be there.
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn is_skipped_without(tool: Tool) -> bool {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    match verdict(&[tool], &required, Tool::missing) {
        Verdict::Run => false,
        Verdict::Fail(reason) => std::panic::panic_any(reason),
        Verdict::Skip(reason) => {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a test");
            // Not with `println!`, which the harness captures.
            let _ = writeln!(std::io::stdout(), "\ntest {name} ... ignored ({reason})");
            true
        }
    }
}

/// Whether a test that needs some tools runs, given what must be there and why a tool is missing.
fn verdict(needs: &[Tool], required: &str, missing: impl Fn(Tool) -> Option<String>) -> Verdict {
    let required = match Tool::list(required) {
        Ok(required) => required,
        Err(unknown) => {
            let known: Vec<&str> = Tool::ALL.iter().map(|tool| tool.name()).collect();
            return Verdict::Fail(format!(
                "{REQUIRED} names `{unknown}`; there are {}, and 1 for all",
                known.join(", ")
            ));
        }
    };
    let missing = needs.iter().filter_map(|&tool| Some((tool, missing(tool)?)));
    let mut skipped = None;
    for (tool, why) in missing {
        let reason = format!("needs {}: {why}", tool.name());
        if required.contains(&tool) {
            return Verdict::Fail(format!("{reason}; {REQUIRED} says that it must be there"));
        }
        skipped.get_or_insert(reason);
    }
    skipped.map_or(Verdict::Run, Verdict::Skip)
}

/// The `main` of a test program: its tests, each with the tools it needs (`needs Browser, Axe`), and why it is only run when
/// it is asked for (`ignored "takes an hour"`).
#[macro_export]
macro_rules! tests {
    ($($name:path $(: $(ignored $reason:literal)? $(needs $($tool:ident),+)?)?;)+) => {
        fn main() -> ::std::process::ExitCode {
            $crate::trials::run(&[$($crate::trials::Trial {
                name: stringify!($name),
                needs: &[$($($($crate::trials::Tool::$tool),+)?)?],
                ignored: $crate::trials::first(&[$($($reason)?)?]),
                body: $name,
            }),+])
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(tools: &[Tool]) -> impl Fn(Tool) -> Option<String> {
        |tool| tools.contains(&tool).then(|| "not here".to_owned())
    }

    #[test]
    fn a_missing_tool_skips_and_fails_where_it_must_be_there() {
        let needs = [Tool::Browser, Tool::FullDisk];
        let skip = |name: &str| Verdict::Skip(format!("needs {name}: not here"));
        assert_eq!(verdict(&needs, "", without(&[])), Verdict::Run);
        assert_eq!(verdict(&needs, "1", without(&[Tool::Office])), Verdict::Run);
        assert_eq!(verdict(&needs, "", without(&[Tool::FullDisk])), skip("full-disk"));
        assert_eq!(verdict(&needs, "office,browser", without(&[Tool::FullDisk])), skip("full-disk"));
        // The first missing tool is not required, the second is.
        for required in ["1", "full-disk", "office, full-disk"] {
            let found = verdict(&needs, required, without(&needs));
            assert!(matches!(&found, Verdict::Fail(reason) if reason.contains("not here")), "{found:?}");
        }
    }

    #[test]
    fn a_misspelt_tool_requires_nothing_silently() {
        for required in ["brwoser", "browser,offices", "true"] {
            let found = verdict(&[], required, without(&[]));
            assert!(matches!(&found, Verdict::Fail(reason) if reason.contains("full-disk")), "{found:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for &tool in Tool::ALL {
            assert_eq!(Tool::list(tool.name()), Ok(vec![tool]));
        }
        assert_eq!(Tool::list(""), Ok(vec![]));
        assert_eq!(Tool::list("1"), Ok(Tool::ALL.to_vec()));
    }
}
