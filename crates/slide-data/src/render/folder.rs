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

/// The paths, absolute and each once.
fn roots<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>> {
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
    Ok(roots)
}

/// As [`find_all_inputs`], with what is passed over and why. A folder below the paths that cannot be listed is among that.
///
/// # Errors
/// When one of the paths does not exist or cannot be listed.
pub fn survey<P: AsRef<Path>>(paths: &[P], base: Option<&Path>) -> Result<Survey> {
    let base = base.and_then(|base| base.canonicalize().ok());
    let roots = roots(paths)?;
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
    number(&mut found.inputs);
    Ok(found)
}

/// Numbers the files of each deck from 1.
fn number(inputs: &mut [InputFile]) {
    let mut counts = BTreeMap::new();
    for input in inputs {
        let count = counts.entry(input.deck.clone()).or_insert(0);
        *count += 1;
        input.number = *count;
    }
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
#[path = "folder_tests.rs"]
mod tests;
