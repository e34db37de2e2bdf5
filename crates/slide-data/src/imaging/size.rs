use crate::{Limits, Reason};

/// Refuses an image by the size it declares.
pub(crate) fn check_pixels(width: u32, height: u32, limits: &Limits) -> Result<(), Reason> {
    if width == 0 || height == 0 {
        return Err(Reason::Malformed("the image has no pixels".to_owned()));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(Reason::TooLarge {
            what: format!("{width} × {height} pixels"),
            key: "max_pixels",
            limit: limits.max_pixels,
        });
    }
    Ok(())
}
