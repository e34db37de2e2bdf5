//! A disk of half a megabyte, for what happens when it is full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, mounted at a folder; unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it, or says why the test is left out: mounting takes the rights of root.
    pub fn at(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder: folder.to_owned() });
        }
        eprintln!("LEFT OUT: a full disk needs a small file system, and only root may mount one");
        None
    }

    /// Leaves no room for another byte.
    pub fn fill(&self) {
        let ballast = self.folder.join("ballast");
        let mut length = 512 * 1024;
        let mut all = Vec::new();
        while length > 0 {
            all.resize(all.len() + length, 0u8);
            if std::fs::write(&ballast, &all).is_err() {
                all.truncate(all.len() - length);
                length /= 2;
            }
        }
        let _ = std::fs::write(&ballast, &all);
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.folder.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
