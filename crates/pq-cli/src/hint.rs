use std::fmt;

/// An error with the remedy a person should try; printed on its own `hint:` line.
#[derive(Debug)]
pub struct Hint {
    message: String,
    remedy: String,
}

impl Hint {
    /// An error that says `message` and advises `remedy`.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hint {}

/// Adds a remedy to a failing result.
pub trait WithHint<T> {
    /// Wraps the error in `message` with a remedy on its own `hint:` line.
    fn hint(self, message: impl Into<String>, remedy: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithHint<T> for Result<T, E> {
    fn hint(self, message: impl Into<String>, remedy: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Hint::new(message, remedy)))
    }
}
