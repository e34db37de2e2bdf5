use std::fmt::Write as _;

use minijinja::{AutoEscape, Environment, HtmlEscape, Value, context};

use crate::compare::deviations;
use crate::{DriftReport, DriftStatus, FeatureDrift, Result};

/// `latest_drift.html`: the finding first, then each feature with its statistics and distribution functions; one
/// self-contained file.
///
/// # Errors
/// When the template fails, which no input should cause.
pub fn render_drift_report(report: &DriftReport) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("drift.html", include_str!("../templates/drift.html"))?;
    let (class, finding) = match report.status {
        DriftStatus::Stable if report.features.iter().any(|feature| feature.drifted) => {
            ("stable", "Some features changed, not enough to count as drift")
        }
        DriftStatus::Stable => ("stable", "No drift seen"),
        DriftStatus::Drifted => ("drifted", "Drift: recent slides differ from those of training"),
        DriftStatus::Insufficient => ("insufficient", "Too little data to tell"),
    };
    let page = environment.get_template("drift.html")?.render(context! {
        class => class,
        finding => finding,
        score => number(report.drift_score, 2),
        threshold => number(Some(report.threshold), 2),
        bar => number(report.drift_score.map(|score| 100.0 * score), 1),
        mark => number(Some(100.0 * report.threshold), 1),
        has_score => report.drift_score.is_some(),
        reasons => report.reasons,
        sizes => report.sizes,
        model_version => report.model_version,
        created_at => report.created_at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        alpha => number(Some(report.alpha), 2),
        power_shift => deviations(report.power_shift),
        features => report.features.iter().map(row).collect::<Vec<_>>(),
        inputs => report.inputs.iter().collect::<Vec<_>>(),
    })?;
    Ok(page)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// Three significant digits: features have very different units.
fn significant(value: f64) -> String {
    let digits = 2 - value.abs().max(1e-9).log10().floor() as i64;
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

fn row(feature: &FeatureDrift) -> Value {
    context! {
        name => feature.name,
        drifted => feature.drifted,
        reference_mean => significant(feature.reference_mean),
        recent_mean => significant(feature.recent_mean),
        psi => number(Some(feature.psi), 2),
        js => number(Some(feature.js_divergence), 3),
        ks => number(Some(feature.ks), 2),
        wasserstein => significant(feature.wasserstein),
        p => number(Some(feature.p_value), 3),
        adjusted => number(Some(feature.adjusted_p_value), 3),
        power => feature.power.map_or_else(|| "–".to_owned(), |power| format!("{:.0} %", 100.0 * power)),
        strength => number(Some(feature.strength), 2),
        sizes => format!("{} / {}", feature.reference_slides, feature.recent_slides),
        plot => plot(feature),
    }
}

/// Both distribution functions: the share of slides (upwards) below each value (to the right).
fn plot(feature: &FeatureDrift) -> Value {
    const WIDE: f64 = 250.0;
    const HIGH: f64 = 110.0;
    let all = || feature.quantiles.iter().flatten().copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let span = if high > low { high - low } else { 1.0 };
    let label = format!(
        "{}: mean {} in training, {} recently",
        feature.name,
        significant(feature.reference_mean),
        significant(feature.recent_mean)
    );
    let mut svg = format!(
        r#"<svg viewBox="0 0 270 140" role="img" aria-label="{}"><rect class="frame" x="10" y="8" width="{WIDE}" height="{HIGH}"/>"#,
        HtmlEscape(&label)
    );
    for (quantiles, class) in feature.quantiles.iter().zip(["reference", "recent"]) {
        let last = quantiles.len().saturating_sub(1).max(1) as f64;
        let mut path = String::new();
        for (index, value) in quantiles.iter().enumerate() {
            let (x, y) = (10.0 + WIDE * (value - low) / span, 8.0 + HIGH * (1.0 - index as f64 / last));
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
        }
        let _ = write!(svg, r#"<path class="{class}" d="{path}"/>"#);
    }
    let _ = write!(
        svg,
        r#"<text x="10" y="134">{}</text><text x="260" y="134" text-anchor="end">{}</text></svg>"#,
        significant(low),
        significant(high)
    );
    Value::from_safe_string(svg)
}
