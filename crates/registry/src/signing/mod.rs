//! Signatures of released versions in the layout of OpenSSF model signing: `model.sig`, a Sigstore bundle with a DSSE envelope
//! around an in-toto statement of type `https://model_signing/signature/v1.0`, which names every file by its SHA-256. Made and
//! checked with a local ECDSA P-256 key; the Python tool `model_signing` checks ours and makes what is checked here.
//!
//! Files that stay on a team's machines are left out of the statement, so that the same signature holds for the folder and for
//! what the Hub serves; they are bound by `release.json`, which is signed.
//!
//! Layout: <https://github.com/sigstore/model-transparency>; envelope: DSSE 1.0, `DSSEv1 <len> <type> <len> <payload>`.

mod envelope;
mod key;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use durable_files::{hash_file, io_error as io, sha256_hex};
use project_files::{Manifest, RELEASED_FILES, RunFiles};

pub use key::{PUBLIC_KEY, PrivateKey, PublicKey};
use statement::Statement;

use crate::{Bundle, Error, Result, Seal};

/// What a statement of the Python tool leaves out besides the signature.
const GIT: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The bytes of `model.sig` for a version: the same for the same files and key.
///
/// # Errors
/// When the statement cannot be written as JSON.
pub fn sign(bundle: &Bundle, key: &PrivateKey) -> Result<Vec<u8>> {
    let private = RELEASED_FILES.iter().filter(|file| !file.is_public).map(|file| file.name);
    let own = RunFiles::new("").fetched();
    let marker = own.to_string_lossy().into_owned();
    let ignored: BTreeSet<String> = GIT
        .into_iter()
        .chain([Manifest::SIGNATURE])
        .chain(private)
        .map(str::to_owned)
        .chain([marker])
        .collect();
    let files = bundle.files.iter().filter(|(name, _)| !ignored.contains(*name));
    let files = files.map(|(name, content)| (name.clone(), sha256_hex(content))).collect();
    let statement = Statement { model: bundle.version.clone(), files, ignored };
    envelope::seal(&statement.to_json()?, key)
}

/// Checks that the version in a folder was signed by the owner of `key`, and that every file is what was signed: none changed,
/// missing or added but for those that the statement leaves out.
///
/// # Errors
/// [`Error::Signature`] with the reason, or a file cannot be read.
pub fn check(stored: &RunFiles, key: &PublicKey) -> Result<()> {
    let path = stored.signature();
    let signature = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        bytes => Some(bytes.map_err(io("read", &path))?),
    };
    let statement = read(signature.as_deref(), key).map_err(|reason| refused(stored.dir(), reason))?;
    let mut found = BTreeMap::new();
    collect(stored.dir(), stored.dir(), &statement, &mut found)?;
    compare(&statement, &found).map_err(|reason| refused(stored.dir(), reason))
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Signature { path: path.to_owned(), reason }
}

/// What was signed, once it is known by whom.
fn read(signature: Option<&[u8]>, key: &PublicKey) -> std::result::Result<Statement, String> {
    let bytes = signature.ok_or_else(|| format!("it has no `{}`", Manifest::SIGNATURE))?;
    Statement::parse(&envelope::open(bytes, key)?)
}

/// In what files differ from those that were signed.
fn compare(statement: &Statement, found: &BTreeMap<String, String>) -> std::result::Result<(), String> {
    let mut reasons = Vec::new();
    for (name, expected) in &statement.files {
        match found.get(name) {
            None => reasons.push(format!("`{name}` is missing")),
            Some(hash) if hash != expected => reasons.push(format!("`{name}` is not what was signed")),
            Some(_) => {}
        }
    }
    let added = found.keys().filter(|name| !statement.files.contains_key(*name));
    reasons.extend(added.map(|name| format!("`{name}` was not signed")));
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
}

fn is_left_out(name: &str, statement: &Statement) -> bool {
    GIT.contains(&name) || name == Manifest::SIGNATURE || statement.ignored.contains(name)
}

/// The hashes of the files below `at`, by their paths below `dir` with slashes, but for what the statement leaves out.
fn collect(dir: &Path, at: &Path, statement: &Statement, found: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(at).map_err(io("read", at))? {
        let path = entry.map_err(io("read", at))?.path();
        let parts = path.strip_prefix(dir).unwrap_or(&path).components();
        let name = parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        if is_left_out(&name, statement) {
            continue;
        }
        if path.is_dir() {
            collect(dir, &path, statement, found)?;
        } else {
            found.insert(name, hash_file(&path)?.sha256);
        }
    }
    Ok(())
}

/// The keys of a registry: one to sign with, one that versions must be signed with.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Signs releases.
    pub private: Option<PrivateKey>,
    /// Must have signed what is used.
    pub trusted: Option<PublicKey>,
}

impl Seal for Keys {
    fn signer(&self) -> Option<String> {
        self.private.as_ref()?.public().ok().map(|key| key.fingerprint())
    }

    fn sign(&self, bundle: &Bundle) -> Result<Vec<u8>> {
        let missing =
            || Error::Key { what: "registry.signing_key".to_owned(), problem: "there is none".to_owned() };
        sign(bundle, self.private.as_ref().ok_or_else(missing)?)
    }

    fn check(&self, stored: &RunFiles) -> Result<()> {
        self.trusted.as_ref().map_or(Ok(()), |key| check(stored, key))
    }

    fn check_bundle(&self, bundle: &Bundle) -> Result<()> {
        let Some(key) = &self.trusted else { return Ok(()) };
        let signature = bundle.files.get(Manifest::SIGNATURE).map(Vec::as_slice);
        let checked = read(signature, key).and_then(|statement| {
            let files = bundle.files.iter().filter(|(name, _)| !is_left_out(name, &statement));
            let found = files.map(|(name, content)| (name.clone(), sha256_hex(content))).collect();
            compare(&statement, &found)
        });
        checked.map_err(|reason| refused(Path::new(&bundle.version), reason))
    }
}
