//! What the operations demand of their arguments.

use crate::{Error, Result};

/// An error of this backend.
pub(super) fn fail(reason: impl Into<String>) -> Error {
    Error::Backend { device: "cuda".to_owned(), reason: reason.into() }
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

/// Checks that every index is below `count`.
pub(super) fn inside(rows: &[u32], count: usize) -> Result<()> {
    let outside = rows.iter().find(|&&row| row as usize >= count);
    ensure(outside.is_none(), || {
        format!("there is no row {} among {count}", outside.copied().unwrap_or_default())
    })
}

/// A size as the kernels take it.
pub(super) fn narrow(what: &str, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| fail(format!("{what} {value} is more than a kernel takes")))
}
