use std::fmt;

/// What a release changes against the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The same data and settings again.
    Patch,
    /// Other data or settings.
    Minor,
    /// Another base or rubric: its scores mean something else.
    Major,
}

/// The name of a release, `v1.2.0`. Earlier programs counted `v1`, `v2`, …, which are read as `v1.0.0`, `v2.0.0`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Raised with another base or rubric.
    pub major: u64,
    /// Raised with other data or settings.
    pub minor: u64,
    /// Raised when the same was trained again.
    pub patch: u64,
}

impl Version {
    /// The first version of a project.
    pub const FIRST: Self = Self { major: 1, minor: 0, patch: 0 };

    /// Reads `v1.2.0`, or one of the shorter forms `v1` and `v1.2`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('v')?.split('.').map(number);
        let major = parts.next()??;
        let minor = parts.next().unwrap_or(Some(0))?;
        let patch = parts.next().unwrap_or(Some(0))?;
        parts.next().is_none().then_some(Self { major, minor, patch })
    }

    /// The version after this one.
    pub fn next(self, change: Change) -> Self {
        match change {
            Change::Major => Self { major: self.major + 1, minor: 0, patch: 0 },
            Change::Minor => Self { minor: self.minor + 1, patch: 0, ..self },
            Change::Patch => Self { patch: self.patch + 1, ..self },
        }
    }
}

/// As people write numbers: no sign, no leading zero, and room to count on.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain)?;
    (text == "0" || !text.starts_with('0')).then_some(number)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_and_ordered_by_number() {
        for (text, shown) in
            [("v1", "v1.0.0"), ("v12.3", "v12.3.0"), ("v1.2.10", "v1.2.10"), ("v0.0.1", "v0.0.1")]
        {
            assert_eq!(Version::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "v", "1.0.0", "v1.", "v1.2.3.4", "v01", "v1.-2", "v1.+2", "v1 ", "v1.2.x", "main"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert!(Version::parse(&format!("v{}", u64::MAX)).is_none(), "no version after it could be counted");
        assert!(Version::parse("v1.10.0") > Version::parse("v1.9.9"));
        let version = Version::parse("v1.2.3").unwrap();
        let next =
            [Change::Major, Change::Minor, Change::Patch].map(|change| version.next(change).to_string());
        assert_eq!(next, ["v2.0.0", "v1.3.0", "v1.2.4"]);
    }
}
