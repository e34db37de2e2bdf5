//! Numbers as the pages show them.

use project_files::decimals;

/// What stands where a number is not defined.
const NONE: &str = "–";

/// A number with `digits` decimals, or a dash where it is undefined.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    let finite = value.filter(|value| value.is_finite());
    finite.map_or_else(|| NONE.to_owned(), |value| decimals(value, digits))
}

/// A share in percent, or a dash where it is undefined.
#[cfg(any(feature = "drift", feature = "validation"))]
pub(crate) fn percent(value: Option<f64>) -> String {
    let finite = value.filter(|value| value.is_finite());
    finite.map_or_else(|| NONE.to_owned(), |value| format!("{} %", decimals(100.0 * value, 0)))
}

/// Three significant digits: features have very different units.
#[cfg(feature = "drift")]
pub(crate) fn significant(value: f64) -> String {
    let digits = 2 - value.abs().max(1e-9).log10().floor() as i64;
    decimals(value, digits.clamp(0, 6) as usize)
}

/// A p-value; one that three decimals cannot show is no 0.
#[cfg(feature = "drift")]
pub(crate) fn chance(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { number(Some(p), 3) }
}

/// Day and time in UTC, to the minute.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_defined_is_a_dash() {
        assert_eq!((number(Some(1.25), 1), number(None, 2), number(Some(f64::NAN), 2)), own("1.2", "–", "–"));
        assert_eq!(
            (number(Some(-0.001), 2), percent(Some(-0.0)), significant(-1e-9)),
            own("0.00", "0 %", "0.000000")
        );
        assert_eq!((percent(Some(0.5)), percent(None), percent(Some(f64::INFINITY))), own("50 %", "–", "–"));
    }

    #[test]
    fn three_digits_are_significant() {
        assert_eq!(
            (significant(0.012_345), significant(1.0), significant(12_345.6)),
            own("0.0123", "1.00", "12346")
        );
        assert_eq!(
            (significant(0.0), significant(-0.5), significant(1e-12)),
            own("0.000000", "-0.500", "0.000000")
        );
    }

    #[test]
    fn a_chance_is_never_nothing() {
        assert_eq!((chance(0.000_02), chance(0.001), chance(f64::NAN)), own("< 0.001", "0.001", "–"));
    }

    fn own(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.to_owned(), b.to_owned(), c.to_owned())
    }
}
