//! NVIDIA's libraries beside the driver: found where the loader finds them, else in folders that are named, and kept open.
//!
//! A library that was opened by its path is found by its name afterwards, which is how cudarc asks for it. What it opens itself
//! by name, as NVRTC its built-in functions and cuDNN its parts, is opened first: cuDNN ends the process where that is missing.

mod cudnn;
mod folders;

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libloading::Library;

use crate::Result;
use crate::backend::cuda::check::fail;

pub use folders::library_folders;

/// A library that is opened when a GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Nvrtc,
    Cublas,
    CublasLt,
    /// For attention, where there is one.
    Cudnn,
}

/// What is called of each.
const NVRTC: [&str; 8] = [
    "nvrtcVersion",
    "nvrtcCreateProgram",
    "nvrtcDestroyProgram",
    "nvrtcCompileProgram",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
    "nvrtcGetCUBINSize",
    "nvrtcGetCUBIN",
];
const CUBLAS: [&str; 5] =
    ["cublasCreate_v2", "cublasDestroy_v2", "cublasSetStream_v2", "cublasSetPointerMode_v2", "cublasGemmEx"];
const CUBLAS_LT: [&str; 4] =
    ["cublasLtCreate", "cublasLtMatmul", "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmulDescSetAttribute"];

impl Name {
    /// As in `libcublas.so`.
    fn stem(self) -> &'static str {
        match self {
            Self::Nvrtc => "nvrtc",
            Self::Cublas => "cublas",
            Self::CublasLt => "cublasLt",
            Self::Cudnn => "cudnn",
        }
    }

    /// Under which names the loader may find it: as cudarc will look for it, where cudarc calls it.
    fn names(self) -> Vec<String> {
        match self {
            Self::Cudnn if cfg!(windows) => vec!["cudnn64_9.dll".to_owned()],
            Self::Cudnn => vec!["libcudnn.so.9".to_owned()],
            _ => cudarc::get_lib_name_candidates(self.stem()),
        }
    }

    /// The highest number behind its name that is taken, for a driver of this version of CUDA.
    fn most(self, major: i32) -> i32 {
        if self == Self::Cudnn { cudnn::MAJOR } else { major }
    }

    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Nvrtc => &NVRTC,
            Self::Cublas => &CUBLAS,
            Self::CublasLt => &CUBLAS_LT,
            Self::Cudnn => &cudnn::CALLS,
        }
    }

    /// What must be open first, by how their files begin.
    fn before(self) -> &'static [&'static str] {
        match self {
            Self::Nvrtc => &["libnvrtc-builtins.so."],
            Self::Cublas => &["libcublasLt.so."],
            Self::CublasLt => &[],
            Self::Cudnn => &[cudnn::GRAPH],
        }
    }

    /// What installs it for a version of CUDA: `pip install …`.
    pub(super) fn package(self, major: i32) -> String {
        let package = match self {
            Self::Nvrtc => "nvidia-cuda-nvrtc",
            Self::Cublas | Self::CublasLt => "nvidia-cublas",
            Self::Cudnn => return format!("pip install nvidia-cudnn-cu{major}"),
        };
        // From 13 on the names have no suffix, and the next version may be too new for the driver.
        if major >= 13 {
            format!("pip install '{package}=={major}.*'")
        } else {
            format!("pip install {package}-cu{major}")
        }
    }
}

/// A library that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLibrary {
    /// As in `libcublas`.
    pub name: String,
    /// Its file, where the system says.
    pub path: Option<PathBuf>,
    /// The version of CUDA that it belongs to, or its own.
    pub version: Option<(i32, i32)>,
}

struct Open {
    name: Name,
    library: Library,
}

