//! Which slide a file means: by its id, or by the address of its image.

use std::collections::{HashMap, HashSet};

/// The slides that ratings may be of.
#[derive(Debug, Clone, Default)]
pub struct KnownSlides {
    ids: HashSet<String>,
    /// By lower case; `None` where several ids differ in case alone.
    folded: HashMap<String, Option<String>>,
}

impl<T: Into<String>> FromIterator<T> for KnownSlides {
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> Self {
        let mut known = Self::default();
        for id in ids {
            let id = id.into();
            let folded = known.folded.entry(id.to_lowercase()).or_insert_with(|| Some(id.clone()));
            if folded.as_ref() != Some(&id) {
                *folded = None;
            }
            known.ids.insert(id);
        }
        known
    }
}

impl KnownSlides {
    /// The slide that a text names, if one is.
    pub(super) fn find(&self, text: &str) -> Option<&str> {
        readings(text).iter().find_map(|reading| {
            let folded = || self.folded.get(&reading.to_lowercase())?.as_ref();
            self.ids.get(reading).or_else(folded).map(String::as_str)
        })
    }
}

/// The slide that the texts name, best first: one that is known, else what the first of them says.
pub(super) fn resolve(texts: &[String], known: Option<&KnownSlides>) -> Option<String> {
    let found = known.and_then(|known| texts.iter().find_map(|text| known.find(text)));
    let said = || texts.first().and_then(|text| readings(text).into_iter().next());
    found.map(str::to_owned).or_else(said).filter(|id| !id.is_empty())
}

/// Whether a text looks like the address of an image.
pub(super) fn is_image(text: &str) -> bool {
    readings(text).first().is_some_and(|reading| reading.len() < file_name(&decoded(text)).len())
}

/// What a text may mean, best first: the text itself, a file name without the extension of an image, behind folders or in a query
/// (`?d=slides/a.png`), and without the eight digits that Label Studio puts before the names of uploads.
fn readings(text: &str) -> Vec<String> {
    let text = decoded(text.trim());
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let values = query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1));
    let is_local_file = path.trim_end_matches('/').ends_with("local-files");
    let mut names: Vec<&str> = values.map(file_name).collect();
    names.insert(if is_local_file { names.len().min(1) } else { 0 }, file_name(path));
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let bare = without_extension(name);
        let uploaded = bare.split_at_checked(9).filter(|(digits, _)| is_upload_prefix(digits));
        match uploaded {
            Some((_, rest)) if path.contains("/upload/") => found.extend([rest.to_owned(), bare.to_owned()]),
            Some((_, rest)) => found.extend([bare.to_owned(), rest.to_owned()]),
            None => found.push(bare.to_owned()),
        }
    }
    found.extend([without_extension(&text).to_owned(), text]);
    found.retain(|reading| !reading.is_empty());
    found
}

fn is_upload_prefix(text: &str) -> bool {
    text.strip_suffix('-')
        .is_some_and(|digits| digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()))
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn without_extension(name: &str) -> &str {
    const IMAGES: [&str; 5] = [".png", ".jpg", ".jpeg", ".webp", ".gif"];
    let cut = |extension: &&str| {
        let (stem, end) = name.split_at_checked(name.len().checked_sub(extension.len())?)?;
        end.eq_ignore_ascii_case(extension).then_some(stem)
    };
    IMAGES.iter().find_map(cut).unwrap_or(name)
}

/// `%20` and its like; what is no whole UTF-8 stays as it is.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slide_is_found_in_what_tools_write_for_it() {
        let known: KnownSlides = ["deck-p001", "my deck", "Big"].into_iter().collect();
        for text in [
            "deck-p001",
            " slides/deck-p001.PNG",
            r"C:\slides\deck-p001.png",
            "/data/local-files/?d=slides/deck-p001.png",
            "/data/local-files/?d=slides%2Fdeck-p001.png",
            "/data/upload/3/1b2c3d4e-deck-p001.png",
            "1b2c3d4e-deck-p001.png",
            "https://host/b/deck-p001.png?X-Amz-Date=2026&sig=a/b",
            "s3://bucket/deck-p001.jpeg",
            "DECK-P001",
        ] {
            assert_eq!(resolve(&[text.to_owned()], Some(&known)).as_deref(), Some("deck-p001"), "{text}");
        }
        assert_eq!(known.find("a/my%20deck.png"), Some("my deck"));
        assert_eq!(known.find("deck-p002"), None);
    }

    #[test]
    fn without_a_manifest_the_text_itself_decides() {
        let one = |text: &str| resolve(&[text.to_owned()], None).unwrap_or_default();
        assert_eq!(one("/data/upload/3/1b2c3d4e-a.png"), "a");
        assert_eq!(one("1b2c3d4e-a"), "1b2c3d4e-a");
        assert_eq!(one("/data/local-files/?d=slides/s1.png"), "s1");
        assert_eq!(one(""), "");
        let twice: KnownSlides = ["a", "A"].into_iter().collect();
        assert_eq!((twice.find("a"), twice.find("A")), (Some("a"), Some("A")));
    }
}
