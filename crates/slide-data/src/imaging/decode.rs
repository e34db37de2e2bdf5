use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader, RgbImage, imageops};
use sha2::{Digest, Sha256};

use crate::{Limits, Reason};

/// Decodes an image of any known format to RGB: by its content, not its name; upright as EXIF says; the first frame of a GIF;
/// transparent parts on white; reduced to [`Limits::max_edge`].
///
/// # Errors
/// When the bytes are no image, declare more pixels than allowed, or end early.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, Reason> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(Reason::malformed)?;
    let format = reader.format().ok_or(Reason::Unknown)?;
    if format == image::ImageFormat::Jpeg && !ends_like_jpeg(bytes) {
        return Err(Reason::Malformed("the JPEG ends early".to_owned()));
    }
    let mut decoder = reader.into_decoder().map_err(Reason::malformed)?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, limits)?;
    let mut budget = image::Limits::default();
    budget.max_alloc = Some(limits.max_pixels.saturating_mul(16));
    decoder.set_limits(budget).map_err(Reason::malformed)?;
    let orientation = decoder.orientation().map_err(Reason::malformed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(Reason::malformed)?;
    image.apply_orientation(orientation);
    Ok(reduce(flatten(image), limits.max_edge))
}

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

/// Within the entropy-coded data of a JPEG `FF` is stuffed, so the last end marker must come after the last start of scan.
fn ends_like_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    matches!((last(0xd9), last(0xda)), (Some(end), Some(scan)) if end > scan)
}

fn flatten(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [r, g, b, a] = from.0.map(u32::from);
        to.0 = [r, g, b].map(|channel| ((channel * a + 255 * (255 - a) + 127) / 255) as u8);
    }
    rgb
}

fn reduce(image: RgbImage, max_edge: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    if longest <= max_edge {
        return image;
    }
    let scaled = |edge: u32| (u64::from(edge) * u64::from(max_edge) / u64::from(longest)).max(1) as u32;
    imageops::resize(&image, scaled(width), scaled(height), imageops::FilterType::Triangle)
}

/// The SHA-256 of an image's width and height (32-bit little-endian) and RGB bytes, in hexadecimal digits: equal for equal
/// pixels, whatever file they came from.
pub fn pixels_sha256(image: &RgbImage) -> String {
    let mut hasher = Sha256::new();
    hasher.update(image.width().to_le_bytes());
    hasher.update(image.height().to_le_bytes());
    hasher.update(image.as_raw());
    durable_files::hex(&hasher.finalize())
}

/// Encodes an image as PNG.
///
/// # Errors
/// When the image is too large for the format.
pub fn encode_png(image: &RgbImage) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(Reason::malformed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgb, Rgba, RgbaImage};

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn sample() -> RgbImage {
        RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, if x > y { 200 } else { 20 }]))
    }

    #[test]
    fn lossless_formats_give_equal_pixels() {
        let wanted = pixels_sha256(&sample());
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            let image = decode(&encoded(&sample(), format), &Limits::default()).unwrap();
            assert_eq!(pixels_sha256(&image), wanted, "{format:?}");
        }
    }

    #[test]
    fn a_transparent_image_lies_on_white() {
        let mut bytes = Cursor::new(Vec::new());
        RgbaImage::from_pixel(2, 2, Rgba([0, 0, 0, 127])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        let image = decode(&bytes.into_inner(), &Limits::default()).unwrap();
        assert_eq!(image.get_pixel(0, 0).0, [128, 128, 128]);
    }

    #[test]
    fn exif_turns_an_image_upright() {
        let plain = encoded(&sample(), ImageFormat::Jpeg);
        // A minimal EXIF block whose one entry is orientation 6 (turn right by 90°), placed after the start marker.
        let mut tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let length = (tiff.len() + 2) as u16;
        let mut bytes = plain[..2].to_vec();
        bytes.extend([0xff, 0xe1]);
        bytes.extend(length.to_be_bytes());
        bytes.append(&mut tiff);
        bytes.extend(&plain[2..]);
        let image = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!(image.dimensions(), (30, 40));
    }

    #[test]
    fn truncated_and_mislabelled_bytes_are_refused() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp] {
            let bytes = encoded(&sample(), format);
            let half = &bytes[..bytes.len() / 2];
            assert!(decode(half, &Limits::default()).is_err(), "{format:?}");
        }
        assert!(matches!(decode(b"<html>not an image</html>", &Limits::default()), Err(Reason::Unknown)));
    }

    #[test]
    fn a_claim_of_60000_by_60000_pixels_is_refused_before_it_is_read() {
        let mut bytes = encoded(&sample(), ImageFormat::Bmp);
        bytes[18..22].copy_from_slice(&60_000u32.to_le_bytes());
        bytes[22..26].copy_from_slice(&60_000u32.to_le_bytes());
        let refused = decode(&bytes, &Limits::default()).unwrap_err();
        assert!(matches!(&refused, Reason::TooLarge { .. }), "{refused}");
    }

    #[test]
    fn a_large_image_is_reduced_to_the_longest_edge() {
        let limits = Limits { max_edge: 64, ..Limits::default() };
        let wide = RgbImage::from_pixel(256, 64, Rgb([9, 9, 9]));
        assert_eq!(decode(&encoded(&wide, ImageFormat::Png), &limits).unwrap().dimensions(), (64, 16));
    }

    #[test]
    fn png_keeps_every_pixel() {
        let again = decode(&encode_png(&sample()).unwrap(), &Limits::default()).unwrap();
        assert_eq!(again, sample());
    }
}
