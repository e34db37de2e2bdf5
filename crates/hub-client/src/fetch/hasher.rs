use std::fs::File;
use std::io::Read;
use std::path::Path;

use durable_files::hex;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::io;
use crate::{Hash, Result};

/// The hash of a file, of the kind that it is to be compared with.
pub(super) fn digest(path: &Path, kind: &Hash) -> Result<String> {
    let mut file = File::open(path).map_err(io("read", path))?;
    let size = file.metadata().map_err(io("read", path))?.len();
    match kind {
        Hash::Sha256(_) => run(&mut file, Sha256::new()),
        Hash::GitBlob(_) => run(&mut file, Sha1::new().chain_update(format!("blob {size}\0"))),
    }
    .map_err(io("read", path))
}

fn run(file: &mut File, mut hasher: impl Digest) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
