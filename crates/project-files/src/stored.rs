use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use durable_files::{FileHash, hash_file, io_error};

use crate::layout::{VERSIONS, version_file_of};
use crate::{Contract as _, Error, Manifest, RELEASED_FILES, Release, Result, RunFiles, VersionFile};

/// Checks that a folder holds what was released and nothing else: every file by its hash, none missing, none added. To be
/// called before anything in it is used. Who released it is told by a signature, which is not checked here
/// (`registry::signing::check`).
///
/// `release` is the version as `version.json` lists it, where that is known; for a folder that lies among the versions of a
/// registry it is looked up there. A folder that lies among versions, or carries a model card, is a release and must be a whole
/// one; any other folder without a manifest, such as a run's, is not checked. Returns the manifest; versions of earlier programs
/// have none.
///
/// # Errors
/// [`Error::NotReleased`] with everything that differs, or a file cannot be read.
pub fn check_stored(stored: &RunFiles, release: Option<&Release>) -> Result<Option<Manifest>> {
    let refused = |reasons: Vec<String>| Error::NotReleased {
        path: stored.dir().to_owned(),
        reasons: reasons.join("; "),
    };
    let manifest = Manifest::read_if_present(&stored.manifest())?;
    let among = if release.is_none() && manifest.is_none() { among_versions(stored) } else { Vec::new() };
    let listed = listed(&among)?;
    let release = release.or(listed.as_ref());
    let mut reasons = Vec::new();
    if let Some(id) = release.and_then(|release| release.id.as_ref()) {
        match &manifest {
            None => reasons.push(format!("`{}` is missing", Manifest::FILE)),
            Some(manifest) if manifest.id != *id => {
                reasons.push(format!("`{}` is of another release", Manifest::FILE));
            }
            Some(_) => {}
        }
    }
    let Some(files) = manifest.as_ref().map(|m| &m.files).or(release.map(|release| &release.files)) else {
        if among.is_empty() && !stored.card().exists() {
            return Ok(None);
        }
        return Err(refused(vec![format!("`{}` is missing", Manifest::FILE)]));
    };
    reasons.extend(differences(stored, files)?);
    let is_signed = manifest.as_ref().is_some_and(|manifest| manifest.signed_by.is_some());
    match (is_signed, stored.signature().exists()) {
        (true, false) => reasons.push(format!("`{}` is missing", Manifest::SIGNATURE)),
        (false, true) => reasons.push(format!("`{}` was added", Manifest::SIGNATURE)),
        _ => {}
    }
    if reasons.is_empty() { Ok(manifest) } else { Err(refused(reasons)) }
}

/// The folder, under each of its paths (as given, and with links resolved) that lies among the versions of a registry.
fn among_versions(stored: &RunFiles) -> Vec<PathBuf> {
    let paths = [std::path::absolute(stored.dir()), stored.dir().canonicalize()];
    let is_among = |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with(VERSIONS));
    paths.into_iter().flatten().filter(is_among).collect()
}

/// The release that the registry of one of these folders lists under its name.
fn listed(among: &[PathBuf]) -> Result<Option<Release>> {
    for dir in among {
        let (Some(name), Some(registry)) = (dir.file_name(), dir.parent().and_then(Path::parent)) else {
            continue;
        };
        let versions = VersionFile::read_if_present(&version_file_of(registry))?.unwrap_or_default();
        if let Ok(release) = versions.release(&name.to_string_lossy()) {
            return Ok(Some(release.clone()));
        }
    }
    Ok(None)
}

/// How a folder differs from a list of files with their hashes, in words. Manifest and signature are not looked at, and files
/// that stay on a team's machines may be missing where the version was fetched from the Hub.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn differences(stored: &RunFiles, files: &BTreeMap<String, FileHash>) -> Result<Vec<String>> {
    let mut reasons = Vec::new();
    let found = names(stored)?;
    let was_fetched = stored.fetched().exists();
    for (name, expected) in files {
        let path = stored.dir().join(name);
        if !found.contains(name) {
            let stays = RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public);
            if !(was_fetched && stays) {
                reasons.push(format!("`{name}` is missing"));
            }
        } else if !path.is_file() || hash_file(&path)? != *expected {
            reasons.push(format!("`{name}` changed"));
        }
    }
    let card = stored.card();
    let of_its_own = [stored.manifest(), stored.signature(), stored.fetched(), card];
    for name in found {
        if !files.contains_key(&name) && !of_its_own.contains(&stored.dir().join(&name)) {
            reasons.push(format!("`{name}` was added"));
        }
    }
    Ok(reasons)
}

