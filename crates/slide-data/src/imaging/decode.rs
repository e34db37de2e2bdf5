use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbImage, imageops,
};
use sha2::{Digest, Sha256};

use super::jpeg2000::is_jpeg2000;
use super::size::check_pixels;
#[cfg(feature = "render")]
use super::tiff;
use super::{ground, jpeg, jpeg2000};
use crate::{Limits, Reason};

/// Decodes an image of any known format to RGB: by its content, not its name; upright as EXIF says; the first frame of a GIF and the
/// first page of a TIFF; transparent parts on white, or on a dark ground where they would not be seen on white; reduced to
/// [`Limits::max_edge`]. What follows a JPEG plays no part, and its end marker may be missing.
///
/// # Errors
/// When the bytes are no image, declare more pixels than allowed, or end early.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, Reason> {
    if is_jpeg2000(bytes) {
        return Ok(finish(jpeg2000::decode(bytes, limits)?, limits));
    }
    let format = format(bytes)?;
    let (width, height) = decoder(bytes, format)?.dimensions();
    check_pixels(width, height, limits)?;
    let whole = match format {
        ImageFormat::Jpeg => whole_jpeg(bytes)?,
        _ => Cow::Borrowed(bytes),
    };
    let mut decoder = decoder(&whole, format)?;
    let mut budget = image::Limits::default();
    budget.max_alloc = Some(limits.max_pixels.saturating_mul(16));
    decoder.set_limits(budget).map_err(Reason::malformed)?;
    let orientation = decoder.orientation().map_err(Reason::malformed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(Reason::malformed)?;
    image.apply_orientation(orientation);
    Ok(finish(image, limits))
}

/// Decodes every page of an image, of which only a TIFF has several: each is handed to `page` with how many there are, until that
/// returns false.
///
/// # Errors
/// When there are more than [`Limits::max_pages`]; pages that cannot be read are handed on as such.
#[cfg(feature = "render")]
pub(crate) fn decode_pages(
    bytes: &[u8],
    limits: &Limits,
    mut page: impl FnMut(usize, Result<RgbImage, Reason>) -> bool,
) -> Result<(), Reason> {
    let pages = tiff::pages(bytes, limits.max_pages.saturating_add(1));
    if pages.len() > limits.max_pages {
        let what = format!("more than {} pages", limits.max_pages);
        return Err(Reason::TooLarge { what, key: "max_pages", limit: limits.max_pages as u64 });
    }
    if pages.len() < 2 {
        page(1, decode(bytes, limits));
        return Ok(());
    }
    let mut single = bytes.to_vec();
    for &place in &pages {
        tiff::select(&mut single, place);
        if !page(pages.len(), decode(&single, limits)) {
            break;
        }
    }
    Ok(())
}

fn format(bytes: &[u8]) -> Result<ImageFormat, Reason> {
    // `BigTIFF`, whose signature is not among those that are guessed.
    if [b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic)) {
        return Ok(ImageFormat::Tiff);
    }
    image::guess_format(bytes).map_err(|_| Reason::Unknown)
}

fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_, Reason> {
    ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(Reason::malformed)
}

/// The JPEG at the beginning of the bytes.
fn whole_jpeg(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Reason> {
    match jpeg::image_length(bytes) {
        Some(length) => Ok(Cow::Borrowed(&bytes[..length])),
        None => jpeg::completed(bytes).map(Cow::Owned),
    }
}

fn finish(image: DynamicImage, limits: &Limits) -> RgbImage {
    reduce(ground::flatten(image), limits.max_edge)
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

/// An image as JPEG, made smaller where its longest edge is longer; for pages.
///
/// # Errors
/// When the image is too large for the format.
pub fn thumbnail(image: &RgbImage, longest_edge: u32) -> Result<Vec<u8>, Reason> {
    let image = DynamicImage::ImageRgb8(image.clone());
    let small = if image.width().max(image.height()) > longest_edge {
        image.resize(longest_edge, longest_edge, imageops::FilterType::Triangle)
    } else {
        image
    };
    let mut bytes = Cursor::new(Vec::new());
    small.write_to(&mut bytes, ImageFormat::Jpeg).map_err(Reason::malformed)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, Rgba, RgbaImage};

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
