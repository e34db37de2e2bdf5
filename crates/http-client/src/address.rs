use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{Error, Result};

/// Unreserved characters stay as they are (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Scheme, host and port of an address: who gets to see a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an address; `None` for one without a host.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

/// Parses an `http` or `https` address.
///
/// # Errors
/// When it is no address, has another scheme, or carries a user name or a password.
pub fn parse(address: &str) -> Result<Url> {
    let shown = || address.split(['?', '#']).next().unwrap_or_default().to_owned();
    let url = Url::parse(address.trim())
        .map_err(|source| Error::Address { address: shown(), source: Some(source) })?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    if !is_plain {
        return Err(Error::Address { address: place(&url), source: None });
    }
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(Error::Address { address: shown(), source: None }),
    }
}

/// The address of `path` below a service's base address; the base may itself have a path.
///
/// # Errors
/// When the two make no address.
pub fn join(base: &Url, path: &str) -> Result<Url> {
    parse(&format!("{}/{}", base.as_str().trim_end_matches('/'), path.trim_start_matches('/')))
}

/// An address as messages show it: without user, query and fragment, which may hold a secret.
pub fn place(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.into()
}

/// Percent-encodes everything but unreserved characters: one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let origin = |address: &str| Origin::of(&Url::parse(address).unwrap()).unwrap();
        assert_eq!(origin("https://hub.test/a"), origin("https://HUB.test:443/b?c"));
        for other in [
            "http://hub.test/a",
            "https://hub.test.evil.example/",
            "https://hub.test:4430/",
            "https://hub.test@evil.example/",
        ] {
            assert_ne!(origin("https://hub.test/a"), origin(other), "{other}");
        }
        assert_ne!(origin("http://127.0.0.1:1870"), origin("http://127.0.0.1:18700"));
    }

    #[test]
    fn places_hold_no_secret() {
        let url = Url::parse("https://user:pw@host.test:8443/a/b?X-Signature=s#f").unwrap();
        assert_eq!(place(&url), "https://host.test:8443/a/b");
    }

    #[test]
    fn only_web_addresses_without_a_password_are_taken() {
        assert!(parse(" https://host.test/x\n").is_ok());
        for wrong in ["", "host.test", "file:///etc/passwd", "http://", "https://user:pw@host.test/"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn a_base_may_have_a_path() {
        let base = parse("https://host.test/proxy/hub/").unwrap();
        assert_eq!(join(&base, "/api/x").unwrap().as_str(), "https://host.test/proxy/hub/api/x");
        assert_eq!(segment("a/b c~é"), "a%2Fb%20c~%C3%A9");
    }
}
