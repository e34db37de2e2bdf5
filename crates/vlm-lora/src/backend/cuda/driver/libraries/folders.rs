//! Folders in which NVIDIA's libraries may lie: PyTorch's wheels bring them into a Python environment, the toolkit brings them
//! into a folder of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the toolkit and its versions are installed by default.
const LOCAL: &str = "/usr/local";

/// The folders, those of the active Python environment first, then those of the Python in `PATH`, then the toolkit's.
/// `variable` gives the value of a variable of the environment.
pub fn library_folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    folders(variable, Path::new(LOCAL), python_path())
}

fn folders(
    variable: impl Fn(&str) -> Option<OsString>,
    local: &Path,
    python_path: impl IntoIterator<Item = PathBuf>,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let prefixes = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(&variable).map(PathBuf::from);
    for prefix in prefixes {
        found.extend(
            children(&prefix.join("lib"), "python3")
                .flat_map(|python| of_site(&python.join("site-packages"))),
        );
        found.extend(of_toolkit(&prefix));
    }
    found.extend(python_path.into_iter().flat_map(|site| of_site(&site)));
    for toolkit in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable) {
        found.extend(of_toolkit(Path::new(&toolkit)));
    }
    found.extend(children(local, "cuda").flat_map(|toolkit| of_toolkit(&toolkit)));
    let mut known = std::collections::HashSet::new();
    found.retain(|folder| folder.is_dir() && known.insert(folder.clone()));
    found
}

/// What begins with `start` in a folder, the last first: of versions that is the newest.
fn children(folder: &Path, start: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.into_iter().rev()
}

/// The wheels' folders: `nvidia/cu13/lib`, or one for each library as in `nvidia/cublas/lib`.
fn of_site(site: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    children(&site.join("nvidia"), "").map(|part| part.join("lib"))
}

fn of_toolkit(toolkit: &Path) -> Vec<PathBuf> {
    let targets = children(&toolkit.join("targets"), "").map(|target| target.join("lib"));
    [toolkit.join("lib64"), toolkit.join("lib")].into_iter().chain(targets).collect()
}

/// Where the Python that is found in `PATH` looks for packages; nothing where there is none.
fn python_path() -> Vec<PathBuf> {
    let program = "import sys; print('\\n'.join(sys.path))";
    let run = |name: &str| Command::new(name).args(["-c", program]).output().ok();
    let output = ["python3", "python"].into_iter().filter_map(run).find(|output| output.status.success());
    let Some(output) = output else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_come_before_the_toolkit_and_the_newest_of_it_first() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let venv = make("venv/lib/python3.12/site-packages/nvidia/cu13/lib");
        let conda = make("conda/lib/python3.11/site-packages/nvidia/cublas/lib");
        let of_conda = root.path().join("conda/lib");
        let user = make("user/nvidia/cuda_nvrtc/lib");
        let (old, new) = (make("local/cuda-12.4/lib64"), make("local/cuda-13.0/targets/x86_64-linux/lib"));
        make("local/other/lib64");
        let variable = |name: &str| match name {
            "VIRTUAL_ENV" => Some(root.path().join("venv").into_os_string()),
            "CONDA_PREFIX" => Some(root.path().join("conda").into_os_string()),
            _ => None,
        };
        let local = root.path().join("local");
        // The Python of the environment is most likely that of PATH.
        let paths = [
            root.path().join("venv/lib/python3.12/site-packages"),
            root.path().join("user"),
            root.path().join("absent"),
        ];
        let of_venv = root.path().join("venv/lib");
        let expected = vec![venv, of_venv, conda, of_conda, user, new, old];
        assert_eq!(folders(variable, &local, paths), expected);
        let home = |name: &str| (name == "CUDA_HOME").then(|| local.join("cuda-12.4").into_os_string());
        assert_eq!(folders(home, &root.path().join("absent"), []), [local.join("cuda-12.4/lib64")]);
        assert!(folders(|_| None, &root.path().join("absent"), []).is_empty());
    }
}
