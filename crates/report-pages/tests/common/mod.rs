//! Drawn slides and their predictions, and what every page must be.
#![allow(dead_code, reason = "not every test program needs all of it")]

use report_pages::{Image, MediaType};
use slide_data::{Prediction, Rubric};

pub(crate) const HOSTILE: &str = "<script>alert('x')</script> & \"Söhne\"";

/// A drawn slide: title bar, text lines and columns, told apart by `seed`.
pub(crate) fn image(seed: usize) -> Image {
    let bar =
        |x: usize, h: usize| format!("<rect x='{x}' y='{}' width='60' height='{h}' fill='#4a7'/>", 320 - h);
    let bars: String = (0..4).map(|i| bar(60 + 90 * i, 40 + (seed * 37 + i * 53) % 160)).collect();
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='640' height='360'><rect width='640' height='360' fill='#fff'/><rect x='40' y='30' width='{}' height='28' fill='#235'/>{bars}</svg>",
        200 + (seed * 71) % 350
    );
    Image { media_type: MediaType::Png, bytes: svg.into_bytes() }
}

pub(crate) fn distribution(center: f64, sharpness: f64) -> [f64; 5] {
    let raw: [f64; 5] = std::array::from_fn(|i| (-sharpness * (i as f64 + 1.0 - center).powi(2)).exp());
    let total: f64 = raw.iter().sum();
    raw.map(|p| p / total)
}

pub(crate) fn prediction(slide_id: &str, index: usize, shift: f64) -> Prediction {
    let rubric = Rubric::default();
    let center = |c: usize| 1.0 + ((index * 7 + c * 3) % 41) as f64 / 10.0 + shift;
    let distributions = rubric.keys().zip(0..).map(|(key, c)| {
        (key.to_owned(), distribution(center(c).clamp(1.0, 5.0), 0.4 + 0.3 * (index % 4) as f64))
    });
    Prediction { distributions: distributions.collect(), ..Prediction::sample(slide_id) }
}

/// With `REPORT_PAGES=<folder>` the pages are also written there, to be looked at.
pub(crate) fn keep(name: &str, page: &str) {
    if let Some(folder) = std::env::var_os("REPORT_PAGES") {
        std::fs::write(
            std::path::Path::new(&folder).join(name),
            page.replace("data:image/png", "data:image/svg+xml"),
        )
        .expect("the folder can be written");
    }
}

/// One file: nothing is fetched, nothing runs, no template is left.
pub(crate) fn assert_self_contained(page: &str) {
    for forbidden in ["<script", "http://", "https://", "{{", "{%", "NaN", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    let mut landmarks = landmarks(page);
    landmarks.sort_unstable();
    for pair in landmarks.windows(2) {
        assert!(pair[0] != pair[1], "two landmarks are called the same: {}", pair[0]);
    }
}

/// What names each landmark of a page for screen readers, the attribute with its value.
fn landmarks(page: &str) -> Vec<&str> {
    let tags = page.split('<').map(|rest| rest.split('>').next().unwrap_or_default());
    let named = tags.filter(|tag| tag.starts_with("section") || tag.contains(r#"role="region""#));
    named
        .filter_map(|tag| {
            let start = tag.find("aria-label")?;
            tag[start..].match_indices('"').nth(1).map(|(end, _)| &tag[start..start + end])
        })
        .collect()
}
