use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::HeaderMap;
use url::Url;

use crate::{Credential, Error, Result};

/// An answer that was read whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The address that answered, after redirects.
    pub url: Url,
    pub(crate) place: String,
    pub(crate) credential: Option<Credential>,
}

impl Response {
    /// Whether the status is one of 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Method and address without query, as messages show them.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The answer itself, or the refusal that it is.
    ///
    /// # Errors
    /// [`Error::Refused`] for a status outside 200 to 299.
    pub fn success(self) -> Result<Self> {
        if self.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// The refusal, with what the service says about it.
    pub fn refusal(&self) -> Error {
        Error::Refused {
            place: self.place.clone(),
            status: self.status,
            code: self.header("x-error-code").map(str::to_owned),
            message: self.message(),
        }
    }

    /// The body as JSON of the expected form.
    ///
    /// # Errors
    /// [`Error::Form`] for anything else, as the web page of a proxy.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Form {
            place: self.place.clone(),
            found: self.kind(),
            source,
        })
    }

    fn kind(&self) -> String {
        let start =
            String::from_utf8_lossy(&self.body[..self.body.len().min(512)]).trim_start().to_lowercase();
        if start.starts_with("<!doctype html") || start.starts_with("<html") {
            return "a web page".to_owned();
        }
        match self.header("content-type").map(|kind| kind.split(';').next().unwrap_or(kind)) {
            _ if self.body.is_empty() => "nothing".to_owned(),
            Some("application/json") => "JSON of another form".to_owned(),
            Some(kind) => format!("`{}`", clean(kind)),
            None => "something else".to_owned(),
        }
    }

    /// What a person should read of a refusal.
    fn message(&self) -> String {
        let json: Option<Value> = serde_json::from_slice(&self.body).ok();
        let found = json.as_ref().and_then(|json| {
            let first = json.get("errors").and_then(|errors| errors.get(0)?.get("message"));
            json.get("error").or(first).or_else(|| json.get("message"))?.as_str().map(str::to_owned)
        });
        let text = self.header("x-error-message").map(str::to_owned).or(found).unwrap_or_else(|| {
            let is_text = json.is_none() && !self.body.contains(&0) && self.kind() != "a web page";
            let shown = if is_text { String::from_utf8_lossy(&self.body) } else { "".into() };
            shown.into_owned()
        });
        let redacted =
            self.credential.as_ref().map_or_else(|| text.clone(), |credential| credential.redact(&text));
        clean(&redacted)
    }
}

/// At most 300 characters, without control characters and without the queries of addresses.
fn clean(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    let words = plain.split(' ').filter(|word| !word.is_empty());
    let shown =
        words.map(|word| if word.contains("://") { word.split('?').next().unwrap_or(word) } else { word });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(body: &str) -> Response {
        let url = Url::parse("https://host.test/a?secret=1").unwrap();
        Response {
            status: 403,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            credential: Some(Credential::bearer(&url, "hf_secret").unwrap()),
            place: "GET https://host.test/a".to_owned(),
            url,
        }
    }

    #[test]
    fn refusals_repeat_what_the_service_says_but_no_secret() {
        for (body, expected) in [
            (r#"{"error": "no hf_secret here"}"#, "no … here"),
            (r#"{"errors": [{"message": "not you"}]}"#, "not you"),
            ("see https://s3.test/x?X-Amz-Signature=abc now", "see https://s3.test/x now"),
            ("\u{1b}[31mred", "[31mred"),
            ("<html><body>hello", ""),
        ] {
            let Error::Refused { message, .. } = response(body).refusal() else { unreachable!() };
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_web_page_is_no_json() {
        let error = response("\n<!DOCTYPE html><html>").json::<Value>().unwrap_err().to_string();
        assert_eq!(
            error,
            "GET https://host.test/a was answered with a web page where JSON of the service is due"
        );
    }
}
