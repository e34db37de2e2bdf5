use std::fmt::Write as _;

use base64::Engine as _;
use minijinja::{AutoEscape, Environment, HtmlEscape, Value};
use slide_data::Score;

use crate::{CalibrationBin, Result};

/// How an image's bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
}

/// An encoded image; it goes into the page as a data URI, so keep it small (640 pixels wide is plenty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// How the bytes are encoded.
    pub media_type: MediaType,
    /// The encoded bytes.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Safe as it is: a fixed media type and the letters of base64. Escaping would turn each `/` into six characters.
    pub(crate) fn data_uri(&self) -> Value {
        let media_type = match self.media_type {
            MediaType::Jpeg => "image/jpeg",
            MediaType::Png => "image/png",
        };
        let bytes = base64::engine::general_purpose::STANDARD.encode(&self.bytes);
        Value::from_safe_string(format!("data:{media_type};base64,{bytes}"))
    }
}

/// Renders one of this crate's templates; every value is escaped unless it was built here as SVG.
pub(crate) fn render(name: &'static str, context: Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("style.css", include_str!("../templates/style.css"))?;
    environment.add_template("page.html", include_str!("../templates/page.html"))?;
    environment.add_template("report.html", include_str!("../templates/report.html"))?;
    environment.add_template("deck_report.html", include_str!("../templates/deck_report.html"))?;
    Ok(environment.get_template(name)?.render(context)?)
}

/// A number with `digits` decimals, or a dash where it is undefined.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// A share in percent, or a dash where it is undefined.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| "–".to_owned(), |value| format!("{:.0} %", 100.0 * value))
}

/// A reliability diagram: confidence to the right, accuracy upwards, area of a dot ~ ratings in its bin.
pub(crate) fn calibration_svg(bins: &[CalibrationBin], label: &str) -> Value {
    const SIDE: f64 = 180.0;
    let largest = bins.iter().map(|bin| bin.count).max().unwrap_or(1) as f64;
    let at = |x: f64, y: f64| (24.0 + x * SIDE, 8.0 + (1.0 - y) * SIDE);
    let mut svg = format!(
        r#"<svg viewBox="0 0 212 216" role="img" aria-label="{}"><rect class="frame" x="24" y="8" width="180" height="180"/><path class="ideal" d="M24 188L204 8"/>"#,
        HtmlEscape(label)
    );
    let mut line = String::new();
    let mut dots = String::new();
    for bin in bins {
        let (x, y) = at(bin.confidence, bin.accuracy);
        let radius = 2.5 + 5.5 * (bin.count as f64 / largest).sqrt();
        let _ = write!(line, "{}{x:.1} {y:.1}", if line.is_empty() { 'M' } else { 'L' });
        let _ = write!(
            dots,
            r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"><title>{} ratings: confidence {:.2}, right {:.2}</title></circle>"#,
            bin.count, bin.confidence, bin.accuracy
        );
    }
    let _ = write!(svg, r#"<path class="curve" d="{line}"/>{dots}"#);
    svg.push_str(
        r#"<text x="24" y="202" text-anchor="middle">0</text><text x="204" y="202" text-anchor="middle">1</text><text x="114" y="204" text-anchor="middle">confidence</text><text x="18" y="192" text-anchor="end">0</text><text x="18" y="14" text-anchor="end">1</text><text transform="translate(14 98) rotate(-90)" text-anchor="middle">right</text></svg>"#,
    );
    Value::from_safe_string(svg)
}

/// How often the score was off by -4 … +4 points.
pub(crate) fn histogram_svg(errors: &[usize; 9], label: &str) -> Value {
    let largest = errors.iter().copied().max().unwrap_or(0).max(1) as f64;
    let mut svg = format!(r#"<svg viewBox="0 0 486 190" role="img" aria-label="{}">"#, HtmlEscape(label));
    for (index, &count) in errors.iter().enumerate() {
        let points = index as i64 - 4;
        let height = 130.0 * count as f64 / largest;
        let (x, y) = (index as f64 * 54.0 + 4.0, 154.0 - height);
        let class = match points.abs() {
            0 => "good",
            1 => "fair",
            _ => "weak",
        };
        let _ = write!(
            svg,
            r#"<rect class="bar {class}" x="{x}" y="{y:.1}" width="46" height="{height:.1}" rx="3"/><text x="{mid}" y="{above:.1}" text-anchor="middle">{count}</text><text x="{mid}" y="174" text-anchor="middle">{sign}{}</text>"#,
            points.abs(),
            mid = x + 23.0,
            above = y - 5.0,
            sign = match points.signum() {
                -1 => "−",
                1 => "+",
                _ => "",
            },
        );
    }
    svg.push_str("</svg>");
    Value::from_safe_string(svg)
}

/// Five small columns, the probabilities of 1 to 5.
pub(crate) fn sparkline_svg(distribution: &[f64; Score::LEVELS]) -> Value {
    let mut svg = String::from(r#"<svg class="spark" viewBox="0 0 54 22" aria-hidden="true">"#);
    for (index, p) in distribution.iter().enumerate() {
        let height = (20.0 * p).clamp(0.6, 20.0);
        let (x, y) = (index * 11, 21.0 - height);
        let _ = write!(svg, r#"<rect x="{x}" y="{y:.1}" width="9" height="{height:.1}" rx="1"/>"#);
    }
    svg.push_str("</svg>");
    Value::from_safe_string(svg)
}
