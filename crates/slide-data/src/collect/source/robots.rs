//! robots.txt after RFC 9309.

/// The rules of one site for one user agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Robots {
    rules: Vec<(bool, String)>,
    /// Seconds between requests that the site asks for.
    pub(super) crawl_delay_s: Option<f64>,
}

impl Robots {
    /// What a site that cannot be asked allows: nothing.
    pub(super) fn closed() -> Self {
        Self { rules: vec![(false, "/".to_owned())], crawl_delay_s: None }
    }

    /// Reads the groups for `agent` (a product name, compared without case), or else those for `*`.
    pub(super) fn parse(text: &str, agent: &str) -> Self {
        let (mut named, mut general) = (None::<Self>, None::<Self>);
        let (mut for_named, mut for_general, mut in_agents) = (false, false, false);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim().to_lowercase(), value.trim());
            if key == "user-agent" {
                if !in_agents {
                    (for_named, for_general) = (false, false);
                }
                in_agents = true;
                for_general |= value == "*";
                for_named |= value != "*" && !value.is_empty() && value.eq_ignore_ascii_case(agent);
                if for_named {
                    named.get_or_insert_default();
                }
                continue;
            }
            in_agents = false;
            let mut targets = Vec::new();
            if for_named {
                targets.push(named.get_or_insert_default());
            }
            if for_general {
                targets.push(general.get_or_insert_default());
            }
            for rules in targets {
                match key.as_str() {
                    "allow" | "disallow" if !value.is_empty() => {
                        rules.rules.push((key == "allow", value.to_owned()));
                    }
                    "crawl-delay" => rules.crawl_delay_s = value.parse().ok().filter(|s: &f64| *s >= 0.0),
                    _ => {}
                }
            }
        }
        named.or(general).unwrap_or_default()
    }

    /// Whether a path (with its query) may be fetched: the longest matching rule decides, and allowing wins a tie.
    pub(super) fn allows(&self, path: &str) -> bool {
        let matching = self.rules.iter().filter(|(_, pattern)| matches(pattern, path));
        matching.max_by_key(|(allow, pattern)| (pattern.len(), *allow)).is_none_or(|(allow, _)| *allow)
    }
}

/// `*` stands for any characters, a final `$` for the end.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, to_end) = pattern.strip_suffix('$').map_or((pattern, false), |pattern| (pattern, true));
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        if to_end && index + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    !to_end || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# rules\nUser-agent: *\nDisallow: /private\nAllow: /private/open\nDisallow: /*.zip$\nCrawl-delay: 2\n\n\
        User-agent: Other\nUser-agent: PitchQuest\nDisallow: /decks # not for us\n";

    #[test]
    fn the_group_that_names_us_replaces_the_general_one() {
        let ours = Robots::parse(TEXT, "pitchquest");
        assert!(!ours.allows("/decks/1.pdf") && ours.allows("/private"));
        assert_eq!(ours.crawl_delay_s, None);
    }

    #[test]
    fn the_longest_rule_decides() {
        let rules = Robots::parse(TEXT, "somebody");
        let cases = [
            ("/", true),
            ("/private/a", false),
            ("/private/open/a", true),
            ("/a/b.zip", false),
            ("/a/b.zip?x", true),
        ];
        for (path, allowed) in cases {
            assert_eq!(rules.allows(path), allowed, "{path}");
        }
        assert_eq!(rules.crawl_delay_s, Some(2.0));
    }

    #[test]
    fn no_rules_allow_all_and_an_unreachable_site_nothing() {
        assert!(Robots::parse("", "pitchquest").allows("/a"));
        assert!(Robots::parse("User-agent: *\nDisallow:\n", "pitchquest").allows("/a"));
        assert!(!Robots::closed().allows("/a"));
    }
}
