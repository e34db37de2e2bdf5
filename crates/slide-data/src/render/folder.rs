use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::DeckName;
use super::format::{EXTENSIONS, FileFormat, sniff};
use crate::Result;

/// A file that holds slides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name in records: relative to the folder that was given (with that folder's name) or to the upload folder, with `/`.
    pub origin: String,
    /// The deck it belongs to if it is an image.
    pub deck: DeckName,
    /// Its place among the images of the deck, from 1.
    pub number: usize,
    /// Licence or consent, from the nearest `source.toml` above it.
    pub license: Option<String>,
}

impl InputFile {
    /// The file name without its extension.
    pub fn stem(&self) -> String {
        let name = self.origin.rsplit(['/', '!']).next().unwrap_or(&self.origin);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
    }
}

/// `source.toml`: under which terms the files of a folder are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Terms {
    license: Option<String>,
}

/// Finds the files that hold slides: `path` itself, or all below it, in natural order (`2` before `10`). Hidden files, and files
/// that neither look like slides nor are named like them, are passed over. Links are followed, loops are not.
///
/// A folder of images is a deck, also when it or its images are named one by one. Only images that lie directly in the upload folder,
/// `base`, are divided by name: a numbered series (`acme-1.png`, `acme-2.png`) is a deck, and an image without a number is a deck of
/// its own.
///
/// # Errors
/// When `path` does not exist or a folder cannot be listed.
pub fn find_inputs(path: &Path, base: Option<&Path>) -> Result<Vec<InputFile>> {
    find_all_inputs(std::slice::from_ref(&path), base)
}

/// As [`find_inputs`], for several paths. Where two of them have the same name, the names of the folders above tell them apart;
/// what lies below two of them is listed once.
///
/// # Errors
/// When one of the paths does not exist or a folder cannot be listed.
pub fn find_all_inputs<P: AsRef<Path>>(paths: &[P], base: Option<&Path>) -> Result<Vec<InputFile>> {
    let base = base.and_then(|base| base.canonicalize().ok());
    let absolute = |path: &P| {
        let path = path.as_ref();
        path.canonicalize().map_err(crate::error::io_error("read", path))
    };
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in paths.iter().map(absolute).collect::<Result<Vec<_>>>()? {
        if !roots.contains(&path) {
            roots.push(path);
        }
    }
    let mut seen = BTreeSet::new();
    let mut inputs = Vec::new();
    for root in &roots {
        let base = base.as_deref().filter(|base| root.starts_with(base));
        let outer = base.unwrap_or_else(|| outer_folder(root, &roots));
        let found = find_below(root, outer, base.is_some())?;
        inputs.extend(found.into_iter().filter(|input| seen.insert(input.path.clone())));
    }
    Ok(inputs)
}

/// The folder from which names are counted: the nearest above from which no other root has the same name.
fn outer_folder<'a>(root: &'a Path, roots: &[PathBuf]) -> &'a Path {
    let name = |path: &Path, depth: usize| -> Option<PathBuf> {
        let outer = path.ancestors().nth(depth)?;
        path.strip_prefix(outer).ok().map(Path::to_owned)
    };
    let is_alone = |depth: &usize| {
        let own = name(root, *depth);
        roots.iter().all(|other| other == root || name(other, *depth) != own)
    };
    let depth = (1..root.ancestors().count()).find(is_alone).unwrap_or(1);
    root.ancestors().nth(depth).unwrap_or(root)
}

