//! What the kernels demand beside what every device does.

pub(super) use crate::backend::check::{ensure, inside, length, whole_rows};
use crate::{Error, Result};

/// An error of this backend.
pub(super) fn fail(reason: impl Into<String>) -> Error {
    Error::Backend { device: "cuda".to_owned(), reason: reason.into() }
}

/// A size as the kernels take it.
pub(super) fn to_u32(what: &str, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| fail(format!("{what} {value} is more than a kernel takes")))
}
