use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::imaging::steepness;

/// How many times as steep the edges of the sharper copy are. Scaling down costs less, scaling up by half costs more.
const SHARPER: f64 = 1.4;
/// How many times as many pixels the larger copy has.
const LARGER: f64 = 1.2;

/// Whether of two copies of a slide the newer one is the sharper, both seen at the size of the smaller; or, where neither is, clearly
/// the larger. A copy that was scaled up is larger and not sharper.
pub(super) fn is_better(newer: &RgbImage, older: &RgbImage) -> bool {
    let area = |image: &RgbImage| f64::from(image.width()) * f64::from(image.height());
    let size = if area(newer) < area(older) { newer.dimensions() } else { older.dimensions() };
    let at_size = |image: &RgbImage| {
        if image.dimensions() == size {
            return steepness(image);
        }
        steepness(&resize(image, size.0, size.1, FilterType::Triangle))
    };
    match (at_size(newer), at_size(older)) {
        (Some(newer), Some(older)) if newer > SHARPER * older => true,
        (Some(newer), Some(older)) if older > SHARPER * newer => false,
        _ => area(newer) > LARGER * area(older),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use image::imageops::blur;

    /// Dark bars on white in rows, like lines of text.
    fn page() -> RgbImage {
        RgbImage::from_fn(1280, 720, |x, y| {
            let text = (100..1180).contains(&x) && (100..620).contains(&y) && y % 40 < 18 && (x / 9) % 3 != 0;
            if text { Rgb([25, 30, 40]) } else { Rgb([255; 3]) }
        })
    }

    fn scaled(image: &RgbImage, width: u32, height: u32) -> RgbImage {
        resize(image, width, height, FilterType::CatmullRom)
    }

    #[test]
    fn the_larger_copy_is_better_unless_it_was_scaled_up_or_blurred() {
        let page = page();
        let small = scaled(&page, 640, 360);
        assert!(is_better(&page, &small) && !is_better(&small, &page));
        assert!(!is_better(&page, &page) && !is_better(&page.clone(), &page));
        let upscaled = scaled(&small, 1920, 1080);
        assert!(is_better(&page, &upscaled) && !is_better(&upscaled, &page));
        let soft = blur(&page, 2.5);
        assert!(is_better(&page, &soft) && !is_better(&soft, &page));
        let hardly_larger = scaled(&page, 1320, 742);
        assert!(!is_better(&hardly_larger, &page), "scaled up a little is scaled up");
        let hardly_smaller = scaled(&page, 1240, 698);
        assert!(!is_better(&hardly_smaller, &page));
    }
}
