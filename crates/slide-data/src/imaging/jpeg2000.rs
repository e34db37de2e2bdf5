use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};

use super::size::check_pixels;
use crate::{Limits, Reason};

/// Whether the bytes begin as a JPEG 2000 file (ISO/IEC 15444-1, I.5.1) or codestream (A.4) does.
pub(crate) fn is_jpeg2000(bytes: &[u8]) -> bool {
    [b"\0\0\0\x0cjP  ".as_slice(), b"\xff\x4f\xff\x51"].iter().any(|magic| bytes.starts_with(magic))
}

/// Decodes grey and RGB images, with or without transparency.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<DynamicImage, Reason> {
    if !is_whole(bytes) {
        return Err(Reason::Malformed("the JPEG 2000 image ends early".to_owned()));
    }
    let image = Image::new(bytes, &DecodeSettings::default()).map_err(Reason::malformed)?;
    let (width, height) = (image.width(), image.height());
    check_pixels(width, height, limits)?;
    let channels = image.color_space().num_channels();
    let has_alpha = image.has_alpha();
    let mut context = DecoderContext::default();
    let pixels = image.decode(&mut context).map_err(Reason::malformed)?.data_u8();
    let decoded = match (channels, has_alpha) {
        (1, false) => GrayImage::from_raw(width, height, pixels).map(Into::into),
        (1, true) => GrayAlphaImage::from_raw(width, height, pixels).map(Into::into),
        (3, false) => RgbImage::from_raw(width, height, pixels).map(Into::into),
        (3, true) => RgbaImage::from_raw(width, height, pixels).map(Into::into),
        _ => {
            let what = format!("a JPEG 2000 image of {channels} colours; convert it to PNG or JPEG");
            return Err(Reason::Malformed(what));
        }
    };
    decoded.ok_or_else(|| Reason::Malformed("the JPEG 2000 image lacks pixels".to_owned()))
}

/// Whether the end marker comes after the last start of data: no byte above `8f` follows an `ff` in packets (ISO/IEC 15444-1, A.1.2),
/// so what is cut through has none.
fn is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    matches!((last(0x93), last(0xd9)), (Some(data), Some(end)) if end > data)
}
