//! Where people reach the server, and through whom.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, Uri, header};
use ipnet::IpNet;

/// The address that people type: that of the proxy where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: String,
    /// Host and, where it is not the usual one, port.
    authority: String,
    /// Empty, or `/label` without a slash at the end.
    path: String,
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = || {
            format!(
                "`{text}` is not an address such as https://label.example.org or https://example.org/label"
            )
        };
        let uri: Uri = text.parse().map_err(|_| wanted())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wanted());
        };
        let usual = usual_port(scheme).ok_or_else(wanted)?;
        if uri.query().is_some() || authority.as_str().contains('@') || text.contains('#') {
            return Err(wanted());
        }
        let port = authority.port_u16().filter(|port| *port != usual);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: format!("{}{port}", authority.host().to_lowercase()),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

impl PublicUrl {
    /// Whether it is encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// What stands before every path; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a browser's `Origin` is this one.
    pub(super) fn is_origin(&self, origin: &str) -> bool {
        origin.parse().is_ok_and(|origin: Self| {
            (&origin.scheme, &origin.authority) == (&self.scheme, &self.authority) && origin.path.is_empty()
        })
    }
}

/// The address of the client: that of the connection, or where this is a trusted proxy's the last address in `X-Forwarded-For` that
/// is none. What stands before it anybody may have written.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let addresses: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut nearest = peer;
    for address in addresses.iter().rev() {
        let Ok(address) = address.parse::<IpAddr>() else { break };
        nearest = address;
        if !is_trusted(&address) {
            break;
        }
    }
    nearest
}

/// Headers that proxies add: a request with one does not come from a browser on this machine.
const OF_PROXIES: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "forwarded",
    "via",
    "cf-connecting-ip",
];

pub(super) fn came_through_a_proxy(headers: &HeaderMap) -> bool {
    OF_PROXIES.iter().any(|name| headers.contains_key(*name))
}

/// Whether the `Host` names this machine itself.
pub(super) fn is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_read_in_one_form_and_others_refused() {
        for (text, shown) in [
            ("https://Label.Example.org/", "https://label.example.org"),
            ("https://example.org:443/label/", "https://example.org/label"),
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
            ("https://example.org/a/b", "https://example.org/a/b"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().map(|url| url.to_string()).as_deref(), Ok(shown));
        }
        for text in [
            "label.example.org",
            "ftp://example.org",
            "https://a@b.org",
            "https://b.org/?x=1",
            "",
            "/label",
            "https://b.org/#x",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
        let url: PublicUrl = "https://example.org/label".parse().unwrap();
        assert!(url.is_origin("https://example.org") && url.is_https());
        for origin in
            ["http://example.org", "https://example.org:8443", "https://example.org.evil.net", "null"]
        {
            assert!(!url.is_origin(origin), "{origin}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_who_asks() {
        let of = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let trusted = ["127.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()];
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "a stranger says nothing");
        assert_eq!(of("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            of("127.0.0.1", &["6.6.6.6, 198.51.100.1"]),
            "198.51.100.1",
            "what it was told is not believed"
        );
        assert_eq!(of("127.0.0.1", &["6.6.6.6, 198.51.100.1, 10.1.2.3"]), "198.51.100.1");
        assert_eq!(of("127.0.0.1", &["6.6.6.6", "198.51.100.1"]), "198.51.100.1", "in several lines, too");
        assert_eq!(of("127.0.0.1", &["nonsense"]), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn loopback_names_are_known_and_others_are_not() {
        let is = |host: &str| is_loopback(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        assert!(["localhost:7860", "127.0.0.1", "127.0.0.2:80", "[::1]:7860"].into_iter().all(is));
        assert!(!["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"].into_iter().any(is));
    }
}
