//! Signatures: ours, those of the Python tool `model_signing`, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use project_files::{RELEASED_FILES, RunFiles};
use registry::signing::{Keys, PrivateKey, PublicKey, check};
use registry::{Error, Event, Options, Registry};
use support::{by, layout, release, run};

struct Pair {
    dir: tempfile::TempDir,
    private: PathBuf,
    public: PathBuf,
}

fn pair() -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let [private, public] = ["key.pem", "key.pub"].map(|name| dir.path().join(name));
    PrivateKey::generate().unwrap().write(&private, &public).unwrap();
    Pair { dir, private, public }
}

impl Pair {
    fn options(&self) -> Options {
        let private = Some(PrivateKey::read(&self.private).unwrap());
        let trusted = Some(PublicKey::read(&self.public).unwrap());
        Options { seal: Some(Arc::new(Keys { private, trusted })), ..Options::default() }
    }
}

/// A registry with one signed version.
fn signed(pair: &Pair) -> (tempfile::TempDir, Registry, RunFiles) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(&layout(dir.path())).with(pair.options());
    let outcome = release(&registry, &run("r1", b"one").write(dir.path()), None, true).unwrap();
    let stored = RunFiles::new(registry.version_dir(&outcome.release.version));
    (dir, registry, stored)
}

#[test]
fn a_release_is_signed_and_checked_before_it_is_used() {
    let pair = pair();
    let (dir, registry, stored) = signed(&pair);
    assert!(stored.signature().exists());
    assert_eq!(registry.verify().unwrap(), [""; 0]);
    assert!(registry.examine(None).unwrap().is_empty(), "the manifest holds");
    let key = PublicKey::read(&pair.public).unwrap();
    check(&stored, &key).unwrap();
    let fetched = tempfile::tempdir().unwrap();
    support::copy(stored.dir(), fetched.path());
    std::fs::remove_file(RunFiles::new(fetched.path()).report()).unwrap();
    check(&RunFiles::new(fetched.path()), &key).unwrap();
    let again = release(&registry, &layout(dir.path()).run("r1"), None, true).unwrap();
    assert_eq!(again.release.version, "v1.0.0", "nothing to do");

    let unsigned = Registry::new(&layout(dir.path()));
    release(&unsigned, &run("r2", b"two").write(dir.path()), None, true).unwrap();
    assert_eq!(unsigned.verify().unwrap(), [""; 0], "no key is trusted: no signature is asked for");
    let problems = registry.verify().unwrap();
    assert!(problems.len() == 1 && problems[0].contains("no `model.sig`"), "{problems:?}");
    let mut writer = registry.write(by()).unwrap();
    assert_eq!(writer.promote(Some("v1.0.0"), Event::Promoted).unwrap().version, "v1.0.0");
    assert!(matches!(writer.promote(Some("v1.0.1"), Event::Promoted), Err(Error::Signature { .. })));
}

#[test]
fn another_persons_signature_is_refused() {
    let (ours, theirs) = (pair(), pair());
    let (dir, _, stored) = signed(&theirs);
    let registry = Registry::new(&layout(dir.path())).with(ours.options());
    let problems = registry.verify().unwrap();
    assert!(problems[0].contains("signed by the key"), "{problems:?}");
    let error = registry.write(by()).unwrap().promote(Some("v1.0.0"), Event::Promoted).unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error}");
    // Somebody who can write the folder, and has no key, can make everything fit but the signature.
    let signature = std::fs::read_to_string(stored.signature()).unwrap();
    let fingerprint = |pair: &Pair| PublicKey::read(&pair.public).unwrap().fingerprint();
    std::fs::write(stored.signature(), signature.replace(&fingerprint(&theirs), &fingerprint(&ours)))
        .unwrap();
    let error = check(&stored, &PublicKey::read(&ours.public).unwrap()).unwrap_err().to_string();
    assert!(error.contains("not the trusted key's"), "{error}");
}

