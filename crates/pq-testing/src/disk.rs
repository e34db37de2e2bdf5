//! A small disk, for what happens when it is full.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A small file system in memory, mounted at a folder; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of a size as `mount` reads it (`512k`) at a folder, which is made. That takes rights which not everybody
    /// has: [`Tool::FullDisk`](crate::trials::Tool::FullDisk).
    ///
    /// # Panics
    /// Where it cannot be mounted.
    #[expect(clippy::panic, reason = "a test fails by panicking")]
    pub fn at(folder: &Path, size: &str) -> Self {
        Self::mounted(folder, size).unwrap_or_else(|reason| std::panic::panic_any(reason))
    }

    /// As [`Self::at`], with the reason where it cannot be mounted.
    pub(crate) fn mounted(folder: &Path, size: &str) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let options = format!("size={size}");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Leaves no room for another byte.
    pub fn fill(&self) {
        let ballast = self.folder.join("ballast");
        let mut length = 512 * 1024;
        let mut all = Vec::new();
        while length > 0 {
            all.resize(all.len() + length, 0_u8);
            if std::fs::write(&ballast, &all).is_err() {
                all.truncate(all.len() - length);
                length /= 2;
            }
        }
        let _ = std::fs::write(&ballast, &all);
    }

    /// Takes back what [`Self::fill`] has put there.
    ///
    /// # Panics
    /// Where nothing was put there.
    pub fn make_room(&self) {
        let removed = std::fs::remove_file(self.folder.join("ballast"));
        assert!(removed.is_ok(), "{removed:?}");
    }

    /// Gives the disk another size.
    ///
    /// # Panics
    /// Where it cannot be changed.
    pub fn resize(&self, size: &str) {
        let resized = mount(&["-o", &format!("remount,size={size}")], &self.folder);
        assert!(resized.is_ok(), "{resized:?}");
    }
}

fn mount(arguments: &[&str], folder: &Path) -> Result<Output, String> {
    let output = Command::new("mount").args(arguments).arg(folder).output();
    let output = output.map_err(|error| error.to_string())?;
    let is_done = output.status.success();
    if is_done { Ok(output) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
