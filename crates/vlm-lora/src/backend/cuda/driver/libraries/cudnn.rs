//! What cuDNN needs beside it. It opens its parts and cuBLASLt itself, and where one of them is missing it ends the process: so they are
//! opened before anything of it is called.

use std::path::{Path, PathBuf};

use libloading::Library;

use super::{Name, Open, mapped, version};
use crate::backend::cuda::check::fail;
use crate::{Error, Result};

/// The version of its interface that is called: the number behind its name, which is not CUDA's.
pub(super) const MAJOR: i32 = 9;
/// The part that has all others.
pub(super) const GRAPH: &str = "libcudnn_graph.so.9";
/// Versions whose attention is known to be wrong: 9.10.0 and 9.10.1.
const WRONG: [usize; 2] = [91_000, 91_001];

pub(super) const CALLS: [&str; 12] = [
    "cudnnGetVersion",
    "cudnnGetCudartVersion",
    "cudnnGetErrorString",
    "cudnnCreate",
    "cudnnDestroy",
    "cudnnSetStream",
    "cudnnBackendCreateDescriptor",
    "cudnnBackendDestroyDescriptor",
    "cudnnBackendSetAttribute",
    "cudnnBackendGetAttribute",
    "cudnnBackendFinalize",
    "cudnnBackendExecute",
];

/// As in 92800, which is 9.28.0.
type Number = unsafe extern "C" fn() -> usize;

fn number(library: &Library, call: &str) -> Option<usize> {
    // SAFETY: both calls that are asked for have this type in every version.
    let call = unsafe { library.get::<Number>(call.as_bytes()) }.ok()?;
    // SAFETY: as above.
    Some(unsafe { call() })
}

/// The version of a library that is whole.
pub(super) fn version_of(library: &Library) -> Option<(i32, i32)> {
    let code = number(library, "cudnnGetVersion")?;
    Some(((code / 10_000) as i32, (code % 10_000 / 100) as i32))
}

/// Opens what it needs, for a driver of this version of CUDA, beside the libraries that are open.
pub(super) fn check(library: &Library, open: &[Open], driver: i32) -> Result<()> {
    let path = mapped("libcudnn");
    let place = path.as_deref().map_or_else(|| "libcudnn".to_owned(), |path| path.display().to_string());
    let install = Name::Cudnn.package(driver / 1000);
    let refused = |why: String| -> Error { fail(format!("`{place}` {why}: `{install}`")) };
    if !opens(GRAPH, path.as_deref()) {
        return Err(refused(format!("lacks its part {GRAPH}")));
    }
    let code = number(library, "cudnnGetVersion").unwrap_or(0);
    if code < MAJOR as usize * 10_000 || WRONG.contains(&code) {
        // Before 9 the first part was worth 1,000.
        let unit = if code < 10_000 { 1_000 } else { 10_000 };
        let (major, minor, patch) = (code / unit, code % unit / 100, code % 100);
        return Err(refused(format!("is version {major}.{minor}.{patch}, which cannot be used")));
    }
    let cuda = number(library, "cudnnGetCudartVersion").unwrap_or(0) / 1000;
    if cuda > (driver / 1000) as usize {
        return Err(refused(format!("is of CUDA {cuda}, and the driver runs {}", driver / 1000)));
    }
    let ours = open.iter().find(|known| known.name == Name::CublasLt);
    let ours = ours.and_then(|known| version(Name::CublasLt, &known.library));
    let is_there = ours.is_some_and(|(major, _)| major as usize == cuda);
    if !is_there && !opens(&format!("libcublasLt.so.{cuda}"), path.as_deref()) {
        return Err(refused(format!("needs cuBLASLt of CUDA {cuda}")));
    }
    Ok(())
}

/// Opens a library by its name, else where cuDNN lies, and keeps it open.
fn opens(name: &str, beside: Option<&Path>) -> bool {
    let beside = beside.and_then(Path::parent).map(|folder| folder.join(name));
    let places = std::iter::once(PathBuf::from(name)).chain(beside);
    // SAFETY: a library that is installed for being opened.
    let found = places.into_iter().find_map(|place| unsafe { Library::new(place) }.ok());
    found.map(std::mem::forget).is_some()
}
