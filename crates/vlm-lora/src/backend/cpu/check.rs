//! What the kernels demand of their arguments.

use crate::{Error, Result};

/// An error of this backend.
pub(super) fn fail(reason: String) -> Error {
    Error::Backend { device: "cpu".to_owned(), reason }
}

/// `Ok` where `holds`, else an error with this reason.
pub(super) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(fail(reason())) }
}

/// Checks the number of elements of a named argument.
pub(super) fn length(name: &str, actual: usize, expected: usize) -> Result<()> {
    ensure(actual == expected, || format!("`{name}` holds {actual} elements, expected {expected}"))
}

/// Checks that a named argument consists of whole rows and returns their number.
pub(super) fn whole_rows(name: &str, len: usize, width: usize) -> Result<usize> {
    ensure(width > 0 && len.is_multiple_of(width), || {
        format!("`{name}` holds {len} elements, which are not rows of {width}")
    })?;
    Ok(len / width)
}
