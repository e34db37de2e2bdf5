use std::collections::BTreeMap;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::border::strokes_at_border;
use super::features::{reduced, surface};
use super::handout::small_slides;
use super::plane::luma;

/// When a slide is flagged. A flag never deletes anything; `exclude` says which flags keep a slide out of labelling and training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QualityThresholds {
    /// Flags that exclude a slide.
    pub exclude: Vec<String>,
    /// `blank`: at least this share of the pixels is background.
    pub blank: f64,
    /// `nearly_blank`: at least this share of the cells of a 32 × 18 grid is empty.
    pub nearly_blank: f64,
    /// `too_small`: the shorter edge is below this many pixels.
    pub too_small: u32,
    /// `extreme_shape`: the longer edge is more than this many times the shorter one.
    pub extreme_shape: f64,
    /// `blurred`: edges are less steep than this share of their height a pixel.
    pub blurred: f64,
    /// `cut_off`: at least this many short strokes run out of one side.
    pub cut_off: u32,
    /// `photograph`: at least this share of the pixels lies in texture and none in a plain background.
    pub photograph: f64,
}

impl Default for QualityThresholds {
    fn default() -> Self {
        Self {
            exclude: [
                "blank",
                "nearly_blank",
                "too_small",
                "extreme_shape",
                "handout",
                "fonts_missing",
                "images_missing",
                "text_moved",
                "build_step",
            ]
            .map(str::to_owned)
            .to_vec(),
            blank: 0.9995,
            nearly_blank: 0.985,
            too_small: 320,
            extreme_shape: 2.6,
            blurred: 0.25,
            cut_off: 2,
            photograph: 0.6,
        }
    }
}

/// The names of all flags. The last seven are raised while a document is read: fonts that were not there, so that letters are lost or
/// lines may break elsewhere; fonts whose letters stand in their places in another shape; fonts that could not be read from the
/// original; images that could not be decoded; text that left a box which holds all of it in the program that made the original;
/// text that leaves another box, or the page; slides that the next page completes.
pub(crate) const FLAGS: [&str; 15] = [
    "blank",
    "nearly_blank",
    "too_small",
    "extreme_shape",
    "blurred",
    "cut_off",
    "photograph",
    "handout",
    "fonts_missing",
    "fonts_substituted",
    "fonts_unknown",
    "images_missing",
    "text_moved",
    "text_overflows",
    "build_step",
];