fn names(stored: &RunFiles) -> Result<BTreeSet<String>> {
    let dir = stored.dir();
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(io_error("read", dir))? {
        let entry = entry.map_err(io_error("read", dir))?;
        names.insert(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable_files::hash_bytes;

    fn version() -> (tempfile::TempDir, RunFiles, Release) {
        let dir = tempfile::tempdir().unwrap();
        let stored = RunFiles::new(dir.path());
        let card = "# Rater".to_owned();
        let mut files = BTreeMap::from([("README.md".to_owned(), hash_bytes(card.as_bytes()))]);
        std::fs::write(stored.card(), &card).unwrap();
        for path in [stored.adapter_weights(), stored.report()] {
            std::fs::write(&path, "content").unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.insert(name, hash_bytes(b"content"));
        }
        let (schema_version, version) = (1, "v1.0.0".to_owned());
        let mut manifest = Manifest { schema_version, version, files, card, ..Manifest::default() };
        std::fs::write(stored.manifest(), manifest.seal().unwrap()).unwrap();
        (dir, stored, manifest.release(None))
    }

    fn reasons(stored: &RunFiles, release: Option<&Release>) -> String {
        check_stored(stored, release).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_was_changed_added_or_taken_away_is_named() {
        let (_dir, stored, release) = version();
        for release in [None, Some(&release)] {
            assert_eq!(reasons(&stored, release), "");
            std::fs::write(stored.dir().join("pytorch_model.bin"), "x").unwrap();
            assert!(reasons(&stored, release).contains("`pytorch_model.bin` was added"));
            std::fs::remove_file(stored.dir().join("pytorch_model.bin")).unwrap();
            std::fs::write(stored.card(), "# Better").unwrap();
            assert!(reasons(&stored, release).contains("`README.md` changed"));
            std::fs::write(stored.card(), "# Rater").unwrap();
            std::fs::remove_file(stored.report()).unwrap();
            assert!(reasons(&stored, release).contains("`report.html` is missing"));
            std::fs::write(stored.fetched(), "{}").unwrap();
            assert_eq!(reasons(&stored, release), "", "the Hub has no reports");
            std::fs::remove_file(stored.fetched()).unwrap();
            std::fs::write(stored.report(), "content").unwrap();
        }
        std::fs::write(stored.signature(), "{}").unwrap();
        assert!(reasons(&stored, Some(&release)).contains("`model.sig` was added"), "it was not signed");
        std::fs::remove_file(stored.signature()).unwrap();
        let mut signed = Manifest::read(&stored.manifest()).unwrap();
        signed.signed_by = Some("00".to_owned());
        let before = std::fs::read(stored.manifest()).unwrap();
        std::fs::write(stored.manifest(), signed.seal().unwrap()).unwrap();
        assert!(reasons(&stored, None).contains("`model.sig` is missing"));
        std::fs::write(stored.signature(), "{}").unwrap();
        assert_eq!(reasons(&stored, None), "");
        std::fs::remove_file(stored.signature()).unwrap();
        std::fs::write(stored.manifest(), before).unwrap();
        let other = Release { id: Some("00".to_owned()), ..release.clone() };
        assert!(reasons(&stored, Some(&other)).contains("another release"));
        std::fs::remove_file(stored.manifest()).unwrap();
        assert!(reasons(&stored, Some(&release)).contains("`release.json` is missing"));
        let old = Release { id: None, ..release };
        assert_eq!(reasons(&stored, Some(&old)), "", "earlier programs wrote no manifest");
        std::fs::write(stored.adapter_weights(), "other").unwrap();
        assert!(reasons(&stored, Some(&old)).contains("`adapter_model.safetensors` changed"));
    }

    /// A registry with a version of this program and one of an earlier program, and a run.
    fn registry() -> (tempfile::TempDir, RunFiles, RunFiles, RunFiles) {
        let (from, stored, release) = version();
        let dir = tempfile::tempdir().unwrap();
        let within = |name: &str| RunFiles::new(dir.path().join(name));
        let (new, old, run) = (within("versions/v1.0.0"), within("versions/v2"), within("run"));
        for target in [&new, &old, &run] {
            std::fs::create_dir_all(target.dir()).unwrap();
            for file in std::fs::read_dir(stored.dir()).unwrap().flatten() {
                std::fs::copy(file.path(), target.dir().join(file.file_name())).unwrap();
            }
        }
        drop(from);
        std::fs::remove_file(old.manifest()).unwrap();
        for path in [run.manifest(), run.card()] {
            std::fs::remove_file(path).unwrap();
        }
        let earlier = Release { version: "v2".to_owned(), id: None, ..release.clone() };
        let versions = VersionFile { history: vec![release, earlier], ..VersionFile::default() };
        versions.write(&version_file_of(dir.path())).unwrap();
        (dir, new, old, run)
    }

    #[test]
    fn a_folder_that_was_released_must_be_a_whole_release() {
        let (dir, new, old, run) = registry();
        for whole in [&new, &old, &run] {
            assert_eq!(reasons(whole, None), "", "{}", whole.dir().display());
        }
        std::fs::write(old.adapter_weights(), "other").unwrap();
        assert!(reasons(&old, None).contains("`adapter_model.safetensors` changed"));
        std::fs::remove_file(new.manifest()).unwrap();
        assert!(reasons(&new, None).contains("`release.json` is missing"));
        std::fs::remove_file(new.card()).unwrap();
        assert!(reasons(&new, None).contains("`release.json` is missing"), "known by where it lies");
        let unlisted = RunFiles::new(dir.path().join("versions/v3.0.0"));
        std::fs::rename(new.dir(), unlisted.dir()).unwrap();
        assert!(reasons(&unlisted, None).contains("`release.json` is missing"), "nobody lists it");
        #[cfg(unix)]
        {
            let link = RunFiles::new(dir.path().join("link"));
            std::os::unix::fs::symlink(unlisted.dir(), link.dir()).unwrap();
            assert!(reasons(&link, None).contains("`release.json` is missing"), "by another name");
        }
        std::fs::write(version_file_of(dir.path()), "nonsense").unwrap();
        assert!(check_stored(&unlisted, None).is_err(), "what is listed cannot be told");
        std::fs::write(run.card(), "# Rater").unwrap();
        assert!(reasons(&run, None).contains("`release.json` is missing"), "known by its card");
    }
}
