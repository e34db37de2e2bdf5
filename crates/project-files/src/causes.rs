use std::error::Error;

/// An error with its causes on one line, for logs and files that keep text.
pub fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