#[test]
fn every_change_of_a_file_or_of_the_signature_is_found() {
    let pair = pair();
    let (_dir, _, stored) = signed(&pair);
    let key = PublicKey::read(&pair.public).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut names: Vec<PathBuf> = support::files(stored.dir());
    let stays =
        |path: &PathBuf| RELEASED_FILES.iter().any(|file| path.ends_with(file.name) && !file.is_public);
    names.retain(|path| !stays(path)); // bound by `release.json`, which is signed
    for path in names {
        let before = std::fs::read(&path).unwrap();
        for _ in 0..40 {
            let mut changed = before.clone();
            let at = random.usize(..changed.len());
            changed[at] ^= 1 << random.u8(..8);
            std::fs::write(&path, &changed).unwrap();
            let is_same_text = path == stored.signature() && same_bundle(&before, &changed);
            assert_eq!(check(&stored, &key).is_ok(), is_same_text, "{} at {at}", path.display());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(check(&stored, &key).is_err(), "{} was removed", path.display());
        std::fs::write(&path, before).unwrap();
    }
    check(&stored, &key).unwrap();
    std::fs::write(stored.dir().join("pytorch_model.bin"), "x").unwrap();
    let error = check(&stored, &key).unwrap_err().to_string();
    assert!(error.contains("`pytorch_model.bin` was not signed"), "{error}");
}

/// Whether two bundles differ in nothing that is signed or that says by whom: letters of names that nobody reads, and the bits
/// that base64 leaves unused.
fn same_bundle(before: &[u8], after: &[u8]) -> bool {
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let (Some(before), Some(after)) = (read(before), read(after)) else { return false };
    let part = |value: &serde_json::Value, pointer: &str| value.pointer(pointer).cloned();
    [
        "/mediaType",
        "/verificationMaterial/publicKey",
        "/dsseEnvelope/payload",
        "/dsseEnvelope/payloadType",
        "/dsseEnvelope/signatures/0/sig",
    ]
    .into_iter()
    .all(|pointer| part(&before, pointer).is_some() && part(&before, pointer) == part(&after, pointer))
        || part(&after, "/verificationMaterial/publicKey").is_some_and(|key| key.get("hint").is_none())
            && part(&before, "/dsseEnvelope") == part(&after, "/dsseEnvelope")
}

#[test]
fn a_release_that_was_begun_is_finished_with_the_same_key_alone() {
    let (ours, theirs) = (pair(), pair());
    let dir = tempfile::tempdir().unwrap();
    let killer = support::Killer::new();
    let run = run("r1", b"one").write(dir.path());
    let registry = killer.registry(dir.path()).with(ours.options());
    killer.kill_at(4, false);
    assert!(matches!(release(&registry, &run, None, true), Err(Error::Stopped { .. })));
    killer.spare();
    for other in [Options::default(), theirs.options()] {
        let registry = Registry::new(&layout(dir.path())).with(other);
        assert!(matches!(release(&registry, &run, None, true), Err(Error::OtherKey { .. })));
        assert!(matches!(registry.write(by()).unwrap().resume(None, true), Err(Error::OtherKey { .. })));
    }
    assert_eq!(registry.write(by()).unwrap().resume(None, true).unwrap().len(), 1);
    assert_eq!(registry.verify().unwrap(), [""; 0]);
}

#[test]
fn a_key_is_kept_from_others_and_never_overwritten_or_printed() {
    let pair = pair();
    let key = PrivateKey::read(&pair.private).unwrap();
    let text = std::fs::read_to_string(&pair.private).unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&pair.private).unwrap().permissions().mode() & 0o077, 0);
    }
    assert!(!format!("{key:?}").contains(text.lines().nth(1).unwrap()));
    assert!(matches!(key.write(&pair.private, &pair.dir.path().join("x")), Err(Error::Exists { .. })));
    assert!(matches!(key.write(&pair.dir.path().join("x"), &pair.public), Err(Error::Exists { .. })));
    assert_eq!(key.public().unwrap(), PublicKey::read(&pair.public).unwrap());
    for content in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let path = pair.dir.path().join("bad");
        std::fs::write(&path, content).unwrap();
        assert!(matches!(PrivateKey::read(&path), Err(Error::Key { .. })));
        assert!(matches!(PublicKey::read(&path), Err(Error::Key { .. })));
    }
    assert!(matches!(PublicKey::read(&pair.private), Err(Error::Key { .. })));
}

/// A Python in which the package `model_signing` is installed.
fn python() -> PathBuf {
    std::env::var_os("MODEL_SIGNING_PYTHON").expect("MODEL_SIGNING_PYTHON names no Python").into()
}

fn tool(args: &[&str], dir: &Path) -> (bool, String) {
    let output = Command::new(python()).args(["-m", "model_signing"]).args(args).arg(dir).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
#[ignore = "MODEL_SIGNING_PYTHON must name a Python that has model_signing"]
fn the_python_tool_accepts_ours_and_refuses_what_was_changed() {
    let pair = pair();
    let (_dir, _, stored) = signed(&pair);
    let signature = stored.signature();
    let args = [
        "verify",
        "key",
        "--signature",
        signature.to_str().unwrap(),
        "--public_key",
        pair.public.to_str().unwrap(),
    ];
    let (is_ok, text) = tool(&args, stored.dir());
    assert!(is_ok, "{text}");
    std::fs::remove_file(stored.report()).unwrap();
    let (is_ok, text) = tool(&args, stored.dir());
    assert!(is_ok, "what stays on a team's machines is not signed: {text}");
    let before = std::fs::read(stored.adapter_weights()).unwrap();
    std::fs::write(stored.adapter_weights(), "other").unwrap();
    assert!(!tool(&args, stored.dir()).0, "a changed file");
    std::fs::write(stored.adapter_weights(), before).unwrap();
    std::fs::write(stored.dir().join("added.bin"), "x").unwrap();
    assert!(!tool(&args, stored.dir()).0, "an added file");
    std::fs::remove_file(stored.dir().join("added.bin")).unwrap();
    assert!(tool(&args, stored.dir()).0);
    std::fs::remove_file(stored.card()).unwrap();
    assert!(!tool(&args, stored.dir()).0, "a missing file");
}

#[test]
#[ignore = "MODEL_SIGNING_PYTHON must name a Python that has model_signing"]
fn what_the_python_tool_signed_is_accepted_here() {
    let pair = pair();
    let (_dir, _, stored) = signed(&pair);
    let signature = stored.signature();
    std::fs::remove_file(&signature).unwrap();
    let args = [
        "sign",
        "key",
        "--signature",
        signature.to_str().unwrap(),
        "--private_key",
        pair.private.to_str().unwrap(),
    ];
    let (is_ok, text) = tool(&args, stored.dir());
    assert!(is_ok, "{text}");
    let key = PublicKey::read(&pair.public).unwrap();
    check(&stored, &key).unwrap();
    std::fs::write(stored.card(), "# Better").unwrap();
    assert!(check(&stored, &key).is_err());
}