impl QualityThresholds {
    /// Checks that `exclude` names flags.
    ///
    /// # Errors
    /// Names the first that is none.
    pub fn validate(&self) -> crate::Result<()> {
        match self.exclude.iter().find(|flag| !FLAGS.contains(&flag.as_str())) {
            Some(unknown) => Err(crate::Error::Domain {
                key: "quality.exclude".to_owned(),
                expected: format!("some of {}", FLAGS.join(", ")),
                actual: unknown.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether these flags keep a slide out.
    pub fn excludes(&self, flags: &BTreeMap<String, f64>) -> bool {
        self.exclude.iter().any(|flag| flags.contains_key(flag))
    }
}

/// Flags that are measured from the pixels.
#[cfg(feature = "collect")]
pub(crate) const MEASURED: [&str; 8] =
    ["blank", "nearly_blank", "too_small", "extreme_shape", "blurred", "cut_off", "photograph", "handout"];

/// What is wrong with a slide: flags with the measurement that raised each; empty for a good slide.
pub fn quality_flags(image: &RgbImage, thresholds: &QualityThresholds) -> BTreeMap<String, f64> {
    let features = surface(image);
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let mut flags = BTreeMap::new();
    let mut flag = |name: &str, raised: bool, value: f64| {
        if raised {
            flags.insert(name.to_owned(), value);
        }
    };
    let plain = 1.0 - features["ink_share"];
    let blank = plain >= thresholds.blank;
    flag("blank", blank, plain);
    let empty = features["whitespace_share"];
    flag("nearly_blank", !blank && empty >= thresholds.nearly_blank, empty);
    let shorter = width.min(height);
    flag("too_small", shorter < f64::from(thresholds.too_small), shorter);
    let shape = width.max(height) / shorter;
    flag("extreme_shape", shape > thresholds.extreme_shape, shape);
    if blank {
        return flags;
    }
    let shown = small_slides(image);
    flag("handout", shown > 0, f64::from(shown));
    if let Some(steepness) = steepness(image) {
        flag("blurred", steepness < thresholds.blurred, steepness);
    }
    let strokes = strokes_at_border(image);
    flag("cut_off", strokes >= thresholds.cut_off, f64::from(strokes));
    let texture = texture_share(image);
    flag("photograph", texture >= thresholds.photograph && plain < 0.35, texture);
    flags
}

/// How much of an edge's height the steepest pixel takes: the median over edges of at least 48 grey levels within 13
/// pixels, along every fourth row. Sharp text has about 0.5 to 1; a blur of standard deviation 2 pixels leaves 0.2.
pub(crate) fn steepness(image: &RgbImage) -> Option<f64> {
    const REACH: usize = 13;
    let mut steps = Vec::new();
    for row in image.as_raw().chunks_exact(image.width() as usize * 3).step_by(4) {
        let line: Vec<f32> = row.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect();
        for window in line.windows(REACH).step_by(REACH) {
            let (low, high) = window.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            if high - low < 48.0 {
                continue;
            }
            let steepest = window.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            steps.push(steepest / (high - low));
        }
    }
    if steps.len() < 100 {
        return None;
    }
    let at = steps.len() / 2;
    let (_, value, _) = steps.select_nth_unstable_by(at, f32::total_cmp);
    Some(f64::from(*value))
}

/// Share of the pixels whose right or lower neighbour differs by more than two levels, on the copy that features are taken from.
fn texture_share(image: &RgbImage) -> f64 {
    let small = reduced(image);
    let (width, height) = small.dimensions();
    if width < 2 || height < 2 {
        return 0.0;
    }
    let mut textured = 0u64;
    for y in 0..height - 1 {
        for x in 0..width - 1 {
            let here = luma(small.get_pixel(x, y).0);
            let right = luma(small.get_pixel(x + 1, y).0);
            let below = luma(small.get_pixel(x, y + 1).0);
            textured += u64::from((here - right).abs().max((here - below).abs()) > 2.0);
        }
    }
    textured as f64 / (f64::from(width - 1) * f64::from(height - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, imageops};

    /// Dark bars on white in rows, like lines of text, starting at `left`.
    fn page(left: u32) -> RgbImage {
        RgbImage::from_fn(1280, 720, |x, y| {
            let text = x >= left && x < 1180 && y > 100 && y < 620 && y % 40 < 18 && (x / 7 + 1) % 3 != 0;
            if text { Rgb([25, 30, 40]) } else { Rgb([255; 3]) }
        })
    }

    fn flags(image: &RgbImage) -> Vec<String> {
        quality_flags(image, &QualityThresholds::default()).into_keys().collect()
    }

    #[test]
    fn a_good_slide_has_no_flag() {
        assert_eq!(flags(&page(100)), Vec::<String>::new());
    }

    #[test]
    fn each_fault_raises_its_flag() {
        let photo = RgbImage::from_fn(1280, 720, |x, y| {
            let grain =
                (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663)).wrapping_mul(2_654_435_761) >> 27;
            let wave =
                110.0 + 60.0 * (x as f32 / 90.0).sin() + 40.0 * (y as f32 / 50.0 + x as f32 / 140.0).sin();
            Rgb([(wave as u32 + grain) as u8, (wave as u32 / 2 + grain) as u8, 90])
        });
        let mut dot = RgbImage::from_pixel(1280, 720, Rgb([255; 3]));
        (600..640).for_each(|x| (300..320).for_each(|y| dot.put_pixel(x, y, Rgb([0; 3]))));
        let cases = [
            ("blank", RgbImage::from_pixel(1280, 720, Rgb([250, 250, 255]))),
            ("nearly_blank", dot),
            ("too_small", imageops::thumbnail(&page(100), 320, 180)),
            ("extreme_shape", imageops::crop_imm(&page(100), 0, 100, 1280, 400).to_image()),
            ("blurred", imageops::blur(&page(100), 4.0)),
            ("cut_off", page(0)),
            ("photograph", photo),
        ];
        for (flag, image) in cases {
            assert!(flags(&image).contains(&flag.to_owned()), "{flag}: {:?}", flags(&image));
        }
    }

    #[test]
    fn an_unknown_rule_is_refused_by_name() {
        let thresholds = QualityThresholds { exclude: vec!["blankish".to_owned()], ..Default::default() };
        assert!(thresholds.validate().unwrap_err().to_string().contains("blankish"));
    }
}
