//! What to install so that decks are drawn as their authors see them.

use std::collections::{BTreeMap, BTreeSet};

/// Beginnings of names of fonts, in lower case without spaces, and the package of Debian and Ubuntu that has them, or fonts of the same
/// widths.
const PACKAGES: [(&str, &str); 23] = [
    ("calibri", "fonts-crosextra-carlito"),
    ("cambria", "fonts-crosextra-caladea"),
    ("arial", "fonts-liberation"),
    ("helvetica", "fonts-liberation"),
    ("timesnewroman", "fonts-liberation"),
    ("couriernew", "fonts-liberation"),
    ("roboto", "fonts-roboto"),
    ("lato", "fonts-lato"),
    ("opensans", "fonts-open-sans"),
    ("inter", "fonts-inter"),
    ("ubuntu", "fonts-ubuntu"),
    ("notosanscjk", "fonts-noto-cjk"),
    ("notosans", "fonts-noto-core"),
    ("notoserif", "fonts-noto-core"),
    ("simsun", "fonts-noto-cjk"),
    ("simhei", "fonts-noto-cjk"),
    ("microsoftyahei", "fonts-noto-cjk"),
    ("msgothic", "fonts-noto-cjk"),
    ("msmincho", "fonts-noto-cjk"),
    ("yugothic", "fonts-noto-cjk"),
    ("malgungothic", "fonts-noto-cjk"),
    ("stsong", "fonts-noto-cjk"),
    ("heiseimin", "fonts-noto-cjk"),
];

/// One line on the fonts that were not there: which, for how many slides, and what to install. None where all were there.
pub(crate) fn line(missing: &BTreeMap<String, usize>) -> Option<String> {
    const NAMED: usize = 8;
    if missing.is_empty() {
        return None;
    }
    let mut fonts: Vec<(&String, &usize)> = missing.iter().collect();
    fonts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let named = fonts.iter().take(NAMED).map(|(name, slides)| format!("{name} ({slides} slides)"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match fonts.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let package = |name: &String| {
        let plain: String =
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        PACKAGES.iter().find(|(start, _)| plain.starts_with(start)).map(|(_, package)| *package)
    };
    let packages: BTreeSet<&str> = missing.keys().filter_map(package).collect();
    let others = missing.keys().any(|name| package(name).is_none());
    let mut remedies = Vec::new();
    if !packages.is_empty() {
        remedies.push(format!("install {}", packages.into_iter().collect::<Vec<_>>().join(" ")));
    }
    if others {
        remedies.push("ask the authors for PDFs with their fonts in them".to_owned());
    }
    Some(format!("fonts that were not there: {named}{more}; {}", remedies.join(", or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_fonts_and_what_to_install() {
        assert_eq!(line(&BTreeMap::new()), None);
        let missing =
            [("Calibri Light".to_owned(), 3), ("Aptos".to_owned(), 12), ("MS-Gothic".to_owned(), 1)].into();
        let line = line(&missing).unwrap();
        assert!(line.contains("Aptos (12 slides), Calibri Light (3 slides), MS-Gothic (1 slides)"), "{line}");
        assert!(
            line.contains("install fonts-crosextra-carlito fonts-noto-cjk, or ask the authors"),
            "{line}"
        );
    }
}