/// What has been opened stays open until the process ends: unloading such libraries is known to crash.
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// Opens a library for a driver of this version of CUDA (12040 is 12.4), unless it is open already.
///
/// # Errors
/// Where there is none, or none that this driver runs: what to install.
pub(super) fn open(name: Name, folders: &[PathBuf], driver: i32) -> Result<FoundLibrary> {
    // Entries are pushed whole.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = open.iter().find(|known| known.name == name) {
        return usable(name, &known.library, driver);
    }
    let library = match by_name(name) {
        Some(library) => library,
        None => in_folders(name, folders, driver)?,
    };
    if name == Name::Cudnn
        && let Err(error) = cudnn::check(&library, &open, driver)
    {
        std::mem::forget(library); // it stays open like the others, and nothing of it is called
        return Err(error);
    }
    let found = usable(name, &library, driver);
    open.push(Open { name, library });
    found
}

/// Looks at a library that is open.
pub(super) fn with<T>(name: Name, look: impl FnOnce(&Library) -> T) -> Option<T> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().find(|known| known.name == name).map(|known| look(&known.library))
}

/// What is open now.
pub(super) fn opened() -> Vec<FoundLibrary> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().map(|Open { name, library }| describe(*name, library)).collect()
}

fn by_name(name: Name) -> Option<Library> {
    // SAFETY: a library that is installed for being opened.
    name.names().iter().find_map(|name| unsafe { Library::new(name.as_str()) }.ok())
}

/// A library's file, and the number behind its name.
type Numbered = (i32, PathBuf);

/// The file in a folder that is called `lib<stem>.so.<number>`, of the highest number up to `most`; and one of a higher number,
/// where there is one.
fn choose(name: Name, folders: &[PathBuf], most: i32) -> [Option<Numbered>; 2] {
    let start = format!("lib{}.so.", name.stem());
    let (mut best, mut newer) = (None::<Numbered>, None::<Numbered>);
    for folder in folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let number = file.to_str().and_then(|file| file.strip_prefix(&start)?.parse::<i32>().ok());
            let Some(number) = number else { continue };
            let slot = if number <= most { &mut best } else { &mut newer };
            // Of the same number the one in an earlier folder.
            if slot.as_ref().is_none_or(|(known, _)| number > *known) {
                *slot = Some((number, entry.path()));
            }
        }
    }
    [best, newer]
}

fn in_folders(name: Name, folders: &[PathBuf], driver: i32) -> Result<Library> {
    let (stem, major) = (name.stem(), driver / 1000);
    let install = name.package(major);
    let version = format!("CUDA {}.{}", major, driver % 1000 / 10);
    match choose(name, folders, name.most(major)) {
        [Some((_, path)), _] => open_path(name, &path),
        [None, Some((newer, path))] if name == Name::Cudnn => {
            Err(fail(format!("`{}` is cuDNN {newer}, which is too new: `{install}`", path.display())))
        }
        [None, Some((newer, path))] => Err(fail(format!(
            "the driver runs {version} and `{}` is of CUDA {newer}: `{install}`, or install a newer driver",
            path.display()
        ))),
        [None, None] => Err(fail(format!(
            "lib{stem} is neither in the loader's path nor in the Python environment or a CUDA toolkit: `{install}`"
        ))),
    }
}

#[cfg(unix)]
fn open_path(name: Name, path: &Path) -> Result<Library> {
    use libloading::os::unix::{Library as Shared, RTLD_GLOBAL, RTLD_LAZY};
    // SAFETY: a library that is installed for being opened, here and below.
    let open = |path: &Path| unsafe { Shared::open(Some(path.as_os_str()), RTLD_LAZY | RTLD_GLOBAL) };
    let folder = path.parent().unwrap_or(Path::new("."));
    for start in name.before() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(start)
                && let Ok(library) = open(&entry.path())
            {
                std::mem::forget(library); // it stays open like the others
            }
        }
    }
    open(path)
        .map(Library::from)
        .map_err(|error| fail(format!("`{}` cannot be opened: {error}", path.display())))
}

#[cfg(not(unix))]
fn open_path(_: Name, path: &Path) -> Result<Library> {
    // SAFETY: a library that is installed for being opened.
    unsafe { Library::new(path.as_os_str()) }
        .map_err(|error| fail(format!("`{}` cannot be opened: {error}", path.display())))
}

