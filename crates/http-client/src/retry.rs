use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;

/// How often and how long a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles with each further one.
    pub base: Duration,
    /// The longest wait that we choose ourselves. One that the service asks for may be longer.
    pub max: Duration,
    /// No attempt begins later than this after the first one.
    pub budget: Duration,
    /// The share of a wait that is random, from 0 to 1, so that clients do not come back all at once.
    pub jitter: f64,
}

impl Default for Retry {
    /// Six attempts within five minutes: waits of 1, 2, 4, 8 and 16 s, up to half of each random.
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_secs(1),
            max: Duration::from_mins(1),
            budget: Duration::from_mins(5),
            jitter: 0.5,
        }
    }
}

impl Retry {
    /// One attempt only.
    pub const NONE: Self =
        Self { attempts: 1, base: Duration::ZERO, max: Duration::ZERO, budget: Duration::ZERO, jitter: 0.0 };

    /// The wait after attempt `attempt` (from 1); `random` is from 0 to 1.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(self.max);
        doubled.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0))
    }
}

/// Whether a status says that the same request may succeed later.
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || (status >= 500 && !matches!(status, 501 | 505))
}

/// The wait that an answer asks for: `Retry-After` in seconds or as a date, or the reset of a `RateLimit` whose rest is 0.
pub fn asked_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(after) = text("retry-after") {
        let seconds = after.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let date = || Some(httpdate::parse_http_date(after).ok()?.duration_since(now).unwrap_or_default());
        if let Some(wait) = seconds.or_else(date) {
            return Some(wait);
        }
    }
    let limit = text("ratelimit")?;
    let part = |name: &str| {
        let mut parts = limit.split([';', ',']).map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse::<f64>().ok())
    };
    (part("r").unwrap_or(0.0) <= 0.0)
        .then(|| part("t"))
        .flatten()
        .and_then(|t| Duration::try_from_secs_f64(t).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &'static str, value: &str) -> Option<f64> {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").unwrap();
        asked_wait(&headers, now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn waits_are_read_in_all_forms() {
        assert_eq!(wait("retry-after", "8"), Some(8.0));
        assert_eq!(wait("retry-after", " 0.5 "), Some(0.5));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(7.0));
        assert_eq!(wait("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT"), Some(7.0));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), Some(0.0), "a date that has passed");
        assert_eq!(wait("ratelimit", "\"api\";r=0;t=55"), Some(55.0));
        assert_eq!(wait("ratelimit", "\"api\";r=12;t=55"), None, "there is room left");
        for nonsense in ["-3", "soon", "nan", "1e300", ""] {
            assert_eq!(wait("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn waits_double_and_jitter_stays_in_its_bounds() {
        let retry = Retry { max: Duration::from_secs(10), ..Retry::default() };
        let longest: Vec<f64> = (1..=6).map(|attempt| retry.delay(attempt, 0.0).as_secs_f64()).collect();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        for attempt in 1..60 {
            let (low, high) = (retry.delay(attempt, 1.0), retry.delay(attempt, 0.0));
            assert_eq!(low, high / 2);
            for _ in 0..100 {
                let wait = retry.delay(attempt, fastrand::f64());
                assert!(low <= wait && wait <= high, "{attempt}: {wait:?}");
            }
        }
    }

    #[test]
    fn what_is_transient() {
        let transient: Vec<u16> = (100..600).filter(|status| is_transient(*status)).collect();
        assert!([408, 429, 500, 502, 503, 504].iter().all(|status| transient.contains(status)));
        assert!(![200, 302, 400, 401, 403, 404, 409, 412, 416, 501].iter().any(|s| transient.contains(s)));
    }
}
