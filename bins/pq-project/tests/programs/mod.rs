//! The commands as programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the programs, beside this package's own; those of `names` that a test run of this package alone did not make are built.
pub(crate) fn programs(names: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_pq-project")).parent().unwrap().to_owned();
    let missing: Vec<&str> = names.iter().copied().filter(|name| !folder.join(name).exists()).collect();
    if !missing.is_empty() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet"]).args(missing.iter().flat_map(|name| ["-p", *name]));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{missing:?} cannot be built");
    }
    folder
}