/// Whether a driver runs a library, and this program calls it.
fn usable(name: Name, library: &Library, driver: i32) -> Result<FoundLibrary> {
    let found = describe(name, library);
    let place = found.path.as_deref().map_or_else(|| found.name.clone(), |path| path.display().to_string());
    let major = driver / 1000;
    let install = name.package(major);
    // SAFETY: the symbol is looked for and not called.
    let is_there = |call: &&str| unsafe { library.get::<unsafe extern "C" fn()>(call.as_bytes()) }.is_ok();
    if let Some(missing) = name.calls().iter().find(|call| !is_there(call)) {
        return Err(fail(format!("`{place}` is too old, it has no `{missing}`: `{install}`")));
    }
    match found.version {
        Some((theirs, _)) if theirs > major => Err(fail(format!(
            "the driver runs CUDA {}.{} and `{place}`, which the loader finds first, is of CUDA {theirs}: `{install}` and take that \
             folder out of LD_LIBRARY_PATH, or install a newer driver",
            major,
            driver % 1000 / 10
        ))),
        _ => Ok(found),
    }
}

fn describe(name: Name, library: &Library) -> FoundLibrary {
    let file = format!("lib{}", name.stem());
    FoundLibrary { path: mapped(&file), version: version(name, library), name: file }
}

/// The version that a library says it is of.
fn version(name: Name, library: &Library) -> Option<(i32, i32)> {
    let (mut major, mut minor) = (0, 0);
    match name {
        Name::Nvrtc => {
            // SAFETY: the call has this type in every version.
            let call = unsafe {
                library.get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(b"nvrtcVersion\0")
            }
            .ok()?;
            // SAFETY: as above; both numbers live.
            (unsafe { call(&raw mut major, &raw mut minor) } == 0).then_some((major, minor))
        }
        Name::Cudnn => cudnn::version_of(library),
        Name::Cublas | Name::CublasLt => {
            let property: &[u8] =
                if name == Name::Cublas { b"cublasGetProperty\0" } else { b"cublasLtGetProperty\0" };
            // SAFETY: the call has this type in every version.
            let call =
                unsafe { library.get::<unsafe extern "C" fn(c_int, *mut c_int) -> c_int>(property) }.ok()?;
            // SAFETY: as above; 0 and 1 are the numbers of the version's parts.
            let done = unsafe { call(0, &raw mut major) == 0 && call(1, &raw mut minor) == 0 };
            done.then_some((major, minor))
        }
    }
}

/// The file that a library is loaded from.
fn mapped(file: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let start = format!("{file}.so");
    let mut paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    paths
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_the_driver_runs_is_chosen() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let touch = |folder: &Path, file: &str| std::fs::write(folder.join(file), b"").unwrap();
        for file in ["libnvrtc.so.11", "libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "libnvrtc.so"] {
            touch(one.path(), file);
        }
        touch(other.path(), "libnvrtc.so.12");
        touch(other.path(), "libnvrtc.so.13");
        let folders = [one.path().to_owned(), other.path().to_owned()];
        let chosen = |most: i32| choose(Name::Nvrtc, &folders, most);
        assert_eq!(chosen(13)[0], Some((13, one.path().join("libnvrtc.so.13"))));
        assert_eq!(chosen(12)[0], Some((12, other.path().join("libnvrtc.so.12"))));
        let newer = Some((13, other.path().join("libnvrtc.so.13")));
        assert_eq!(choose(Name::Nvrtc, &folders[1..], 11), [None, newer]);
        assert_eq!(choose(Name::Cublas, &folders, 13), [None, None]);
    }

    #[test]
    fn packages_are_named_as_they_are_published() {
        assert_eq!(Name::Nvrtc.package(12), "pip install nvidia-cuda-nvrtc-cu12");
        assert_eq!(Name::Cublas.package(13), "pip install 'nvidia-cublas==13.*'");
    }
}
