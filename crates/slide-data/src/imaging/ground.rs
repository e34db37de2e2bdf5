//! What transparent images are laid on.

use image::{DynamicImage, RgbImage, RgbaImage};

use super::plane::luma;

const WHITE: [u8; 3] = [255; 3];
const DARK: [u8; 3] = [24; 3];

/// Contrast that the dark ground must have over the white one, as a factor. Pages with transparent corners gain a little by a dark
/// ground, drawings in white gain nearly all.
const MUCH: f64 = 1.5;

/// The image without transparency. Transparent parts lie on white, or on a dark ground where what is drawn is so light that it would
/// not be seen on white.
pub(super) fn flatten(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let on_white = laid_on(&rgba, WHITE);
    if rgba.pixels().all(|pixel| pixel.0[3] == 255) {
        return on_white;
    }
    let on_dark = laid_on(&rgba, DARK);
    if contrast(&on_dark) > MUCH * contrast(&on_white) { on_dark } else { on_white }
}

fn laid_on(image: &RgbaImage, ground: [u8; 3]) -> RgbImage {
    let mut rgb = RgbImage::new(image.width(), image.height());
    for (to, from) in rgb.pixels_mut().zip(image.pixels()) {
        let alpha = u32::from(from.0[3]);
        for ((to, &from), ground) in to.0.iter_mut().zip(&from.0[..3]).zip(ground) {
            *to = ((u32::from(from) * alpha + u32::from(ground) * (255 - alpha) + 127) / 255) as u8;
        }
    }
    rgb
}

/// The sum of the differences in lightness between neighbours in a row: how much there is to be seen.
fn contrast(image: &RgbImage) -> f64 {
    let row = |row: &[u8]| -> f64 {
        let line: Vec<f32> = row.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect();
        line.windows(2).map(|pair| f64::from((pair[1] - pair[0]).abs())).sum()
    };
    image.as_raw().chunks_exact(image.width().max(1) as usize * 3).map(row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    /// Strokes like letters of this colour, on nothing.
    fn drawn(ink: [u8; 4]) -> RgbaImage {
        RgbaImage::from_fn(320, 180, |x, y| {
            let stroke = x % 12 < 4 && y % 30 < 16 && (30..290).contains(&x);
            if stroke { Rgba(ink) } else { Rgba([255, 255, 255, 0]) }
        })
    }

    fn ground(image: RgbaImage) -> [u8; 3] {
        flatten(image.into()).get_pixel(0, 0).0
    }

    #[test]
    fn what_is_drawn_can_be_seen() {
        for ink in [[0, 0, 0, 255], [40, 60, 120, 255], [200, 30, 30, 255], [0, 0, 0, 100]] {
            assert_eq!(ground(drawn(ink)), WHITE, "{ink:?}");
        }
        for ink in [[255, 255, 255, 255], [250, 240, 200, 255], [255, 255, 255, 120]] {
            assert_eq!(ground(drawn(ink)), DARK, "{ink:?}");
        }
    }

    #[test]
    fn white_text_beside_a_small_logo_is_seen() {
        let mut image = drawn([255; 4]);
        (0..20).for_each(|x| (160..176).for_each(|y| image.put_pixel(x, y, Rgba([220, 40, 40, 255]))));
        assert_eq!(flatten(image.into()).get_pixel(319, 0).0, DARK);
    }

    #[test]
    fn a_white_page_with_round_corners_stays_white() {
        let mut image = RgbaImage::from_fn(320, 180, |x, y| {
            let text = x % 12 < 4 && y % 30 < 16 && (30..290).contains(&x);
            Rgba(if text { [20, 20, 40, 255] } else { [255; 4] })
        });
        for (x, y) in [(0, 0), (1, 0), (0, 1), (319, 0), (0, 179), (319, 179)] {
            image.put_pixel(x, y, Rgba([0; 4]));
        }
        assert_eq!(ground(image), WHITE);
    }
}