/// The files with slides below `path`, named from `outer`, which is the upload folder if `is_upload`.
fn find_below(path: &Path, outer: &Path, is_upload: bool) -> Result<Vec<InputFile>> {
    let io = |source| crate::error::io_error("read", path)(source);
    let mut terms = BTreeMap::new();
    let mut inputs = Vec::new();
    let visible = |entry: &walkdir::DirEntry| entry.depth() == 0 || !is_hidden(entry.path());
    for entry in WalkDir::new(path).follow_links(true).into_iter().filter_entry(visible) {
        let entry = match entry {
            Ok(entry) => entry,
            // A link that leads back up, or nowhere, holds no slides.
            Err(error) if error.loop_ancestor().is_some() || error.depth() > 0 => continue,
            Err(error) => return Err(io(error.into())),
        };
        if entry.file_type().is_file() && (entry.depth() == 0 || may_hold_slides(entry.path())) {
            let origin = origin(entry.path().strip_prefix(outer).unwrap_or(entry.path()));
            let deck = deck_name(entry.path(), is_upload.then_some(outer), &origin);
            let license = license(entry.path(), outer, &mut terms);
            inputs.push(InputFile { path: entry.into_path(), origin, deck, number: 0, license });
        }
    }
    inputs.sort_by_cached_key(|input| natural(&input.origin));
    let mut counts = BTreeMap::new();
    for input in &mut inputs {
        let count = counts.entry(input.deck.clone()).or_insert(0);
        *count += 1;
        input.number = *count;
    }
    Ok(inputs)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn may_hold_slides(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    EXTENSIONS.contains(&extension.as_str()) || sniff(&head(path)) != FileFormat::Unknown
}

fn head(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    // A file that cannot be opened and is not named like slides is none of ours.
    let _ = std::fs::File::open(path).and_then(|file| file.take(1024).read_to_end(&mut bytes));
    bytes
}

fn origin(relative: &Path) -> String {
    let parts: Vec<_> = relative.components().map(|part| readable(part.as_os_str())).collect();
    parts.join("/")
}

/// A name as text; bytes that are not UTF-8 stand as `\xE9`, so that two such names stay two.
fn readable(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

/// The folder of an image, from the upload folder or the root; directly in the upload folder its name without the trailing number.
fn deck_name(path: &Path, uploads: Option<&Path>, origin: &str) -> DeckName {
    let Some(uploads) = uploads else {
        return DeckName(path.parent().map(|folder| readable(folder.as_os_str())).unwrap_or_default());
    };
    if path.parent() != Some(uploads) {
        return DeckName(origin.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned());
    }
    let stem = origin.rsplit_once('.').map_or(origin, |(stem, _)| stem);
    let series = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let series = series.trim_end_matches(['-', '_', ' ', '.', '(', '#']);
    let name = if series.is_empty() || series.ends_with('/') { stem } else { series };
    DeckName(name.to_owned())
}

fn license(path: &Path, outer: &Path, known: &mut BTreeMap<PathBuf, Option<String>>) -> Option<String> {
    let folder = path.parent().filter(|folder| folder.starts_with(outer))?;
    if let Some(license) = known.get(folder) {
        return license.clone();
    }
    let read =
        || toml::from_str::<Terms>(&std::fs::read_to_string(folder.join("source.toml")).ok()?).ok()?.license;
    let license = read().or_else(|| license(folder, outer, known));
    known.insert(folder.to_owned(), license.clone());
    license
}

/// A key that sorts numbers by value: digits are padded.
pub(crate) fn natural(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 24);
    for run in name.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        let text = String::from_utf8_lossy(run);
        if run[0].is_ascii_digit() {
            let _ = write!(key, "{:0>20}", text.trim_start_matches('0'));
        } else {
            key.push_str(&text);
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"\x89PNG").unwrap();
        }
    }

    #[test]
    fn folders_series_and_single_files_become_decks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("in");
        touch(
            &root,
            &["acme-10.png", "acme-2.png", "lone.png", "deck 🚀/b.png", "deck 🚀/a.png", ".hidden.png"],
        );
        std::fs::write(root.join("notes.txt"), "not a slide").unwrap();
        let found = find_inputs(&root, Some(&root)).unwrap();
        let rows: Vec<_> = found.iter().map(|f| (f.origin.as_str(), f.deck.0.as_str(), f.number)).collect();
        let wanted = [
            ("acme-2.png", "acme", 1),
            ("acme-10.png", "acme", 2),
            ("deck 🚀/a.png", "deck 🚀", 1),
            ("deck 🚀/b.png", "deck 🚀", 2),
            ("lone.png", "lone", 1),
        ];
        assert_eq!(rows, wanted);
    }

    #[test]
    fn a_folder_is_one_deck_however_it_is_named_and_two_of_one_name_are_two() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["alpha/slides/2.png", "alpha/slides/10.png", "alpha/slides/cover.png", "beta/slides/1.png"],
        );
        let folder = find_inputs(&dir.path().join("alpha/slides"), None).unwrap();
        let rows: Vec<_> = folder.iter().map(|f| (f.origin.as_str(), f.deck.title(), f.number)).collect();
        let wanted = [
            ("slides/2.png", "slides", 1),
            ("slides/10.png", "slides", 2),
            ("slides/cover.png", "slides", 3),
        ];
        assert_eq!(rows, wanted);
        assert!(folder.iter().all(|input| input.deck == folder[0].deck));
        for name in ["alpha/slides/2.png", "alpha/slides", "alpha", ""] {
            let found = find_inputs(&dir.path().join(name), None).unwrap();
            assert_eq!(found[0].deck.id(), folder[0].deck.id(), "{name}");
        }
        let other = find_inputs(&dir.path().join("beta/slides"), None).unwrap();
        assert_eq!(other[0].origin, "slides/1.png");
        assert_ne!(other[0].deck.id(), folder[0].deck.id());
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        use std::os::unix::ffi::OsStrExt;
        let names = [b"caf\xe9.png".as_slice(), b"caf\xe8.png", "café.png".as_bytes()];
        let readable = names.map(|name| readable(OsStr::from_bytes(name)));
        assert_eq!(readable, ["caf\\xE9.png", "caf\\xE8.png", "café.png"]);
    }

    #[test]
    fn a_part_of_the_upload_folder_has_the_names_it_has_in_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a/1.png", "b/1.png"]);
        let whole = find_inputs(dir.path(), Some(dir.path())).unwrap();
        let part = find_inputs(&dir.path().join("b"), Some(dir.path())).unwrap();
        assert_eq!(part[..], whole[1..]);
    }

    #[test]
    fn folders_of_one_name_are_told_apart_by_those_above() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a/deck/1.png", "b/deck/1.png", "c/other.png"]);
        let paths =
            ["a/deck", "b/deck", "c/other.png", "a/deck/1.png", "b/deck"].map(|name| dir.path().join(name));
        let found = find_all_inputs(&paths, None).unwrap();
        let origins: Vec<_> = found.iter().map(|input| input.origin.as_str()).collect();
        assert_eq!(origins, ["a/deck/1.png", "b/deck/1.png", "other.png"]);
        assert_ne!(found[0].deck.id(), found[1].deck.id());
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["deck/1.png"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("deck/up")).unwrap();
        std::os::unix::fs::symlink("nowhere.png", dir.path().join("dangling.png")).unwrap();
        assert_eq!(find_inputs(dir.path(), None).unwrap().len(), 1);
    }

    #[test]
    fn composed_and_decomposed_names_are_one_deck() {
        assert_eq!(DeckName("Caf\u{e9}".to_owned()).id(), DeckName("Cafe\u{301}".to_owned()).id());
    }

    #[test]
    fn the_nearest_terms_hold() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["open/a/1.png", "mine/1.png"]);
        std::fs::write(dir.path().join("open/source.toml"), "license = \"CC-BY-4.0\"").unwrap();
        let found = find_inputs(dir.path(), None).unwrap();
        assert_eq!(found[0].license, None);
        assert_eq!(found[1].license.as_deref(), Some("CC-BY-4.0"));
    }
}
