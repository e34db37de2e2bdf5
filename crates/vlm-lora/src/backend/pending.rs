use std::fmt;

use crate::Result;

/// A result that a device may still be working at, while more is queued behind it.
pub enum Pending<T> {
    /// It is there.
    Ready(T),
    /// The call waits for the device and fetches it.
    Queued(Box<dyn FnOnce() -> Result<T> + Send>),
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Queued(_) => "Queued",
        })
    }
}

impl<T> Pending<T> {
    /// The result, as soon as it is there.
    ///
    /// # Errors
    /// When the device fails.
    pub fn wait(self) -> Result<T> {
        match self {
            Self::Ready(value) => Ok(value),
            Self::Queued(fetch) => fetch(),
        }
    }
}

impl<T: Send + 'static> Pending<T> {
    /// What `change` makes of the result.
    pub fn map<U>(self, change: impl FnOnce(T) -> U + Send + 'static) -> Pending<U> {
        match self {
            Self::Ready(value) => Pending::Ready(change(value)),
            Self::Queued(fetch) => Pending::Queued(Box::new(move || fetch().map(change))),
        }
    }

    /// Both results.
    pub fn and<U: Send + 'static>(self, other: Pending<U>) -> Pending<(T, U)> {
        match (self, other) {
            (Self::Ready(one), Pending::Ready(two)) => Pending::Ready((one, two)),
            (one, two) => Pending::Queued(Box::new(move || Ok((one.wait()?, two.wait()?)))),
        }
    }
}
