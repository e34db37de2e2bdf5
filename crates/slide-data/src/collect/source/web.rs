use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use http_client::Options;
use serde::{Deserialize, Serialize};
use url::Url;

use super::fetch::{Fetcher, Page, opt_out};
use super::{Source, SourceBatch};
use crate::collect::Quarantined;
use crate::{Error, Limits, Result};

/// Hosts whose terms forbid or restrict automatic use.
const CHECK_TERMS: [&str; 2] = ["slideshare.net", "scribd.com"];
const DECKS: [&str; 5] = [".pdf", ".pptx", ".ppt", ".odp", ".zip"];

/// `[sources.web]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Whether the pages are visited when no path is named.
    pub enabled: bool,
    /// Pages to start from; links to decks on them, and on pages of the same site they link to, are followed.
    pub start_urls: Vec<String>,
    /// How many links away from a start page is looked.
    pub max_depth: usize,
    /// Most pages and decks that one run requests.
    pub max_requests: usize,
    /// Seconds between two requests to one host; a longer `Crawl-delay` of the site holds.
    pub pause_s: f64,
    /// Licence or consent under which these decks are used; empty where it is not known.
    pub license: String,
    /// Set this once you have checked that the terms of `SlideShare` and the like allow your use.
    pub terms_checked: bool,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            start_urls: Vec::new(),
            max_depth: 1,
            max_requests: 200,
            pause_s: 2.0,
            license: String::new(),
            terms_checked: false,
        }
    }
}

impl WebConfig {
    /// Checks that the start pages are addresses, and that the terms of sites that restrict automatic use were checked.
    ///
    /// # Errors
    /// Names the address.
    pub fn validate(&self) -> Result<()> {
        for address in &self.start_urls {
            let domain = |expected: &str| {
                Err(Error::Domain {
                    key: "sources.web.start_urls".to_owned(),
                    expected: expected.to_owned(),
                    actual: address.clone(),
                })
            };
            let Ok(url) = Url::parse(address) else { return domain("a list of http(s) addresses") };
            if !self.terms_checked && restricts(&url) {
                return domain(
                    "sites whose terms allow it; check them, then set `sources.web.terms_checked = true`",
                );
            }
        }
        Ok(())
    }
}

fn restricts(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    CHECK_TERMS.iter().any(|site| host == *site || host.ends_with(&format!(".{site}")))
}

/// Pages with links to decks.
#[derive(Debug)]
pub struct Web {
    /// Where to look and how.
    pub config: WebConfig,
    /// Limits on sizes and times.
    pub limits: Limits,
    /// How sites are asked, within these limits.
    pub http: Options,
}

impl Source for Web {
    fn name(&self) -> &'static str {
        "web"
    }

    fn batch(&self, downloads: &Path, is_interrupted: &dyn Fn() -> bool) -> Result<SourceBatch> {
        self.config.validate()?;
        let license = Some(self.config.license.as_str()).filter(|license| !license.is_empty());
        let pause_s = self.config.pause_s;
        let mut fetcher = Fetcher::new(downloads, &self.limits, pause_s, &self.http, is_interrupted)?;
        let mut batch = SourceBatch::default();
        let starts = self.config.start_urls.iter().filter_map(|address| Url::parse(address).ok());
        let mut queue: VecDeque<(Url, usize)> = starts.map(|url| (url, 0)).collect();
        let mut seen: BTreeSet<Url> = queue.iter().map(|(url, _)| url.clone()).collect();
        for _ in 0..self.config.max_requests {
            if is_interrupted() {
                break;
            }
            let Some((url, depth)) = queue.pop_front() else { break };
            let set_aside = |reason: String| Quarantined { origin: url.to_string(), reason };
            match fetcher.get(&url, license) {
                Ok(Page::File(input)) => batch.inputs.push(input),
                Err(_) if is_interrupted() => break,
                Err(reason) => batch.set_aside.push(set_aside(reason)),
                Ok(Page::Html(at, text)) => {
                    if let Some(tag) = tags(&text, "meta").find_map(robots_meta) {
                        batch.set_aside.push(set_aside(format!("its owner opts out (`{tag}`)")));
                        continue;
                    }
                    for link in links(&text, &at) {
                        let is_deck = DECKS.iter().any(|end| link.path().to_lowercase().ends_with(end));
                        let is_near = depth < self.config.max_depth && link.origin() == at.origin();
                        let is_barred = restricts(&link) && !self.config.terms_checked;
                        if (is_deck || is_near) && !is_barred && seen.insert(link.clone()) {
                            queue.push_back((link, depth + 1));
                        }
                    }
                }
            }
        }
        Ok(batch)
    }
}

/// The insides of the tags of one name.
fn tags<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    html.split('<').skip(1).filter_map(move |tag| {
        let inside = tag.split('>').next()?;
        let start = inside.get(..name.len())?;
        let rest = &inside[name.len()..];
        (start.eq_ignore_ascii_case(name) && rest.starts_with(|c: char| c.is_ascii_whitespace()))
            .then_some(rest)
    })
}

/// The value of an attribute, quoted or not, with `&amp;` resolved.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let mut from = 0;
    while let Some(found) = lower[from..].find(name) {
        let at = from + found;
        from = at + name.len();
        let before = lower[..at].ends_with(|c: char| c.is_ascii_whitespace());
        let Some(value) = lower[from..].trim_start().strip_prefix('=') else { continue };
        if !before {
            continue;
        }
        let value = tag[tag.len() - value.len()..].trim_start();
        let inside = match value.chars().next()? {
            quote @ ('"' | '\'') => value[1..].split(quote).next()?,
            _ => value.split_ascii_whitespace().next()?,
        };
        return Some(inside.replace("&amp;", "&"));
    }
    None
}

fn robots_meta(tag: &str) -> Option<String> {
    let name = attribute(tag, "name")?.to_lowercase();
    let content = attribute(tag, "content")?;
    match name.as_str() {
        "robots" | "pitchquest" => opt_out(&content).map(str::to_owned),
        "tdm-reservation" => (content.trim() == "1").then(|| "tdm-reservation".to_owned()),
        _ => None,
    }
}

fn links(html: &str, base: &Url) -> Vec<Url> {
    let targets = tags(html, "a").filter_map(|tag| attribute(tag, "href"));
    let absolute = targets.filter_map(|target| base.join(&target).ok());
    absolute
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|mut url| {
            url.set_fragment(None);
            url
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_browsers_read_them() {
        let html = "<A class=x HREF='decks/one.pdf'>1</A><a data-href=no href=\"/two.pdf?a=1&amp;b=2#p3\">2</a>\
                    <a href=mailto:a@b.c>m</a><abbr href=x>";
        let found = links(html, &Url::parse("http://site.test/list/").unwrap());
        let found: Vec<_> = found.iter().map(Url::as_str).collect();
        assert_eq!(found, ["http://site.test/list/decks/one.pdf", "http://site.test/two.pdf?a=1&b=2"]);
    }

    #[test]
    fn opt_outs_in_the_page_are_seen() {
        let find = |html: &str| tags(html, "meta").find_map(robots_meta);
        assert_eq!(find("<meta name=\"robots\" content=\"index, NoAI\">").as_deref(), Some("NoAI"));
        assert_eq!(find("<meta name=robots content=index>"), None);
    }

    #[test]
    fn sites_with_restrictive_terms_need_a_check() {
        let config =
            WebConfig { start_urls: vec!["https://www.slideshare.net/x".to_owned()], ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("terms_checked"));
        assert!(WebConfig { terms_checked: true, ..config }.validate().is_ok());
    }
}
