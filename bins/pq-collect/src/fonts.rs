//! What to install so that decks are drawn as their authors see them.

use std::collections::{BTreeMap, BTreeSet};

/// Families of fonts, in lower case without spaces, and the package of Debian and Ubuntu that has them, or fonts of the same widths.
const PACKAGES: [(&str, &str); 26] = [
    ("calibri", "fonts-crosextra-carlito"),
    ("cambria", "fonts-crosextra-caladea"),
    ("arial", "fonts-liberation"),
    ("helvetica", "fonts-liberation"),
    ("timesnewroman", "fonts-liberation"),
    ("couriernew", "fonts-liberation"),
    ("liberationsans", "fonts-liberation"),
    ("liberationserif", "fonts-liberation"),
    ("liberationmono", "fonts-liberation"),
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

/// The package that brings a font. Only weights that the package has are taken for its family: Calibri Light and Arial Black have
/// widths of their own.
fn package(name: &str) -> Option<&'static str> {
    const ALWAYS: [&str; 6] = ["regular", "bold", "italic", "oblique", "mt", "ps"];
    /// Packages with all weights, or with fonts that stand for a script.
    const WHOLE: [&str; 7] = [
        "fonts-roboto",
        "fonts-lato",
        "fonts-open-sans",
        "fonts-inter",
        "fonts-ubuntu",
        "fonts-noto-core",
        "fonts-noto-cjk",
    ];
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let has = |(family, package): &&(&str, &'static str)| {
        plain.strip_prefix(family).is_some_and(|mut rest| {
            while let Some(next) = ALWAYS.iter().find_map(|style| rest.strip_prefix(style)) {
                rest = next;
            }
            rest.is_empty() || WHOLE.contains(package)
        })
    };
    PACKAGES.iter().find(has).map(|(_, package)| *package)
}

/// One line on presentations whose fonts are not known. None where there are none.
pub(crate) fn unknown(slides: usize) -> Option<String> {
    (slides > 0).then(|| {
        format!(
            "fonts that could not be looked up: of {slides} slides of old PowerPoint or Keynote files (fonts_unknown); look at them, or ask the authors for PDFs"
        )
    })
}

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
    let packages: BTreeSet<&str> = missing.keys().filter_map(|name| package(name)).collect();
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
            [("Calibri".to_owned(), 3), ("Aptos".to_owned(), 12), ("MS-Gothic".to_owned(), 1)].into();
        let line = line(&missing).unwrap();
        assert!(line.contains("Aptos (12 slides), Calibri (3 slides), MS-Gothic (1 slides)"), "{line}");
        assert!(
            line.contains("install fonts-crosextra-carlito fonts-noto-cjk, or ask the authors"),
            "{line}"
        );
    }

    #[test]
    fn a_package_is_named_where_it_has_that_very_font_or_one_as_wide() {
        for (name, there) in [
            ("Calibri", true),
            ("Calibri-BoldItalic", true),
            ("ArialMT", true),
            ("Roboto Condensed", true),
            ("Calibri Light", false),
            ("Arial Black", false),
            ("Arial Narrow", false),
            ("Helvetica Neue", false),
        ] {
            assert_eq!(package(name).is_some(), there, "{name}");
        }
        assert_eq!(unknown(0), None);
        assert!(unknown(3).unwrap().contains("3 slides"));
    }
}
