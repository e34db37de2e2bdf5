//! What the operations demand beside what every device does.

use super::buffer::Buffer;
use super::real::Real;
use super::weight::Weight;
pub(super) use crate::backend::check::{inside, invalid_argument, length, whole_rows};
use crate::memory::available_bytes;
use crate::{Error, Result};

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

/// Checks that `x (m, k)`, `y (m, n)` and `bias (n)` are so long.
pub(super) fn linear_lengths<T: Real>(
    x: &Buffer<T>,
    m: usize,
    weight: &Weight<T>,
    bias: Option<&Buffer<T>>,
    y: &Buffer<T>,
) -> Result<()> {
    let (n, k) = weight.shape();
    length("x", x.len(), m * k)?;
    length("y", y.len(), m * n)?;
    bias.map_or(Ok(()), |bias| length("bias", bias.len(), n))
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
