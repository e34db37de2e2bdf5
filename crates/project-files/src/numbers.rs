//! Numbers as messages and pages show them.

/// A number with `digits` decimals. What is rounded to zero has no sign.
pub fn decimals(value: f64, digits: usize) -> String {
    without_sign_of_zero(format!("{value:.digits$}"))
}

/// A difference with `digits` decimals and its sign, which zero has none of.
pub fn signed(value: f64, digits: usize) -> String {
    without_sign_of_zero(format!("{value:+.digits$}"))
}

fn without_sign_of_zero(shown: String) -> String {
    let plain = shown.trim_start_matches(['+', '-']);
    if plain.bytes().all(|byte| byte == b'0' || byte == b'.') { plain.to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign_and_what_is_none_keeps_its_own() {
        for zero in [0.0, -0.0, 0.0004, -0.0004] {
            assert_eq!(
                (decimals(zero, 3), signed(zero, 3)),
                ("0.000".to_owned(), "0.000".to_owned()),
                "{zero}"
            );
        }
        assert_eq!((decimals(-0.0006, 3), signed(-0.0006, 3)), ("-0.001".to_owned(), "-0.001".to_owned()));
        assert_eq!((decimals(10.0, 0), signed(0.25, 2)), ("10".to_owned(), "+0.25".to_owned()));
        assert_eq!((decimals(-0.4, 0), signed(0.4, 0)), ("0".to_owned(), "0".to_owned()));
        assert_eq!(
            (decimals(f64::NAN, 2), signed(f64::NEG_INFINITY, 2)),
            ("NaN".to_owned(), "-inf".to_owned())
        );
    }
}
