//! What the fuzz targets share: a directory whose files are sound except for the one under test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A small sound checkpoint with processor files.
pub fn sound_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/parity/text-all/model")
}

/// A sound adapter on it.
pub fn sound_adapter() -> PathBuf {
    sound_model().with_file_name("adapter")
}

/// A copy of a directory in which `name` holds these bytes; one directory a process and source.
pub fn with_file(source: &Path, name: &str, bytes: &[u8]) -> &'static Path {
    static COPY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let copy = COPY.get_or_init(|| {
        let copy = tempfile::tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(source).expect("the fixture is there") {
            let path = entry.expect("the fixture can be listed").path();
            let target = copy.path().join(path.file_name().expect("it has a name"));
            std::fs::copy(&path, target).expect("the fixture can be copied");
        }
        copy
    });
    // A new file each time: the old one may still be mapped.
    let path = copy.path().join(name);
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).expect("the file can be written");
    copy.path()
}
