use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Missing, unreadable or contradictory: some command will refuse it, or conclude something wrong.
    Problem,
    /// Stale, or not yet there: normal in the course of things.
    Note,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) text: String,
}

/// What was found, in the order in which it was found.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Findings {
    pub(crate) all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn problem(&mut self, text: impl Into<String>) {
        self.all.push(Finding { severity: Severity::Problem, text: text.into() });
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.all.push(Finding { severity: Severity::Note, text: text.into() });
    }
}
