use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::DeckName;
use super::entry::{file_passed_over, folder_passed_over, unreachable_entry};
use crate::{Reason, Result};

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

/// A file or folder in which no slides were looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name in records, as in [`InputFile::origin`].
    pub origin: String,
    /// What it is and what to do.
    pub reason: Reason,
}

/// All files below some paths: each is in one of the two lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files that hold slides, or are named as if they did.
    pub inputs: Vec<InputFile>,
    /// The others. A folder that is not entered is one entry: one that is hidden, that cannot be opened, or that is one document.
    pub passed_over: Vec<PassedOver>,
}

/// `source.toml`: under which terms the files of a folder are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Terms {
    license: Option<String>,
}

/// Finds the files that hold slides: `path` itself, or all below it, in natural order (`2` before `10`). Hidden files, and files
/// that neither look like slides nor are named like them, are passed over; [`survey`] lists them. Links are followed, loops are not.
///
/// A folder of images is a deck, also when it or its images are named one by one. Only images that lie directly in the upload folder,
/// `base`, are divided by name: a numbered series (`acme-1.png`, `acme-2.png`) is a deck, and an image without a number is a deck of
/// its own.
///
/// # Errors
/// When `path` does not exist or cannot be listed.
pub fn find_inputs(path: &Path, base: Option<&Path>) -> Result<Vec<InputFile>> {
    find_all_inputs(std::slice::from_ref(&path), base)
}

/// As [`find_inputs`], for several paths. Where two of them have the same name, the names of the folders above tell them apart;
/// what lies below two of them is listed once.
///
/// # Errors
/// When one of the paths does not exist or cannot be listed.
pub fn find_all_inputs<P: AsRef<Path>>(paths: &[P], base: Option<&Path>) -> Result<Vec<InputFile>> {
    Ok(survey(paths, base)?.inputs)
}

/// As [`find_all_inputs`], with what is passed over and why. A folder below the paths that cannot be listed is among that.
///
/// # Errors
/// When one of the paths does not exist or cannot be listed.
pub fn survey<P: AsRef<Path>>(paths: &[P], base: Option<&Path>) -> Result<Survey> {
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
    let (mut seen, mut passed) = (BTreeSet::new(), BTreeSet::new());
    let mut survey = Survey::default();
    for root in &roots {
        let base = base.as_deref().filter(|base| root.starts_with(base));
        let outer = base.unwrap_or_else(|| outer_folder(root, &roots));
        let found = find_below(root, outer, base.is_some())?;
        survey.inputs.extend(found.inputs.into_iter().filter(|input| seen.insert(input.path.clone())));
        survey
            .passed_over
            .extend(found.passed_over.into_iter().filter(|item| passed.insert(item.path.clone())));
    }
    // What one path reaches only by passing it over may be named by another.
    survey.passed_over.retain(|item| !seen.contains(&item.path));
    Ok(survey)
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

/// The files below `path`, named from `outer`, which is the upload folder if `is_upload`.
fn find_below(path: &Path, outer: &Path, is_upload: bool) -> Result<Survey> {
    let mut terms = BTreeMap::new();
    let mut found = Survey::default();
    let name = |path: &Path| origin(path.strip_prefix(outer).unwrap_or(path));
    let mut walk = WalkDir::new(path).follow_links(true).into_iter();
    while let Some(entry) = walk.next() {
        let passed = match entry {
            Ok(entry) if entry.depth() == 0 && entry.file_type().is_dir() => continue,
            Ok(entry) if entry.file_type().is_dir() => match folder_passed_over(entry.path()) {
                Some(reason) => {
                    walk.skip_current_dir();
                    Some((entry.into_path(), reason))
                }
                None => continue,
            },
            Ok(entry) => {
                let reason = (entry.depth() > 0).then(|| file_passed_over(&entry)).flatten();
                if reason.is_none() {
                    let origin = name(entry.path());
                    let deck = deck_name(entry.path(), is_upload.then_some(outer), &origin);
                    let license = license(entry.path(), outer, &mut terms);
                    let path = entry.path().to_owned();
                    found.inputs.push(InputFile { path, origin, deck, number: 0, license });
                }
                reason.map(|reason| (entry.into_path(), reason))
            }
            Err(error) if error.depth() == 0 && error.loop_ancestor().is_none() => {
                return Err(crate::error::io_error("read", path)(error.into()));
            }
            Err(error) => error.path().map(|at| (at.to_owned(), unreachable_entry(&error))),
        };
        if let Some((path, reason)) = passed {
            found.passed_over.push(PassedOver { origin: name(&path), path, reason });
        }
    }
    found.inputs.sort_by_cached_key(|input| natural(&input.origin));
    found.passed_over.sort_by_cached_key(|item| natural(&item.origin));
    let mut counts = BTreeMap::new();
    for input in &mut found.inputs {
        let count = counts.entry(input.deck.clone()).or_insert(0);
        *count += 1;
        input.number = *count;
    }
    Ok(found)
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

    /// The names of what is passed over, with words of the reason.
    fn passed(survey: &Survey) -> Vec<(String, String)> {
        let row = |item: &PassedOver| {
            let name = item.origin.split_once('/').map_or(item.origin.as_str(), |(_, rest)| rest);
            (name.to_owned(), item.reason.to_string())
        };
        survey.passed_over.iter().map(row).collect()
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["deck/1.png"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("deck/up")).unwrap();
        std::os::unix::fs::symlink("nowhere.png", dir.path().join("dangling.png")).unwrap();
        let found = survey(&[dir.path()], None).unwrap();
        assert_eq!(found.inputs.len(), 1);
        let rows = passed(&found);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].0 == "dangling.png" && rows[0].1.contains("a link to nothing"), "{rows:?}");
        assert!(rows[1].0 == "deck/up" && rows[1].1.contains("leads back up"), "{rows:?}");
    }

    #[test]
    fn every_file_is_in_one_list() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["1.png", "~$a.pptx", "a.pdf.part", ".git/config", "deck.key/Data/st1.jpg", ".hidden.png"],
        );
        for (name, bytes) in [
            ("notes.txt", b"words".as_slice()),
            ("old.xls", b"\xd0\xcf\x11\xe0\xa1"),
            ("x.wmf", b"\xd7\xcd\xc6\x9a"),
        ] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let found = survey(&[dir.path()], None).unwrap();
        let inputs: Vec<_> = found.inputs.iter().map(|input| input.path.file_name().unwrap()).collect();
        assert_eq!(inputs, ["1.png", "old.xls"]);
        let rows = passed(&found);
        let wanted = [
            (".git", "hidden folder"),
            (".hidden.png", "hidden"),
            ("a.pdf.part", "has not ended"),
            ("deck.key", "Keynote"),
            ("notes.txt", "a text"),
            ("x.wmf", "WMF"),
            ("~$a.pptx", "lock file"),
        ];
        assert_eq!(rows.len(), wanted.len(), "{rows:?}");
        for ((name, reason), (wanted, words)) in rows.iter().zip(wanted) {
            assert!(name == wanted && reason.contains(words), "{name}: {reason}");
        }
    }

    #[test]
    fn what_is_named_itself_is_read_although_it_is_passed_over_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["1.png", ".hidden/2.png"]);
        let found = survey(&[dir.path().to_owned(), dir.path().join(".hidden")], None).unwrap();
        assert_eq!((found.inputs.len(), found.passed_over.len()), (2, 1));
        let found = survey(&[dir.path().to_owned(), dir.path().join(".hidden/2.png")], None).unwrap();
        assert_eq!(found.inputs.len(), 2);
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
