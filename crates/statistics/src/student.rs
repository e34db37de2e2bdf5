//! Student's distribution: its tail, and its quantiles for intervals from few groups.

/// The chance that Student's t with `degrees` of freedom, which need not be whole, is above `t`.
///
/// `None` for degrees of freedom that are not positive and finite, and where `t` is no number. Relative error below 2e-9 against scipy's `t.sf`.
pub fn student_tail(t: f64, degrees: f64) -> Option<f64> {
    if t.is_nan() || !(degrees.is_finite() && degrees > 0.0) {
        return None;
    }
    let beyond = Student::new(degrees).tail(t.abs());
    Some(if t >= 0.0 { beyond } else { 1.0 - beyond })
}

/// The quantile `p` of Student's t distribution with `degrees` of freedom, which need not be whole.
///
/// `None` outside `0 < p < 1` and for degrees of freedom that are not positive. From about 10⁸ degrees on it is the normal
/// distribution's. Relative error below 2e-9 against scipy's `t.ppf`.
pub fn student_quantile(p: f64, degrees: f64) -> Option<f64> {
    if !(p > 0.0 && p < 1.0 && degrees > 0.0) {
        return None;
    }
    let tail = p.min(1.0 - p);
    if tail.total_cmp(&0.5).is_eq() {
        return Some(0.0);
    }
    let student = Student::new(degrees);
    let (mut low, mut high) = (0.0, 1.0);
    while student.tail(high) > tail && high < 1e150 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if student.tail(middle) > tail { low = middle } else { high = middle }
    }
    let quantile = f64::midpoint(low, high);
    Some(if p < 0.5 { -quantile } else { quantile })
}

/// The distribution with some degrees of freedom.
struct Student {
    degrees: f64,
    log_beta: f64,
}

impl Student {
    fn new(degrees: f64) -> Self {
        Self { degrees, log_beta: log_beta(degrees / 2.0) }
    }

    /// The chance above `t`, which is not negative: `I_x(degrees / 2, 1 / 2) / 2` with `x = degrees / (degrees + t²)`.
    fn tail(&self, t: f64) -> f64 {
        let square = t * t;
        let whole = self.degrees + square;
        if whole.is_infinite() {
            return 0.0;
        }
        incomplete_beta(self.degrees / 2.0, self.log_beta, self.degrees / whole, square / whole) / 2.0
    }
}

/// The logarithm of the beta function of `a` and one half.
fn log_beta(a: f64) -> f64 {
    const LOG_GAMMA_HALF: f64 = 0.572_364_942_924_700_1; // ln √π
    LOG_GAMMA_HALF - log_gamma_step(a)
}

/// `ln Γ(a + 1/2) − ln Γ(a)`, from Stirling's series after both arguments were raised, so that nothing large cancels.
fn log_gamma_step(a: f64) -> f64 {
    // Γ(a + ½) / Γ(a) = Γ(a + ½ + k) / Γ(a + k) · Π (a + i) / (a + ½ + i).
    let raise = if a < 20.0 { (20.0 - a).ceil() } else { 0.0 };
    let factors: f64 = (0..raise as usize).map(|i| ((a + i as f64) / (a + 0.5 + i as f64)).ln()).sum();
    let b = a + raise;
    // (b + ½ − ½) ln(b + ½) − (b − ½) ln b − ½, with the logarithms' difference by ln_1p; then the series' differences.
    let main = b * (0.5 / b).ln_1p() + 0.5 * b.ln() - 0.5;
    main + stirling(b + 0.5) - stirling(b) + factors
}

/// What Stirling's series adds to `(x − ½) ln x − x + ½ ln 2π` (Abramowitz and Stegun 6.1.41), for `x` from 20.
fn stirling(x: f64) -> f64 {
    let square = 1.0 / (x * x);
    (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x
}

/// The regularized incomplete beta function `I_x(a, 1/2)`, by its continued fraction (DLMF 8.17.22) with Lentz's method.
/// `rest` is `1 − x`, given apart because it may be tiny.
fn incomplete_beta(a: f64, log_beta: f64, x: f64, rest: f64) -> f64 {
    const B: f64 = 0.5;
    if rest <= 0.0 {
        return 1.0;
    }
    let front = (a * log_of(x, rest) + B * rest.ln() - log_beta).exp();
    // The fraction converges fast below this point, beyond it that of the complement does.
    if x < (a + 1.0) / (a + B + 2.0) {
        front * fraction(a, B, x) / a
    } else {
        1.0 - front * fraction(B, a, rest) / B
    }
}

/// `ln x`, exact also where `x` is close to 1.
fn log_of(x: f64, rest: f64) -> f64 {
    if rest < 0.5 { (-rest).ln_1p() } else { x.ln() }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for coefficient in [even, odd] {
            d = 1.0 / guard(1.0 + coefficient * d);
            c = guard(1.0 + coefficient / c);
            result *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.t.ppf`; `tests/reference/make_student.py` writes this table.
    #[test]
    fn quantiles_are_those_of_scipy() {
        let reference: Vec<[f64; 3]> =
            serde_json::from_str(include_str!("../tests/reference/student.json")).unwrap();
        assert!(reference.len() > 100);
        for [p, degrees, expected] in reference {
            let found = student_quantile(p, degrees).unwrap();
            assert!(
                (found - expected).abs() <= 2e-9 * expected.abs().max(1e-3),
                "p {p}, {degrees} degrees: {found}, scipy {expected}"
            );
        }
    }

    /// `scipy.stats.t.sf`; `tests/reference/make_student.py` writes this table.
    #[test]
    fn tails_are_those_of_scipy() {
        let reference: Vec<[f64; 3]> =
            serde_json::from_str(include_str!("../tests/reference/student_tail.json")).unwrap();
        assert!(reference.len() > 100);
        for [t, degrees, expected] in reference {
            let found = student_tail(t, degrees).unwrap();
            assert!(
                (found - expected).abs() <= 2e-9 * expected,
                "t {t}, {degrees} degrees: {found:e}, scipy {expected:e}"
            );
        }
    }

    #[test]
    fn a_tail_is_a_chance_or_none() {
        for (t, degrees) in [(f64::NAN, 3.0), (1.0, 0.0), (1.0, -2.0), (1.0, f64::NAN)] {
            assert_eq!(student_tail(t, degrees), None, "{t} {degrees}");
        }
        assert_eq!(student_tail(f64::INFINITY, 3.0), Some(0.0));
        assert_eq!(student_tail(f64::NEG_INFINITY, 3.0), Some(1.0));
        assert_eq!(student_tail(0.0, 3.0), Some(0.5));
    }

    #[test]
    fn what_has_no_quantile_is_none() {
        for (p, degrees) in
            [(0.0, 3.0), (1.0, 3.0), (-0.1, 3.0), (f64::NAN, 3.0), (0.9, 0.0), (0.9, -1.0), (0.9, f64::NAN)]
        {
            assert_eq!(student_quantile(p, degrees), None, "{p} {degrees}");
        }
        assert_eq!(student_quantile(0.5, 4.0), Some(0.0));
    }
}
