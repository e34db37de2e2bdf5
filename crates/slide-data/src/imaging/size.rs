use std::borrow::Cow;

use image::{RgbImage, imageops};

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

/// A copy with this longest edge; the image itself where it is not larger.
pub(super) fn at_most(image: &RgbImage, most: u32) -> Cow<'_, RgbImage> {
    let longest = image.width().max(image.height());
    if longest <= most {
        return Cow::Borrowed(image);
    }
    let scaled = |edge: u32| (u64::from(edge) * u64::from(most) / u64::from(longest)).max(1) as u32;
    Cow::Owned(imageops::thumbnail(image, scaled(image.width()), scaled(image.height())))
}
