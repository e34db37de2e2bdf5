//! A fresh folder in which the command runs, and things to put into it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of it; a test fails by panicking"
)]

#[path = "../../../../crates/slide-data/tests/support/mod.rs"]
pub(crate) mod support;

pub(crate) mod same;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use slide_data::Limits;
use slide_data::image::RgbImage;

pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("config")).unwrap();
        let small = "[limits]\nlongest_edge = 640\ntime_limit_s = 20\n";
        std::fs::write(dir.path().join("config/data.toml"), small).unwrap();
        Self(dir)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pq-collect"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(args);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap()
    }

    pub(crate) fn raw(&self) -> std::path::PathBuf {
        self.0.path().join("data/raw")
    }
}

/// The images of a drawn deck.
pub(crate) fn images(seed: u64, count: usize) -> Vec<RgbImage> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deck.pdf");
    std::fs::write(&path, support::deck(seed, count)).unwrap();
    let limits = Limits { longest_edge: 640, ..Limits::default() };
    slide_data::render::load(&path, &limits).unwrap().map(|slide| slide.unwrap().image).collect()
}

/// A stand-in for `LibreOffice`: whatever presentation it is given becomes `converted.pdf` of the place.
#[cfg(unix)]
impl Place {
    pub(crate) fn converter(&self) {
        use std::os::unix::fs::PermissionsExt;
        let script = format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --outdir ] && out=$2; shift; done\ncp '{}/converted.pdf' \"$out/deck.pdf\"\n",
            self.0.path().display()
        );
        self.write("bin/soffice", script.as_bytes());
        let program = self.0.path().join("bin/soffice");
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn json_with_converter(&self, args: &[&str]) -> Value {
        let path = format!("{}:{}", self.0.path().join("bin").display(), std::env::var("PATH").unwrap());
        let output = self.command(args).env("PATH", path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
