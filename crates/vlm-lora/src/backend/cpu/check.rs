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

/// Buffers from this size on are refused where the system has no room for them: it would end the process instead.
const LARGE: usize = 64 << 20;

/// Whether a buffer of `bytes` can be had.
pub(super) fn room(pool: &super::buffer::Pool, bytes: usize) -> Result<()> {
    if bytes < LARGE || !pool.grows_by(bytes) {
        return Ok(());
    }
    match available_bytes() {
        Some(available) if available < bytes => Err(Error::OutOfMemory {
            device: "cpu".to_owned(),
            needed_mib: bytes >> 20,
            available_mib: available >> 20,
        }),
        _ => Ok(()),
    }
}

/// Memory that is left, where the system says.
fn available_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<usize>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_no_machine_has_is_refused_with_the_settings_to_change() {
        let pool = super::super::buffer::Pool::default();
        assert!(room(&pool, 1 << 20).is_ok());
        let error = room(&pool, 1 << 60).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { needed_mib, .. } if needed_mib == 1 << 40));
        assert!(error.to_string().contains("`per_device_train_batch_size`"), "{error}");
    }
}
